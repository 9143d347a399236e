"""`GET /media/{key}?expires=…&signature=…`: the file behind a link that a CRM shows.

Whoever has the link has the file, until it ends. A file is always a download, never a page: what strangers sent
must not run under our name.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from urllib.parse import quote

import asyncpg
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from connector.errors import ConnectorError
from connector.ingress.answers import Refusal
from connector.media import tables
from connector.media.files import content_type, file_name
from connector.media.links import is_genuine, signing_secrets
from connector.media.store import BlobStore, StoredBlob
from connector.media.tables import FileRow
from connector.settings import Settings
from connector.state.database import close_pool, open_pool, transaction
from connector.telemetry.metrics import MEDIA_LINKS

_COME_BACK = 15.0  # seconds
_CONNECTIONS = 4
# https://cheatsheetseries.owasp.org/cheatsheets/HTTP_Headers_Cheat_Sheet.html
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Cache-Control": "private, no-store",
    "Referrer-Policy": "no-referrer",
    "X-Robots-Tag": "noindex",
}


class MediaDownloads:
    """The endpoint. `secrets`: whose links are honoured, `clock`: Unix seconds."""

    def __init__(
        self,
        *,
        pool: asyncpg.Pool,
        store: BlobStore,
        secrets: Sequence[str],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._pool = pool
        self._store = store
        self._secrets = secrets
        self._clock = clock

    async def close(self) -> None:
        """Close the connections and the store."""
        await self._store.close()
        await close_pool(self._pool)

    async def endpoint(self, request: Request) -> Response:
        """Hand the file out, or say why not."""
        try:
            row = await self._row(request)
            blob = await self._blob(row)
        except Refusal as refusal:
            MEDIA_LINKS.labels(refusal.outcome).inc()
            answer = refusal.response()
            answer.headers.update(_HEADERS)
            return answer
        MEDIA_LINKS.labels("sent").inc()
        headers = {
            **_HEADERS,
            "Content-Type": content_type(row.mime_type),
            "Content-Length": str(blob.size),
            "Content-Disposition": _disposition(row),
        }
        if request.method == "HEAD":
            blob.close()
            return Response(headers=headers)
        return StreamingResponse(blob.chunks(), headers=headers)

    async def _row(self, request: Request) -> FileRow:
        key = request.path_params["key"]
        expires = request.query_params.get("expires", "")
        signature = request.query_params.get("signature", "")
        if not is_genuine(key, expires=expires, signature=signature, secrets=self._secrets):
            raise Refusal(
                "refused",
                status=403,
                error="This link is not one of ours, or a part of it is missing.",
                advice="copy the whole link from the CRM",
            )
        if int(expires) <= self._clock():
            ended = datetime.fromtimestamp(int(expires), UTC)
            raise Refusal(
                "expired",
                status=410,
                error=f"This link ended on {ended:%Y-%m-%d %H:%M} UTC.",
                advice="ask the operator of the connector for a new one: connector media show WAMID",
            )
        try:
            async with transaction(self._pool) as connection:
                row = await tables.find(connection, key)
        except ConnectorError as error:
            raise _away() from error
        if row is None:
            raise _pending("")
        return row

    async def _blob(self, row: FileRow) -> StoredBlob:
        if row.state == "waiting":
            raise _pending(row.reason)
        if row.state == "unavailable":
            raise Refusal(
                "unavailable",
                status=404,
                error=f"Not available: {row.reason}.".replace("..", "."),
                advice="ask the sender for the file again",
            )
        if row.state != "stored" or row.blob is None:
            raise Refusal(
                "gone", status=410, error=f"Not available any more: {row.reason}.", advice="it is not kept"
            )
        try:
            blob = await self._store.open(row.blob)
        except ConnectorError as error:
            raise _away() from error
        if blob is None:
            raise Refusal(
                "unavailable",
                status=404,
                error="Not available: the file is not where it was stored.",
                advice="the operator finds it by: connector media show WAMID",
            )
        return blob


async def open_downloads(settings: Settings) -> MediaDownloads | None:
    """As the settings say; None without a secret that signs links. Connects when the first link is followed."""
    secrets = signing_secrets(settings)
    if not secrets:
        return None
    store = BlobStore(settings.media.store)
    pool = await open_pool(
        settings.database.url.get_secret_value(), size=_CONNECTIONS, application="ingress-media"
    )
    return MediaDownloads(pool=pool, store=store, secrets=secrets)


def _pending(reason: str) -> Refusal:
    return Refusal(
        "pending",
        status=202,
        error="The file is not here yet.",
        advice=f"come back in a minute{f'; the last attempt: {reason}' if reason else ''}",
        retry_after=_COME_BACK,
    )


def _away() -> Refusal:
    return Refusal(
        "away",
        status=503,
        error="The file cannot be looked up at the moment.",
        advice="come back in a minute",
        retry_after=_COME_BACK,
    )


def _disposition(row: FileRow) -> str:
    """RFC 6266: the name for all, and the same in ASCII for old browsers."""
    name = file_name(row.filename, kind=row.kind, mime_type=row.mime_type, key=row.key)
    ascii_name = "".join(char if char.isascii() and char not in '"\\%;' else "_" for char in name)
    return f"attachment; filename=\"{ascii_name}\"; filename*=UTF-8''{quote(name, safe='')}"
