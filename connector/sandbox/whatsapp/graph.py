"""Graph's HTTP side for WhatsApp: tokens, versions, paths, limits, paging. What a send means is in `sending`.

| request | source, under developers.facebook.com/docs/whatsapp |
|--|--|
| `POST /{version}/{phone number id}/messages` | cloud-api/reference/messages |
| `GET /{version}/{phone number id}` | cloud-api/reference/phone-numbers |
| `GET /{version}/{WABA id}`, `GET /{version}/{WABA id}/phone_numbers` | business-management-api/manage-phone-numbers |
| `GET /{version}/{WABA id}/message_templates` | business-management-api/message-templates |
| `GET|POST|DELETE /{version}/{WABA id}/subscribed_apps` | embedded-signup/webhooks |
| `GET /{version}/debug_token` | /docs/graph-api/reference/debug_token |
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from connector.sandbox.gateway import Answer, Exchange
from connector.sandbox.journal import Effect
from connector.sandbox.whatsapp.business import Business
from connector.sandbox.whatsapp.config import Number
from connector.sandbox.whatsapp.graph_errors import GraphError, unknown_object
from connector.sandbox.whatsapp.media import GraphMedia
from connector.sandbox.whatsapp.payloads import Update
from connector.sandbox.whatsapp.sending import send

_PATH = re.compile(r"/(?:(?P<version>v\d+\.\d)/)?(?P<id>[^/]+)(?:/(?P<edge>[a-z_]+))?/?")
_OLDEST_MAJOR = 20
_NUMBER_FIELDS = ("verified_name", "display_phone_number", "quality_rating")
_MOST_TEMPLATES = 1_000


class GraphApp:
    """A business and its files as a simulator for the gateway. `outcome` gets the statuses of what was accepted."""

    def __init__(
        self,
        business: Business,
        *,
        media: GraphMedia,
        outcome: Callable[[Sequence[tuple[float, Update]]], None],
    ) -> None:
        self.business = business
        self._media = media
        self._outcome = outcome
        self._effects: list[Effect] = []

    def caller(self, exchange: Exchange) -> str:
        """Name who asks: `app` or `nobody`."""
        return "app" if self._is_known(exchange) else "nobody"

    def is_exempt(self, exchange: Exchange) -> bool:
        """No request is a person's: what people do here has the control API."""
        del exchange
        return False

    def touches(self, exchange: Exchange) -> set[str]:
        """Nobody: two messages to one person at once are no offence."""
        del exchange
        return set()

    def drain_effects(self) -> list[Effect]:
        """Return the messages accepted since the last drain."""
        effects, self._effects = self._effects, []
        return effects

    def handle(self, exchange: Exchange) -> Answer:
        """Authenticate and do what is asked."""
        if self._media.owns(exchange.path):
            return self._media.handle(exchange)
        try:
            return self._handle(exchange)
        except GraphError as error:
            return error.answer()

    def error_answer(self, status: int, *, retry_after: str | None) -> Answer:
        """Return Graph's answer with this error status."""
        headers = {} if retry_after is None else {"Retry-After": retry_after}
        codes = {401: 190, 403: 10, 429: 130429, 500: 1, 503: 2}
        if status not in codes:
            return Answer(
                status=status, raw=b"<html><body>Sorry, something went wrong.</body></html>", headers=headers
            )
        answer = GraphError(code=codes[status], details="A fault of the sandbox.").answer()
        return Answer(status=status, document=answer.document, headers=headers)

    def _handle(self, exchange: Exchange) -> Answer:
        match = _PATH.fullmatch(exchange.path)
        if match is None:
            raise GraphError(code=100, details=f"Unknown path components: {exchange.path}")
        if not self._is_known(exchange):
            raise GraphError(code=190, details="The access token is missing, expired or not valid.")
        self._check_version(match["version"])
        object_id, edge = match["id"], match["edge"] or ""
        if (exchange.method, object_id, edge) == ("GET", "debug_token", ""):
            return self._debug_token(exchange)
        number = self.business.number(object_id)
        if number is not None:
            return self._of_number(exchange, number, edge)
        numbers = self.business.numbers_of(object_id)
        if numbers:
            return self._of_account(exchange, object_id, numbers, edge)
        raise unknown_object(object_id)

    def _of_number(self, exchange: Exchange, number: Number, edge: str) -> Answer:
        if edge == "messages" and exchange.method == "POST":
            body = _body(exchange)
            try:
                accepted = send(self.business, number, body)
            except GraphError as error:
                self.business.record_refusal(number, body, code=error.code)
                raise
            for message in accepted.document.get("messages", []):
                self._effects.append(
                    Effect(action="created", object_type="messages", record_id=message["id"])
                )
            self._outcome(accepted.outcome)
            return Answer(status=200, document=accepted.document)
        if edge == "" and exchange.method == "GET":
            headers = self._counted(number.waba_id)
            return Answer(status=200, document=_number_node(number, _fields(exchange)), headers=headers)
        raise unknown_object(f"{number.id}/{edge}")

    def _of_account(self, exchange: Exchange, waba_id: str, numbers: Sequence[Number], edge: str) -> Answer:
        headers = self._counted(waba_id)
        asked = (exchange.method, edge)
        document: Any
        if asked == ("GET", ""):
            document = {"id": waba_id, "name": "Sandbox account", "message_template_namespace": "sandbox"}
        elif asked == ("GET", "phone_numbers"):
            nodes = [_number_node(number, _fields(exchange)) for number in numbers]
            document = _page(nodes, exchange, standard=25, path=exchange.path)
        elif asked == ("GET", "message_templates"):
            document = self._templates(exchange, waba_id)
        elif edge == "subscribed_apps" and exchange.method in ("GET", "POST", "DELETE"):
            document = self._subscriptions(exchange.method, waba_id)
        else:
            raise unknown_object(f"{waba_id}/{edge}")
        return Answer(status=200, document=document, headers=headers)

    def _debug_token(self, exchange: Exchange) -> Answer:
        config = self.business.config
        given = exchange.query.get("input_token", [""])[0]
        if not given:
            raise GraphError(code=100, details="(#100) The parameter input_token is required")
        if given not in config.access_tokens:
            error = {"code": 190, "message": "The access token could not be decrypted", "subcode": 463}
            return Answer(status=200, document={"data": {"error": error, "is_valid": False, "scopes": []}})
        data = {
            "app_id": "31415926",
            "type": "SYSTEM_USER",
            "application": "Sandbox app",
            "data_access_expires_at": 0,
            "expires_at": config.token_expires_at,
            "is_valid": True,
            "issued_at": 1_790_000_000,
            "scopes": sorted(config.token_scopes),
            "user_id": "122100000000000001",
        }
        return Answer(status=200, document={"data": data})

    def _templates(self, exchange: Exchange, waba_id: str) -> dict[str, Any]:
        wanted = {
            name: exchange.query[name][0]
            for name in ("name", "language", "status", "category")
            if name in exchange.query
        }
        found = [
            template
            for template in self.business.templates_of(waba_id)
            # Meta finds a part of the name, but only whole values of the others.
            if wanted.get("name", "") in template.name
            and all(getattr(template, name) == value for name, value in wanted.items() if name != "name")
        ]
        nodes = [template.node(_fields(exchange)) for template in found]
        return _page(nodes, exchange, standard=self.business.config.template_page, path=exchange.path)

    def _subscriptions(self, method: str, waba_id: str) -> dict[str, Any]:
        subscribed = self.business.subscribed
        if method == "GET":
            app = {"whatsapp_business_api_data": {"id": "31415926", "name": "Sandbox app"}}
            return {"data": [app] if waba_id in subscribed else []}
        (subscribed.add if method == "POST" else subscribed.discard)(waba_id)
        return {"success": True}

    def _counted(self, waba_id: str) -> Mapping[str, str]:
        used = self.business.count_management(waba_id)
        usage = {
            "type": "whatsapp_business_management",
            "call_count": used,
            "total_time": 0,
            "total_cputime": 0,
        }
        return {"x-business-use-case-usage": json.dumps({waba_id: [usage]})}

    def _check_version(self, version: str | None) -> None:
        newest = self.business.config.api_version
        # Without one Graph serves the app's oldest; a client that names none is surprised by every release.
        if version is None or not _OLDEST_MAJOR <= _major(version) <= _major(newest):
            raise GraphError(code=100, details=f"Unknown API version: {version}; served are up to {newest}")

    def _is_known(self, exchange: Exchange) -> bool:
        scheme, _, token = exchange.headers.get("authorization", "").partition(" ")
        return scheme.lower() in ("bearer", "oauth") and token.strip() in self.business.config.access_tokens


