"""Graph's two steps to a file: the id tells a URL, the URL gives the bytes. Both carry our token.

developers.facebook.com/docs/whatsapp/cloud-api/reference/media. Every failure comes out as one of the connector's
errors, or as `UrlRanOut`: ask for another URL.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, urljoin

import aiohttp
import httpx
import httpx_aiohttp

from connector.errors import RateLimited, Rejected, Terminal, Transient
from connector.media.files import sha256_hex
from connector.media.hosts import why_refused
from connector.media.store import Receiving
from connector.settings import MediaSettings, WhatsAppSettings
from connector.whatsapp.lenient import as_int, as_object, as_text

_MOST_REDIRECTS = 3
_LONGEST_ANSWER = 64 * 1024
# Downloads without a User-Agent of its own are answered with an error page (observed on live accounts).
_USER_AGENT = "whatsapp-crm-connector"

# developers.facebook.com/docs/whatsapp/cloud-api/support/error-codes
_TOKEN_CODES = frozenset({0, 102, 190})
_LIMIT_CODES = frozenset({4, 80007, 130429, 131056})
_TOO_LARGE_CODE = 131052
_UNARMED = "CONNECTOR_WHATSAPP__ACCESS_TOKEN is not set: files cannot be fetched."
_WHAT_TO_DO = (
    "set CONNECTOR_WHATSAPP__ACCESS_TOKEN to a system-user token with whatsapp_business_messaging and restart the "
    "role; files wait for it, up to 7 days"
)


class NoAnswer(Transient):
    """Nothing came back: WhatsApp, or the way to it, is away."""


class Refused(Transient):
    """We do not ask for it. It is tried again until it is forgotten: a person may allow its host meanwhile."""


class UrlRanOut(Exception):
    """The URL does not give the file (any more); another one may."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FileInfo:
    """What Graph says about a file. `sha256`: hex or ""."""

    url: str
    mime_type: str
    sha256: str
    size: int | None


