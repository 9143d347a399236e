"""Applying a plan: exactly its items, some at a time, under the live stream; resumable, and cancellable.

| a crash after | leaves                                                                             |
|---------------|------------------------------------------------------------------------------------|
| it began      | the plan `applying`, nothing marked: `--resume` goes on, `--cancel` ends it         |
| a batch       | its items ahead and noted as marked, in one commit; the writer writes them anyway  |
| the last one  | everything marked; `--resume` only waits until it is written                       |
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from connector.errors import Rejected, Transient
from connector.recovery.replay.items import Act, Kind
from connector.recovery.replay.marking import OpenItem, mark
from connector.recovery.replay.plans import Plan, alone, load_plan
from connector.recovery.replay.standing import must_be_whole
from connector.state.database import Connection
from connector.sync.core.fold import Position
from connector.sync.folding import SinkTables
from connector.sync.rest import rest

PLAN_LIFE = timedelta(hours=24)
"""After that a plan has to be made again: a CRM may say anything by then."""

_BATCH = 500
_MOST_MARKED = (
    5_000  # items ahead at once: past its bound of waiting items the role would stop folding what is live
)
_ATTEMPTS = 60  # at one batch, that meets what others store or send
_LOOK_EVERY = 0.5  # seconds
_SHOWN = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """How far a plan is applied, in items. `left`: not begun; `marked`: ahead, and not written yet."""

    left: int
    marked: int
    written: int
    refused: int
    held: int
    stale: int
    taken_back: int

    @property
    def open(self) -> int:
        """Items that something is still to happen to."""
        return self.left + self.marked

    def __str__(self) -> str:
        parts = [
            f"{self.written:,} written",
            f"{self.marked:,} waiting for the writer",
            f"{self.left:,} to go",
        ]
        for count, what in (
            (self.refused, "refused by the CRM"),
            (self.held, "held"),
            (self.stale, "changed meanwhile and skipped"),
            (self.taken_back, "taken back"),
        ):
            if count:
                parts.append(f"{count:,} {what}")
        return ", ".join(parts)


@dataclass(frozen=True, kw_only=True, slots=True)
class Stale:
    """An item that is not any more as the plan found it."""

    sink: str
    kind: str
    key: str
    planned_on: int | None
    now: int | None

    def __str__(self) -> str:
        if self.now is None:
            return f"{self.kind} {self.key} is gone from {self.sink}'s tables"
        if self.planned_on is None:
            return f"{self.kind} {self.key} came into {self.sink}'s tables"
        return f"{self.kind} {self.key} of {self.sink} went from version {self.planned_on} to {self.now}"


@dataclass(frozen=True, kw_only=True)
class Applier:
    """What plans are applied with. `tables`: of each sink. `mapping`: the version of today's."""

    database_url: str
    mapping: str
    tables: dict[str, SinkTables]
    told: Callable[[Progress], None] = field(default=lambda _: None)

    async def begin(
        self, named: str, *, act: str, who: str, why: str, now: datetime, skip_stale: bool = False
    ) -> Plan:
        """Begin to apply a plan; nothing is marked yet.

        Raises `Rejected`: it is unknown, was applied, is stale (says what changed), or another replay is not at its
        end.
        """
        async with alone(self.database_url) as connection:
            plan = await load_plan(connection, named)
            await _must_be_the_only_one(connection, plan)
            if plan.state != "planned":
                raise _not_to_be_begun(plan)
            for sink in plan.sinks:
                await must_be_whole(connection, sink)
            await self._must_be_fresh(connection, plan, now=now, skip_stale=skip_stale)
            await connection.execute(
                "UPDATE replay.plans SET state = 'applying', act = $2, who = $3, why = $4, began_at = now() "
                "WHERE plan_id = $1",
                plan.plan_id,
                act,
                who,
                why,
            )
            return await load_plan(connection, plan.hash)

    async def go_on(self, named: str, *, stop: asyncio.Event) -> Progress:
        """Mark what is left and wait until all is written, or `stop`. Raises the connector's errors; what was marked
        stays marked then, and the plan is shown as unfinished.
        """
        async with alone(self.database_url) as connection:
            plan = await load_plan(connection, named)
            if plan.state not in ("applying", "stopped"):
                raise _not_to_be_resumed(plan)
            await _set_state(connection, plan, "applying")
            try:
                progress = await self._until_written(connection, plan, stop)
            except BaseException:
                await asyncio.shield(_set_state(connection, plan, "stopped"))
                raise
            await _set_state(connection, plan, "stopped" if progress.open else "done")
            return progress

    async def cancel(self, named: str) -> Progress:
        """End a plan that was begun: what is not marked never is, and what is marked is taken back where that loses
        nothing: a rewrite that nobody has begun to send. The rest is written, or was.
        """
        async with alone(self.database_url) as connection:
            plan = await load_plan(connection, named)
            if plan.state not in ("planned", "applying", "stopped"):
                raise Rejected(
                    f"The plan {plan.hash} is {plan.state}. Nothing was changed.",
                    cause="plan_over",
                    advice="connector replay --list",
                )
            async with connection.transaction():
                await connection.execute(
                    "UPDATE replay.items SET state = 'taken back' "
                    "WHERE plan_id = $1 AND state = 'planned' AND act <> 'cannot'",
                    plan.plan_id,
                    timeout=600,
                )
            for sink in plan.sinks:
                await _settle(connection, plan, sink)
                await _take_back(connection, plan, sink)
            await _set_state(connection, plan, "cancelled")
            return await progress_of(connection, plan.plan_id)

    async def _must_be_fresh(
        self, connection: Connection, plan: Plan, *, now: datetime, skip_stale: bool
    ) -> None:
        if plan.mapping != self.mapping:
            raise _stale(plan, f"it was made with the mapping {plan.mapping}, and today's is {self.mapping}")
        if now - plan.made_at > PLAN_LIFE:
            raise _stale(plan, f"it was made at {plan.made_at:%Y-%m-%d %H:%M} UTC, more than a day ago")
        if skip_stale:
            return
        changed = await stale_items(connection, plan)
        if changed:
            shown = "; ".join(str(item) for item in changed[:_SHOWN])
            more = f"; and {len(changed) - _SHOWN:,} more" if len(changed) > _SHOWN else ""
            raise _stale(
                plan, f"{len(changed):,} of its items changed since: {shown}{more}", or_else="--skip-stale"
            )

    async def _until_written(self, connection: Connection, plan: Plan, stop: asyncio.Event) -> Progress:
        while True:
            for sink in plan.sinks:
                await _settle(connection, plan, sink)
            progress = await progress_of(connection, plan.plan_id)
            while progress.left and progress.marked < _MOST_MARKED and not stop.is_set():
                await self._mark_some(connection, plan)
                progress = await progress_of(connection, plan.plan_id)
            self.told(progress)
            if not progress.open or stop.is_set():
                return progress
            await rest(_LOOK_EVERY, stop)

    async def _mark_some(self, connection: Connection, plan: Plan) -> None:
        """The next items of one kind, in one transaction, which is repeated when it meets another's."""
        for attempt in range(_ATTEMPTS):
            try:
                async with connection.transaction():
                    await self._mark(connection, plan)
                return
            except Transient as error:
                if attempt + 1 == _ATTEMPTS:
                    raise
                await asyncio.sleep(error.retry_after or 0.05)

    async def _mark(self, connection: Connection, plan: Plan) -> None:
        rows = await connection.fetch(
            'SELECT number, sink, kind, key, act, fields, base_version, facts, digest, record_id, event, fresh_at, topic, partition, "offset" '
            "FROM replay.items WHERE plan_id = $1 AND state = 'planned' AND act <> 'cannot' ORDER BY number LIMIT $2",
            plan.plan_id,
            _BATCH,
        )
        sink, kind = rows[0]["sink"], rows[0]["kind"]
        items = [_open_item(row) for row in rows if (row["sink"], row["kind"]) == (sink, kind)]
        await must_be_whole(connection, sink)
        marked = await mark(connection, sink, items, tables=self.tables[sink], now=datetime.now(UTC))
        await connection.execute(
            "UPDATE replay.items AS t SET state = n.state, marked_version = n.version "
            "FROM unnest($2::bigint[], $3::bigint[], $4::text[]) AS n (number, version, state) "
            "WHERE t.plan_id = $1 AND t.number = n.number",
            plan.plan_id,
            [item.number for item in items],
            [marked.get(item.number) for item in items],
            [_state_of(item, marked) for item in items],
        )


