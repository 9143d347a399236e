"""The states of the pacing algebra in `outbound.paces`, reserved in the transaction that judges: exact over replicas."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from connector.outbound.dispatch.departures import HEADROOM
from connector.outbound.pacing.number import NumberState, number_reserve
from connector.outbound.pacing.pair import PairState
from connector.state.database import Connection

_PAIRS_KEPT = timedelta(hours=2)
"""A pair's state says nothing any more once it is so old."""

_PAIRS = "SELECT key, tat, refusals, closed_until FROM outbound.paces WHERE kind = 'pair' AND key = ANY($1::text[])"


def pair_key(phone_number_id: str, person_id: UUID) -> str:
    """Names a business number and a person."""
    return f"{phone_number_id}/{person_id}"


async def read_number(connection: Connection, phone_number_id: str) -> NumberState:
    """A number's state, without a lock; a new one when there is none."""
    row = await connection.fetchrow(
        "SELECT * FROM outbound.paces WHERE kind = 'number' AND key = $1", phone_number_id
    )
    return _number(row) if row else NumberState()


async def lock_number(connection: Connection, phone_number_id: str) -> NumberState:
    """Lock and read a number's state; a new one when there is none."""
    await connection.execute(
        "INSERT INTO outbound.paces (kind, key) VALUES ('number', $1) ON CONFLICT DO NOTHING", phone_number_id
    )
    row = await connection.fetchrow(
        "SELECT * FROM outbound.paces WHERE kind = 'number' AND key = $1 FOR UPDATE", phone_number_id
    )
    assert row is not None
    return _number(row)


def _number(row: Any) -> NumberState:
    return NumberState(
        tat=row["tat"],
        share=row["share"],
        refusals=row["refusals"],
        refused_at=row["refused_at"],
        closed_until=row["closed_until"],
    )


async def store_number(connection: Connection, phone_number_id: str, state: NumberState) -> None:
    """Write the state of a number that `lock_number` locked."""
    await connection.execute(
        "UPDATE outbound.paces SET tat = $2, share = $3, refusals = $4, refused_at = $5, closed_until = $6 "
        "WHERE kind = 'number' AND key = $1",
        phone_number_id,
        state.tat,
        state.share,
        state.refusals,
        state.refused_at,
        state.closed_until,
    )


async def lock_pairs(
    connection: Connection, phone_number_id: str, people: Iterable[UUID]
) -> dict[UUID, PairState]:
    """Lock, in key order, and read the states of one number and these people; those without one are missing."""
    return await _pairs(connection, f"{_PAIRS} ORDER BY key FOR UPDATE", phone_number_id, people)


async def read_pairs(
    connection: Connection, phone_number_id: str, people: Iterable[UUID]
) -> dict[UUID, PairState]:
    """The same without a lock."""
    return await _pairs(connection, _PAIRS, phone_number_id, people)


async def _pairs(
    connection: Connection, query: str, phone_number_id: str, people: Iterable[UUID]
) -> dict[UUID, PairState]:
    keys = {pair_key(phone_number_id, person): person for person in people}
    rows = await connection.fetch(query, sorted(keys))
    return {
        keys[row["key"]]: PairState(
            tat=row["tat"], refusals=row["refusals"], closed_until=row["closed_until"]
        )
        for row in rows
    }


async def store_pairs(connection: Connection, phone_number_id: str, states: Mapping[UUID, PairState]) -> None:
    """Write the states of one number and these people, in key order."""
    rows: list[tuple[str, Any, int, Any]] = sorted(
        (pair_key(phone_number_id, person), state.tat, state.refusals, state.closed_until)
        for person, state in states.items()
    )
    if rows:
        await connection.execute(
            "INSERT INTO outbound.paces AS p (kind, key, tat, refusals, closed_until) "
            "SELECT 'pair', * FROM unnest($1::text[], $2::timestamptz[], $3::int[], $4::timestamptz[]) "
            "ON CONFLICT (kind, key) DO UPDATE SET tat = excluded.tat, refusals = excluded.refusals, "
            "closed_until = excluded.closed_until",
            *([row[column] for row in rows] for column in range(4)),
        )


async def forget_pairs(connection: Connection, *, most: int) -> int:
    """Delete states that say nothing any more, `most` of them at a time."""
    status = await connection.execute(
        "DELETE FROM outbound.paces WHERE (kind, key) IN (SELECT kind, key FROM outbound.paces WHERE kind = 'pair' "
        "AND coalesce(tat, '-infinity') < now() - $1::interval "
        "AND coalesce(closed_until, '-infinity') < now() - $1::interval LIMIT $2 FOR UPDATE SKIP LOCKED)",
        _PAIRS_KEPT,
        most,
    )
    return int(status.rpartition(" ")[2])


def turns(
    state: NumberState, *, per_second: int, now: datetime, horizon: timedelta, most: int
) -> Sequence[tuple[NumberState, datetime]]:
    """The number's next turns within the horizon, `most` at most: (state once it is taken, when)."""
    found: list[tuple[NumberState, datetime]] = []
    while len(found) < most:
        state, when = number_reserve(state, per_second=per_second, now=now)
        if when > now + horizon:
            break
        assert state.tat is not None
        # A little slower than the number may: two messages may come closer on their way than they left.
        state = replace(state, tat=state.tat + timedelta(seconds=HEADROOM / per_second))
        found.append((state, when))
    return found
