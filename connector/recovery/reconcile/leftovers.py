"""Second and unknown records: deleted where all of it is ours, else flagged for a person (docs/decisions/0003)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import partial

from connector.crm.port import Priority, Retired, Terms
from connector.recovery.reconcile.drift import FLAGGED, Drift, DriftKind
from connector.recovery.reconcile.survey import Surveyor
from connector.state.database import Connection
from connector.sync.locks import lock_contacts

_TERMS = Terms(priority=Priority.REPLAY)
_COPY = "somebody made it, as we never make one without our key; merge the two by hand, or delete one"
_UNKNOWN = "neither the log's part nor our tables know it; reconcile without --from, or delete it by hand"


@dataclass(frozen=True, kw_only=True, slots=True)
class Settled:
    """What became of a left-over record: deleted | flagged | gone."""

    drift: Drift
    outcome: str
    reason: str = ""

    def __str__(self) -> str:
        why = f" ({self.reason})" if self.reason else ""
        return f"{self.drift.sink}: {self.drift.kind} {self.drift.what} {self.drift.record_id}: {self.outcome}{why}"


async def settle(surveyor: Surveyor, drift: Drift, *, act: str) -> Settled:
    """Delete or flag one record. Raises the connector's errors; the record stays then, and is found again."""
    if drift.kind is DriftKind.DOUBLED and drift.mends != FLAGGED:
        # A delete that may have been done is no error when it is repeated.
        retired = await surveyor.patience.ask(partial(_retire, surveyor, drift))
        if retired.deleted:
            return Settled(drift=drift, outcome="deleted", reason=retired.reason)
        reason = retired.reason
    else:
        reason = _COPY if drift.kind is DriftKind.DOUBLED else _UNKNOWN
    await _flag(surveyor.connection, drift, reason=reason, act=act)
    return Settled(drift=drift, outcome="flagged", reason=reason)


async def _retire(surveyor: Surveyor, drift: Drift) -> Retired:
    """Under the lock of its person: the tables must not take this record for theirs while it is deleted."""
    async with surveyor.connection.transaction():
        await lock_contacts(
            surveyor.connection, surveyor.sink, [], wamids=[drift.wamid], columns="contact_id"
        )
        ours = await surveyor.connection.fetchval(
            f"SELECT true FROM {surveyor.sink}.activities WHERE record_id = $1 LIMIT 1",  # noqa: S608 - ours
            drift.record_id,
        )
        if ours:
            return Retired(deleted=False, reason="our tables took it for theirs meanwhile; reconcile again")
        return await surveyor.crm.retire_activity(drift.record_id, kept=drift.kept, terms=_TERMS)


async def _flag(connection: Connection, drift: Drift, *, reason: str, act: str) -> None:
    await connection.execute(
        "INSERT INTO replay.left_over (sink, what, record_id, kind, contact_id, wamid, reason, act) "
        "VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (sink, what, record_id) DO UPDATE SET "
        "kind = excluded.kind, reason = excluded.reason, flagged_at = now(), act = excluded.act",
        drift.sink,
        drift.what,
        drift.record_id,
        str(drift.kind),
        drift.contact_id,
        drift.wamid,
        reason,
        act,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Flagged:
    """A record that a person is to look at."""

    sink: str
    what: str
    record_id: str
    kind: str
    contact_id: str
    wamid: str
    reason: str
    flagged_at: datetime


async def flagged_records(connection: Connection) -> list[Flagged]:
    """Those that repairs left, newest first. One that the CRM does not list any more goes with the next whole look."""
    rows = await connection.fetch(
        "SELECT sink, what, record_id, kind, contact_id, wamid, reason, flagged_at FROM replay.left_over "
        "ORDER BY flagged_at DESC, sink, record_id"
    )
    return [Flagged(**dict(row)) for row in rows]
