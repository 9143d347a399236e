"""The records of one object type: values with their history, unique keys, merges, who wrote what."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import phonenumbers

from connector.sandbox.hubspot.catalog import CREATED, DEFAULT_PROPERTIES, MODIFIED, PHONE_SEARCH
from connector.sandbox.hubspot.properties import PropertyCatalog, iso
from connector.sandbox.journal import Effect

_RESTORABLE = timedelta(days=90)
_EXTENSION = re.compile(r"\s*(?:ext|x|#).*$", re.IGNORECASE)


def _nothing_is_poisoned(_text: str) -> bool:
    return False


@dataclass(frozen=True, kw_only=True)
class Caller:
    """Who writes, as property histories show it: sourceType and sourceId.

    An app's token writes as INTEGRATION with its app id, a person on a screen as CRM_UI with
    `userId:N` (observed on live portals), a merge as MERGE_OBJECTS.
    """

    source_type: str = "INTEGRATION"
    source_id: str = "31415926"
    poisoned: Callable[[str], bool] = _nothing_is_poisoned
    """The test of a record's text that a poison fault sets for this request."""
    refused_whole: bool = False
    """Whether one bad record refuses this request's whole batch."""

    @property
    def name(self) -> str:
        """The caller in one word, for the journal and the audit."""
        return f"{self.source_type}:{self.source_id}"


