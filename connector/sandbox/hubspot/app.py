"""HubSpot's HTTP side: paths, tokens, scopes, limits, statuses. What the calls mean is in `portal`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from connector.sandbox.faults import poison
from connector.sandbox.gateway import Answer, Exchange
from connector.sandbox.hubspot.batches import Outcome
from connector.sandbox.hubspot.catalog import SINGULAR, TYPE_IDS
from connector.sandbox.hubspot.config import PERSON_TOKEN, AppToken, HubSpotConfig
from connector.sandbox.hubspot.errors import (
    CORRELATION_ID,
    UNAUTHENTICATED,
    HubSpotError,
    missing_scopes,
    not_found,
    refuse,
)
from connector.sandbox.hubspot.limits import limit_body
from connector.sandbox.hubspot.portal import Portal
from connector.sandbox.hubspot.records import PERSON, Caller
from connector.sandbox.hubspot.touches import contacts_written
from connector.sandbox.journal import Effect

_WHEN = "2026-01-01T00:00:00Z"
_PAGE_NOT_FOUND = b"<html><head><title>Error 404 Not Found</title></head><body>HTTP ERROR 404</body></html>"

_TYPE_NAMES = {alias: name for name, type_id in TYPE_IDS.items() for alias in (name, SINGULAR[name], type_id)}
"""Paths take the plural, the singular and the objectTypeId."""


@dataclass(frozen=True, kw_only=True)
class Route:
    """One endpoint: where it is, which scope it needs, which rate limit counts it."""

    method: str
    pattern: re.Pattern[str]
    handle: Callable[[HubSpotApp, Exchange, Mapping[str, str], Caller], Answer]
    scope: str
    family: str


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
        """Authenticate, count, and do what is asked."""
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
        caller = Caller(source_id=token.app_id, poisoned=poison(exchange.faults))
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
        messages = {423: "Resource is locked", 477: "Migration in progress", 500: "internal error"}
        document = {"status": "error", "message": messages[status], "correlationId": CORRELATION_ID}
        return Answer(status=status, document=document, headers=headers)

    def answer_batch(self, outcome: Outcome) -> Answer:
        """Return the answer of a batch, also of one that failed in part."""
        document: dict[str, Any] = {
            "status": "COMPLETE",
            "results": outcome.results,
            "startedAt": _WHEN,
            "completedAt": _WHEN,
        }
        status = outcome.success_status
        if outcome.errors:
            document |= {"numErrors": len(outcome.errors), "errors": outcome.errors}
            if self._config.partial_status == "multi_status":
                status = 207
        return Answer(status=status, document=document)

    def _token(self, exchange: Exchange) -> AppToken | None:
        return self._tokens.get(_bearer(exchange))

    def _route(self, exchange: Exchange) -> tuple[Route, dict[str, str]] | None:
        for route in ROUTES:
            match = route.pattern.fullmatch(exchange.path) if route.method == exchange.method else None
            if match is None:
                continue
            params = match.groupdict()
            if params.pop("version") != self._config.api_version:
                return None
            for name in ("type", "to_type"):
                if name in params:
                    params[name] = _TYPE_NAMES.get(params[name], "")
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
            return route.handle(self, exchange, params, caller)
        except HubSpotError as error:
            return Answer(status=error.problem.status, document=error.problem.body())


def _bearer(exchange: Exchange) -> str:
    scheme, _, token = exchange.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


Params = Mapping[str, str]


def _upsert(app: HubSpotApp, exchange: Exchange, params: Params, caller: Caller) -> Answer:
    return app.answer_batch(app.portal.objects[params["type"]].upsert(exchange.document, caller))


def _create(app: HubSpotApp, exchange: Exchange, params: Params, caller: Caller) -> Answer:
    return app.answer_batch(app.portal.objects[params["type"]].create(exchange.document, caller))


def _update(app: HubSpotApp, exchange: Exchange, params: Params, caller: Caller) -> Answer:
    return app.answer_batch(app.portal.objects[params["type"]].update(exchange.document, caller))


def _read(app: HubSpotApp, exchange: Exchange, params: Params, _caller: Caller) -> Answer:
    return app.answer_batch(app.portal.objects[params["type"]].read(exchange.document))


def _archive(app: HubSpotApp, exchange: Exchange, params: Params, _caller: Caller) -> Answer:
    app.portal.objects[params["type"]].archive(exchange.document)
    return Answer(status=204)


def _search(app: HubSpotApp, exchange: Exchange, params: Params, _caller: Caller) -> Answer:
    index = app.portal.indexes[params["type"]]
    length = len(exchange.body.decode("utf-8", "replace"))
    return Answer(status=200, document=index.search(exchange.document, body_length=length))


def _merge(app: HubSpotApp, exchange: Exchange, params: Params, _caller: Caller) -> Answer:
    if params["type"] != "contacts":
        raise refuse("Records of this type cannot be merged.")
    return Answer(status=200, document=app.portal.merge_contacts(exchange.document).as_json())


def _gdpr_delete(app: HubSpotApp, exchange: Exchange, params: Params, _caller: Caller) -> Answer:
    if params["type"] != "contacts":
        raise refuse("Only contacts can be deleted for privacy reasons.")
    app.portal.gdpr_delete(exchange.document)
    return Answer(status=204)


def _listed(exchange: Exchange, name: str) -> list[str]:
    return [part for value in exchange.query.get(name, []) for part in value.split(",") if part]


def _first(exchange: Exchange, name: str) -> str | None:
    values = exchange.query.get(name)
    return values[0] if values else None


def _get_one(app: HubSpotApp, exchange: Exchange, params: Params, _caller: Caller) -> Answer:
    id_property = _first(exchange, "idProperty")
    record = app.portal.objects[params["type"]].one(params["id"], id_property=id_property)
    document = record.as_json(
        properties=_listed(exchange, "properties"),
        with_history=_listed(exchange, "propertiesWithHistory"),
    )
    associations = {}
    for to_type in (_TYPE_NAMES.get(name, "") for name in _listed(exchange, "associations")):
        if not to_type:
            raise refuse("Unable to infer object type of an association.")
        ids = app.portal.associations.of(params["type"], record.id, to_type)
        page = app.portal.associations.page(params["type"], to_type, ids)
        if ids:
            kind = f"{SINGULAR[params['type']]}_to_{SINGULAR[to_type]}"
            results = [{"id": str(entry["toObjectId"]), "type": kind} for entry in page["results"]]
            associations[to_type] = {**page, "results": results}
    if associations:
        document["associations"] = associations
    return Answer(status=200, document=document)


def _create_one(app: HubSpotApp, exchange: Exchange, params: Params, caller: Caller) -> Answer:
    outcome = app.portal.objects[params["type"]].create({"inputs": [_untraced(exchange)]}, caller)
    return Answer(status=201, document=outcome.results[0])


def _update_one(app: HubSpotApp, exchange: Exchange, params: Params, caller: Caller) -> Answer:
    item = {**_untraced(exchange), "id": params["id"], "idProperty": _first(exchange, "idProperty")}
    outcome = app.portal.objects[params["type"]].update({"inputs": [item]}, caller)
    if not outcome.results:
        raise not_found()
    return Answer(status=200, document=outcome.results[0])


def _untraced(exchange: Exchange) -> dict[str, Any]:
    return {name: value for name, value in exchange.document.items() if name != "objectWriteTraceId"}


def _archive_one(app: HubSpotApp, _exchange: Exchange, params: Params, _caller: Caller) -> Answer:
    app.portal.objects[params["type"]].archive({"inputs": [{"id": params["id"]}]})
    return Answer(status=204)


def _associations_of(app: HubSpotApp, exchange: Exchange, params: Params, _caller: Caller) -> Answer:
    limit = _first(exchange, "limit")
    page = app.portal.associations.list_of(
        params["type"],
        params["id"],
        _other_type(params),
        after=_first(exchange, "after"),
        limit=int(limit) if limit and limit.isdecimal() else None,
    )
    return Answer(status=200, document=page)


def _associate_one(app: HubSpotApp, _exchange: Exchange, params: Params, _caller: Caller) -> Answer:
    pair = {"from": {"id": params["id"]}, "to": {"id": params["to_id"]}}
    outcome = app.portal.associations.create(
        params["type"], _other_type(params), {"inputs": [pair]}, default=True
    )
    if outcome.errors:
        raise not_found()
    return app.answer_batch(outcome)


def _associate(app: HubSpotApp, exchange: Exchange, params: Params, _caller: Caller) -> Answer:
    default = exchange.path.endswith("/default")
    outcome = app.portal.associations.create(
        params["type"], _other_type(params), exchange.document, default=default
    )
    return app.answer_batch(outcome)


def _dissociate(app: HubSpotApp, exchange: Exchange, params: Params, _caller: Caller) -> Answer:
    app.portal.associations.archive(params["type"], _other_type(params), exchange.document)
    return Answer(status=204)


def _read_associations(app: HubSpotApp, exchange: Exchange, params: Params, _caller: Caller) -> Answer:
    outcome = app.portal.associations.read(params["type"], _other_type(params), exchange.document)
    return app.answer_batch(outcome)


def _other_type(params: Params) -> str:
    if params["type"] == params["to_type"]:
        raise refuse("No association is defined between these object types.")
    return params["to_type"]


def _list_properties(app: HubSpotApp, _exchange: Exchange, params: Params, _caller: Caller) -> Answer:
    catalog = app.portal.stores[params["type"]].catalog
    return Answer(status=200, document={"results": [item.as_json() for item in catalog.properties.values()]})


def _get_property(app: HubSpotApp, _exchange: Exchange, params: Params, _caller: Caller) -> Answer:
    catalog = app.portal.stores[params["type"]].catalog
    return Answer(status=200, document=catalog.get(params["name"]).as_json())


def _create_property(app: HubSpotApp, exchange: Exchange, params: Params, _caller: Caller) -> Answer:
    catalog = app.portal.stores[params["type"]].catalog
    return Answer(status=201, document=catalog.create(exchange.document).as_json())


def _update_property(app: HubSpotApp, exchange: Exchange, params: Params, _caller: Caller) -> Answer:
    catalog = app.portal.stores[params["type"]].catalog
    return Answer(status=200, document=catalog.update(params["name"], exchange.document).as_json())


def _archive_property(app: HubSpotApp, _exchange: Exchange, params: Params, _caller: Caller) -> Answer:
    app.portal.stores[params["type"]].catalog.archive(params["name"])
    return Answer(status=204)


def _create_properties(app: HubSpotApp, exchange: Exchange, params: Params, _caller: Caller) -> Answer:
    catalog = app.portal.stores[params["type"]].catalog
    outcome = Outcome(success_status=201)
    inputs = exchange.document.get("inputs")
    if not isinstance(inputs, list) or not inputs or not all(isinstance(item, dict) for item in inputs):
        raise refuse("Invalid input JSON on line 1, column 1: Some required fields were not set: [inputs]")
    for document in inputs:
        try:
            outcome.results.append(catalog.create(document).as_json())
        except HubSpotError as error:
            outcome.errors.append(error.problem.item())
    return app.answer_batch(outcome)


def _list_groups(app: HubSpotApp, _exchange: Exchange, params: Params, _caller: Caller) -> Answer:
    catalog = app.portal.stores[params["type"]].catalog
    return Answer(status=200, document={"results": [catalog.group_json(name) for name in catalog.groups]})


def _create_group(app: HubSpotApp, exchange: Exchange, params: Params, _caller: Caller) -> Answer:
    catalog = app.portal.stores[params["type"]].catalog
    return Answer(status=201, document=catalog.create_group(exchange.document))


def _account(app: HubSpotApp, _exchange: Exchange, _params: Params, _caller: Caller) -> Answer:
    config = app.portal.config
    return Answer(
        status=200,
        document={
            "portalId": config.portal_id,
            "accountType": "DEVELOPER_TEST",
            "timeZone": config.time_zone,
            "companyCurrency": "USD",
            "additionalCurrencies": [],
            "utcOffset": "+00:00",
            "utcOffsetMilliseconds": 0,
            "uiDomain": "app.hubspot.com",
            "dataHostingLocation": "na1",
        },
    )


def _usage(app: HubSpotApp, _exchange: Exchange, _params: Params, _caller: Caller) -> Answer:
    return Answer(
        status=200,
        document={
            "results": [
                {
                    "name": "private-apps-api-calls-daily",
                    "usageLimit": app.portal.config.daily_limit,
                    "currentUsage": app.portal.limits.today,
                    "collectedAt": _WHEN,
                    "fetchStatus": "SUCCESS",
                    "resetsAt": _WHEN,
                }
            ]
        },
    )


_OBJECTS = r"/crm/objects/(?P<version>[^/]+)/(?P<type>[^/]+)"
_ONE = _OBJECTS + r"/(?P<id>[^/]+)"
_PROPERTIES = r"/crm/properties/(?P<version>[^/]+)/(?P<type>[^/]+)"
_PAIRS = r"/crm/associations/(?P<version>[^/]+)/(?P<type>[^/]+)/(?P<to_type>[^/]+)/batch"
_ACCOUNT = r"/account-info/(?P<version>[^/]+)"

_READ, _WRITE = "crm.objects.contacts.read", "crm.objects.contacts.write"
"""Communications need the scopes of contacts (communications guide)."""
_SCHEMA_READ, _SCHEMA_WRITE = "crm.schemas.contacts.read", "crm.schemas.contacts.write"


def _route(
    method: str,
    pattern: str,
    handle: Callable[[HubSpotApp, Exchange, Params, Caller], Answer],
    scope: str,
    family: str = "objects",
) -> Route:
    return Route(method=method, pattern=re.compile(pattern), handle=handle, scope=scope, family=family)


ROUTES = (
    _route("POST", f"{_OBJECTS}/batch/upsert", _upsert, _WRITE),
    _route("POST", f"{_OBJECTS}/batch/create", _create, _WRITE),
    _route("POST", f"{_OBJECTS}/batch/update", _update, _WRITE),
    _route("POST", f"{_OBJECTS}/batch/read", _read, _READ),
    _route("POST", f"{_OBJECTS}/batch/archive", _archive, _WRITE),
    _route("POST", f"{_OBJECTS}/search", _search, _READ, "search"),
    _route("POST", f"{_OBJECTS}/merge", _merge, _WRITE),
    _route("POST", f"{_OBJECTS}/gdpr-delete", _gdpr_delete, _WRITE),
    _route("POST", _OBJECTS, _create_one, _WRITE),
    _route("GET", _ONE, _get_one, _READ),
    _route("PATCH", _ONE, _update_one, _WRITE),
    _route("DELETE", _ONE, _archive_one, _WRITE),
    _route("GET", f"{_ONE}/associations/(?P<to_type>[^/]+)", _associations_of, _READ, "associations"),
    _route(
        "PUT",
        f"{_ONE}/associations/default/(?P<to_type>[^/]+)/(?P<to_id>[^/]+)",
        _associate_one,
        _WRITE,
        "associations",
    ),
    _route("POST", f"{_PAIRS}/create", _associate, _WRITE, "associations"),
    _route("POST", f"{_PAIRS}/associate/default", _associate, _WRITE, "associations"),
    _route("POST", f"{_PAIRS}/archive", _dissociate, _WRITE, "associations"),
    _route("POST", f"{_PAIRS}/read", _read_associations, _READ, "associations"),
    _route("GET", f"{_PROPERTIES}/groups", _list_groups, _SCHEMA_READ),
    _route("POST", f"{_PROPERTIES}/groups", _create_group, _SCHEMA_WRITE),
    _route("POST", f"{_PROPERTIES}/batch/create", _create_properties, _SCHEMA_WRITE),
    _route("GET", _PROPERTIES, _list_properties, _SCHEMA_READ),
    _route("POST", _PROPERTIES, _create_property, _SCHEMA_WRITE),
    _route("GET", f"{_PROPERTIES}/(?P<name>[^/]+)", _get_property, _SCHEMA_READ),
    _route("PATCH", f"{_PROPERTIES}/(?P<name>[^/]+)", _update_property, _SCHEMA_WRITE),
    _route("DELETE", f"{_PROPERTIES}/(?P<name>[^/]+)", _archive_property, _SCHEMA_WRITE),
    _route("GET", f"{_ACCOUNT}/details", _account, ""),
    _route("GET", f"{_ACCOUNT}/api-usage/daily/private-apps", _usage, ""),
)
