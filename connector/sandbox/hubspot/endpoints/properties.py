"""`/crm/properties/{version}/{type}`: definitions and their groups."""

from __future__ import annotations

from connector.sandbox.gateway import Answer
from connector.sandbox.hubspot.batches import Outcome
from connector.sandbox.hubspot.errors import HubSpotError, refuse
from connector.sandbox.hubspot.routing import SCHEMA_READ, SCHEMA_WRITE, Asked, route


def _list_properties(asked: Asked) -> Answer:
    catalog = asked.portal.stores[asked.params["type"]].catalog
    return Answer(status=200, document={"results": [item.as_json() for item in catalog.properties.values()]})


def _get_property(asked: Asked) -> Answer:
    catalog = asked.portal.stores[asked.params["type"]].catalog
    return Answer(status=200, document=catalog.get(asked.params["name"]).as_json())


def _create_property(asked: Asked) -> Answer:
    catalog = asked.portal.stores[asked.params["type"]].catalog
    return Answer(status=201, document=catalog.create(asked.exchange.document).as_json())


def _update_property(asked: Asked) -> Answer:
    catalog = asked.portal.stores[asked.params["type"]].catalog
    return Answer(
        status=200, document=catalog.update(asked.params["name"], asked.exchange.document).as_json()
    )


def _archive_property(asked: Asked) -> Answer:
    asked.portal.stores[asked.params["type"]].catalog.archive(asked.params["name"])
    return Answer(status=204)


def _create_properties(asked: Asked) -> Answer:
    catalog = asked.portal.stores[asked.params["type"]].catalog
    outcome = Outcome(success_status=201)
    inputs = asked.exchange.document.get("inputs")
    if not isinstance(inputs, list) or not inputs or not all(isinstance(item, dict) for item in inputs):
        raise refuse("Invalid input JSON on line 1, column 1: Some required fields were not set: [inputs]")
    for document in inputs:
        try:
            outcome.results.append(catalog.create(document).as_json())
        except HubSpotError as error:
            outcome.errors.append(error.problem.item())
    return asked.batch(outcome)


def _list_groups(asked: Asked) -> Answer:
    catalog = asked.portal.stores[asked.params["type"]].catalog
    return Answer(status=200, document={"results": [catalog.group_json(name) for name in catalog.groups]})


def _create_group(asked: Asked) -> Answer:
    catalog = asked.portal.stores[asked.params["type"]].catalog
    return Answer(status=201, document=catalog.create_group(asked.exchange.document))


_PROPERTIES = r"/crm/properties/(?P<version>[^/]+)/(?P<type>[^/]+)"

ROUTES = (
    route("GET", f"{_PROPERTIES}/groups", _list_groups, SCHEMA_READ),
    route("POST", f"{_PROPERTIES}/groups", _create_group, SCHEMA_WRITE),
    route("POST", f"{_PROPERTIES}/batch/create", _create_properties, SCHEMA_WRITE),
    route("GET", _PROPERTIES, _list_properties, SCHEMA_READ),
    route("POST", _PROPERTIES, _create_property, SCHEMA_WRITE),
    route("GET", f"{_PROPERTIES}/(?P<name>[^/]+)", _get_property, SCHEMA_READ),
    route("PATCH", f"{_PROPERTIES}/(?P<name>[^/]+)", _update_property, SCHEMA_WRITE),
    route("DELETE", f"{_PROPERTIES}/(?P<name>[^/]+)", _archive_property, SCHEMA_WRITE),
)