CALCULATED = Caller(source_type="CALCULATED", source_id="CalculatedPropertyComputer")
"""HubSpot's own arithmetic, in the history of what nobody can write (observed on live portals)."""
PERSON = Caller(source_type="CRM_UI", source_id="userId:7654321")


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One value that a property had."""

    value: str
    at: datetime
    source_type: str
    source_id: str

    def as_json(self) -> dict[str, str]:
        """Return the version as `propertiesWithHistory` shows it."""
        return {
            "value": self.value,
            "timestamp": iso(self.at),
            "sourceType": self.source_type,
            "sourceId": self.source_id,
        }


@dataclass(slots=True, kw_only=True)
class Record:
    """One CRM record."""

    id: str
    object_type: str
    values: dict[str, str]
    history: dict[str, list[Version]]
    """Newest first, as the API returns it."""
    created_at: datetime
    updated_at: datetime
    archived: bool = False
    writers: list[str] = field(default_factory=list)
    """Everybody who ever changed it, in order of first appearance."""

    def as_json(
        self,
        *,
        properties: Iterable[str] | None = None,
        with_history: Iterable[str] = (),
    ) -> dict[str, Any]:
        """Return the record as reads show it: what was asked for, null where it has no value."""
        wanted = [*DEFAULT_PROPERTIES[self.object_type], *(properties or ())]
        document: dict[str, Any] = {
            "id": self.id,
            "properties": {name: self.values.get(name) for name in sorted(set(wanted))},
            "createdAt": iso(self.created_at),
            "updatedAt": iso(self.updated_at),
            "archived": self.archived,
        }
        history = list(with_history)
        if history:
            document["propertiesWithHistory"] = {
                name: [version.as_json() for version in self.history.get(name, [])] for name in history
            }
        return document


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordEvent:
    """Something that webhooks tell."""

    kind: str
    """propertyChange, merge, deletion, privacyDeletion."""
    record_id: str
    at: datetime
    name: str = ""
    value: str = ""
    caller: Caller | None = None
    merged: tuple[str, ...] = ()
    """Of a merge: the primary and the loser; `record_id` is what they became."""


class RecordStore:
    """All records of one type. `now` gives the time, `next_id` a record id unique in the portal."""

    def __init__(
        self,
        catalog: PropertyCatalog,
        *,
        now: Callable[[], datetime],
        next_id: Callable[[], str],
    ) -> None:
        self.catalog = catalog
        self.object_type = catalog.object_type
        self._now = now
        self.next_id = next_id
        self._records: dict[str, Record] = {}
        self._merged_into: dict[str, str] = {}
        self._keys: dict[tuple[str, str], str] = {}
        self.effects: list[Effect] = []
        self.on_change: Callable[[Record], None] = lambda _record: None
        self.on_event: Callable[[RecordEvent], None] = lambda _event: None

    def __len__(self) -> int:
        return sum(1 for _ in self.live())

    def live(self) -> Iterable[Record]:
        """Yield the records that are not archived."""
        return (record for record in self._records.values() if not record.archived)

    def get(self, record_id: str) -> Record | None:
        """Return a live record by its id, or by one it had before a merge."""
        while record_id in self._merged_into:
            record_id = self._merged_into[record_id]
        record = self._records.get(record_id)
        return None if record is None or record.archived else record

    def get_archived(self, record_id: str) -> Record | None:
        """Return a deleted record that can be restored, for 90 days; a merged or erased one cannot."""
        record = self._records.get(record_id)
        if record is None or not record.archived or record_id in self._merged_into:
            return None
        return record if self._now() - record.updated_at < _RESTORABLE else None

    def find(self, name: str, value: str) -> Record | None:
        """Return the live record that holds this unique value."""
        record_id = self._keys.get((name, _key(name, value)))
        return None if record_id is None else self.get(record_id)

    def create(self, values: Mapping[str, str], caller: Caller) -> Record:
        """Add a record with valid values."""
        now = self._now()
        record = Record(
            id=self.next_id(),
            object_type=self.object_type,
            values={},
            history={},
            created_at=now,
            updated_at=now,
        )
        self._records[record.id] = record
        system = {
            "hs_object_id": record.id,
            "hs_object_source": caller.source_type,
            "hs_object_source_id": caller.source_id,
            CREATED[self.object_type]: iso(now),
        }
        self._write(record, {**values, **system}, caller)
        self._changed(record, "created")
        return record

    def update(self, record: Record, values: Mapping[str, str], caller: Caller) -> None:
        """Change a record's values; "" clears one."""
        self._write(record, values, caller)
        self._changed(record, "updated")

    def archive(self, record: Record) -> None:
        """Take a record out of every read; its unique values become free."""
        record.archived = True
        record.updated_at = self._now()
        self._release(record)
        self._changed(record, "archived")
        self.on_event(RecordEvent(kind="deletion", record_id=record.id, at=self._now()))

    def erase(self, record: Record) -> None:
        """Delete a record for good, with everything known about it."""
        record.archived = True
        self._release(record)
        self._changed(record, "erased")
        self.on_event(RecordEvent(kind="privacyDeletion", record_id=record.id, at=self._now()))
        del self._records[record.id]
        for old in [old for old, new in self._merged_into.items() if new == record.id]:
            del self._merged_into[old]

    def merge(self, primary: Record, loser: Record, *, follow_keys: bool) -> Record:
        """Merge two records into a new one with a new id; both old ids lead to it from now on."""
        values = {**loser.values, **primary.values}
        for name in list(values):
            definition = self.catalog.properties.get(name)
            if name not in PHONE_SEARCH and (definition is None or definition.read_only):
                del values[name]
        # A custom unique value stays the primary's own: it is an identity, not a piece of information.
        for name in [name for name in values if self.catalog.is_key(name) and name not in primary.values]:
            if name != "email":
                del values[name]
        loser_keys = [key for key, holder in self._keys.items() if holder == loser.id]
        for old in (primary, loser):
            old.archived = True
            self._release(old)
            self.on_change(old)
        merged = self.create(values, Caller(source_type="MERGE_OBJECTS", source_id="merge"))
        merged.values["hs_merged_object_ids"] = f"{primary.id};{loser.id}"
        merged.created_at = min(primary.created_at, loser.created_at)
        merged.history = {
            name: sorted(
                [*merged.history.get(name, []), *primary.history.get(name, []), *loser.history.get(name, [])],
                key=lambda version: version.at,
                reverse=True,
            )
            for name in {*merged.history, *primary.history, *loser.history}
        }
        merged.writers = list(dict.fromkeys([*primary.writers, *loser.writers, *merged.writers]))
        for old in (primary, loser):
            self._merged_into[old.id] = merged.id
            self.effects.append(Effect(action="merged", object_type=self.object_type, record_id=old.id))
        both = (primary.id, loser.id)
        self.on_event(RecordEvent(kind="merge", record_id=merged.id, at=self._now(), merged=both))
        if follow_keys:
            for key in loser_keys:
                self._keys.setdefault(key, merged.id)
        return merged

    def _write(self, record: Record, values: Mapping[str, str], caller: Caller) -> None:
        now = self._now()
        record.updated_at = now
        if caller.name not in record.writers:
            record.writers.append(caller.name)
        for name, value in {**values, MODIFIED[self.object_type]: iso(now)}.items():
            self._set(record, name, value, caller, now)
        for calculated, source in PHONE_SEARCH.items():
            if source in values:
                self._set(record, calculated, national_number(values[source]), CALCULATED, now)

    def _set(self, record: Record, name: str, value: str, caller: Caller, now: datetime) -> None:
        old = record.values.get(name)
        if self.catalog.is_key(name):
            if old:
                self._keys.pop((name, _key(name, old)), None)
            if value:
                self._keys[name, _key(name, value)] = record.id
        if value:
            record.values[name] = value
        else:
            record.values.pop(name, None)
        if value != (old or ""):
            version = Version(value=value, at=now, source_type=caller.source_type, source_id=caller.source_id)
            record.history.setdefault(name, []).insert(0, version)
            if caller.source_type != "MERGE_OBJECTS":
                self.on_event(
                    RecordEvent(
                        kind="propertyChange",
                        record_id=record.id,
                        at=now,
                        name=name,
                        value=value,
                        caller=caller,
                    )
                )

    def _release(self, record: Record) -> None:
        for key in [key for key, holder in self._keys.items() if holder == record.id]:
            del self._keys[key]

    def _changed(self, record: Record, action: str) -> None:
        self.effects.append(Effect(action=action, object_type=self.object_type, record_id=record.id))
        self.on_change(record)


def _key(name: str, value: str) -> str:
    return value.lower() if name == "email" else value


def national_number(phone: str) -> str:
    """Return what phone search compares: "HubSpot only uses the area code and local number".

    developers.hubspot.com/docs/api-reference/search/guide, on hs_searchable_calculated_*. A number
    without "+" is taken as it stands, but for leading zeros ("00004" is found as "4", observed). An
    extension is no part of it (not documented).
    """
    digits = "".join(str(unicodedata.digit(letter)) for letter in phone if letter.isdigit()).lstrip("0")
    text = _EXTENSION.sub("", phone.strip())
    if not text.startswith("+"):
        return "".join(filter(str.isdigit, text)).lstrip("0") or digits
    try:
        return phonenumbers.national_significant_number(phonenumbers.parse(text))
    except phonenumbers.NumberParseException:
        return digits


def utc(seconds: float) -> datetime:
    """Return Unix seconds as a time, to the millisecond that HubSpot keeps."""
    return datetime.fromtimestamp(round(seconds, 3), tz=UTC)
