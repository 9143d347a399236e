"""The first half of a plan: records of the log → pieces of facts, in a table beside the plan.

A piece is what one batch says about one person or message. Pieces are only appended, in any order; sorted by key they
are put together one item after the other (desired.py). So the memory that a plan takes does not grow with the log.
Several processes read, each its own partitions.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from multiprocessing import get_context
from typing import Any
from uuid import UUID

import asyncpg
from aiokafka import TopicPartition

from connector.errors import Rejected, Transient
from connector.events import ContactMerged, ConversationEvent
from connector.recovery.log_stages import SINKS
from connector.recovery.replay.selection import Selection
from connector.recovery.replay.updates import UpdateReader
from connector.settings import KafkaSettings
from connector.state.database import Connection, connect, database_errors
from connector.state.offsets import Place
from connector.state.standing import LogSpan
from connector.streams.codec import decode
from connector.streams.log_view import log_reader
from connector.streams.redriven import is_for_any
from connector.sync.core.fold import Position, gather
from connector.topics import CONVERSATION_EVENTS

MERGE, PERSON, MESSAGE = 0, 1, 2
"""Kinds of pieces. A merge is kept as its record: it is folded as such, before anything else."""

_BATCH = 4_000  # records; what is put together in memory
_POLL_MS = 1_000
_SILENCE = 30.0  # seconds without a record before the end
_COLUMNS = ("kind", "key", "facts", "event", "fresh_at", "topic", "partition", "offset", "has_message")


@dataclass(frozen=True, kw_only=True, slots=True)
class Read:
    """What was read: records, events among them that the selection takes, and those that cannot be used."""

    records: int = 0
    events: int = 0
    unread: int = 0
    """Records that today's code does not understand."""
    unrouted: int = 0
    """Updates whose message nobody was found for when they came."""

    def __add__(self, other: Read) -> Read:
        return Read(
            records=self.records + other.records,
            events=self.events + other.events,
            unread=self.unread + other.unread,
            unrouted=self.unrouted + other.unrouted,
        )


def pieces_table(plan_id: int) -> str:
    """The table of a plan's pieces."""
    return f"replay.pieces_{int(plan_id)}"


async def create_pieces(connection: Connection, plan_id: int) -> None:
    """Make the table, and drop those of plans that were never finished. The caller holds the lock of replays."""
    leftovers = await connection.fetch(
        "SELECT tablename FROM pg_tables WHERE schemaname = 'replay' AND tablename LIKE 'pieces\\_%'"
    )
    for row in leftovers:
        await connection.execute(f"DROP TABLE replay.{row['tablename']}")
    # By bytes, as Python compares; lost with a crash of the server, like the plan that it is for.
    await connection.execute(
        f"CREATE UNLOGGED TABLE {pieces_table(plan_id)} (kind smallint NOT NULL, "
        'key text COLLATE "C" NOT NULL, facts jsonb NOT NULL, event bytea, fresh_at timestamptz NOT NULL, '
        'topic text NOT NULL, partition int NOT NULL, "offset" bigint NOT NULL, has_message boolean NOT NULL)'
    )


async def drop_pieces(connection: Connection, plan_id: int) -> None:
    """The plan is made, or given up."""
    await connection.execute(f"DROP TABLE IF EXISTS {pieces_table(plan_id)}")


async def read_slice(
    kafka: KafkaSettings,
    database_url: str,
    *,
    plan_id: int,
    selection: Selection,
    spans: Mapping[Place, LogSpan],
    processes: int,
    told: Callable[[Read], None] = lambda _: None,
) -> Read:
    """Read every record of `spans` into the plan's pieces. `processes`: at most; `told` hears of each part's end.

    Raises `Transient` when the broker or the database is away; the pieces are then worth nothing.
    """
    parts = _shares(spans, processes)
    if len(parts) <= 1:
        total = Read()
        for part in parts:
            total = await _read(kafka, database_url, plan_id, selection, part)
            told(total)
        return total
    loop = asyncio.get_running_loop()
    total = Read()
    # A process that begins anew inherits no sockets and threads of ours.
    with ProcessPoolExecutor(max_workers=len(parts), mp_context=get_context("spawn")) as pool:
        running = [
            loop.run_in_executor(pool, _read_in_process, kafka, database_url, plan_id, selection, part)
            for part in parts
        ]
        for done in asyncio.as_completed(running):
            total += await done
            told(total)
    return total


