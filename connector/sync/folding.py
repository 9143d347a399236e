"""The fold's tables: load what a batch names, store what it changed, all in the caller's transaction.

The order of its locks is in locks.py. The schema is the sink's (`hubspot`, `salesforce`); a replay plans in a schema
of its own through the same statements.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from connector.crm.port import Priority
from connector.errors import Transient
from connector.events import ContactMerged, ConversationEvent
from connector.state.database import Connection
from connector.state.offsets import HasPosition, store_offsets
from connector.sync.core.fold import (
    ActivityState,
    ContactState,
    FoldResult,
    Position,
    contacts_named,
    fold,
    wamids_named,
)
from connector.sync.core.holding import Hold, HoldRules, Standing, lookup_phone
from connector.sync.holds import copy_holds
from connector.sync.locks import lock_contacts
from connector.sync.retirement import queue_retirements

_CONTACT_COLUMNS = (
    "contact_id, facts, desired_version, written_version, redirect_to, priority, fresh_at, waiting_since, "
    "held, record_id, looked_up_phone, erased"
)
_ACTIVITY_COLUMNS = (
    "wamid, contact_id, facts, desired_version, written_version, priority, fresh_at, waiting_since, not_before, "
    'topic, partition, "offset"'
)


@dataclass(frozen=True, kw_only=True, slots=True)
class SinkTables:
    """One sink's schema, and the fold into it.

    `keep_deleted_text`: of messages that their author deleted. `holds`: whom the settings keep from being written.
    """

    schema: str
    keep_deleted_text: bool = False
    holds: HoldRules = field(default_factory=HoldRules)

    async def apply(
        self,
        connection: Connection,
        events: Sequence[tuple[ConversationEvent, Position]],
        *,
        offsets: Iterable[HasPosition],
        now: datetime,
        replay: bool = False,
    ) -> FoldResult:
        """Fold `events` and remember `offsets`, in the caller's transaction."""
        named = [event for event, _ in events]
        wamids = wamids_named(named)
        merges = any(isinstance(event, ContactMerged) for event in named)
        contacts = await self._load_contacts(connection, contacts_named(named), wamids, merges=merges)
        activities = await self._load_activities(connection, wamids, contacts)
        result = fold(
            events,
            contacts=contacts,
            activities=activities,
            forgotten=await self._forgotten(connection, wamids - activities.keys()),
            now=now,
            replay=replay,
            keep_deleted_text=self.keep_deleted_text,
            holds=self.holds,
        )
        await self._store_contacts(connection, result.contacts)
        await self._store_activities(connection, result.activities)
        if result.moved:
            await self._move_activities(connection, result.moved, now=now)
        await self._hold_activities(connection, contacts, result)
        await store_offsets(connection, schema=self.schema, offsets=offsets)
        return result

    async def _load_contacts(
        self, connection: Connection, wanted: set[UUID], wamids: set[str], *, merges: bool
    ) -> dict[UUID, ContactState]:
        rows = await lock_contacts(
            connection, self.schema, wanted, wamids=wamids, sharers=merges, columns=_CONTACT_COLUMNS
        )
        found = {row["contact_id"]: _contact_state(row) for row in rows}
        if any(state.redirect_to and state.redirect_to not in found for state in found.values()):
            raise _overtaken()
        return found

    async def _load_activities(
        self, connection: Connection, wamids: set[str], contacts: dict[UUID, ContactState]
    ) -> dict[str, ActivityState]:
        rows = await connection.fetch(
            f"SELECT {_ACTIVITY_COLUMNS} FROM {self.schema}.activities "  # noqa: S608
            "WHERE wamid = ANY($1::text[]) ORDER BY wamid FOR UPDATE",
            sorted(wamids),
        )
        if any(row["contact_id"] and row["contact_id"] not in contacts for row in rows):
            raise _overtaken()
        return {row["wamid"]: _activity_state(row) for row in rows}

    async def _forgotten(self, connection: Connection, wamids: set[str]) -> set[str]:
        """Messages that the CRM has and the tables had; asked after their rows, which go in the same transaction."""
        if not wamids:
            return set()
        rows = await connection.fetch(
            f"SELECT w.wamid FROM unnest($1::text[]) AS w (wamid) JOIN {self.schema}.forgotten f "  # noqa: S608
            "ON f.message = hashtextextended(w.wamid, 0)",
            list(wamids),
        )
        return {row["wamid"] for row in rows}

    async def _store_contacts(self, connection: Connection, states: Sequence[ContactState]) -> None:
        new = sorted((state for state in states if not state.stored), key=lambda state: state.contact_id)
        old = [state for state in states if state.stored]
        if new:
            inserted = await connection.fetch(
                f"INSERT INTO {self.schema}.contacts (contact_id, facts, desired_version, redirect_to, "  # noqa: S608
                "priority, fresh_at, waiting_since, held, phone) SELECT * FROM unnest($1::uuid[], $2::jsonb[], "
                "$3::bigint[], $4::uuid[], $5::smallint[], $6::timestamptz[], $7::timestamptz[], $8::text[], $9::text[]) "
                "ON CONFLICT DO NOTHING RETURNING 1",
                *_contact_arrays(new),
            )
            _all_inserted(len(inserted), len(new))
        if old:
            await connection.execute(
                f"UPDATE {self.schema}.contacts AS t SET facts = n.facts, desired_version = n.desired_version, "  # noqa: S608
                "redirect_to = n.redirect_to, priority = n.priority, fresh_at = n.fresh_at, "
                "waiting_since = n.waiting_since, held = n.held, phone = n.phone, problem = NULL, attempts = 0, "
                "not_before = '-infinity' FROM unnest($1::uuid[], $2::jsonb[], $3::bigint[], $4::uuid[], "
                "$5::smallint[], $6::timestamptz[], $7::timestamptz[], $8::text[], $9::text[]) AS n (contact_id, facts, "
                "desired_version, redirect_to, priority, fresh_at, waiting_since, held, phone) "
                "WHERE t.contact_id = n.contact_id",
                *_contact_arrays(old),
            )

    async def _store_activities(self, connection: Connection, states: Sequence[ActivityState]) -> None:
        new = sorted((state for state in states if not state.stored), key=lambda state: state.wamid)
        old = [state for state in states if state.stored]
        if new:
            inserted = await connection.fetch(
                f"INSERT INTO {self.schema}.activities (wamid, contact_id, facts, desired_version, priority, "  # noqa: S608
                'fresh_at, waiting_since, not_before, topic, partition, "offset") SELECT * FROM unnest($1::text[], '
                "$2::uuid[], $3::jsonb[], $4::bigint[], $5::smallint[], $6::timestamptz[], $7::timestamptz[], "
                "$8::timestamptz[], $9::text[], $10::int[], $11::bigint[]) ON CONFLICT DO NOTHING RETURNING 1",
                *_activity_arrays(new),
            )
            _all_inserted(len(inserted), len(new))
        if old:
            # not_before of an in-doubt create (intent_at) stays: the doubt is settled before anything else.
            await connection.execute(
                f"UPDATE {self.schema}.activities AS t SET contact_id = n.contact_id, facts = n.facts, "  # noqa: S608
                "desired_version = n.desired_version, priority = n.priority, fresh_at = n.fresh_at, "
                "waiting_since = n.waiting_since, problem = NULL, attempts = 0, "
                "not_before = CASE WHEN t.intent_at IS NULL THEN greatest(n.not_before, (SELECT c.lease_until "
                f"FROM {self.schema}.contacts c WHERE c.contact_id = t.contact_id AND t.contact_id <> n.contact_id)) "
                "ELSE t.not_before END, "
                'topic = n.topic, partition = n.partition, "offset" = n."offset" '
                "FROM unnest($1::text[], $2::uuid[], $3::jsonb[], $4::bigint[], $5::smallint[], $6::timestamptz[], "
                "$7::timestamptz[], $8::timestamptz[], $9::text[], $10::int[], $11::bigint[]) AS n (wamid, "
                "contact_id, facts, desired_version, priority, fresh_at, waiting_since, not_before, topic, "
                'partition, "offset") WHERE t.wamid = n.wamid',
                *_activity_arrays(old),
            )

    async def _hold_activities(
        self, connection: Connection, before: dict[UUID, ContactState], result: FoldResult
    ) -> None:
        """All messages of people whose hold changed, and the batch's of those who are held as before."""
        now = before | {state.contact_id: state for state in result.contacts}
        held = {name: state.standing.held for name, state in now.items()}
        known = {name: state.standing.held for name, state in before.items()}
        changed = {name for name, hold in held.items() if name in known and hold != known[name]}
        same = {name for name, hold in held.items() if hold is not None} - changed
        await copy_holds(connection, self.schema, changed.union(result.moved.values()))
        wamids = [state.wamid for state in result.activities]
        if wamids:
            await copy_holds(connection, self.schema, same, wamids=wamids)

    async def _move_activities(
        self, connection: Connection, moved: dict[UUID, UUID] | Any, *, now: datetime
    ) -> None:
        """Hang a merged person's messages on the winner, and leave the loser's CRM record to be retired.

        Messages of a loser who is being written wait for that lease to end, or two requests would write one.
        """
        losers, winners = list(moved.keys()), list(moved.values())
        await connection.execute(
            f"UPDATE {self.schema}.activities AS t SET contact_id = m.winner, "  # noqa: S608
            "desired_version = t.desired_version + 1, problem = NULL, waiting_since = CASE WHEN t.desired_version > "
            "t.written_version THEN t.waiting_since ELSE $3 END, not_before = greatest(t.not_before, c.lease_until) "
            f"FROM unnest($1::uuid[], $2::uuid[]) AS m (loser, winner) JOIN {self.schema}.contacts c "
            "ON c.contact_id = m.loser WHERE t.contact_id = m.loser",
            losers,
            winners,
            now,
        )
        await queue_retirements(connection, self.schema, losers)


