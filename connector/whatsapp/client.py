"""POST /{phone number id}/messages: one request, one `SendAnswer`. Nothing is ever repeated in here.

A send has no idempotency key, so what matters most of a failure is whether a byte of the request left. aiohttp never
repeats a POST by itself, and its names of errors tell the two apart; httpx's do not, as its transport for aiohttp calls
a connection that broke in the middle a ConnectTimeout.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import aiohttp
import httpx
import httpx_aiohttp
import orjson

from connector.errors import Terminal
from connector.settings import WhatsAppSettings
from connector.whatsapp.send_answers import Refused, SendAnswer, Unclear, Unsent, read_answer
from connector.whatsapp.usage import regained_after

_CONNECT_TIMEOUT = 5.0
_KEPT_OPEN = (
    30.0  # seconds; a peer that closes earlier costs a connection, one that closes later an unclear answer
)
_LONGEST_ANSWER = 256 * 1024

# Raised before a connection exists: DNS, TCP, TLS, a proxy's refusal, no connection in time.
_BEFORE_THE_FIRST_BYTE = (
    aiohttp.ClientConnectorError,
    aiohttp.ClientHttpProxyError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.InvalidURL,
)


class CloudApi:
    """The client. `connections`: requests that may be open at once; more wait without having begun."""

    def __init__(self, settings: WhatsAppSettings, *, request_timeout: float, connections: int) -> None:
        self._token = settings.access_token.get_secret_value()
        self._url = f"{settings.base_url}/{settings.api_version}"
        self._timeout = request_timeout
        self._client = httpx_aiohttp.HttpxAiohttpClient(
            timeout=httpx.Timeout(request_timeout, connect=min(_CONNECT_TIMEOUT, request_timeout)),
            limits=httpx.Limits(max_connections=connections, keepalive_expiry=_KEPT_OPEN),
            headers={
                "Authorization": f"Bearer {self._token}",
                "Content-Type": "application/json",
                "User-Agent": "whatsapp-crm-connector",
                "Accept-Encoding": "identity",
            },
            follow_redirects=False,  # a POST that is sent on is sent twice
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def send(self, phone_number_id: str, message: Mapping[str, Any]) -> SendAnswer:
        """Send one message. Never raises for what WhatsApp or the network does.

        Raises `Terminal` when there is no access token. A cancelled call leaves it open whether it was sent.
        """
        if not self._token:
            raise Terminal(
                "CONNECTOR_WHATSAPP__ACCESS_TOKEN is not set: nothing can be sent. The sends wait.",
                advice="set it to a system-user token with whatsapp_business_messaging and restart the role",
            )
        url = f"{self._url}/{quote(phone_number_id, safe='')}/messages"
        try:
            async with asyncio.timeout(self._timeout):
                async with self._client.stream("POST", url, content=orjson.dumps(message)) as response:
                    body = b""
                    async for chunk in response.aiter_bytes():
                        body += chunk
                        if len(body) > _LONGEST_ANSWER:
                            return Unclear(reason="the answer is no answer of WhatsApp: it is too long")
        except (httpx.HTTPError, httpx.StreamError, httpx.InvalidURL, aiohttp.ClientError, OSError) as error:
            return _broken_off(error, self._timeout)  # a TimeoutError is an OSError
        answer = read_answer(
            http_status=response.status_code,
            body=body,
            retry_after=response.headers.get("Retry-After", ""),
        )
        if isinstance(answer, Refused) and answer.retry_after is None:
            return Refused(error=answer.error, rule=answer.rule, retry_after=regained_after(response.headers))
        return answer


def _broken_off(error: Exception, timeout: float) -> Unsent | Unclear:
    cause = error.__cause__ if isinstance(error, httpx.HTTPError) and error.__cause__ else error
    if isinstance(cause, _BEFORE_THE_FIRST_BYTE):
        return Unsent(reason=f"WhatsApp cannot be reached: {type(cause).__name__}")
    if isinstance(cause, TimeoutError):
        return Unclear(reason=f"WhatsApp did not answer within {timeout:g} s")
    return Unclear(reason=f"the connection to WhatsApp broke before its answer: {type(cause).__name__}")


def message_to(*, phone: str, bsuid: str, template: Mapping[str, Any], callback_data: str) -> dict[str, Any]:
    """The body of a template message. `phone`: E.164, goes before `bsuid`. Without a plus sign WhatsApp would take the
    digits as a number of the business's own country (…/guides/send-messages).
    """
    to = {"to": phone} if phone else {"recipient": bsuid}
    return {
        "messaging_product": "whatsapp",
        "recipient_type": "individual",
        **to,
        "type": "template",
        "template": template,
        "biz_opaque_callback_data": callback_data,
    }