def _state_of(item: OpenItem, marked: dict[int, int]) -> str:
    if item.number not in marked:
        return "stale"
    # What a merge changes are other items, which the plan does not list.
    return "written" if item.kind is Kind.MERGE else "marked"


def _open_item(row: Any) -> OpenItem:
    placed = row["topic"] is not None
    return OpenItem(
        number=row["number"],
        kind=Kind(row["kind"]),
        key=row["key"],
        act=Act(row["act"]),
        fields=row["fields"],
        base_version=row["base_version"],
        facts=row["facts"],
        digest=row["digest"],
        record_id=row["record_id"],
        event=row["event"],
        fresh_at=row["fresh_at"],
        position=Position(row["topic"], row["partition"], row["offset"]) if placed else None,
    )


_ROWS = {
    Kind.CONTACT: ("contacts", "contact_id", "uuid"),
    Kind.ACTIVITY: ("activities", "wamid", "text"),
}


async def stale_items(connection: Connection, plan: Plan) -> Sequence[Stale]:
    """Items that are not any more as the plan found them."""
    found: list[Stale] = []
    for sink in plan.sinks:
        for kind, (table, key, key_type) in _ROWS.items():
            rows = await connection.fetch(
                f"SELECT i.key, i.base_version, t.desired_version FROM replay.items i "  # noqa: S608 - names are ours
                f"LEFT JOIN {sink}.{table} t ON t.{key} = i.key::{key_type} "
                "WHERE i.plan_id = $1 AND i.sink = $2 AND i.kind = $3 AND i.act <> 'cannot' AND i.state = 'planned' "
                "AND i.base_version IS DISTINCT FROM t.desired_version ORDER BY i.number",
                plan.plan_id,
                sink,
                str(kind),
                timeout=600,
            )
            found += [
                Stale(
                    sink=sink,
                    kind=str(kind),
                    key=row["key"],
                    planned_on=row["base_version"],
                    now=row["desired_version"],
                )
                for row in rows
            ]
    return found


