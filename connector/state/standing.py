"""Whether a role's tables are whole: the rows of `shared.tables` and `shared.catch_up`, and the rule that judges.

Tables are *behind* when the role's consumer group has folded records that they do not hold, or when they are a copy
of the tables that were last compared: what was written to a CRM since the copy was made is missing in them. They stay
behind until they hold the log as it was when this was noticed; meanwhile nothing is written to a CRM.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

from connector.errors import TablesLost
from connector.state.database import Connection
from connector.state.offsets import Place, load_offsets

# What a process compares its knowledge with. A server that was started anew may have been given older files.
_IDENTITY = "shared.incarnation() || '@' || pg_postmaster_start_time()::text"
_OPEN = (
    "FROM shared.catch_up c LEFT JOIN {schema}.offsets o USING (topic, partition) "
    "WHERE c.schema = '{schema}' AND coalesce(o.next_offset, 0) < c.until"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class LogSpan:
    """One partition: what is on the log (`begin` ≤ offset < `end`), and how far the role's group has come."""

    begin: int
    end: int
    committed: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """How a schema stands. `identity`: of the tables it was read from. `missing`: records still to be folded."""

    identity: str
    compared: bool
    generation: int = 0
    behind_since: datetime | None = None
    missing: int = 0
    reason: str = ""

    @property
    def token(self) -> tuple[str, int]:
        """What must be the same from the beginning of a piece of work to its end: not so the server's start."""
        return self.identity.partition("@")[0], self.generation


def gaps(stored: Mapping[Place, int], log: Mapping[Place, LogSpan]) -> dict[Place, tuple[int, int]]:
    """Place → the offsets [from, to) that the group has folded and the tables lack.

    A place that the tables do not name begins where the log does. Offsets that never existed are in no gap by
    themselves: both ends are one above a record that was folded.
    """
    found: dict[Place, tuple[int, int]] = {}
    for place, span in log.items():
        begin = stored.get(place, span.begin)
        if span.committed is not None and begin < span.committed:
            found[place] = (begin, span.committed)
    return found


def check_gaps(
    schema: str,
    missing: Mapping[Place, tuple[int, int]],
    *,
    stored: Mapping[Place, int],
    log: Mapping[Place, LogSpan],
    rebuild: str,
) -> None:
    """Raise `TablesLost` when the log alone cannot close the gaps. `rebuild`: the command to run."""
    folded = sum(max(0, (span.committed or 0) - span.begin) for span in log.values())
    if not stored and any(span.committed for span in log.values()):
        raise TablesLost(
            f"The tables in {schema} are empty, and the role has folded {folded:,} of the records on the log before: "
            "the database was lost, or is another one. Nothing is read or written until somebody decides.",
            advice=f"check CONNECTOR_DATABASE__URL, or restore a backup, or run: {rebuild}",
        )
    for place, (begin, _) in sorted(missing.items()):
        if place in stored and begin < log[place].begin:
            raise TablesLost(
                f"The tables in {schema} hold {place.topic}[{place.partition}] up to {begin}, and the log begins at "
                f"{log[place].begin}: the backup is older than the topic's retention. Nothing is read or written.",
                advice=f"restore a newer backup, or run: {rebuild}",
            )


async def look(connection: Connection, schema: str) -> Standing:
    """How the schema stands by its own rows, without a look at the log."""
    row = await connection.fetchrow(
        f"SELECT {_IDENTITY} AS identity, t.incarnation = shared.incarnation() AS same, t.generation, "  # noqa: S608 - ours
        "t.behind_since, t.reason, CASE WHEN t.behind_since IS NULL THEN 0 ELSE "
        f"(SELECT coalesce(sum(c.until - coalesce(o.next_offset, 0)), 0) {_OPEN.format(schema=schema)}) END::bigint "
        "AS missing FROM (SELECT 1) AS one LEFT JOIN shared.tables t ON t.schema = $1",
        schema,
    )
    assert row is not None
    return Standing(
        identity=row["identity"],
        compared=bool(row["same"]),
        generation=row["generation"] or 0,
        behind_since=row["behind_since"],
        missing=row["missing"],
        reason=row["reason"] or "",
    )


async def tables_behind(connection: Connection) -> dict[str, Standing]:
    """Schema → how it stands, for those that are behind the log."""
    rows = await connection.fetch(
        "SELECT schema FROM shared.tables WHERE behind_since IS NOT NULL ORDER BY schema"
    )
    return {row["schema"]: await look(connection, row["schema"]) for row in rows}


async def lock(connection: Connection, schema: str) -> None:
    """One at a time compares, rebuilds or declares a schema whole."""
    await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended('tables:' || $1, 0))", schema)


