"""The records of one object: values, unique keys, who wrote them, and how to take a change back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from connector.sandbox.salesforce.catalog import SObject
from connector.sandbox.salesforce.ids import normal
from connector.sandbox.salesforce.values import Values

Undo = Callable[[], None]


@dataclass(slots=True, kw_only=True)
class Record:
    """One record, deleted ones included: they stay in the recycle bin."""

    id: str
    sobject: str
    values: Values
    writers: list[str] = field(default_factory=list)
    """The user ids that ever changed it, in order of first appearance."""

    @property
    def deleted(self) -> bool:
        """Whether it is in the recycle bin."""
        return bool(self.values.get("IsDeleted"))

    def text(self, name: str) -> str:
        """A value as text, "" where there is none."""
        value = self.values.get(name)
        return value if isinstance(value, str) else ""

    def as_json(self, version: str) -> dict[str, Any]:
        """The whole record, as a read shows it."""
        url = f"/services/data/v{version}/sobjects/{self.sobject}/{self.id}"
        return {"attributes": {"type": self.sobject, "url": url}, **self.values}


class Table:
    """All records of one object. Each change is given back as the step that undoes it."""

    def __init__(self, sobject: SObject) -> None:
        self.sobject = sobject
        self._records: dict[str, Record] = {}
        self._keys: dict[tuple[str, str], str] = {}

    def __iter__(self) -> Iterator[Record]:
        return iter(list(self._records.values()))

    def live(self) -> Iterator[Record]:
        """The records that are not deleted."""
        return (record for record in self._records.values() if not record.deleted)

    def get(self, record_id: str) -> Record | None:
        """A record by id, also a deleted one."""
        return self._records.get(normal(record_id))

    def find(self, name: str, value: str) -> Record | None:
        """The live record that holds this key."""
        record_id = self._keys.get((name, self._key(name, value)))
        return None if record_id is None else self._records.get(record_id)

    def put(self, record: Record) -> Undo:
        """Add a record."""
        self._records[record.id] = record
        self._index(record)

        def undo() -> None:
            self._release(record)
            del self._records[record.id]

        return undo

    def change(self, record: Record, values: Values, *, writer: str) -> Undo:
        """Set values of a record."""
        before, writers = dict(record.values), list(record.writers)
        self._release(record)
        record.values.update(values)
        if writer not in record.writers:
            record.writers.append(writer)
        self._index(record)

        def undo() -> None:
            self._release(record)
            record.values = before
            record.writers = writers
            self._index(record)

        return undo

    def holder(self, name: str, value: str, *, but: str | None) -> Record | None:
        """Another live record that holds this unique value."""
        record = self.find(name, value)
        return None if record is None or record.id == but else record

    def _index(self, record: Record) -> None:
        if record.deleted:
            return
        for item in self.sobject.fields.values():
            value = record.values.get(item.name)
            if item.unique and isinstance(value, str):
                self._keys[item.name, self._key(item.name, value)] = record.id

    def _release(self, record: Record) -> None:
        for item in self.sobject.fields.values():
            value = record.values.get(item.name)
            if item.unique and isinstance(value, str):
                key = item.name, self._key(item.name, value)
                if self._keys.get(key) == record.id:
                    del self._keys[key]

    def _key(self, name: str, value: str) -> str:
        return value if self.sobject.fields[name].case_sensitive else value.lower()
