"""A record left over by a merge, or a message's second one: deleted if all of it is ours, else flagged for a person.

All of it: the history of every property of the portal's schema, and everything that may hang on a contact. What
cannot be seen is taken for somebody's work. A deleted contact can be restored for 90 days.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from connector.crm.hubspot.client import HubSpotClient
from connector.crm.hubspot.failures import HubSpotRefusal, MissingScope
from connector.crm.hubspot.schema import CONTACT_KEY
from connector.crm.personal_data import readable
from connector.crm.port import Retired

_BY_HAND = "merge the two records by hand"
_PROPERTIES_PER_CALL = 100
_KINDS = (
    *("companies", "deals", "tickets", "leads", "quotes", "orders", "carts", "invoices", "subscriptions"),
    *("commerce_payments", "feedback_submissions", "appointments", "courses", "listings", "services"),
    *("notes", "tasks", "calls", "emails", "meetings", "communications", "postal_mail", "contacts"),
)
"""Object types of HubSpot's own; https://developers.hubspot.com/docs/guides/api/crm/understanding-the-crm. A portal
need not have each of them, and has its custom ones beside."""
_PEOPLE = ("CRM_UI", "MERGE_OBJECTS", "IMPORT")
"""Kinds of sources that are no app's token."""
_NO_SUCH_TYPE = "infer object type"
_NO_SUCH_LINK = "No association"
_DEEDS = ("num_conversion_events", "hs_analytics_num_page_views", "hs_analytics_num_event_completions")
"""Counts of what the person did in the portal. They are HubSpot's own arithmetic, like all properties that nobody
can write, but what they count is lost with the record."""


async def retire_contact(client: HubSpotClient, record_id: str, *, created_by_us: bool) -> Retired:
    """Delete or flag one contact. Deleting what is deleted is no error.

    Raises the connector's errors; nothing was deleted then, or once more.
    """
    try:
        _, record = await client.call("GET", client.path("objects", f"contacts/{record_id}"), writes=False)
    except HubSpotRefusal as refusal:
        if refusal.status == 404:
            return Retired(deleted=True, reason="it was gone already")
        return _kept(f"HubSpot does not show it ({readable(refusal.message)})")
    if str(record.get("id")) != record_id:
        # Never delete it: it may be the one of the person who won.
        return Retired(deleted=True, reason=f"somebody merged it into record {record.get('id')}")
    if not created_by_us:
        return _kept("it was in the CRM before us")
    try:
        arithmetic, history = await _histories(client, "contacts", record_id)
        ours = {_source(version) for version in history.get(CONTACT_KEY, ())}  # nobody else writes our key
        hands = _others_values(history, ours, {**arithmetic, CONTACT_KEY: arithmetic.get(CONTACT_KEY, False)})
        linked = [] if hands else await _linked_kinds(client, "contacts", record_id)
    except (HubSpotRefusal, MissingScope) as unseen:
        return _kept(f"what others did to it cannot be seen ({readable(unseen.message)})")
    if hands or linked:
        what = ", ".join([*hands[:10], *(f"linked {kind}" for kind in linked)])
        return _kept(f"somebody else worked on it ({what})")
    try:
        body = {"inputs": [{"id": record_id}]}
        await client.call("POST", client.path("objects", "contacts/batch/archive"), body, writes=True)
    except HubSpotRefusal as refusal:
        return _kept(f"HubSpot keeps it ({readable(refusal.message)})")
    return Retired(deleted=True)


def _kept(reason: str) -> Retired:
    return Retired(deleted=False, reason=f"{reason}; {_BY_HAND}")


async def retire_activity(client: HubSpotClient, record_id: str, *, kept: str) -> Retired:
    """Delete or flag a second record of the message that `kept` is about. Deleting what is deleted is no error.

    What is ours is told by `kept`, as a copy's own history names whoever copied it.
    """
    by_hand = "delete one of the two by hand"
    try:
        arithmetic, history = await _histories(client, "communications", record_id)
        _, original = await _histories(client, "communications", kept)
        if not history:
            return Retired(deleted=True, reason="it was gone already")
        if not original:
            return Retired(deleted=False, reason=f"the other record is not there any more; {by_hand}")
        # The oldest version of what every activity says when it is made.
        ours = {_source(versions[-1]) for versions in (original.get("hs_timestamp"),) if versions}
        if any(kind in _PEOPLE for kind, _ in ours):
            ours = set()
        hands = _others_values(history, ours, arithmetic)
        linked = [] if hands else await _linked_kinds(client, "communications", record_id)
    except (HubSpotRefusal, MissingScope) as unseen:
        reason = f"what others did to it cannot be seen ({readable(unseen.message)}); {by_hand}"
        return Retired(deleted=False, reason=reason)
    linked = [kind for kind in linked if kind != "contacts"]
    if hands or linked:
        what = ", ".join([*hands[:10], *(f"linked {kind}" for kind in linked)])
        return Retired(deleted=False, reason=f"somebody else worked on it ({what}); {by_hand}")
    try:
        body = {"inputs": [{"id": record_id}]}
        await client.call("POST", client.path("objects", "communications/batch/archive"), body, writes=True)
    except HubSpotRefusal as refusal:
        return Retired(deleted=False, reason=f"HubSpot keeps it ({readable(refusal.message)}); {by_hand}")
    return Retired(deleted=True)