async def compare(
    connection: Connection,
    schema: str,
    *,
    log: Mapping[Place, LogSpan],
    settle: float,
    rebuild: str,
    told: Callable[[Connection, Collection[Place]], Awaitable[Mapping[Place, LogSpan]]],
) -> Standing:
    """Compare the tables with the log in the caller's transaction, and note what they lack.

    `settle`: seconds for which a call to the CRM that began before may still arrive there. `told`: what else has to be
    read when they are behind; it is given the places to judge their age by. Raises `TablesLost`.
    """
    await lock(connection, schema)
    stands = await look(connection, schema)
    stored = {
        place: offset
        for place, offset in (await load_offsets(connection, schema=schema)).items()
        if place in log
    }
    missing = gaps(stored, log)
    check_gaps(schema, missing, stored=stored, log=log, rebuild=rebuild)
    known = await connection.fetchval("SELECT incarnation FROM shared.tables WHERE schema = $1", schema)
    copied = known is not None and not stands.compared
    if stands.behind_since is not None and not copied:
        # Noticed before, and the group was not set back everywhere yet.
        await _aim(connection, schema, {place: end for place, (_, end) in missing.items()})
    elif missing or copied:
        reason = (
            f"they lack {_total(missing):,} records that were folded before"
            if missing
            else "they are a copy of the tables that were written last"
        )
        # Of a copy everything is as old as its newest part; else whatever has a gap is.
        more = await told(connection, () if copied else missing)
        await begin_at(connection, schema, more, keep_earlier=stands.behind_since is not None)
        await fall_behind(connection, schema, log={**log, **more}, settle=settle, reason=reason)
    elif known is None:
        await connection.execute(
            "INSERT INTO shared.tables (schema, incarnation) VALUES ($1, shared.incarnation())", schema
        )
    return await look(connection, schema)


async def fall_behind(
    connection: Connection, schema: str, *, log: Mapping[Place, LogSpan], settle: float, reason: str
) -> None:
    """Declare the schema behind until it holds everything that is on the log now. The caller has `lock`."""
    await connection.execute(
        "INSERT INTO shared.tables AS t (schema, incarnation, generation, behind_since, reopens_at, reason) "
        "VALUES ($1, shared.incarnation(), 1, now(), now() + make_interval(secs => $2), $3) ON CONFLICT (schema) "
        "DO UPDATE SET incarnation = excluded.incarnation, generation = t.generation + 1, "
        "behind_since = excluded.behind_since, reopens_at = excluded.reopens_at, reason = excluded.reason",
        schema,
        settle,
        reason,
    )
    await _aim(connection, schema, {place: span.end for place, span in log.items() if span.end > span.begin})


async def begin_at(
    connection: Connection, schema: str, log: Mapping[Place, LogSpan], *, keep_earlier: bool = False
) -> None:
    """Have these places read from the beginning of their spans. `keep_earlier`: or from before, if they were there."""
    places = sorted(log)
    new = "least(o.next_offset, excluded.next_offset)" if keep_earlier else "excluded.next_offset"
    await connection.execute(
        f"INSERT INTO {schema}.offsets AS o (topic, partition, next_offset) "  # noqa: S608 - schema is ours
        "SELECT * FROM unnest($1::text[], $2::int[], $3::bigint[]) ON CONFLICT (topic, partition) "
        f"DO UPDATE SET next_offset = {new}, stored_at = now()",
        [place.topic for place in places],
        [place.partition for place in places],
        [log[place].begin for place in places],
    )


async def _aim(connection: Connection, schema: str, ends: Mapping[Place, int]) -> None:
    places = sorted(ends)
    await connection.execute(
        "INSERT INTO shared.catch_up AS c (schema, topic, partition, until) "
        "SELECT $1, * FROM unnest($2::text[], $3::int[], $4::bigint[]) ON CONFLICT (schema, topic, partition) "
        "DO UPDATE SET until = greatest(c.until, excluded.until)",
        schema,
        [place.topic for place in places],
        [place.partition for place in places],
        [ends[place] for place in places],
    )


async def may_reopen(connection: Connection, schema: str) -> bool:
    """Whether the schema is behind and holds what it lacked."""
    return bool(
        await connection.fetchval(
            "SELECT EXISTS (SELECT 1 FROM shared.tables WHERE schema = $1 AND behind_since IS NOT NULL "  # noqa: S608
            f"AND reopens_at <= now()) AND NOT EXISTS (SELECT 1 {_OPEN.format(schema=schema)})",
            schema,
        )
    )


async def reopen(connection: Connection, schema: str, *, generation: int) -> bool:
    """Declare the schema whole again; False when it fell behind anew meanwhile."""
    await lock(connection, schema)
    status: str = await connection.execute(
        "UPDATE shared.tables SET behind_since = NULL, reopens_at = NULL, reason = '' "
        "WHERE schema = $1 AND generation = $2 AND behind_since IS NOT NULL",
        schema,
        generation,
    )
    if status != "UPDATE 1":
        return False
    await connection.execute("DELETE FROM shared.catch_up WHERE schema = $1", schema)
    return True


async def open_targets(connection: Connection, schema: str, topic: str) -> dict[int, tuple[int, int]]:
    """Partition of `topic` → offsets [from, to) that the schema has to hold and does not yet."""
    rows = await connection.fetch(
        f"SELECT c.partition, coalesce(o.next_offset, 0) AS begin, c.until {_OPEN.format(schema=schema)} AND c.topic = $1",
        topic,
    )
    return {row["partition"]: (row["begin"], row["until"]) for row in rows}


def _total(missing: Mapping[Place, tuple[int, int]]) -> int:
    return sum(end - begin for begin, end in missing.values())
