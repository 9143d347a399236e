"""PostgreSQL: version, migrations, its clock, tables that are behind, and when templates were read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import asyncpg

from connector.errors import ConnectorError
from connector.recovery.doctor.clocks import judged_clock
from connector.recovery.doctor.finding import Finding, fail, not_asked, ok, warn
from connector.settings import Settings
from connector.state.database import Connection, connect, database_errors
from connector.state.migrate import newest_migration
from connector.state.standing import tables_behind

_AREA = "database"
_OLDEST = 15
_MIGRATE = "connector state migrate"


@dataclass(frozen=True, kw_only=True, slots=True)
class AccountReading:
    """When a business account's templates and numbers were read last."""

    waba_id: str
    asked_at: datetime | None
    templates: int
    problem: str


async def examine_database(settings: Settings) -> list[Finding]:
    """Look at the server and our tables."""
    try:
        async with database_errors():
            connection = await connect(settings.database.url.get_secret_value())
            try:
                return await _examine(connection, settings)
            finally:
                await connection.close()
    except ConnectorError as error:
        return [fail(_AREA, "reachable", error.message, mend=error.advice)]


async def _examine(connection: Connection, settings: Settings) -> list[Finding]:
    number = int(await connection.fetchval("SELECT current_setting('server_version_num')"))
    sent = datetime.now(UTC)
    theirs = await connection.fetchval("SELECT clock_timestamp()")
    found = [
        ok(_AREA, "reachable", "answers"),
        judged_version(number),
        judged_clock("database", theirs, sent=sent, received=datetime.now(UTC)),
    ]
    try:
        applied = await connection.fetchval("SELECT version_num FROM schema_version")
    except asyncpg.UndefinedTableError:
        applied = None
    migrations = judged_migrations(applied, newest_migration())
    found.append(migrations)
    if migrations.mend:
        return found
    for schema, stands in (await tables_behind(connection)).items():
        says = f"{schema} is behind the log: {stands.reason}; {stands.missing:,} records are still to be read"
        found.append(warn(_AREA, "tables", says, mend="nothing, if the role runs: it goes on by itself"))
    rows = await connection.fetch(
        "SELECT waba_id, asked_at, templates, problem FROM outbound.account_syncs ORDER BY waba_id"
    )
    readings = [AccountReading(**row) for row in rows]
    found += judged_readings(readings, settings, now=datetime.now(UTC))
    return found


def judged_version(number: int) -> Finding:
    """`number`: server_version_num, 180000 for 18.0."""
    if number // 10_000 < _OLDEST:
        return fail(
            _AREA,
            "version",
            f"PostgreSQL {number // 10_000}; at least {_OLDEST} is needed",
            mend="upgrade the server",
        )
    return ok(_AREA, "version", f"PostgreSQL {number // 10_000}.{number % 10_000}")


def judged_migrations(applied: str | None, newest: str) -> Finding:
    """Tables that are ahead are a newer release's, which this one can work beside."""
    if applied is None:
        return fail(_AREA, "migrations", "our tables are not there", mend=_MIGRATE)
    if applied < newest:
        return fail(_AREA, "migrations", f"at {applied}, this version needs {newest}", mend=_MIGRATE)
    if applied > newest:
        return warn(
            _AREA,
            "migrations",
            f"at {applied}, this version knows {newest}",
            mend="a newer release was here; it is meant to work beside this one, so finish the upgrade",
        )
    return ok(_AREA, "migrations", f"at {applied}, the newest")


def judged_readings(
    readings: list[AccountReading], settings: Settings, *, now: datetime
) -> Iterator[Finding]:
    """Templates are judged by what was read: marketing and utility wait when that is too old."""
    known = {reading.waba_id: reading for reading in readings}
    most = settings.outbound.templates_stale_after
    if not settings.whatsapp.business_account_ids:
        yield not_asked("whatsapp", "templates", "no business account is configured")
    for waba_id in settings.whatsapp.business_account_ids:
        reading = known.get(waba_id)
        if reading is None or reading.asked_at is None:
            why = f": {reading.problem}" if reading and reading.problem else ""
            yield warn(
                "whatsapp",
                "templates",
                f"those of {waba_id} were never read{why}",
                mend="connector run outbound, or at once: connector templates sync",
            )
            continue
        age = (now - reading.asked_at).total_seconds()
        says = f"{reading.templates} of {waba_id}, read {age / 60:.0f} minutes ago"
        if age > most:
            why = f"; the last try failed: {reading.problem}" if reading.problem else ""
            yield fail(
                "whatsapp",
                "templates",
                f"{says}: sends wait{why}",
                mend="connector run outbound, or at once: connector templates sync",
            )
        else:
            yield ok("whatsapp", "templates", says)