def _body(exchange: Exchange) -> dict[str, Any]:
    try:
        document = exchange.document
    except ValueError:
        raise GraphError(code=100, details="The request body is not JSON.") from None
    if not isinstance(document, dict):
        raise GraphError(code=100, details="The request body is not an object.")
    return document


def _fields(exchange: Exchange) -> list[str]:
    return [name for item in exchange.query.get("fields", []) for name in item.split(",") if name]


def _number_node(number: Number, fields: Sequence[str]) -> dict[str, Any]:
    everything: dict[str, Any] = {
        "verified_name": number.verified_name,
        "display_phone_number": number.display_phone_number,
        "quality_rating": number.quality_rating,
        "status": number.status,
        "name_status": "APPROVED",
        "code_verification_status": "VERIFIED",
        "platform_type": "CLOUD_API",
        "throughput": {"level": "HIGH" if number.throughput > 80 else "STANDARD"},
        "whatsapp_business_manager_messaging_limit": number.messaging_limit,
    }
    chosen = fields or _NUMBER_FIELDS
    return {**{name: everything[name] for name in chosen if name in everything}, "id": number.id}


def _page(nodes: Sequence[dict[str, Any]], exchange: Exchange, *, standard: int, path: str) -> dict[str, Any]:
    """One page with cursors; a cursor that Graph did not give is 131059 (v24.0 and later)."""
    try:
        limit = int(exchange.query.get("limit", [str(standard)])[0])
        start = _place(exchange.query["after"][0]) if "after" in exchange.query else 0
    except ValueError:
        raise GraphError(code=131059, details="Start again without a cursor.") from None
    if not 1 <= limit <= _MOST_TEMPLATES:
        raise GraphError(code=100, details=f"Param limit must be from 1 to {_MOST_TEMPLATES}")
    data = list(nodes[start : start + limit])
    if not data:
        return {"data": []}
    cursors = {"before": _cursor(start), "after": _cursor(start + len(data))}
    paging: dict[str, Any] = {"cursors": cursors}
    if start + limit < len(nodes):
        host = exchange.headers.get("host", "graph.facebook.com")
        paging["next"] = f"http://{host}{path}?limit={limit}&after={cursors['after']}"
    return {"data": data, "paging": paging}


def _cursor(place: int) -> str:
    return base64.urlsafe_b64encode(f"place:{place}".encode()).decode().rstrip("=")


def _place(cursor: str) -> int:
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode("ascii")
    except (binascii.Error, UnicodeDecodeError):
        raise ValueError(cursor) from None
    return int(text.removeprefix("place:")) if text.startswith("place:") else int("x")


def _major(version: str) -> int:
    return int(version[1:].split(".", maxsplit=1)[0])
