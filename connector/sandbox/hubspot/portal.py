"""A simulated HubSpot portal: its whole state, and no HTTP."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from itertools import count
from random import Random
from typing import Any

from connector.sandbox.hubspot import catalog, contacts
from connector.sandbox.hubspot.associations import AssociationGraph
from connector.sandbox.hubspot.catalog import OTHER_TYPES
from connector.sandbox.hubspot.config import HubSpotConfig
from connector.sandbox.hubspot.errors import refuse
from connector.sandbox.hubspot.executions import Executions
from connector.sandbox.hubspot.limits import RateLimits
from connector.sandbox.hubspot.objects import ObjectEndpoints
from connector.sandbox.hubspot.records import Record, RecordStore, utc
from connector.sandbox.hubspot.search import SearchIndex
from connector.sandbox.journal import Effect

_FIRST_ID = 90_000_000_001
"""Ids on live portals are well beyond 32 bits."""


class Portal:
    """Contacts, communications, their properties and associations, search and limits.

    `clock` gives Unix seconds. Every operation is one synchronous step: it happens wholly or not at all.
    """

    def __init__(self, config: HubSpotConfig, *, clock: Callable[[], float]) -> None:
        self.config = config
        random = Random(config.seed)
        ids = count(_FIRST_ID)
        catalogs = [
            catalog.contacts(),
            catalog.communications(lambda: self.config.unique_communications),
        ]
        self.stores = {
            item.object_type: RecordStore(item, now=lambda: utc(clock()), next_id=lambda: str(next(ids)))
            for item in catalogs
        }
        self.associations = AssociationGraph(self.stores, config=config)
        self.blocked_emails: set[str] = set()
        self._others: dict[str, list[tuple[str, str]]] = {}
        self.objects = {
            name: ObjectEndpoints(
                store,
                config=config,
                associations=self.associations,
                random=random,
                blocked_emails=self.blocked_emails,
            )
            for name, store in self.stores.items()
        }
        self.indexes = {
            name: SearchIndex(store.catalog, config=config, clock=clock)
            for name, store in self.stores.items()
        }
        for name, store in self.stores.items():
            store.on_change = self.indexes[name].record_changed
        self.executions = Executions(portal_id=config.portal_id, clock=clock)
        self.limits = RateLimits(config=config, clock=clock)

    @property
    def contacts(self) -> RecordStore:
        """The contact records."""
        return self.stores["contacts"]

    @property
    def communications(self) -> RecordStore:
        """The communication records."""
        return self.stores["communications"]

    def link_other(self, contact_id: str, kind: str, record_id: str) -> None:
        """Somebody hangs a record on a contact, of a type that is served in no other way.

        Raises:
            HubSpotError: 400, the portal has no such type.

        """
        self._check_kind(kind)
        self._others.setdefault(contact_id, []).append((kind, record_id))

    def others_linked(self, contact_id: str, kind: str) -> list[str]:
        """Return the ids of the records of another type that hang on a contact.

        Raises:
            HubSpotError: 400, the portal has no such type.

        """
        self._check_kind(kind)
        return [record_id for name, record_id in self._others.get(contact_id, ()) if name == kind]

    def _check_kind(self, kind: str) -> None:
        if kind not in OTHER_TYPES - self.config.absent_types and kind not in self.config.custom_objects:
            raise refuse(f"Unable to infer object type from: {kind}")

    def merge_contacts(self, document: Any) -> Record:
        """Merge two contacts, see `contacts.merge`."""
        return contacts.merge(
            document, store=self.contacts, associations=self.associations, config=self.config
        )

    def gdpr_delete(self, document: Any) -> None:
        """Erase a contact, see `contacts.gdpr_delete`."""
        contacts.gdpr_delete(
            document,
            store=self.contacts,
            communications=self.communications,
            associations=self.associations,
            blocked_emails=self.blocked_emails,
        )

    def drain_effects(self) -> list[Effect]:
        """Return what changed since the last drain, in order for each type."""
        effects: list[Effect] = []
        for found in (*(store.effects for store in self.stores.values()), self.associations.effects):
            effects += found
            found.clear()
        return effects

    def state(self) -> dict[str, Any]:
        """Return every live record with its associations and writers, and the doubles among them.

        `doubled` counts, for each property that a client keys records by, the values held by more than
        one live record: what must never happen, decided from the CRM's side.
        """
        shown = {
            name: [self._record_json(record) for record in store.live()]
            for name, store in self.stores.items()
        }
        return {
            **shown,
            "executions": [execution.as_json() for execution in self.executions.listed()],
            "counts": {name: len(records) for name, records in shown.items()},
            "doubled": {
                "communications": self._doubled("communications", "whatsapp_message_id"),
                "contacts": self._doubled("contacts", "whatsapp_contact_key"),
                "contacts_by_bsuid": self._doubled("contacts", "whatsapp_bsuid"),
                "contacts_by_phone": self._doubled("contacts", "whatsapp_phone"),
            },
        }

    def _record_json(self, record: Record) -> dict[str, Any]:
        others = [name for name in self.stores if name != record.object_type]
        return {
            "id": record.id,
            "properties": dict(record.values),
            "associations": {
                name: self.associations.of(record.object_type, record.id, name) for name in others
            },
            "writers": list(record.writers),
        }

    def _doubled(self, object_type: str, name: str) -> Mapping[str, int]:
        held = Counter(
            record.values[name] for record in self.stores[object_type].live() if record.values.get(name)
        )
        return {value: times for value, times in held.items() if times > 1}