async def progress_of(connection: Connection, plan_id: int) -> Progress:
    """How far a plan is applied."""
    rows = await connection.fetch(
        "SELECT state, count(*) AS items FROM replay.items WHERE plan_id = $1 AND act <> 'cannot' GROUP BY state",
        plan_id,
    )
    items = {row["state"]: row["items"] for row in rows}
    return Progress(
        left=items.get("planned", 0),
        marked=items.get("marked", 0),
        written=items.get("written", 0),
        refused=items.get("refused", 0),
        held=items.get("held", 0),
        stale=items.get("stale", 0),
        taken_back=items.get("taken back", 0),
    )


async def _settle(connection: Connection, plan: Plan, sink: str) -> None:
    """Note what became of marked items."""
    for kind, (table, key, key_type) in _ROWS.items():
        merged = "OR t.redirect_to IS NOT NULL" if kind is Kind.CONTACT else ""
        await connection.execute(
            f"UPDATE replay.items AS i SET state = CASE WHEN t.written_version >= i.marked_version THEN 'written' "  # noqa: S608
            f"WHEN t.problem IS NOT NULL THEN 'refused' ELSE 'held' END FROM {sink}.{table} t "
            "WHERE i.plan_id = $1 AND i.sink = $2 AND i.kind = $3 AND i.state = 'marked' AND i.act <> 'cannot' "
            f"AND t.{key} = i.key::{key_type} AND (t.written_version >= i.marked_version OR t.problem IS NOT NULL "
            f"OR t.held IS NOT NULL AND t.held <> 'lookup' {merged})",
            plan.plan_id,
            sink,
            str(kind),
            timeout=600,
        )


