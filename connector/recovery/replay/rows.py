"""What a sink's tables know, beside what a slice of the log says about the same items, in the order of their keys."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection
from dataclasses import dataclass, fields
from typing import Any, Generic, TypeVar
from uuid import UUID

from connector.recovery.replay.judging import ActivityRow, ContactRow
from connector.recovery.replay.pieces import Told
from connector.state.database import Connection
from connector.sync.losses import told_erased

Row = TypeVar("Row", ContactRow, ActivityRow)

_AT_ONCE = 1_000
_LONGEST = 3_600.0  # seconds for a statement that sorts a whole table


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry(Generic[Row]):
    """One item: its row, what the slice says, or both."""

    key: str
    row: Row | None
    told: Told | None


@dataclass(frozen=True, kw_only=True, slots=True)
class RowSource(Generic[Row]):
    """One table of a sink. `order`: its key, in the order in which pieces come: by bytes, as Python compares."""

    table: str
    key_column: str
    key_type: str
    order: str
    make: Callable[[Any], Row]
    columns: str

    def key(self, row: Row) -> str:
        """As pieces name it."""
        return str(getattr(row, self.key_column))

    async def named(self, connection: Connection, keys: Collection[str]) -> dict[str, Row]:
        """The rows of these keys."""
        if not keys:
            return {}
        rows = await connection.fetch(
            f"SELECT {self.columns} FROM {self.table} "  # noqa: S608 - names are ours
            f"WHERE {self.key_column} = ANY($1::text[]::{self.key_type}[])",
            list(keys),
        )
        return {self.key(row): row for row in map(self.make, rows)}

    async def all(self, connection: Connection, contacts: frozenset[UUID] | None) -> AsyncIterator[Row]:
        """Every row, or those of these contacts. In a transaction of the caller's."""
        rows = connection.cursor(
            f"SELECT {self.columns} FROM {self.table} "  # noqa: S608
            f"WHERE $1::uuid[] IS NULL OR contact_id = ANY($1) ORDER BY {self.order}",
            None if contacts is None else list(contacts),
            prefetch=_AT_ONCE,
            timeout=_LONGEST,
        )
        async for row in rows:
            yield self.make(row)


def contact_rows(sink: str) -> RowSource[ContactRow]:
    """People of a sink."""
    names = [field.name for field in fields(ContactRow) if field.name != "held"]
    # Deleted first and erased later: the row says no more than that somebody deleted it.
    held = (
        f"CASE WHEN held = 'deleted' AND {told_erased(sink, 'contacts')} THEN 'erased' ELSE held END AS held"
    )
    return RowSource(
        table=f"{sink}.contacts",
        key_column="contact_id",
        key_type="uuid",
        order="contact_id",
        make=lambda row: ContactRow(**dict(row)),
        columns=", ".join([*names, held]),
    )


def activity_rows(sink: str) -> RowSource[ActivityRow]:
    """Messages of a sink."""
    return RowSource(
        table=f"{sink}.activities",
        key_column="wamid",
        key_type="text",
        order='wamid COLLATE "C"',
        make=lambda row: ActivityRow(**dict(row)),
        columns=", ".join(field.name for field in fields(ActivityRow)),
    )


async def entries(
    source: RowSource[Row],
    told: AsyncIterator[Told],
    *,
    rows: AsyncIterator[Row] | None,
    lookup: Connection,
) -> AsyncIterator[list[Entry[Row]]]:
    """What was told beside its rows, by key, some thousand at once.

    `rows`: also of what nothing was told, in the same order; None: only what was told. Rows that these leave out are
    looked up.
    """
    batch: list[Entry[Row]] = []
    async for entry in _joined(source, told, rows):
        batch.append(entry)
        if len(batch) >= _AT_ONCE:
            yield await _completed(source, batch, lookup)
            batch = []
    if batch:
        yield await _completed(source, batch, lookup)


async def _joined(
    source: RowSource[Row], told: AsyncIterator[Told], rows: AsyncIterator[Row] | None
) -> AsyncIterator[Entry[Row]]:
    """Two streams in the same order as one."""
    row = None if rows is None else await anext(rows, None)
    item = await anext(told, None)
    while row is not None or item is not None:
        row_key = source.key(row) if row is not None else None
        if item is not None and (row_key is None or item.key < row_key):
            yield Entry(key=item.key, row=None, told=item)
            item = await anext(told, None)
        elif row_key is not None and (item is None or row_key < item.key):
            yield Entry(key=row_key, row=row, told=None)
            assert rows is not None
            row = await anext(rows, None)
        else:
            assert item is not None
            assert rows is not None
            yield Entry(key=item.key, row=row, told=item)
            row, item = await anext(rows, None), await anext(told, None)


async def _completed(source: RowSource[Row], batch: list[Entry[Row]], lookup: Connection) -> list[Entry[Row]]:
    found = await source.named(lookup, [entry.key for entry in batch if entry.row is None])
    return [
        Entry(key=entry.key, row=found.get(entry.key), told=entry.told) if entry.row is None else entry
        for entry in batch
    ]
