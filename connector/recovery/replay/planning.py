"""Making a plan: read the slice, put it together with what the tables (and the CRM) know, keep what would change.

Nothing that a role reads is touched. Memory does not grow with the log, nor with the tables: both come in the order
of their keys, some thousand at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

import asyncpg

from connector.crm.port import Compared, Differs, Gone, RecordComparison, Same
from connector.crm.survey import RecordSurvey
from connector.events import ContactMerged
from connector.recovery.replay.comparing import Look
from connector.recovery.replay.items import (
    Act,
    CallCost,
    Kind,
    PlanHash,
    PlannedItem,
    SinkSummary,
    Tally,
    summarise,
)
from connector.recovery.replay.judging import ActivityRow, Judge
from connector.recovery.replay.pieces import (
    MESSAGE,
    PERSON,
    Read,
    create_pieces,
    drop_pieces,
    merges_of,
    read_slice,
    rename_people,
    told_items,
)
from connector.recovery.replay.plans import Plan, acts_of, alone, begin_plan, finish_plan, keep_items
from connector.recovery.replay.rows import Entry, activity_rows, contact_rows, entries
from connector.recovery.replay.selection import Selection
from connector.recovery.replay.slices import find_slice
from connector.recovery.replay.standing import must_be_whole
from connector.settings import KafkaSettings, SyncSettings
from connector.state.database import connect
from connector.sync.core.activities import merge_activity_facts
from connector.sync.core.contacts import merge_contact_facts
from connector.sync.core.file_links import FileLinks
from connector.sync.core.fold import Position, resolve
from connector.sync.core.holding import HoldRules
from connector.sync.core.mapping import SyncMapping

_SMALL = 50_000  # records that one process reads sooner than several begin

Progress = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Sink:
    """One CRM, as a plan sees it. `comparison`: to look at its own records; None: it is not looked at.

    `survey`: the same CRM, to list them.
    """

    name: str
    cost: CallCost
    comparison: RecordComparison | None = None
    survey: RecordSurvey | None = None


@dataclass(frozen=True, kw_only=True)
class Planner:
    """What plans are made with. `processes`: at most, for reading the log; `told` hears how far it is."""

    kafka: KafkaSettings
    database_url: str
    sync: SyncSettings
    mapping: SyncMapping
    links: FileLinks | None
    sinks: Mapping[str, Sink]
    processes: int = 1
    told: Progress = field(default=lambda _: None)

    async def make(self, selection: Selection, *, who: str, now: datetime) -> Plan:
        """Make a plan. Nothing but the plan is written.

        Raises `Rejected` for a range that the log does not have, or while another replay works, and the connector's
        other errors as broker, database and CRM do; there is no plan then.
        """
        async with alone(self.database_url) as connection:
            for name in selection.sinks:
                await must_be_whole(connection, name)
            part = await find_slice(self.kafka, selection, now=now)
            plan_id = await begin_plan(connection, selection, mapping=self.mapping.version, who=who)
            await create_pieces(connection, plan_id)
            try:
                read = await read_slice(
                    self.kafka,
                    self.database_url,
                    plan_id=plan_id,
                    selection=selection,
                    spans=part.spans,
                    processes=self.processes if part.records > _SMALL else 1,
                    told=lambda done: self.told(f"{done.records:,} of {part.records:,} records read"),
                )
                digest = PlanHash(self.mapping.version, f"{selection.restore} {selection.restore_known}")
                summaries = []
                number = 0
                for name in selection.sinks:
                    making = _Making(
                        planner=self,
                        connection=connection,
                        plan_id=plan_id,
                        selection=selection,
                        sink=self.sinks[name],
                        digest=digest,
                        number=number,
                    )
                    summaries.append(await making.run())
                    number = making.number
            finally:
                await drop_pieces(connection, plan_id)
            return await finish_plan(
                connection,
                plan_id,
                digest=digest.value,
                summaries=summaries,
                notes=_notes(read, part.reaches_back_to),
            )


def _notes(read: Read, reaches_back_to: datetime | None) -> dict[str, object]:
    return {
        "records": read.records,
        "events": read.events,
        "unread": read.unread,
        "unrouted": read.unrouted,
        "log_begins": reaches_back_to.isoformat() if reaches_back_to else "",
    }


@dataclass
class _Making:
    """The part of a plan that is about one sink."""

    planner: Planner
    connection: asyncpg.Connection
    plan_id: int
    selection: Selection
    sink: Sink
    digest: PlanHash
    number: int
    tally: Tally = field(default_factory=Tally)

    @property
    def _look(self) -> Look:
        return Look(crm=self.sink.comparison)

    async def run(self) -> SinkSummary:
        # Two streams are read at once, and rows in between: each on a connection of its own.
        told = await connect(self.planner.database_url)
        rows = await connect(self.planner.database_url)
        try:
            redirects = await self._redirects()
            judge = await self._judge(redirects)
            await rename_people(
                self.connection, self.plan_id, {loser: resolve(loser, redirects) for loser in redirects}
            )
            self.planner.told(f"{self.sink.name}: comparing people")
            async with told.transaction(), rows.transaction():
                await self._contacts(judge, told, rows)
            self.planner.told(f"{self.sink.name}: comparing messages")
            async with told.transaction(), rows.transaction():
                await self._activities(judge, told, rows)
        finally:
            await told.close()
            await rows.close()
        return summarise(self.sink.name, self.tally, self.sink.cost)

    async def _redirects(self) -> dict[UUID, UUID]:
        rows = await self.connection.fetch(
            f"SELECT contact_id, redirect_to FROM {self.sink.name}.contacts WHERE redirect_to IS NOT NULL"  # noqa: S608
        )
        return {row["contact_id"]: row["redirect_to"] for row in rows}

    async def _judge(self, redirects: Mapping[UUID, UUID]) -> Judge:
        planner = self.planner
        merging = await self._plan_merges(redirects)
        return Judge(
            mapping=planner.mapping.contacts[self.sink.name],
            layout=planner.mapping.layout,
            links=planner.links,
            holds=HoldRules.of(create_contacts=planner.sync.create_contacts, ignore=planner.sync.ignore),
            keep_deleted_text=planner.sync.keep_deleted_text,
            restore=self.selection.restore,
            restore_known=self.selection.restore_known,
            redirects=redirects,
            merging=frozenset(merging),
        )

    async def _plan_merges(self, redirects: Mapping[UUID, UUID]) -> set[UUID]:
        """Plan the merges that the tables have not heard of; who is in them."""
        items: list[PlannedItem] = []
        merging: set[UUID] = set()
        for event, position in sorted(
            await merges_of(self.connection, self.plan_id), key=lambda item: str(item[0].loser_id)
        ):
            winner = event.person.contact_id
            if winner is None or resolve(event.loser_id, redirects) == resolve(winner, redirects):
                continue
            merging |= {event.loser_id, winner, *_today((event.loser_id, winner), redirects)}
            items.append(_merge_item(event, position))
        await self._keep(items)
        return merging

    async def _contacts(self, judge: Judge, told: asyncpg.Connection, rows: asyncpg.Connection) -> None:
        source = contact_rows(self.sink.name)
        async for batch in entries(
            source,
            told_items(told, self.plan_id, PERSON, put_together=merge_contact_facts),
            rows=source.all(rows, self.selection.contacts) if self.selection.whole else None,
            lookup=self.connection,
        ):
            said = await self._look.contacts(judge, batch)
            self.tally.look(
                Kind.CONTACT,
                log=sum(entry.told is not None for entry in batch),
                tables=sum(entry.row is not None and entry.row.redirect_to is None for entry in batch),
                crm=_there(said.values()),
            )
            await self._keep(
                [
                    judge.judge_contact(entry.key, entry.row, entry.told, said.get(entry.key))
                    for entry in batch
                ]
            )

    async def _activities(self, judge: Judge, told: asyncpg.Connection, rows: asyncpg.Connection) -> None:
        source = activity_rows(self.sink.name)
        async for everything in entries(
            source,
            told_items(told, self.plan_id, MESSAGE, put_together=merge_activity_facts),
            rows=source.all(rows, self.selection.contacts) if self.selection.whole else None,
            lookup=self.connection,
        ):
            batch = await self._not_forgotten(everything)
            holders = {
                entry.key: judge.holder(entry.row, judge.activity_facts(entry.row, entry.told))
                for entry in batch
            }
            names = sorted({str(holder) for holder in holders.values() if holder is not None})
            people = await contact_rows(self.sink.name).named(self.connection, names)
            acts = await acts_of(self.connection, self.plan_id, self.sink.name, names)
            found = await self._look.lost(
                batch,
                holders,
                people,
                listed=await self._listed([entry.key for entry in batch if entry.row is None]),
            )
            said = await self._look.activities(judge, batch, holders, people, found=found)
            found |= await self._find_elsewhere(batch, said)
            self.tally.look(
                Kind.ACTIVITY,
                log=sum(entry.told is not None for entry in everything),
                tables=sum(entry.row is not None for entry in batch) + len(everything) - len(batch),
                crm=_there(said.values()),
            )
            await self._keep(
                [
                    judge.judge_activity(
                        entry.key,
                        entry.row,
                        entry.told,
                        said.get(entry.key),
                        contact=people.get(str(holders[entry.key])),
                        contact_act=acts.get(str(holders[entry.key])),
                        found=lost if isinstance(lost := found.get(entry.key), str) else None,
                    )
                    for entry in batch
                ]
            )

    async def _not_forgotten(self, batch: Sequence[Entry[ActivityRow]]) -> list[Entry[ActivityRow]]:
        """Without messages that the CRM has and the tables had: they are there, and their facts are known no more."""
        unknown = [entry.key for entry in batch if entry.row is None]
        rows = await self.connection.fetch(
            f"SELECT w.wamid FROM unnest($1::text[]) AS w (wamid) JOIN {self.sink.name}.forgotten f "  # noqa: S608
            "ON f.message = hashtextextended(w.wamid, 0)",
            unknown,
        )
        forgotten = {row["wamid"] for row in rows}
        self.tally.acts[Kind.ACTIVITY, Act.NOTHING] += len(forgotten)
        return [entry for entry in batch if entry.key not in forgotten]

    async def _find_elsewhere(
        self, batch: Sequence[Entry[ActivityRow]], said: Mapping[str, Compared]
    ) -> dict[str, str]:
        """Other records of messages whose own is gone."""
        gone = {
            entry.key: entry.row.record_id
            for entry in batch
            if entry.row is not None and isinstance(said.get(entry.key), Gone)
        }
        return await self._listed(list(gone), but=[record_id for record_id in gone.values() if record_id])

    async def _listed(self, wamids: Sequence[str], *, but: Sequence[str] = ()) -> dict[str, str]:
        """The oldest record that the CRM lists of each of these messages."""
        if not (self.selection.surveyed and wamids):
            return {}
        rows = await self.connection.fetch(
            "SELECT DISTINCT ON (key) key, record_id FROM replay.listed WHERE sink = $1 AND what = 'activity' "
            "AND key = ANY($2::text[]) AND record_id <> ALL($3::text[]) ORDER BY key, made_at, record_id",
            self.sink.name,
            list(wamids),
            list(but),
        )
        return {row["key"]: row["record_id"] for row in rows}

    async def _keep(self, items: Sequence[PlannedItem]) -> None:
        for item in items:
            self.tally.add(item)
            if item.act not in (Act.NOTHING, Act.WAITS, Act.CANNOT):
                self.digest.add(self.sink.name, item)
        self.number = await keep_items(
            self.connection, self.plan_id, self.sink.name, items, after=self.number
        )


def _there(said: Iterable[Compared]) -> int:
    """How many records the CRM has."""
    return sum(isinstance(answer, Same | Differs) for answer in said)


def _today(people: Sequence[UUID], redirects: Mapping[UUID, UUID]) -> set[UUID]:
    return {resolve(person, redirects) for person in people}


def _merge_item(event: ContactMerged, position: Position) -> PlannedItem:
    return PlannedItem(
        kind=Kind.MERGE,
        key=str(event.loser_id),
        act=Act.MERGE,
        reason=f"is {event.person.contact_id}: {event.reason}",
        event=event.model_dump_json().encode(),
        fresh_at=event.at,
        position=position,
    )