def _shares(spans: Mapping[Place, LogSpan], processes: int) -> list[dict[Place, LogSpan]]:
    """Partitions in parts of about the same number of records."""
    shares: list[dict[Place, LogSpan]] = [{} for _ in range(max(1, min(processes, len(spans))))]
    sizes = [0] * len(shares)
    for place, span in sorted(spans.items(), key=lambda item: item[1].begin - item[1].end):
        smallest = sizes.index(min(sizes))
        shares[smallest][place] = span
        sizes[smallest] += span.end - span.begin
    return [share for share in shares if share]


def _read_in_process(
    kafka: KafkaSettings,
    database_url: str,
    plan_id: int,
    selection: Selection,
    spans: Mapping[Place, LogSpan],
) -> Read:
    return asyncio.run(_read(kafka, database_url, plan_id, selection, spans))


async def _read(
    kafka: KafkaSettings,
    database_url: str,
    plan_id: int,
    selection: Selection,
    spans: Mapping[Place, LogSpan],
) -> Read:
    total = Read()
    async with database_errors():
        connection = await connect(database_url)
        try:
            reader = (
                _EventReader() if selection.topic == CONVERSATION_EVENTS.name else UpdateReader(connection)
            )
            async for batch in _batches(kafka, spans):
                events, unread, unrouted = await reader.events(batch)
                chosen = [item for item in events if _is_chosen(item[0], selection)]
                await _keep(connection, plan_id, chosen)
                total += Read(records=len(batch), events=len(chosen), unread=unread, unrouted=unrouted)
        finally:
            await connection.close()
    return total


async def _batches(kafka: KafkaSettings, spans: Mapping[Place, LogSpan]) -> AsyncIterator[list[Any]]:
    """The records of the spans, some thousand at once, as fast as the broker gives them."""
    async with log_reader(kafka, group=None, client="connector-replay") as consumer:
        ends = {TopicPartition(*place): span.end for place, span in spans.items()}
        consumer.assign(list(ends))
        for place, span in spans.items():
            consumer.seek(TopicPartition(*place), span.begin)
        batch: list[Any] = []
        quiet_since: float | None = None
        clock = asyncio.get_running_loop().time
        while ends:
            found = await consumer.getmany(*ends, timeout_ms=_POLL_MS, max_records=_BATCH)
            for partition, records in found.items():
                batch.extend(record for record in records if record.offset < ends[partition])
            for partition in list(ends):
                if await consumer.position(partition) >= ends[partition]:
                    del ends[partition]
                    consumer.pause(partition)
            if found:
                quiet_since = None
            elif quiet_since is None:
                quiet_since = clock()
            elif clock() - quiet_since > _SILENCE:
                raise Transient(
                    "Kafka gave no record for half a minute, before the end of the slice.",
                    advice="check the brokers",
                )
            if len(batch) >= _BATCH:
                yield batch
                batch = []
        if batch:
            yield batch


_SINK_STAGES = frozenset(f"sync-{sink}" for sink in SINKS)


class _EventReader:
    """Reads records of `conversation.events`."""

    async def events(
        self, records: Sequence[Any]
    ) -> tuple[list[tuple[ConversationEvent, Position]], int, int]:
        """The events, and how many records are no events to today's code."""
        events: list[tuple[ConversationEvent, Position]] = []
        unread = 0
        for record in records:
            if not is_for_any(_SINK_STAGES, record.headers):
                continue  # put back for another stage, perhaps with another value
            try:
                event = decode(CONVERSATION_EVENTS, record.value)
            except Rejected:
                unread += 1
                continue
            events.append((event, Position(record.topic, record.partition, record.offset)))
        return events, unread, 0


