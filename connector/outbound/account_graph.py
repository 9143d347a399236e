"""Reading a business account from Graph: all its templates in every language, and all its numbers, page by page.

developers.facebook.com/docs/graph-api/reference/whats-app-business-account/message_templates and …/phone_numbers.
The cursor is followed, not the `next` address: that one names a host, and our token is not for any host.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import aiohttp
import httpx
import httpx_aiohttp

from connector.errors import RateLimited, Terminal, Transient
from connector.outbound.store.numbers import NumberReading
from connector.outbound.templates.reading import node_change
from connector.outbound.templates.template import TemplateChange
from connector.settings import WhatsAppSettings
from connector.whatsapp.lenient import as_int, as_list, as_object, as_text
from connector.whatsapp.text import NAME_LIMIT, identifier
from connector.whatsapp.usage import regained_after

TIMEOUT = 30.0
"""Seconds for one page; a hundred templates with their components may take some."""
_PAGE = 100
_MOST_PAGES = 200
_TEMPLATE_FIELDS = (
    "id,name,language,status,category,parameter_format,components,quality_score,rejected_reason,"
    "message_send_ttl_seconds"
)
_NUMBER_FIELDS = (
    "id,display_phone_number,verified_name,quality_rating,status,throughput,is_on_biz_app,"
    "whatsapp_business_manager_messaging_limit"
)

# developers.facebook.com/docs/whatsapp/cloud-api/support/error-codes
_TOKEN_CODES = frozenset({0, 3, 10, 102, 190, 200})
_LIMIT_CODES = frozenset({4, 80007, 80008})
_WHAT_TO_DO = (
    "set CONNECTOR_WHATSAPP__ACCESS_TOKEN to a system-user token with whatsapp_business_management that may see the "
    "accounts of CONNECTOR_WHATSAPP__BUSINESS_ACCOUNT_IDS, and restart the role"
)


class AccountGraph:
    """The client. Raises `Transient` (`RateLimited`) and `Terminal`."""

    def __init__(self, settings: WhatsAppSettings) -> None:
        self._token = settings.access_token.get_secret_value()
        self._url = f"{settings.base_url}/{settings.api_version}"
        self._client = httpx_aiohttp.HttpxAiohttpClient(
            timeout=TIMEOUT,
            headers={"Authorization": f"Bearer {self._token}", "User-Agent": "whatsapp-crm-connector"},
            follow_redirects=False,
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def templates(self, waba_id: str, *, asked_at: datetime) -> list[TemplateChange]:
        """Every template of the account in every language."""
        changes: list[TemplateChange] = []
        async for node in self._nodes(waba_id, "message_templates", _TEMPLATE_FIELDS):
            change = node_change(node, waba_id=waba_id, asked_at=asked_at)
            if change is not None:
                changes.append(change)
        return changes

    async def numbers(self, waba_id: str, *, asked_at: datetime) -> list[NumberReading]:
        """Every number of the account."""
        return [
            reading
            async for node in self._nodes(waba_id, "phone_numbers", _NUMBER_FIELDS)
            if (reading := number_reading(node, waba_id=waba_id, asked_at=asked_at)) is not None
        ]

    async def _nodes(self, waba_id: str, edge: str, fields: str) -> AsyncIterator[Mapping[str, Any]]:
        url = f"{self._url}/{quote(waba_id, safe='')}/{edge}"
        params = {"fields": fields, "limit": str(_PAGE)}
        for _ in range(_MOST_PAGES):
            page = await self._get(url, params)
            for node in as_list(page.get("data")):
                if isinstance(node, dict):
                    yield node
            paging = as_object(page.get("paging"))
            after = as_text(as_object(paging.get("cursors")).get("after"), limit=4_096)
            if not paging.get("next") or not after:
                return
            params["after"] = after
        raise Transient(f"WhatsApp's list of {edge} of {waba_id} does not end.")

    async def _get(self, url: str, params: Mapping[str, str]) -> Mapping[str, Any]:
        if not self._token:
            raise Terminal(
                "CONNECTOR_WHATSAPP__ACCESS_TOKEN is not set: templates cannot be read.", advice=_WHAT_TO_DO
            )
        try:
            response = await self._client.get(url, params=params)
            document: Any = response.json()
        except (httpx.HTTPError, httpx.StreamError, aiohttp.ClientError, OSError) as error:
            raise Transient(f"WhatsApp did not answer: {type(error).__name__}.") from error
        except ValueError as error:
            raise Transient("WhatsApp's answer is not JSON.") from error
        if response.status_code != HTTPStatus.OK or "error" in as_object(document):
            raise _refusal(response, as_object(as_object(document).get("error")))
        return as_object(document)


def number_reading(node: Mapping[str, Any], *, waba_id: str, asked_at: datetime) -> NumberReading | None:
    """What Graph's node says of a number. None: it names none."""
    phone_number_id = identifier(node.get("id"))
    if not phone_number_id:
        return None
    return NumberReading(
        phone_number_id=phone_number_id,
        waba_id=waba_id,
        display_phone=as_text(node.get("display_phone_number"), limit=NAME_LIMIT),
        verified_name=as_text(node.get("verified_name"), limit=NAME_LIMIT),
        quality=as_text(node.get("quality_rating"), limit=50).upper() or "UNKNOWN",
        status=as_text(node.get("status"), limit=50).upper() or "CONNECTED",
        throughput=as_text(as_object(node.get("throughput")).get("level"), limit=50).upper(),
        coexistence=node.get("is_on_biz_app") is True,
        limit_tier=as_text(node.get("whatsapp_business_manager_messaging_limit"), limit=50).upper(),
        read_at=asked_at,
    )


def _refusal(response: httpx.Response, error: Mapping[str, Any]) -> Exception:
    code = as_int(error.get("code"))
    said = as_text(error.get("message"), limit=300) or f"HTTP {response.status_code}"
    if code in _TOKEN_CODES or response.status_code == HTTPStatus.UNAUTHORIZED:
        return Terminal(f"WhatsApp does not let us read the account: {said}.", advice=_WHAT_TO_DO)
    if code in _LIMIT_CODES or response.status_code == HTTPStatus.TOO_MANY_REQUESTS:
        return RateLimited(f"WhatsApp holds us back: {said}.", retry_after=regained_after(response.headers))
    return Transient(
        f"WhatsApp refuses to show the account: {said}.",
        advice="check CONNECTOR_WHATSAPP__BUSINESS_ACCOUNT_IDS and the token's access to these accounts",
    )
