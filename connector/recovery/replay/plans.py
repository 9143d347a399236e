"""Plans as they are kept: `replay.plans` and `replay.items`. One replay at a time has the lock."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import asyncpg

from connector.errors import Rejected
from connector.recovery.replay.items import KEPT, Act, Kind, PlannedItem, SinkSummary
from connector.recovery.replay.selection import Selection
from connector.state.database import Connection, connect, database_errors

_LOCK = "hashtextextended('connector replay', 0)"
_KEEP_DAYS = 7
_COLUMNS = (
    "plan_id",
    "number",
    "sink",
    "kind",
    "key",
    "act",
    "fields",
    "reason",
    "base_version",
    "facts",
    "digest",
    "record_id",
    "event",
    "fresh_at",
    "topic",
    "partition",
    "offset",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """A plan as it is kept. `state`: planned | applying | stopped | done | cancelled."""

    plan_id: int
    hash: str
    sinks: Sequence[str]
    selection: dict[str, Any]
    mapping: str
    verified: bool
    restore: bool
    summary: dict[str, Any]
    state: str
    made_at: datetime
    made_by: str
    act: str | None
    who: str | None
    why: str | None

    @property
    def summaries(self) -> list[SinkSummary]:
        """What it does, by sink."""
        return [SinkSummary(**item) for item in self.summary["sinks"]]


_PLAN = "plan_id, hash, sinks, selection, mapping, verified, restore, summary, state, made_at, made_by, act, who, why"


@asynccontextmanager
async def alone(url: str) -> AsyncIterator[asyncpg.Connection]:
    """Hold the lock of replays on a connection of its own. Raises `Rejected` (cause `replay_running`) when another
    replay is planned or applied at this moment.
    """
    async with database_errors():
        connection = await connect(url)
        try:
            if not await connection.fetchval(f"SELECT pg_try_advisory_lock({_LOCK})"):
                raise await _other(connection)
            yield connection
        finally:
            await connection.close()  # and with it the lock


async def _other(connection: Connection) -> Rejected:
    row = await connection.fetchrow(
        "SELECT state, hash, coalesce(who, made_by) AS who, coalesce(began_at, made_at) AS at FROM replay.plans "
        "WHERE state IN ('planning', 'applying') ORDER BY coalesce(began_at, made_at) DESC LIMIT 1"
    )
    what = "works"
    if row is not None:
        doing = "plans" if row["state"] == "planning" else f"applies {row['hash']}"
        what = f"by {row['who']} {doing} since {row['at']:%H:%M:%S} UTC"
    return Rejected(
        f"Another replay {what}. Nothing was changed.",
        cause="replay_running",
        advice="wait until it is done, or stop it where it runs with Ctrl-C: it can be resumed or cancelled",
    )


async def begin_plan(connection: Connection, selection: Selection, *, mapping: str, who: str) -> int:
    """A plan that is being made. What others left unfinished, and what is a week old, goes. The caller has the lock."""
    await connection.execute(
        "DELETE FROM replay.plans WHERE state = 'planning' "
        "OR state NOT IN ('applying', 'stopped') AND made_at < now() - make_interval(days => $1)",
        _KEEP_DAYS,
        timeout=600,
    )
    plan_id: int = await connection.fetchval(
        "INSERT INTO replay.plans (sinks, selection, mapping, verified, restore, state, made_by) "
        "VALUES ($1, $2, $3, $4, $5, 'planning', $6) RETURNING plan_id",
        list(selection.sinks),
        selection.described(),
        mapping,
        selection.verify,
        selection.restore,
        who,
    )
    return plan_id


async def keep_items(
    connection: asyncpg.Connection, plan_id: int, sink: str, items: Sequence[PlannedItem], *, after: int
) -> int:
    """Keep what a plan lists, numbered from `after` + 1; the last number."""
    kept = [item for item in items if item.act in KEPT]
    await connection.copy_records_to_table(
        "items",
        schema_name="replay",
        columns=_COLUMNS,
        records=[
            (
                plan_id,
                number,
                sink,
                str(item.kind),
                item.key,
                str(item.act),
                list(item.fields),
                item.reason,
                item.base_version,
                item.facts if item.act is not Act.CANNOT else None,
                item.digest,
                item.record_id,
                item.event,
                item.fresh_at,
                item.position.topic if item.position else None,
                item.position.partition if item.position else None,
                item.position.offset if item.position else None,
            )
            for number, item in enumerate(kept, after + 1)
        ],
        timeout=600,
    )
    return after + len(kept)


async def finish_plan(
    connection: Connection,
    plan_id: int,
    *,
    digest: str,
    summaries: Sequence[SinkSummary],
    notes: dict[str, Any],
) -> Plan:
    """The plan is made. The same plan, made before and not begun, gives way to it."""
    async with connection.transaction():
        await connection.execute(
            "DELETE FROM replay.plans WHERE hash = $1 AND state NOT IN ('applying', 'stopped')", digest
        )
        await connection.execute(
            "UPDATE replay.plans SET hash = $2, summary = $3, state = 'planned', made_at = now() WHERE plan_id = $1",
            plan_id,
            digest,
            {"sinks": [asdict(summary) for summary in summaries], **notes},
        )
    return await load_plan(connection, digest)


async def load_plan(connection: Connection, named: str) -> Plan:
    """The plan of a hash, or of its beginning. Raises `Rejected` (cause `unknown_plan`)."""
    rows = await connection.fetch(
        f"SELECT {_PLAN} FROM replay.plans WHERE hash LIKE $1 || '%' AND hash IS NOT NULL LIMIT 2",  # noqa: S608
        named.strip().replace("%", "").replace("_", ""),
    )
    if not named.strip() or len(rows) != 1:
        why = "names several plans" if len(rows) > 1 else "is no plan that is kept"
        raise Rejected(
            f"{named or 'An empty hash'} {why}. Nothing was changed.",
            cause="unknown_plan",
            advice="connector replay --list shows the plans; without --apply a new one is made",
        )
    return Plan(**dict(rows[0]))


async def list_plans(connection: Connection) -> list[Plan]:
    """The plans of the last days, newest first."""
    rows = await connection.fetch(
        f"SELECT {_PLAN} FROM replay.plans WHERE hash IS NOT NULL ORDER BY plan_id DESC"  # noqa: S608
    )
    return [Plan(**dict(row)) for row in rows]


@dataclass(frozen=True, kw_only=True, slots=True)
class ListedItem:
    """One item as people read it."""

    sink: str
    kind: str
    key: str
    act: str
    fields: Sequence[str]
    reason: str
    state: str


_ITEM = "sink, kind, key, act, fields, reason, state"


async def listed_items(connection: Connection, plan_id: int, *, most: int) -> list[ListedItem]:
    """The first items of a plan, at most so many."""
    rows = await connection.fetch(
        f"SELECT {_ITEM} FROM replay.items WHERE plan_id = $1 ORDER BY number LIMIT $2",  # noqa: S608 - ours
        plan_id,
        most,
    )
    return [ListedItem(**dict(row)) for row in rows]


async def each_item(connection: Connection, plan_id: int) -> AsyncIterator[ListedItem]:
    """Every item of a plan in its order. In a transaction of the caller's."""
    query = f"SELECT {_ITEM} FROM replay.items WHERE plan_id = $1 ORDER BY number"  # noqa: S608
    async for row in connection.cursor(query, plan_id, prefetch=1_000):
        yield ListedItem(**dict(row))


async def count_items(connection: Connection, plan_id: int) -> int:
    """How many items a plan lists."""
    count: int = await connection.fetchval("SELECT count(*) FROM replay.items WHERE plan_id = $1", plan_id)
    return count


async def acts_of(connection: Connection, plan_id: int, sink: str, contacts: Sequence[str]) -> dict[str, Act]:
    """What a plan does with these people, as far as it is made."""
    rows = await connection.fetch(
        "SELECT key, act FROM replay.items WHERE plan_id = $1 AND sink = $2 AND kind = $3 AND key = ANY($4::text[])",
        plan_id,
        sink,
        str(Kind.CONTACT),
        list(contacts),
    )
    return {row["key"]: Act(row["act"]) for row in rows}