def _is_chosen(event: ConversationEvent, selection: Selection) -> bool:
    if selection.event_types and event.type not in selection.event_types:
        return False
    if selection.contacts is None:
        return True
    loser = event.loser_id if isinstance(event, ContactMerged) else None
    return event.person.contact_id in selection.contacts or loser in selection.contacts


async def _keep(
    connection: asyncpg.Connection, plan_id: int, events: Sequence[tuple[ConversationEvent, Position]]
) -> None:
    if not events:
        return
    schema, table = pieces_table(plan_id).split(".")
    await connection.copy_records_to_table(
        table, schema_name=schema, columns=_COLUMNS, records=_rows(events), timeout=600
    )


def _rows(events: Sequence[tuple[ConversationEvent, Position]]) -> Iterable[tuple[Any, ...]]:
    people, messages = gather(events, {})
    begin = events[0][1]
    for contact_id, person in people.items():
        where = (begin.topic, begin.partition, begin.offset)
        yield (PERSON, str(contact_id), person.facts, None, person.fresh_at, *where, False)
    for wamid, news in messages.items():
        where = (news.position.topic, news.position.partition, news.position.offset)
        yield (MESSAGE, wamid, news.facts, None, news.fresh_at, *where, news.has_message)
    for event, position in events:
        if isinstance(event, ContactMerged):
            where = (position.topic, position.partition, position.offset)
            record = event.model_dump_json().encode()
            yield (MERGE, str(event.loser_id), {}, record, event.at, *where, False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """All that the slice says about one person or message."""

    key: str
    facts: dict[str, Any]
    fresh_at: datetime
    position: Position


async def merges_of(connection: Connection, plan_id: int) -> list[tuple[ContactMerged, Position]]:
    """The merges of the slice, as they were told."""
    rows = await connection.fetch(
        f'SELECT DISTINCT ON (topic, partition, "offset") event, topic, partition, "offset" '  # noqa: S608 - ours
        f"FROM {pieces_table(plan_id)} WHERE kind = $1",
        MERGE,
        timeout=600,
    )
    return [
        (
            decode(CONVERSATION_EVENTS, row["event"]),
            Position(row["topic"], row["partition"], row["offset"]),
        )
        for row in rows
    ]


async def rename_people(connection: Connection, plan_id: int, names: Mapping[UUID, UUID]) -> None:
    """Give the pieces of people who were merged to whom they are today."""
    if names:
        await connection.execute(
            f"UPDATE {pieces_table(plan_id)} AS p SET key = n.winner FROM unnest($1::text[], $2::text[]) "  # noqa: S608
            "AS n (loser, winner) WHERE p.kind = $3 AND p.key = n.loser",
            [str(loser) for loser in names],
            [str(winner) for winner in names.values()],
            PERSON,
            timeout=600,
        )


async def told_items(
    connection: Connection,
    plan_id: int,
    kind: int,
    *,
    put_together: Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]],
) -> AsyncIterator[Told]:
    """What the slice says, one item after the other, by key. In a transaction of the caller's."""
    rows = connection.cursor(
        f'SELECT key, facts, fresh_at, topic, partition, "offset", has_message FROM {pieces_table(plan_id)} '  # noqa: S608
        'WHERE kind = $1 ORDER BY key, has_message, "offset"',
        kind,
        prefetch=2_000,
        timeout=3_600,
    )
    item: Told | None = None
    async for row in rows:
        position = Position(row["topic"], row["partition"], row["offset"])
        if item is not None and item.key == row["key"]:
            item = Told(
                key=item.key,
                facts=put_together(item.facts, row["facts"]),
                fresh_at=max(item.fresh_at, row["fresh_at"]),
                position=position,
            )
            continue
        if item is not None:
            yield item
        item = Told(key=row["key"], facts=row["facts"], fresh_at=row["fresh_at"], position=position)
    if item is not None:
        yield item
