"""What a CRM lists of ours, put down beside the sink's tables: so what they do not know is found by a join.

A listing may lag behind the CRM by seconds, so what is found is read again by its id before it is told.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from uuid import UUID

from connector.crm.port import Priority, Terms
from connector.crm.survey import Listed, ListedRecord, RecordSurvey
from connector.recovery.replay.patience import Patience
from connector.recovery.replay.selection import Selection
from connector.state.database import Connection

_TERMS = Terms(priority=Priority.REPLAY)
_MOST_PLACES = 2_000  # contacts whose other messages are listed for what carries no message id
_LONGEST = 3_600.0  # seconds for a statement that joins a whole table


@dataclass(frozen=True, kw_only=True, slots=True)
class Surveyor:
    """Lists one CRM for one reconciliation."""

    sink: str
    crm: RecordSurvey
    connection: Connection
    patience: Patience

    async def list_all(self, selection: Selection) -> None:
        """Put down what the CRM lists for a selection. Raises the connector's errors; nothing but the list is written."""
        await self.connection.execute(
            "DELETE FROM replay.listed WHERE sink = $1", self.sink, timeout=_LONGEST
        )
        if selection.contacts is not None:
            await self._keep(Listed.ACTIVITY, await self._of_people(selection.contacts))
        else:
            for what in Listed:
                await self._list(what, selection)
        await self._resolve_hashes()
        await self._find_originals()

    async def _list(self, what: Listed, selection: Selection) -> None:
        since = selection.begin.at if selection.begin else None
        until = selection.end.at if selection.end else None
        after: str | None = ""
        while after is not None:
            ask = partial(self.crm.list_page, what, since=since, until=until, after=after, terms=_TERMS)
            page = await self.patience.ask(ask)
            await self._keep(what, page.records)
            after = page.next or None

    async def _of_people(self, contacts: Iterable[UUID]) -> Sequence[ListedRecord]:
        rows = await self.connection.fetch(
            f"SELECT record_id FROM {self.sink}.contacts WHERE contact_id = ANY($1::uuid[]) "  # noqa: S608 - ours
            "AND record_id IS NOT NULL",
            list(contacts),
        )
        return await self._on([row["record_id"] for row in rows])

    async def _on(self, places: Sequence[str]) -> Sequence[ListedRecord]:
        return await self.patience.ask(partial(self.crm.list_activities_of, places, _TERMS)) if places else ()

    async def _keep(self, what: Listed, records: Sequence[ListedRecord]) -> None:
        await self.connection.execute(
            "INSERT INTO replay.listed (sink, what, record_id, key, hashed, twin, made_at) "
            "SELECT $1, $2, * FROM unnest($3::text[], $4::text[], $5::text[], $6::text[], $7::timestamptz[]) "
            "ON CONFLICT DO NOTHING",
            self.sink,
            str(what),
            [record.record_id for record in records],
            [record.key for record in records],
            [record.hashed for record in records],
            [record.twin for record in records],
            [record.made_at for record in records],
        )

    async def _resolve_hashes(self) -> None:
        """Give records that hold a hash of their wamid the wamid."""
        lengths = await self.connection.fetch(
            "SELECT DISTINCT length(hashed) AS length FROM replay.listed WHERE sink = $1 AND hashed <> ''",
            self.sink,
        )
        for row in lengths:
            await self.connection.execute(
                f"UPDATE replay.listed AS l SET key = a.wamid FROM {self.sink}.activities a WHERE l.sink = $1 "  # noqa: S608
                "AND l.what = 'activity' AND l.hashed <> '' "
                "AND l.hashed = left(encode(sha256(convert_to(a.wamid, 'UTF8')), 'hex'), $2)",
                self.sink,
                row["length"],
                timeout=_LONGEST,
            )

    async def _find_originals(self) -> None:
        """List what hangs beside activities that carry no id: what they are copies of may be older than the range."""
        rows = await self.connection.fetch(
            "SELECT l.record_id FROM replay.listed l WHERE l.sink = $1 AND l.what = 'activity' AND l.key = '' "  # noqa: S608 - ours
            "AND NOT EXISTS (SELECT 1 FROM replay.listed o WHERE o.sink = l.sink AND o.what = l.what "
            f"AND o.twin = l.twin AND o.twin <> '' AND o.key <> '') AND NOT EXISTS (SELECT 1 FROM {self.sink}.activities a "
            "WHERE a.record_id = l.record_id) LIMIT $2",
            self.sink,
            _MOST_PLACES,
            timeout=_LONGEST,
        )
        if not rows:
            return
        now = await self.read(Listed.ACTIVITY, [row["record_id"] for row in rows])
        await self._keep(
            Listed.ACTIVITY, await self._on(sorted({p for record in now for p in record.places}))
        )

    async def read(self, what: Listed, record_ids: Sequence[str]) -> Sequence[ListedRecord]:
        """These records as they are now."""
        if not record_ids:
            return ()
        return await self.patience.ask(partial(self.crm.read_listed, what, record_ids, _TERMS))