async def _take_back(connection: Connection, plan: Plan, sink: str) -> None:
    """Marked rewrites that nobody has begun to send are as if they had never been asked for."""
    for kind, (table, key, key_type) in _ROWS.items():
        doubt = "AND t.intent_at IS NULL" if kind is Kind.ACTIVITY else ""
        async with connection.transaction():
            await connection.execute(
                # Contact rows first, in the order of their keys, as everybody locks.
                f"WITH locked AS (SELECT c.contact_id FROM {sink}.contacts c WHERE c.contact_id IN ("  # noqa: S608
                f"SELECT t.contact_id FROM replay.items i JOIN {sink}.{table} t ON t.{key} = i.key::{key_type} "
                "WHERE i.plan_id = $1 AND i.sink = $2 AND i.kind = $3 AND i.state = 'marked' AND i.act = 'change' "
                "AND i.facts IS NULL) AND c.lease_until <= now() ORDER BY c.contact_id FOR UPDATE), "
                f"back AS (UPDATE {sink}.{table} AS t SET written_version = t.desired_version, waiting_since = NULL "
                f"FROM replay.items i, locked l WHERE i.plan_id = $1 AND i.sink = $2 AND i.kind = $3 "
                f"AND i.state = 'marked' AND i.act = 'change' AND i.facts IS NULL AND t.{key} = i.key::{key_type} "
                "AND l.contact_id = t.contact_id AND t.desired_version = i.marked_version "
                # A row whose record was lost meanwhile has more to be told than what was marked.
                f"AND t.written_version = i.marked_version - 1 {doubt} RETURNING i.number) "
                "UPDATE replay.items AS i SET state = 'taken back' FROM back "
                "WHERE i.plan_id = $1 AND i.number = back.number",
                plan.plan_id,
                sink,
                str(kind),
                timeout=600,
            )


async def _set_state(connection: Connection, plan: Plan, state: str) -> None:
    await connection.execute(
        "UPDATE replay.plans SET state = $2, ended_at = CASE WHEN $2 = 'applying' THEN NULL ELSE now() END "
        "WHERE plan_id = $1",
        plan.plan_id,
        state,
    )


async def _must_be_the_only_one(connection: Connection, plan: Plan) -> None:
    other = await connection.fetchrow(
        "SELECT hash, who, began_at FROM replay.plans WHERE state IN ('applying', 'stopped') AND plan_id <> $1",
        plan.plan_id,
    )
    if other is not None:
        raise Rejected(
            f"The replay {other['hash']}, begun by {other['who']} at {other['began_at']:%Y-%m-%d %H:%M} UTC, is not at "
            "its end. Nothing was changed.",
            cause="replay_unfinished",
            advice=f"connector replay --resume {other['hash']}, or connector replay --cancel {other['hash']}",
        )


def _not_to_be_begun(plan: Plan) -> Rejected:
    if plan.state in ("applying", "stopped"):
        return Rejected(
            f"The plan {plan.hash} was begun by {plan.who} and is not at its end. Nothing was changed.",
            cause="replay_unfinished",
            advice=f"connector replay --resume {plan.hash}, or connector replay --cancel {plan.hash}",
        )
    return Rejected(
        f"The plan {plan.hash} is {plan.state}. Nothing was changed.",
        cause="plan_over",
        advice="make a new plan: connector replay with the same options, without --apply",
    )


def _not_to_be_resumed(plan: Plan) -> Rejected:
    begin = plan.state == "planned"
    return Rejected(
        f"The plan {plan.hash} is {plan.state}: there is nothing to go on with. Nothing was changed.",
        cause="plan_over",
        advice=f"connector replay --apply {plan.hash}" if begin else "make a new plan",
    )


def _stale(plan: Plan, why: str, *, or_else: str = "") -> Rejected:
    again = "plan again with the same options"
    return Rejected(
        f"The plan {plan.hash} is stale: {why}. Nothing was changed.",
        cause="stale_plan",
        advice=f"{again}; or apply what has not changed: {or_else}" if or_else else again,
    )
