"""Graph's media side: an id that lives seven days, a URL that lives five minutes, a download that needs the token.

developers.facebook.com/docs/whatsapp/cloud-api/reference/media (retrieve URL, download) and
…/business-phone-numbers/media (lives). The sha256 is base64 in webhooks and hex in Graph's answers
(chatwoot#9809 shows the latter); a URL that has run out answers 404.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from connector.sandbox.gateway import Answer, Exchange
from connector.sandbox.journal import Effect
from connector.sandbox.whatsapp.payloads import Update

URL_LIFE = 5 * 60.0
"""Seconds for which a media URL works."""
ID_LIFE = 7 * 86_400.0
"""Seconds for which the id of an inbound file works (30 days before 9 October 2025)."""
LARGEST = 100 * 1024 * 1024
"""Bytes; a larger file is refused with 131052."""

_NODE = re.compile(r"/v\d+\.\d+/(?P<media_id>[^/]+)")
_DOWNLOAD = "/whatsapp_business/attachments/"
_KINDS = frozenset({"image", "video", "audio", "document", "sticker"})


@dataclass(kw_only=True)
class StoredFile:
    """One file at Meta. Change its fields to make it behave badly."""

    id: str
    content: bytes
    mime_type: str
    phone_number_id: str
    created_at: float
    """Unix seconds."""
    sha256: str
    """Hex, as stated to callers; of the content unless a test says otherwise."""
    size: int
    """Bytes, as stated to callers."""
    redirect_to: str | None = None
    """Where the download is redirected to instead of being answered."""
    url_host: str | None = None
    """Scheme and host of its URLs, instead of the simulator's own."""
    downloads: int = 0
    """Times it was handed out whole."""


