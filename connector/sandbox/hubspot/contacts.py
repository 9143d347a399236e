"""What only contacts have: merge and GDPR delete."""

from __future__ import annotations

from typing import Any

from connector.sandbox.hubspot.associations import AssociationGraph
from connector.sandbox.hubspot.config import HubSpotConfig
from connector.sandbox.hubspot.errors import not_found, refuse
from connector.sandbox.hubspot.records import Record, RecordStore


def merge(
    document: Any, *, store: RecordStore, associations: AssociationGraph, config: HubSpotConfig
) -> Record:
    """Merge two contacts into a new record; both old ids lead to it.

    Since 2025 the result of a merge has an id of its own (changelog on merging records); before, the
    primary kept its id.

    Raises:
        HubSpotError: 404, one does not exist; 400, both are one.

    """
    ids = [str(document.get(name, "")) for name in ("primaryObjectId", "objectIdToMerge")]
    primary, loser = (store.get(record_id) for record_id in ids)
    if primary is None or loser is None:
        raise not_found()
    if primary.id == loser.id:
        raise refuse("A record cannot be merged with itself.", ids=ids)
    merged = store.merge(primary, loser, follow_keys=config.merged_unique_value == "followed")
    for old in (primary, loser):
        associations.move("contacts", old.id, merged.id)
    return merged


def gdpr_delete(
    document: Any,
    *,
    store: RecordStore,
    communications: RecordStore,
    associations: AssociationGraph,
    blocked_emails: set[str],
) -> None:
    """Erase a contact for good, with the communications of nobody else.

    By objectId, or by idProperty=email: an unknown address is blocked from later use (reference page of
    gdpr-delete).

    Raises:
        HubSpotError: 404, unknown objectId; 400, another idProperty.

    """
    key, id_property = str(document.get("objectId", "")), document.get("idProperty")
    if id_property not in (None, "email"):
        raise refuse("gdpr-delete accepts only email as idProperty.")
    record = store.find("email", key) if id_property else store.get(key)
    if record is None and id_property is None:
        raise not_found()
    if id_property:
        blocked_emails.add(key.lower())
    if record is None:
        return
    if record.values.get("email"):
        blocked_emails.add(record.values["email"])
    logged = associations.of("contacts", record.id, "communications")
    associations.remove_record("contacts", record.id)
    for communication_id in logged:
        communication = communications.get(communication_id)
        if communication and not associations.of("communications", communication_id, "contacts"):
            communications.erase(communication)
    store.erase(record)
