"""`/crm/objects/{version}/{type}`: batches, search, merge, GDPR delete, single records."""

from __future__ import annotations

from typing import Any

from connector.sandbox.gateway import Answer
from connector.sandbox.hubspot.catalog import SINGULAR
from connector.sandbox.hubspot.errors import not_found, refuse
from connector.sandbox.hubspot.routing import READ, TYPE_NAMES, WRITE, Asked, route


def _upsert(asked: Asked) -> Answer:
    return asked.batch(
        asked.portal.objects[asked.params["type"]].upsert(asked.exchange.document, asked.caller)
    )


def _create(asked: Asked) -> Answer:
    return asked.batch(
        asked.portal.objects[asked.params["type"]].create(asked.exchange.document, asked.caller)
    )


def _update(asked: Asked) -> Answer:
    return asked.batch(
        asked.portal.objects[asked.params["type"]].update(asked.exchange.document, asked.caller)
    )


def _read(asked: Asked) -> Answer:
    archived = asked.first("archived") == "true"
    return asked.batch(
        asked.portal.objects[asked.params["type"]].read(asked.exchange.document, archived=archived)
    )


def _archive(asked: Asked) -> Answer:
    asked.portal.objects[asked.params["type"]].archive(asked.exchange.document)
    return Answer(status=204)


def _search(asked: Asked) -> Answer:
    index = asked.portal.indexes[asked.params["type"]]
    length = len(asked.exchange.body.decode("utf-8", "replace"))
    return Answer(status=200, document=index.search(asked.exchange.document, body_length=length))


def _merge(asked: Asked) -> Answer:
    if asked.params["type"] != "contacts":
        raise refuse("Records of this type cannot be merged.")
    return Answer(status=200, document=asked.portal.merge_contacts(asked.exchange.document).as_json())


def _gdpr_delete(asked: Asked) -> Answer:
    if asked.params["type"] != "contacts":
        raise refuse("Only contacts can be deleted for privacy reasons.")
    asked.portal.gdpr_delete(asked.exchange.document)
    return Answer(status=204)


def _get_one(asked: Asked) -> Answer:
    id_property = asked.first("idProperty")
    record = asked.portal.objects[asked.params["type"]].one(asked.params["id"], id_property=id_property)
    document = record.as_json(
        properties=asked.listed("properties"),
        with_history=asked.listed("propertiesWithHistory"),
    )
    associations: dict[str, Any] = {}
    for name in asked.listed("associations"):
        to_type = TYPE_NAMES.get(name, "")
        if not to_type:
            ids = asked.portal.others_linked(record.id, name)
            if ids:
                results = [{"id": other, "type": f"contact_to_{name}"} for other in ids]
                associations[name] = {"results": results}
            continue
        ids = asked.portal.associations.of(asked.params["type"], record.id, to_type)
        # A type of which nothing hangs there is left out, as HubSpot does.
        if ids:
            page = asked.portal.associations.page(asked.params["type"], to_type, ids)
            kind = f"{SINGULAR[asked.params['type']]}_to_{SINGULAR[to_type]}"
            results = [{"id": str(entry["toObjectId"]), "type": kind} for entry in page["results"]]
            associations[to_type] = {**page, "results": results}
    if associations:
        document["associations"] = associations
    return Answer(status=200, document=document)


def _create_one(asked: Asked) -> Answer:
    outcome = asked.portal.objects[asked.params["type"]].create({"inputs": [_untraced(asked)]}, asked.caller)
    return Answer(status=201, document=outcome.results[0])


def _update_one(asked: Asked) -> Answer:
    item = {**_untraced(asked), "id": asked.params["id"], "idProperty": asked.first("idProperty")}
    outcome = asked.portal.objects[asked.params["type"]].update({"inputs": [item]}, asked.caller)
    if not outcome.results:
        raise not_found()
    return Answer(status=200, document=outcome.results[0])


def _untraced(asked: Asked) -> dict[str, Any]:
    return {name: value for name, value in asked.exchange.document.items() if name != "objectWriteTraceId"}


def _archive_one(asked: Asked) -> Answer:
    asked.portal.objects[asked.params["type"]].archive({"inputs": [{"id": asked.params["id"]}]})
    return Answer(status=204)


_OBJECTS = r"/crm/objects/(?P<version>[^/]+)/(?P<type>[^/]+)"
_ONE = _OBJECTS + r"/(?P<id>[^/]+)"

ROUTES = (
    route("POST", f"{_OBJECTS}/batch/upsert", _upsert, WRITE),
    route("POST", f"{_OBJECTS}/batch/create", _create, WRITE),
    route("POST", f"{_OBJECTS}/batch/update", _update, WRITE),
    route("POST", f"{_OBJECTS}/batch/read", _read, READ),
    route("POST", f"{_OBJECTS}/batch/archive", _archive, WRITE),
    route("POST", f"{_OBJECTS}/search", _search, READ, "search"),
    route("POST", f"{_OBJECTS}/merge", _merge, WRITE),
    route("POST", f"{_OBJECTS}/gdpr-delete", _gdpr_delete, WRITE),
    route("POST", _OBJECTS, _create_one, WRITE),
    route("GET", _ONE, _get_one, READ),
    route("PATCH", _ONE, _update_one, WRITE),
    route("DELETE", _ONE, _archive_one, WRITE),
)