def _overtaken() -> Transient:
    # Somebody was merged between the look at the rows and their locks: further locks would be out of order.
    return Transient("A merge was stored at the same moment; nothing of this batch was.", retry_after=0.05)


def _all_inserted(inserted: int, wanted: int) -> None:
    if inserted != wanted:
        # Another worker folded the same person or message a moment ago (a rebalance): see its row, fold again.
        raise Transient("Another worker stored the same rows at the same time.", retry_after=0.05)


def _contact_state(row: Any) -> ContactState:
    return ContactState(
        contact_id=row["contact_id"],
        facts=row["facts"],
        desired_version=row["desired_version"],
        written_version=row["written_version"],
        redirect_to=row["redirect_to"],
        priority=Priority(row["priority"]),
        fresh_at=row["fresh_at"],
        waiting_since=row["waiting_since"],
        standing=Standing(
            held=Hold(row["held"]) if row["held"] else None,
            record_id=row["record_id"],
            looked_up_phone=row["looked_up_phone"],
            erased=row["erased"],
        ),
        stored=True,
    )


def _activity_state(row: Any) -> ActivityState:
    return ActivityState(
        wamid=row["wamid"],
        contact_id=row["contact_id"],
        facts=row["facts"],
        desired_version=row["desired_version"],
        written_version=row["written_version"],
        priority=Priority(row["priority"]),
        fresh_at=row["fresh_at"],
        waiting_since=row["waiting_since"],
        not_before=row["not_before"],
        position=Position(row["topic"], row["partition"], row["offset"]),
        stored=True,
    )


def _contact_arrays(states: Sequence[ContactState]) -> tuple[list[Any], ...]:
    return (
        [state.contact_id for state in states],
        [state.facts for state in states],
        [state.desired_version for state in states],
        [state.redirect_to for state in states],
        [int(state.priority) for state in states],
        [state.fresh_at for state in states],
        [state.waiting_since for state in states],
        [state.standing.held for state in states],
        [lookup_phone(state.facts) for state in states],
    )


def _activity_arrays(states: Sequence[ActivityState]) -> tuple[list[Any], ...]:
    positions = [state.position or Position("", -1, -1) for state in states]
    return (
        [state.wamid for state in states],
        [state.contact_id for state in states],
        [state.facts for state in states],
        [state.desired_version for state in states],
        [int(state.priority) for state in states],
        [state.fresh_at for state in states],
        [state.waiting_since for state in states],
        [state.not_before for state in states],
        [position.topic for position in positions],
        [position.partition for position in positions],
        [position.offset for position in positions],
    )
