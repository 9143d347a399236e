"""Associations: `/crm/associations/{version}/{from}/{to}/batch` and those of a single record."""

from __future__ import annotations

from connector.sandbox.gateway import Answer
from connector.sandbox.hubspot.errors import not_found, refuse
from connector.sandbox.hubspot.routing import READ, WRITE, Asked, route


def _associations_of(asked: Asked) -> Answer:
    limit = asked.first("limit")
    page = asked.portal.associations.list_of(
        asked.params["type"],
        asked.params["id"],
        _other_type(asked),
        after=asked.first("after"),
        limit=int(limit) if limit and limit.isdecimal() else None,
    )
    return Answer(status=200, document=page)


def _associate_one(asked: Asked) -> Answer:
    pair = {"from": {"id": asked.params["id"]}, "to": {"id": asked.params["to_id"]}}
    outcome = asked.portal.associations.create(
        asked.params["type"], _other_type(asked), {"inputs": [pair]}, default=True
    )
    if outcome.errors:
        raise not_found()
    return asked.batch(outcome)


def _associate(asked: Asked) -> Answer:
    default = asked.exchange.path.endswith("/default")
    outcome = asked.portal.associations.create(
        asked.params["type"], _other_type(asked), asked.exchange.document, default=default
    )
    return asked.batch(outcome)


def _dissociate(asked: Asked) -> Answer:
    asked.portal.associations.archive(asked.params["type"], _other_type(asked), asked.exchange.document)
    return Answer(status=204)


def _read_associations(asked: Asked) -> Answer:
    outcome = asked.portal.associations.read(
        asked.params["type"], _other_type(asked), asked.exchange.document
    )
    return asked.batch(outcome)


def _other_type(asked: Asked) -> str:
    if asked.params["type"] == asked.params["to_type"]:
        raise refuse("No association is defined between these object types.")
    return asked.params["to_type"]


_ONE = r"/crm/objects/(?P<version>[^/]+)/(?P<type>[^/]+)/(?P<id>[^/]+)"
_PAIRS = r"/crm/associations/(?P<version>[^/]+)/(?P<type>[^/]+)/(?P<to_type>[^/]+)/batch"

ROUTES = (
    route("GET", f"{_ONE}/associations/(?P<to_type>[^/]+)", _associations_of, READ, "associations"),
    route(
        "PUT",
        f"{_ONE}/associations/default/(?P<to_type>[^/]+)/(?P<to_id>[^/]+)",
        _associate_one,
        WRITE,
        "associations",
    ),
    route("POST", f"{_PAIRS}/create", _associate, WRITE, "associations"),
    route("POST", f"{_PAIRS}/associate/default", _associate, WRITE, "associations"),
    route("POST", f"{_PAIRS}/archive", _dissociate, WRITE, "associations"),
    route("POST", f"{_PAIRS}/read", _read_associations, READ, "associations"),
)
