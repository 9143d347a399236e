"""Keeps a role's tables whole: notices that the database is older than the log knows, and has what lacks read again.

A database from a backup, or a standby that was promoted, lacks what was folded since, and so do the consumer group's
offsets not help: they are ahead. So each role compares the two, at its start, whenever the database turns out to be
another one or was started anew, when a fold notices a gap (connector/state/offsets.py), and once a minute.

What lacks is read again by the stage itself: its group is set back to what the tables hold (harness.py), each member
for its own partitions. Until the tables hold the log as it was when the gap was noticed, `must_be_whole` lets nobody
write to a CRM, in any process: the note is in the database itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg
import structlog

from connector.errors import ConnectorError, TablesLost, Terminal, Transient
from connector.settings import KafkaSettings
from connector.state.database import Connection, transaction
from connector.state.offsets import HasPosition, Place, load_offsets, store_offsets
from connector.state.standing import LogSpan, Standing, compare, look, may_reopen, open_targets, reopen
from connector.state.whole import Token
from connector.streams.app import group_name
from connector.streams.log_view import read_spans
from connector.telemetry.health import StageHealth
from connector.topics import Topic

_LOOK_EVERY = 1.0  # seconds between looks at the role's own row
_COMPARE_EVERY = 60.0  # seconds between comparisons with the log when nothing gives cause for one

_log = structlog.get_logger(__name__)


_Told = Callable[[Connection, Collection[Place]], Awaitable[Mapping[Place, LogSpan]]]


@dataclass(frozen=True, kw_only=True, slots=True)
class RoleTables:
    """The tables of one role. `sources`: stage (its group) → the topic that it folds into them.

    `told_by`: a topic that says what the role decided before, to be read first when its tables are behind.
    `emptied`: what a rebuild empties, `kept` what it resets instead: table → statement.
    """

    role: str
    schema: str
    sources: Mapping[str, Topic]
    told_by: Topic | None = None
    emptied: Sequence[str] = ()
    kept: Sequence[str] = ()

    @property
    def rebuild(self) -> str:
        """The command that makes them anew from the log."""
        return f"connector state rebuild --role {self.role}"

    def groups(self, settings: KafkaSettings) -> dict[str, str | None]:
        """Full topic name → full name of the group."""
        return {
            topic.full_name(settings.topic_prefix): group_name(settings, stage)
            for stage, topic in self.sources.items()
        }


async def _nothing(_: asyncpg.Pool, __: datetime) -> None:
    """Nothing follows from having been behind."""


async def _tell_nothing(_: Connection, __: Collection[Place]) -> dict[Place, LogSpan]:
    """No other topic has to be read first."""
    return {}


class Completeness:
    """One role's tables in this process.

    `settle`: seconds for which a call that the role made may still arrive. `caught_up` is awaited once everything is
    folded, before the tables count as whole. `before_catching_up`: what else has to be read, noted beside the gap.
    """

    def __init__(
        self,
        tables: RoleTables,
        *,
        settings: KafkaSettings,
        pool: asyncpg.Pool,
        health: StageHealth,
        settle: float = 0.0,
        caught_up: Callable[[asyncpg.Pool, datetime], Awaitable[None]] = _nothing,
        before_catching_up: _Told = _tell_nothing,
    ) -> None:
        self.tables = tables
        self.behind = False
        self._settings = settings
        self._pool = pool
        self._health = health
        self._settle = settle
        self._caught_up = caught_up
        self._before = before_catching_up
        self._known = ""  # the tables that were compared with the log
        self._ask = asyncio.Event()
        self._compared_at = 0.0
        self._missing = 0

    def doubt(self) -> None:
        """Something gives cause to compare the tables with the log."""
        self._known = ""
        self._ask.set()

    async def must_be_whole(self, connection: Connection, *, since: Token | None = None) -> Token:
        """See `Wholeness`."""
        stands = await self._known_standing(connection)
        if stands.behind_since is not None:
            raise Transient(self._catching_up(stands), retry_after=_LOOK_EVERY)
        if since is not None and stands.token != since:
            raise Transient("The database was restored during this work; what it did is looked up again.")
        return stands.token

    async def must_have_been_told(self, connection: Connection) -> bool:
        """Raise `Transient` until the role's earlier decisions have been read from `told_by`; then whether it catches up."""
        stands = await self._known_standing(connection)
        topic = self.tables.told_by
        if stands.behind_since is None or topic is None:
            return stands.behind_since is not None
        name = topic.full_name(self._settings.topic_prefix)
        open_places = await open_targets(connection, self.tables.schema, name)
        if open_places:
            left = sum(until - begin for begin, until in open_places.values())
            raise Transient(
                f"The tables in {self.tables.schema} were restored; {left:,} records of {name} are read first, "
                "so that everybody keeps the contact they have.",
                retry_after=_LOOK_EVERY / 2,
            )
        return True

    async def _known_standing(self, connection: Connection) -> Standing:
        stands = await look(connection, self.tables.schema)
        if stands.identity != self._known or not stands.compared:
            self._ask.set()
            raise Transient(
                f"The tables in {self.tables.schema} are being compared with the log.", retry_after=0.2
            )
        return stands

    def _catching_up(self, stands: Standing) -> str:
        records = (
            f"catching up: {stands.missing:,} records"
            if stands.missing
            else "caught up, waiting for late calls"
        )
        return f"The tables in {self.tables.schema} are behind the log: {stands.reason}; {records}."

    async def to_read_again(self, topic: str, committed: Mapping[int, int]) -> dict[int, int]:
        """Partition → the offset from which a member of the group has to read again. `committed`: its position.

        Raises `Transient` and `Terminal` as the database does.
        """
        if not self.behind or not committed:
            return {}
        async with transaction(self._pool) as connection:
            stands = await look(connection, self.tables.schema)
            if stands.behind_since is None:
                return {}
            stored = await load_offsets(connection, schema=self.tables.schema)
        return {
            partition: stored.get(Place(topic, partition), 0)
            for partition, position in committed.items()
            if stored.get(Place(topic, partition), 0) < position
        }

    async def pass_over(self, records: Sequence[HasPosition]) -> None:
        """Records that the stage fails on, or is not shown, are such that its tables have seen all they ever will of."""
        async with transaction(self._pool) as connection:
            await store_offsets(connection, schema=self.tables.schema, offsets=records)

    async def watch(self, *, stop: asyncio.Event) -> None:
        """Look every second until `stop`. Never raises for what database or broker do; the health says it."""
        while not stop.is_set():
            self._ask.clear()
            try:
                await self.look()
            except Terminal as error:
                self._health.line_stopped(reason=error.message, advice=error.advice)
            except ConnectorError as error:
                self._health.waiting("tables", reason=error.message, advice=error.advice)
            else:
                self._health.recovered("tables")
                self._health.line_resumed()
                self._health.running()
            await self._rest(stop)

    async def look(self) -> None:
        """One look: compare where there is cause, and declare the tables whole when they are.

        Raises `Transient` when database or broker are away, `TablesLost` when a person has to decide.
        """
        try:
            async with transaction(self._pool) as connection:
                stands = await look(connection, self.tables.schema)
        except Terminal as error:
            await self._told_apart(error)
            raise
        due = time.monotonic() - self._compared_at > _COMPARE_EVERY
        if stands.identity != self._known or not stands.compared or due:
            stands = await self._compare()
        if stands.behind_since is not None:
            async with transaction(self._pool) as connection:
                ready = await may_reopen(connection, self.tables.schema)
            if ready:
                stands = await self._reopen(stands)
        self._show(stands)

    async def _compare(self) -> Standing:
        log = await read_spans(self._settings, self.tables.groups(self._settings))
        async with transaction(self._pool) as connection:
            before = await look(connection, self.tables.schema)
            stands = await compare(
                connection,
                self.tables.schema,
                log=log,
                settle=self._settle,
                rebuild=self.tables.rebuild,
                told=self._before,
            )
        if stands.generation != before.generation:
            _log.warning("tables are behind", schema=self.tables.schema, reason=stands.reason)
        self._known = stands.identity
        self._compared_at = time.monotonic()
        return stands

    async def _reopen(self, stands: Standing) -> Standing:
        assert stands.behind_since is not None
        await self._caught_up(self._pool, stands.behind_since)
        async with transaction(self._pool) as connection:
            if await reopen(connection, self.tables.schema, generation=stands.generation):
                _log.info("tables are whole again", schema=self.tables.schema)
            return await look(connection, self.tables.schema)

    async def _told_apart(self, error: Terminal) -> None:
        """Tables that are not there: never made, or lost? The group knows."""
        log = await read_spans(self._settings, self.tables.groups(self._settings))
        if any(span.committed for span in log.values()):
            raise TablesLost(
                f"{error.message} The role has folded records into its tables before: they were lost.",
                advice=f"check CONNECTOR_DATABASE__URL, or restore a backup, or run: {self.tables.rebuild}",
            ) from error

    def _show(self, stands: Standing) -> None:
        self.behind = stands.behind_since is not None
        about: dict[str, Any] = {"tables": self.tables.schema}
        if self.behind:
            about["catching_up"] = {"records": stands.missing, "reason": stands.reason}
            self._health.about = about
            raise Transient(self._catching_up(stands))
        self._health.about = about

    async def _rest(self, stop: asyncio.Event) -> None:
        stopping = asyncio.create_task(stop.wait())
        asking = asyncio.create_task(self._ask.wait())
        try:
            await asyncio.wait({stopping, asking}, timeout=_LOOK_EVERY, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (stopping, asking):
                task.cancel()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), 0.1)  # an impatient caller must not make this a busy loop
