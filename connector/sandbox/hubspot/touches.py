"""Which contacts a request writes, for the journal to find two writes of one contact in flight at once."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from connector.sandbox.gateway import Exchange
from connector.sandbox.hubspot.portal import Portal

_WRITES = re.compile(
    r"/crm/(?P<area>objects|associations)/[^/]+/(?P<type>[^/]+)"
    r"(?P<rest>(?:/[^/]+)?/batch/(?:upsert|create|update|archive|associate/default)"
    r"|/merge|/gdpr-delete|/\d+|)"
)


def contacts_written(portal: Portal, exchange: Exchange) -> set[str]:
    """Return the record ids of the contacts that this request writes, itself or through an activity.

    A contact that does not exist yet is `property=value`. Reading requests and malformed ones write none.
    """
    match = _WRITES.fullmatch(exchange.path)
    if match is None or exchange.method == "GET":
        return set()
    try:
        document = exchange.document if exchange.body else {}
    except ValueError:
        return set()
    if not isinstance(document, dict):
        return set()
    rest = match["rest"]
    if rest in ("/merge", "/gdpr-delete"):
        names = ("primaryObjectId", "objectIdToMerge", "objectId")
        return set(_contacts(portal, (str(document[name]) for name in names if name in document)))
    raw = document.get("inputs", [document])
    inputs = [item for item in raw if isinstance(item, dict)] if isinstance(raw, list) else []
    if re.fullmatch(r"/\d+", rest):
        inputs = [{"id": rest[1:]}]
    written: set[str] = set()
    for item in inputs:
        if match["area"] == "associations":
            written.update(_contacts(portal, _ends(item)))
        elif match["type"] == "contacts":
            written.update(_contact(portal, item))
        else:
            written.update(_of_activity(portal, item))
    return written


def _contacts(portal: Portal, ids: Iterator[str]) -> Iterator[str]:
    for record_id in ids:
        record = portal.contacts.get(record_id)
        if record is not None:
            yield record.id


def _ends(item: Mapping[str, Any]) -> Iterator[str]:
    for end in ("from", "to"):
        ends = item.get(end)
        for target in ends if isinstance(ends, list) else [ends]:
            if isinstance(target, dict):
                yield str(target.get("id"))


def _contact(portal: Portal, item: Mapping[str, Any]) -> Iterator[str]:
    key, name = item.get("id"), item.get("idProperty")
    if key is None:
        return
    record = portal.contacts.find(str(name), str(key)) if name else portal.contacts.get(str(key))
    if name:
        yield f"{name}={key}"
    if record is not None:
        yield record.id


def _of_activity(portal: Portal, item: Mapping[str, Any]) -> Iterator[str]:
    for association in item.get("associations") or ():
        if isinstance(association, dict) and isinstance(association.get("to"), dict):
            yield from _contacts(portal, iter([str(association["to"].get("id"))]))
    record = portal.communications.get(str(item.get("id")))
    if record is not None:
        yield from portal.associations.of("communications", record.id, "contacts")