async def _histories(
    client: HubSpotClient, object_type: str, record_id: str
) -> tuple[dict[str, bool], dict[str, Sequence[Mapping[str, str]]]]:
    """Property → whether nobody can write it; and property → its versions, newest first, as far as they are shown."""
    _, schema = await client.call("GET", client.path("properties", object_type), writes=False)
    arithmetic = {item["name"]: _is_arithmetic(item) for item in schema.get("results") or ()}
    names = sorted(arithmetic.keys() | ({CONTACT_KEY} if object_type == "contacts" else set()))
    history: dict[str, Sequence[Mapping[str, str]]] = {}
    for start in range(0, len(names), _PROPERTIES_PER_CALL):
        wanted = names[start : start + _PROPERTIES_PER_CALL]
        body = {"properties": [], "propertiesWithHistory": wanted, "inputs": [{"id": record_id}]}
        _, answer = await client.call(
            "POST", client.path("objects", f"{object_type}/batch/read"), body, writes=False
        )
        for record in answer.get("results") or ():
            if str(record.get("id")) == record_id:
                shown = record.get("propertiesWithHistory") or {}
                history |= {name: shown.get(name) or () for name in wanted}
    return arithmetic, history


def _others_values(
    history: Mapping[str, Sequence[Mapping[str, str]]],
    ours: set[tuple[str | None, str | None]],
    arithmetic: Mapping[str, bool],
) -> list[str]:
    """Properties that somebody other than us ever gave a value, or whose history HubSpot does not show."""
    names = sorted(arithmetic)
    unseen = [name for name in names if name not in history]
    if unseen or not ours:
        return [*unseen, *([] if ours else ["whose it is"])]
    return [name for name in names if _is_others(name, history[name], ours, arithmetic[name])]


def _is_arithmetic(definition: Mapping[str, Any]) -> bool:
    """Whether nobody can write the property, so that HubSpot alone fills it in."""
    read_only = (definition.get("modificationMetadata") or {}).get("readOnlyValue")
    return bool(read_only or definition.get("calculated"))


def _is_others(
    name: str,
    versions: Sequence[Mapping[str, str]],
    ours: set[tuple[str | None, str | None]],
    arithmetic: bool,  # noqa: FBT001 - one fact of the schema
) -> bool:
    if arithmetic:
        return name in _DEEDS and any((version.get("value") or "0") != "0" for version in versions)
    return any(_source(version) not in ours for version in versions)


def _source(version: Mapping[str, str]) -> tuple[str | None, str | None]:
    """Who made one version of a property: HubSpot names the kind of source and the app's or user's id."""
    return version.get("sourceType"), version.get("sourceId")


async def _linked_kinds(client: HubSpotClient, object_type: str, record_id: str) -> list[str]:
    """Kinds of record that hang on it. Ours were moved away before, so what is left is somebody's.

    Raises `MissingScope` when our token may not see the portal's custom objects (crm.schemas.custom.read).
    """
    _, schemas = await client.call("GET", f"/crm-object-schemas/{client.version}/schemas", writes=False)
    custom = [
        str(item.get("objectTypeId") or item["fullyQualifiedName"]) for item in schemas.get("results") or ()
    ]
    return await _linked(client, f"{object_type}/{record_id}", [*_KINDS, *custom])


async def _linked(client: HubSpotClient, record: str, kinds: Sequence[str]) -> list[str]:
    path = client.path("objects", f"{record}?associations={quote(','.join(kinds), safe=',')}")
    try:
        _, shown = await client.call("GET", path, writes=False)
    except HubSpotRefusal as refusal:
        if not refusal.is_about_content:
            raise
        if len(kinds) == 1:
            if _NO_SUCH_TYPE in refusal.message or _NO_SUCH_LINK in refusal.message:
                return []  # a kind that this portal does not have
            raise
        middle = len(kinds) // 2
        found = await _linked(client, record, kinds[:middle])
        return found + await _linked(client, record, kinds[middle:])
    associations = shown.get("associations") or {}
    return sorted(kind for kind, value in associations.items() if value.get("results"))
