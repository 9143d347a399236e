"""HubSpot's HTTP side: paths, tokens, scopes, limits, statuses. What the calls mean is in `portal`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from connector.sandbox.faults import poison
from connector.sandbox.gateway import Answer, Exchange
from connector.sandbox.hubspot.config import PERSON_TOKEN, AppToken, HubSpotConfig
from connector.sandbox.hubspot.endpoints import (
    account,
    associations,
    callbacks,
    properties,
    records,
    schemas,
    tokens,
)
from connector.sandbox.hubspot.errors import (
    CORRELATION_ID,
    UNAUTHENTICATED,
    HubSpotError,
    missing_scopes,
    refuse,
)
from connector.sandbox.hubspot.limits import limit_body
from connector.sandbox.hubspot.portal import Portal
from connector.sandbox.hubspot.records import PERSON, Caller
from connector.sandbox.hubspot.routing import TYPE_NAMES, Asked, Route
from connector.sandbox.hubspot.touches import contacts_written
from connector.sandbox.journal import Effect

_PAGE_NOT_FOUND = b"<html><head><title>Error 404 Not Found</title></head><body>HTTP ERROR 404</body></html>"

ROUTES = (
    *records.ROUTES,
    *associations.ROUTES,
    *properties.ROUTES,
    *schemas.ROUTES,
    *account.ROUTES,
    *callbacks.ROUTES,
    *tokens.ROUTES,
)


class HubSpotApp:
    """A portal as a simulator for the gateway."""

    def __init__(self, portal: Portal) -> None:
        self.portal = portal
        self._config: HubSpotConfig = portal.config
        self._tokens = {token.token: token for token in portal.config.tokens}

    def caller(self, exchange: Exchange) -> str:
        """Name who asks: `app ID`, `person`, or `nobody`."""
        if self.is_exempt(exchange):
            return "person"
        token = self._token(exchange)
        return "nobody" if token is None else f"app {token.app_id}"

    def is_exempt(self, exchange: Exchange) -> bool:
        """Whether a person asks, whom faults and limits pass by."""
        return _bearer(exchange) == PERSON_TOKEN

    def touches(self, exchange: Exchange) -> set[str]:
        """Return the contacts that an app's request would write; a person may write at any time."""
        return set() if self.is_exempt(exchange) else contacts_written(self.portal, exchange)

    def drain_effects(self) -> list[Effect]:
        """Return what was changed since the last drain."""
        return self.portal.drain_effects()

    def handle(self, exchange: Exchange) -> Answer:
        """Authenticate, count, and do what is asked.

        Every answer carries its id in a header; the body of one that failed in part does not (hubspot-api-python's
        ApiException prints the header, HubSpot/hubspot-api-python#117; StandardError has no such field).
        """
        answer = self._handle(exchange)
        return replace(answer, headers={**answer.headers, "X-HubSpot-Correlation-Id": CORRELATION_ID})

    def _handle(self, exchange: Exchange) -> Answer:
        found = self._route(exchange)
        if found is None:
            return Answer(status=404, raw=_PAGE_NOT_FOUND)
        route, params = found
        token = self._token(exchange)
        if self.is_exempt(exchange):
            return self._run(route, exchange, params, PERSON)
        if token is None:
            return Answer(status=401, document=UNAUTHENTICATED.body())
        policy = self.portal.limits.admit(app_id=token.app_id, family=route.family)
        headers = self.portal.limits.headers(app_id=token.app_id, family=route.family)
        if policy is not None:
            retry_after = self.portal.limits.retry_after(policy)
            if retry_after is not None:
                headers["Retry-After"] = retry_after
            return Answer(status=429, document=limit_body(policy), headers=headers)
        if token.scopes is not None and route.scope and route.scope not in token.scopes:
            return Answer(status=403, document=missing_scopes(route.scope).problem.body(), headers=headers)
        caller = Caller(
            source_id=token.app_id,
            poisoned=poison(exchange.faults),
            refused_whole=any(fault.scope == "batch" for fault in exchange.faults),
        )
        answer = self._run(route, exchange, params, caller)
        return Answer(status=answer.status, document=answer.document, headers=headers, raw=answer.raw)

    def error_answer(self, status: int, *, retry_after: str | None) -> Answer:
        """Return HubSpot's answer with this error status."""
        headers = {} if retry_after is None else {"Retry-After": retry_after}
        if status == 401:
            return Answer(status=401, document=UNAUTHENTICATED.body(), headers=headers)
        if status == 429:
            document = limit_body("TEN_SECONDLY_ROLLING")
            return Answer(status=429, document=document, headers=headers)
        if status in (502, 503, 504):
            page = f"<html><head><title>{status}</title></head><body>cloudflare</body></html>"
            return Answer(status=status, raw=page.encode(), headers=headers)
        messages = {
            403: "This app has not been granted all required scopes",
            423: "Resource is locked",
            477: "Migration in progress",
            500: "internal error",
        }
        document = {"status": "error", "message": messages[status], "correlationId": CORRELATION_ID}
        return Answer(status=status, document=document, headers=headers)

    def _token(self, exchange: Exchange) -> AppToken | None:
        return self._tokens.get(_bearer(exchange))

    def _route(self, exchange: Exchange) -> tuple[Route, dict[str, str]] | None:
        for route in ROUTES:
            match = route.pattern.fullmatch(exchange.path) if route.method == exchange.method else None
            if match is None:
                continue
            params = match.groupdict()
            if params.pop("version", self._config.api_version) != self._config.api_version:
                return None
            for name in ("type", "to_type"):
                if name in params:
                    params[name] = TYPE_NAMES.get(params[name], "")
            return route, params
        return None

    def _run(self, route: Route, exchange: Exchange, params: Mapping[str, str], caller: Caller) -> Answer:
        try:
            if "" in (params.get("type"), params.get("to_type")):
                raise refuse("Unable to infer object type from the path.")
            if exchange.body:
                try:
                    document = exchange.document
                except ValueError:
                    raise refuse("Invalid input JSON on line 1, column 1: unreadable") from None
                if not isinstance(document, dict):
                    raise refuse("Invalid input JSON on line 1, column 1: the body is not an object")
            elif exchange.method in ("POST", "PATCH"):
                raise refuse("Invalid input JSON on line 1, column 1: the body is empty")
            asked = Asked(portal=self.portal, exchange=exchange, params=params, caller=caller)
            return route.handle(asked)
        except HubSpotError as error:
            return Answer(status=error.problem.status, document=error.problem.body())


def _bearer(exchange: Exchange) -> str:
    scheme, _, token = exchange.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""