class GraphMedia:
    """The files, and the three ways to them. `clock` gives Unix seconds; tokens are accepted as `accepts` says."""

    def __init__(self, *, clock: Callable[[], float], accepts: Callable[[str], bool] = bool) -> None:
        self.files: dict[str, StoredFile] = {}
        self._clock = clock
        self._accepts = accepts
        self._secret = secrets.token_bytes(16)

    def add(
        self,
        content: bytes,
        *,
        mime_type: str = "image/jpeg",
        phone_number_id: str = "106540352242922",
        media_id: str | None = None,
    ) -> StoredFile:
        """Keep a file as if somebody had sent it just now."""
        name = media_id or str(10**15 + secrets.randbelow(9 * 10**15))
        self.files[name] = StoredFile(
            id=name,
            content=content,
            mime_type=mime_type,
            phone_number_id=phone_number_id,
            created_at=self._clock(),
            sha256=hashlib.sha256(content).hexdigest(),
            size=len(content),
        )
        return self.files[name]

    def url_of(self, file: StoredFile, *, base_url: str) -> str:
        """A new URL of the file, good for five minutes. `base_url`: scheme and host of the simulator."""
        ends = int(self._clock() + URL_LIFE)
        host = file.url_host or base_url.rstrip("/")
        return f"{host}{_DOWNLOAD}?mid={file.id}&source=getMedia&ext={ends}&hash={self._hash(file.id, ends)}"

    def published(self, update: Update, *, base_url: str) -> Update:
        """The update of a message with a file, now with a file behind its id; any other update as it is."""
        kind = update.content.get("type")
        if update.kind != "messages" or kind not in _KINDS:
            return update
        part: Mapping[str, Any] = update.content[str(kind)]
        media_id = str(part["id"])
        file = self.files.get(media_id) or self.add(
            sample_content(media_id, str(part["mime_type"])),
            mime_type=str(part["mime_type"]),
            phone_number_id=update.number.phone_number_id,
            media_id=media_id,
        )
        shown = {
            **part,
            "sha256": base64.b64encode(bytes.fromhex(file.sha256)).decode(),
            "url": self.url_of(file, base_url=base_url),
        }
        return replace(update, content={**update.content, str(kind): shown})

    def clear(self) -> None:
        """Forget every file."""
        self.files.clear()

    def owns(self, path: str) -> bool:
        """Whether a request of this path is about a file."""
        node = _NODE.fullmatch(path)
        return path == _DOWNLOAD or (node is not None and node["media_id"] in self.files)

    # What a gateway asks of a simulator.

    def caller(self, exchange: Exchange) -> str:
        """Name who asks: `token` or `nobody`."""
        return "token" if self._authorised(exchange) else "nobody"

    def is_exempt(self, exchange: Exchange) -> bool:
        """Nobody is spared."""
        del exchange
        return False

    def touches(self, exchange: Exchange) -> set[str]:
        """Reading touches nothing."""
        del exchange
        return set()

    def drain_effects(self) -> list[Effect]:
        """Reading changes nothing."""
        return []

    def error_answer(self, status: int, *, retry_after: str | None) -> Answer:
        """Graph's answer with this status: its own trouble, or its limits."""
        headers = {} if retry_after is None else {"Retry-After": retry_after}
        code = {401: 190, 403: 10, 429: 80007}.get(status, 2)
        return _error(status, code, f"(#{code}) Simulated error {status}", headers=headers)

    def handle(self, exchange: Exchange) -> Answer:
        """Tell a file's URL, or hand the file out."""
        if exchange.method != "GET":
            return _error(400, 100, "(#100) Unsupported method")
        if exchange.path == _DOWNLOAD:
            return self._download(exchange)
        node = _NODE.fullmatch(exchange.path)
        if not self._authorised(exchange):
            return _error(401, 190, "Invalid OAuth access token - Cannot parse access token")
        file = self._living(node["media_id"]) if node else None
        wanted = exchange.query.get("phone_number_id", [""])[0]
        # "The request will only be processed if the phone number id matches the one that the media was uploaded on."
        if file is None or (wanted and wanted != file.phone_number_id):
            name = node["media_id"] if node else exchange.path
            return _error(
                400,
                100,
                f"Unsupported get request. Object with ID '{name}' does not exist, cannot be loaded due to missing "
                "permissions, or does not support this operation",
                subcode=33,
            )
        if file.size > LARGEST:
            return _error(400, 131052, "(#131052) Media download error")
        return Answer(
            status=200,
            document={
                "messaging_product": "whatsapp",
                "url": self.url_of(file, base_url=f"http://{exchange.headers['host']}"),
                "mime_type": file.mime_type,
                "sha256": file.sha256,
                "file_size": file.size,
                "id": file.id,
            },
        )

    def _download(self, exchange: Exchange) -> Answer:
        asked = {name: values[0] for name, values in exchange.query.items()}
        if not self._authorised(exchange):
            return Answer(status=401, raw=b"<p>Not authorized</p>")
        file = self._living(asked.get("mid", ""))
        ends = int(asked.get("ext", "0"))
        genuine = hmac.compare_digest(asked.get("hash", ""), self._hash(asked.get("mid", ""), ends))
        if file is None or not genuine or ends < self._clock():
            return Answer(status=404, raw=b"<p>URL signature expired</p>")
        if file.redirect_to is not None:
            return Answer(status=302, headers={"Location": file.redirect_to})
        file.downloads += 1
        return Answer(status=200, raw=file.content, raw_type=file.mime_type)

    def _living(self, media_id: str) -> StoredFile | None:
        file = self.files.get(media_id)
        return file if file is not None and self._clock() - file.created_at < ID_LIFE else None

    def _authorised(self, exchange: Exchange) -> bool:
        scheme, _, token = exchange.headers.get("authorization", "").partition(" ")
        return scheme.lower() == "bearer" and bool(token) and self._accepts(token)

    def _hash(self, media_id: str, ends: int) -> str:
        return hmac.new(self._secret, f"{media_id}.{ends}".encode(), hashlib.sha256).hexdigest()[:32]


def sample_content(media_id: str, mime_type: str) -> bytes:
    """A small file that differs for each id and starts as files of its type do."""
    kind = mime_type.split(";", maxsplit=1)[0].strip()
    head = {
        "image/jpeg": b"\xff\xd8\xff\xe0\x00\x10JFIF\x00",
        "image/webp": b"RIFF\x00\x00\x00\x00WEBP",
        "application/pdf": b"%PDF-1.4\n",
        "audio/ogg": b"OggS\x00\x02",
        "video/mp4": b"\x00\x00\x00\x18ftypmp42",
    }.get(kind, b"")
    return head + b"".join(hashlib.sha256(f"{media_id} {part}".encode()).digest() for part in range(64))


def _error(
    status: int,
    code: int,
    message: str,
    *,
    subcode: int | None = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    error: dict[str, object] = {
        "message": message,
        "type": "OAuthException" if subcode is None else "GraphMethodException",
        "code": code,
        "fbtrace_id": "AsandboxTraceIdAAAAAAAA",
    }
    if subcode is not None:
        error["error_subcode"] = subcode
    return Answer(status=status, document={"error": error}, headers=headers or {})
