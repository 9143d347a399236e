"""Makes a role's tables anew from the log: emptied, set to its beginning, and declared behind.

The role itself reads what they lack, running or started later (streams/completeness.py): it sets its group back,
folds, doubts whatever may be in the CRM already, and writes only then.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import asyncpg
from sqlalchemy.exc import SQLAlchemyError

from connector.errors import Terminal
from connector.settings import Settings
from connector.state.database import Connection, connect, database_errors
from connector.state.migrate import migrate
from connector.state.offsets import Place
from connector.state.standing import LogSpan, begin_at, fall_behind, lock
from connector.streams.completeness import RoleTables
from connector.streams.log_view import read_spans
from connector.sync.leases import lease_seconds


@dataclass(frozen=True, kw_only=True, slots=True)
class RebuildPlan:
    """What a rebuild of one role does. `rows`: table → rows that go (None: there is no such table yet).

    `records`: topic → how many are read again; `since_begin`: topics whose first records are no longer on the log.
    """

    tables: RoleTables
    rows: Mapping[str, int | None]
    records: Mapping[str, int]
    cut: Sequence[str]
    log: Mapping[Place, LogSpan]


async def plan_rebuild(settings: Settings, tables: RoleTables) -> RebuildPlan:
    """Look at database and broker; nothing is changed. Raises `Transient` when one of them is away."""
    sources = tables.groups(settings.kafka)
    if tables.told_by is not None:
        sources = {tables.told_by.full_name(settings.kafka.topic_prefix): None, **sources}
    log = await read_spans(settings.kafka, sources)
    async with database_errors():
        connection = await connect(settings.database.url.get_secret_value())
        try:
            rows = {name: await _count(connection, f"{tables.schema}.{name}") for name in _named(tables)}
        finally:
            await connection.close()
    records = {
        topic: sum(span.end - span.begin for place, span in log.items() if place.topic == topic)
        for topic in sources
    }
    cut = sorted({place.topic for place, span in log.items() if span.begin > 0})
    return RebuildPlan(tables=tables, rows=rows, records=records, cut=cut, log=log)


def _named(tables: RoleTables) -> list[str]:
    kept = ["contacts"] if tables.kept else []
    return [*kept, *(name for name in tables.emptied if name != "offsets")]


async def _count(connection: asyncpg.Connection, table: str) -> int | None:
    if await connection.fetchval("SELECT to_regclass($1)", table) is None:
        return None
    count: int = await connection.fetchval(f"SELECT count(*) FROM {table}")  # noqa: S608 - the table is ours
    return count


async def rebuild(settings: Settings, plan: RebuildPlan) -> None:
    """Do what the plan says, in one transaction. Running roles begin to read again within a second or two.

    Raises `Transient` and `Terminal` as the database does; the tables are then as they were.
    """
    url = settings.database.url.get_secret_value()
    try:
        await migrate(url)
    except (OSError, SQLAlchemyError) as error:
        raise Terminal(
            f"The database could not be migrated: {error}. Nothing was changed.",
            advice="check CONNECTOR_DATABASE__URL; the database itself has to exist, and the user may create schemas",
        ) from error
    tables = plan.tables
    # Longer than any call that is on the way to a CRM.
    call = max(settings.hubspot.request_timeout, settings.salesforce.request_timeout)
    async with database_errors():
        connection = await connect(url)
        try:
            async with connection.transaction():
                await _empty(connection, tables)
                await begin_at(connection, tables.schema, plan.log)
                await fall_behind(
                    connection,
                    tables.schema,
                    log=plan.log,
                    settle=lease_seconds(call) if tables.kept else 0.0,
                    reason="they are rebuilt from the log",
                )
        finally:
            await connection.close()


async def _empty(connection: Connection, tables: RoleTables) -> None:
    await lock(connection, tables.schema)
    # In the order in which everybody locks: contacts first.
    for statement in tables.kept:
        await connection.execute(statement.format(schema=tables.schema), timeout=3600)
    names = ", ".join(f"{tables.schema}.{name}" for name in tables.emptied)
    await connection.execute(f"TRUNCATE {names}", timeout=3600)
    await connection.execute("DELETE FROM shared.catch_up WHERE schema = $1", tables.schema)
