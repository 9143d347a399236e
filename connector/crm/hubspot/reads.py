"""Batch reads that say what HubSpot did not say: what was found, what is not there, and what is not known.

A 2xx may carry errors[]: OBJECT_NOT_FOUND names what is not there (observed), any other error says nothing about its
record. An answer that leaves it out is asked again: to conclude "not there" from one answer that is not whole would
make a message twice, and to wait for ever for a word about it would keep one from the timeline. So what three answers
in a row pass over is not there. A read that is refused for its content is halved until the one that HubSpot does not
take stands alone.
https://developers.hubspot.com/docs/guides/api/crm/understanding-the-crm (multi-status errors)
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from connector.crm.hubspot.client import HubSpotClient
from connector.crm.hubspot.failures import HubSpotRefusal, as_connector_error

READ_LIMIT = 100
"""Records of one batch read (documented)."""
_LINKS_LIMIT = 1000
"""Records of one batch read of associations (documented)."""
_NOT_FOUND = "OBJECT_NOT_FOUND"
_UNSAID = "HubSpot's answer does not mention it."
_ASKS = 3
"""Answers in a row that pass over a record until that means that it is not there."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """What a read of records by id, or by key, told.

    `records`: as they came, in any order; a record that was merged comes under its id of today. `absent`: what was
    asked for and is not there; `unnamed`: those of them that no answer named as such. `unsettled`: what was asked for → why HubSpot did not tell.
    """

    records: Sequence[Mapping[str, Any]] = ()
    absent: frozenset[str] = frozenset()
    unnamed: frozenset[str] = frozenset()
    unsettled: Mapping[str, str] = field(default_factory=dict)

    @property
    def ids(self) -> set[str]:
        """The ids that the records have today."""
        return {str(record["id"]) for record in self.records}

    def by(self, name: str) -> dict[str, str]:
        """Value of a property → record id."""
        return {
            record["properties"][name]: str(record["id"])
            for record in self.records
            if (record.get("properties") or {}).get(name)
        }

    def __or__(self, other: Reading) -> Reading:
        return Reading(
            records=(*self.records, *other.records),
            absent=self.absent | other.absent,
            unnamed=self.unnamed | other.unnamed,
            unsettled={**self.unsettled, **other.unsettled},
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Links:
    """What hangs on records: id → ids; and for which of them HubSpot did not tell all, with the reason."""

    found: Mapping[str, Collection[str]]
    unsettled: Mapping[str, str]


async def read_records(
    client: HubSpotClient,
    object_type: str,
    asked: Collection[str],
    *,
    properties: Sequence[str],
    id_property: str | None = None,
    archived: bool = False,
) -> Reading:
    """Read records by id, or by a unique property. `archived`: deleted ones that can be restored, by id.

    Raises the connector's errors for what is wrong with the call itself, never for what is wrong with one id.
    """
    body: dict[str, Any] = {"properties": list(properties)}
    if id_property is not None:
        body["idProperty"] = id_property
    path = client.path("objects", f"{object_type}/batch/read{'?archived=true' if archived else ''}")
    reading = Reading()
    ids = sorted(set(asked))
    for _ in range(_ASKS):
        told = Reading()
        for start in range(0, len(ids), READ_LIMIT):
            chunk = ids[start : start + READ_LIMIT]
            told |= await _read(client, path, body, chunk, by=id_property, archived=archived)
        ids = _passed_over(told.unsettled)
        reading |= replace(told, unsettled=_without(told.unsettled, ids))
        if not ids:
            break
    return reading | Reading(absent=frozenset(ids), unnamed=frozenset(ids))


def _passed_over(unsettled: Mapping[str, str]) -> list[str]:
    return sorted(name for name, reason in unsettled.items() if reason == _UNSAID)


def _without(unsettled: Mapping[str, str], names: Collection[str]) -> dict[str, str]:
    return {name: reason for name, reason in unsettled.items() if name not in names}


async def _read(
    client: HubSpotClient,
    path: str,
    body: Mapping[str, Any],
    ids: Sequence[str],
    *,
    by: str | None,
    archived: bool,
) -> Reading:
    try:
        _, answer = await client.call(
            "POST", path, {**body, "inputs": [{"id": name} for name in ids]}, writes=False
        )
    except HubSpotRefusal as refusal:
        if not refusal.is_about_content:
            raise as_connector_error(refusal) from refusal
        if len(ids) == 1 and refusal.category == _NOT_FOUND:
            return Reading(absent=frozenset(ids))
        if len(ids) == 1 and archived:  # not every account can read deleted records
            return Reading(absent=frozenset(ids), unnamed=frozenset(ids))
        if len(ids) == 1:
            return Reading(unsettled={ids[0]: refusal.message})
        middle = len(ids) // 2
        first = await _read(client, path, body, ids[:middle], by=by, archived=archived)
        return first | await _read(client, path, body, ids[middle:], by=by, archived=archived)
    reading = Reading(records=answer.get("results") or ())
    missing = set(ids) - (reading.ids if by is None else reading.by(by).keys())
    # A living record may come under another id than it was asked for: it was merged. A key or a deleted one may not.
    may_be_elsewhere = by is None and not archived
    absent, unsettled = _told(
        answer.get("errors") or (), missing, silence="" if may_be_elsewhere else _UNSAID
    )
    return reading | Reading(absent=frozenset(absent), unsettled=unsettled)


async def read_links(client: HubSpotClient, from_type: str, to_type: str, asked: Collection[str]) -> Links:
    """Everything of one type that hangs on these records, page by page. Of a record passed over: nothing hangs on it."""
    found: dict[str, set[str]] = {}
    unsettled: dict[str, str] = {}
    ids = sorted(set(asked))
    for _ in range(_ASKS):
        told = await _links(client, from_type, to_type, ids)
        ids = _passed_over(told.unsettled)
        found |= {name: {*links} for name, links in told.found.items()}
        unsettled |= _without(told.unsettled, ids)
        if not ids:
            break
    return Links(found=found, unsettled=unsettled)


async def _links(client: HubSpotClient, from_type: str, to_type: str, asked: Collection[str]) -> Links:
    found: dict[str, set[str]] = {}
    unsettled: dict[str, str] = {}
    waiting: list[dict[str, str]] = [{"id": name} for name in asked]
    path = client.path("associations", f"{from_type}/{to_type}/batch/read")
    size = _LINKS_LIMIT
    while waiting:
        inputs, waiting = waiting[:size], waiting[size:]
        try:
            _, answer = await client.call("POST", path, {"inputs": inputs}, writes=False)
        except HubSpotRefusal as refusal:
            if refusal.has_no_endpoint:
                return await _links_one_by_one(client, from_type, to_type, asked)
            if not refusal.is_about_content:
                raise as_connector_error(refusal) from refusal
            if len(inputs) == 1:
                unsettled[inputs[0]["id"]] = refusal.message
            else:
                size = (len(inputs) + 1) // 2
                waiting = [*inputs, *waiting]
            continue
        for result in answer.get("results") or ():
            start = str(result["from"]["id"])
            found.setdefault(start, set()).update(
                str(to.get("toObjectId") or to.get("id")) for to in result.get("to") or ()
            )
            after = ((result.get("paging") or {}).get("next") or {}).get("after")
            if after:
                waiting.append({"id": start, "after": str(after)})
        missing = {item["id"] for item in inputs} - found.keys()
        unsettled |= _told(answer.get("errors") or (), missing, silence=_UNSAID)[1]
    return Links(found=found, unsettled=unsettled)


async def _links_one_by_one(
    client: HubSpotClient, from_type: str, to_type: str, asked: Collection[str]
) -> Links:
    """The same where there is no batch read of associations: each record shows its own."""
    found: dict[str, set[str]] = {}
    for name in asked:
        path = client.path("objects", f"{from_type}/{name}/associations/{to_type}")
        links: set[str] = set()
        after: str | None = ""
        while after is not None:
            page = f"?limit=500&after={after}" if after else "?limit=500"
            try:
                _, answer = await client.call("GET", path + page, writes=False)
            except HubSpotRefusal as refusal:
                if refusal.category == _NOT_FOUND:
                    break  # the record is not there, and nothing hangs on it
                raise as_connector_error(refusal) from refusal
            links |= {str(to.get("toObjectId") or to.get("id")) for to in answer.get("results") or ()}
            seen, after = after, ((answer.get("paging") or {}).get("next") or {}).get("after")
            if after == seen:
                break
        found[name] = links
    return Links(found=found, unsettled={})


def _told(
    errors: Sequence[Mapping[str, Any]], missing: set[str], *, silence: str
) -> tuple[set[str], dict[str, str]]:
    """What is not there, and what is not known, of what came without a result.

    `silence`: why that is not known which no error is about; "" where it may have come under another name.
    """
    absent: set[str] = set()
    unsettled: dict[str, str] = {}
    nameless: list[Mapping[str, Any]] = []
    for error in errors:
        context = error.get("context") or {}
        named = {
            str(name) for names in context.values() if isinstance(names, list) for name in names
        } & missing
        if not named:
            nameless.append(error)
        elif error.get("category") == _NOT_FOUND:
            absent |= named
        else:
            unsettled |= dict.fromkeys(named, _reason(error))
    absent -= unsettled.keys()
    rest = missing - absent - unsettled.keys()
    doubts = [_reason(error) for error in nameless if error.get("category") != _NOT_FOUND]
    if doubts or (silence and not nameless):
        unsettled |= dict.fromkeys(rest, doubts[0] if doubts else silence)
    elif nameless:
        absent |= rest
    return absent, unsettled


def _reason(error: Mapping[str, Any]) -> str:
    return str(error.get("message") or error.get("category") or _UNSAID)
