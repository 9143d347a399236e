"""What replays did to one message or person: the items of plans, by their keys."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from connector.state.database import Connection


@dataclass(frozen=True, kw_only=True, slots=True)
class ReplayTrace:
    """One item of a plan that was applied, is being applied, or was stopped."""

    plan: str
    sink: str
    kind: str
    key: str
    act: str
    state: str
    fields: Sequence[str]
    at: datetime | None
    who: str
    why: str


async def replays_of(connection: Connection, keys: Iterable[str], *, limit: int = 20) -> list[ReplayTrace]:
    """The latest items about these contact ids and wamids, oldest first."""
    rows = await connection.fetch(
        "SELECT p.hash AS plan, i.sink, i.kind, i.key, i.act, i.state, i.fields, p.began_at AS at, "
        "coalesce(p.who, '') AS who, coalesce(p.why, '') AS why FROM replay.items i JOIN replay.plans p USING (plan_id) "
        "WHERE i.key = ANY($1::text[]) AND p.began_at IS NOT NULL ORDER BY p.began_at DESC, i.number DESC LIMIT $2",
        list(keys),
        limit,
    )
    return [ReplayTrace(**row) for row in reversed(rows)]