class GraphFiles:
    """The client. Raises `Transient` (`NoAnswer`, `RateLimited`), `Rejected` and `Terminal`."""

    def __init__(self, whatsapp: WhatsAppSettings, media: MediaSettings) -> None:
        self._base_url = whatsapp.base_url
        self._version = whatsapp.api_version
        self._token = whatsapp.access_token.get_secret_value()
        self._extra_hosts = media.extra_hosts
        self._max_bytes = media.max_bytes
        self._client = httpx_aiohttp.HttpxAiohttpClient(
            timeout=media.request_timeout,
            headers={"User-Agent": _USER_AGENT, "Accept-Encoding": "identity"},
            follow_redirects=False,  # each step is checked here, see hosts.py
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def look_up(self, media_id: str, *, phone_number_id: str) -> FileInfo:
        """Ask for a URL of the file, good for five minutes."""
        url = f"{self._base_url}/{self._version}/{quote(media_id, safe='')}"
        if phone_number_id:
            url += f"?phone_number_id={quote(phone_number_id, safe='')}"
        async with self._get(url) as response:
            body = await _short_body(response)
            document = as_object(_json(body))
            if response.status_code != HTTPStatus.OK:
                raise _refusal(response, as_object(document.get("error")))
        info = FileInfo(
            url=as_text(document.get("url"), limit=8_192),
            mime_type=as_text(document.get("mime_type"), limit=200),
            sha256=sha256_hex(as_text(document.get("sha256"), limit=200)),
            size=as_int(document.get("file_size")),
        )
        if not info.url:
            raise Transient("WhatsApp answered without a URL for the file.")
        if info.size is not None and info.size > self._max_bytes:
            raise self._too_large(info.size)
        return info

    async def download(self, url: str, into: Receiving, *, said_type: str) -> str:
        """Write the file of this URL; return the type it was sent as. `into` is empty, `said_type` what it should be.

        Raises `UrlRanOut` when the URL does not give the file, whatever the reason.
        """
        for _ in range(_MOST_REDIRECTS + 1):
            if reason := why_refused(url, base_url=self._base_url, extra_hosts=self._extra_hosts):
                raise Refused(
                    f"The file was not asked for, because {reason}.",
                    advice="if the host is WhatsApp's, add it to CONNECTOR_MEDIA__EXTRA_HOSTS and restart the role",
                )
            async with self._get(url) as response:
                if response.has_redirect_location:
                    url = urljoin(url, response.headers["Location"])
                    continue
                if response.status_code != HTTPStatus.OK:
                    raise _download_failure(response)
                sent_type = as_text(response.headers.get("Content-Type"), limit=200)
                if "html" in sent_type and "html" not in said_type:
                    raise UrlRanOut("WhatsApp, or something before it, answered the download with a page")
                announced = as_int(response.headers.get("Content-Length"))
                if announced is not None and announced > self._max_bytes:
                    raise self._too_large(announced)
                async for chunk in response.aiter_bytes():
                    if into.size + len(chunk) > self._max_bytes:
                        raise self._too_large(None)
                    await into.write(chunk)
                if (
                    announced is not None
                    and "Content-Encoding" not in response.headers
                    and announced != into.size
                ):
                    raise Transient(f"The download ended after {into.size} of {announced} bytes.")
                return sent_type
        raise Refused(f"The file's URL redirects more than {_MOST_REDIRECTS} times.")

    @asynccontextmanager
    async def _get(self, url: str) -> AsyncIterator[httpx.Response]:
        """One request with our token. The caller has checked the URL."""
        if not self._token:
            raise Terminal(_UNARMED, advice=_WHAT_TO_DO)
        try:
            async with self._client.stream(
                "GET", url, headers={"Authorization": f"Bearer {self._token}"}
            ) as response:
                yield response
        except (httpx.TransportError, httpx.StreamError, httpx.InvalidURL, aiohttp.ClientError) as error:
            # The error's own words may hold the URL, whose query is a key to the file.
            raise NoAnswer(f"WhatsApp did not answer, or broke off: {type(error).__name__}.") from error
        except TimeoutError as error:
            raise NoAnswer("WhatsApp did not answer in time.") from error

    def _too_large(self, size: int | None) -> Rejected:
        said = "more" if size is None else f"{size:,}"
        return Rejected(
            f"The file is too large: {said} bytes, at most {self._max_bytes:,} are kept.", cause="too_large"
        )


def _refusal(response: httpx.Response, error: Mapping[str, Any]) -> Exception:
    code, subcode = as_int(error.get("code")), as_int(error.get("error_subcode"))
    said = as_text(error.get("message"), limit=300) or f"HTTP {response.status_code}"
    if code in _TOKEN_CODES or response.status_code == HTTPStatus.UNAUTHORIZED:
        return Terminal(f"WhatsApp refuses our token: {said}.", advice=_WHAT_TO_DO)
    if code in _LIMIT_CODES or response.status_code == HTTPStatus.TOO_MANY_REQUESTS:
        return RateLimited(f"WhatsApp holds us back: {said}.", retry_after=_retry_after(response))
    if code == _TOO_LARGE_CODE:
        return Rejected(f"WhatsApp does not hand the file over: {said}.", cause="refused")
    if code == 100 and subcode == 33:
        return Transient(
            "WhatsApp does not know the file, or the token may not see it.",
            advice="check that the token's app may use the business number",
        )
    return Transient(f"WhatsApp refuses the file for now: {said}.", retry_after=_retry_after(response))


def _download_failure(response: httpx.Response) -> Exception:
    status = response.status_code
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return RateLimited("WhatsApp holds downloads back.", retry_after=_retry_after(response))
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return Transient(f"WhatsApp answered the download with {status}.", retry_after=_retry_after(response))
    return UrlRanOut(f"WhatsApp answered the download with {status}")


def _retry_after(response: httpx.Response) -> float | None:
    seconds = as_int(response.headers.get("Retry-After"))
    return None if seconds is None else float(min(max(seconds, 0), 3600))


async def _short_body(response: httpx.Response) -> bytes:
    body = b""
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > _LONGEST_ANSWER:
            raise Transient("WhatsApp's answer about the file is not one: it is too long.")
    return body


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None
