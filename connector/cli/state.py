"""`connector state`: the database."""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from connector.cli.output import JsonOption, out, print_json, print_table

if TYPE_CHECKING:
    from connector.recovery.rebuild import RebuildPlan
    from connector.recovery.retry import Refusals
    from connector.settings import Settings

app = typer.Typer(help="The PostgreSQL state.", no_args_is_help=True)


class StatefulRole(enum.StrEnum):
    """The roles that keep tables."""

    ROUTE = "route"
    SYNC_HUBSPOT = "sync-hubspot"
    SYNC_SALESFORCE = "sync-salesforce"
    MEDIA = "media"
    OUTBOUND = "outbound"


@app.command("migrate")
def migrate() -> None:
    """Bring the database to this version's tables. Harmless when it is there already."""
    from sqlalchemy.exc import SQLAlchemyError

    from connector.errors import Terminal
    from connector.settings import load_settings
    from connector.state.migrate import migrate_blocking

    url = load_settings().database.url.get_secret_value()
    try:
        migrate_blocking(url)
    except (OSError, SQLAlchemyError) as error:
        raise Terminal(
            f"The database could not be migrated: {error}. Nothing was changed.",
            advice="check CONNECTOR_DATABASE__URL, that the server runs, and that the user may create schemas",
        ) from error
    out.print("The database has this version's tables.\nnext: connector run ROLE")


@app.command("retry")
def retry(
    sink: Annotated[str, typer.Option("--sink", help="hubspot or salesforce")],
    cause: Annotated[
        str | None, typer.Option("--cause", help="Only what was refused for this cause; else all.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Let the writer try again what a CRM refused, after the cause was mended."""
    from connector.recovery.log_stages import SINKS

    if sink not in SINKS:
        raise typer.BadParameter(f"--sink is one of {', '.join(SINKS)}")
    contacts, activities, left = asyncio.run(_retry(sink, cause))
    if as_json:
        print_json(
            {"contacts": contacts, "activities": activities, "still_refused": [asdict(item) for item in left]}
        )
        return
    out.print(f"{contacts} contacts and {activities} activities of {sink} are tried again.")
    if left:
        print_table(
            ["still refused for", "contacts", "activities", "an example"],
            [[item.cause, item.contacts, item.activities, item.example] for item in left],
        )
    out.print("next: connector status")


async def _retry(sink: str, cause: str | None) -> tuple[int, int, Sequence[Refusals]]:
    from connector.recovery.retry import refusals, retry_some
    from connector.settings import load_settings
    from connector.state.database import connect, database_errors

    contacts = activities = 0
    async with database_errors():
        connection = await connect(load_settings().database.url.get_secret_value())
        try:
            while True:
                async with connection.transaction():
                    some = await retry_some(connection, sink, cause=cause)
                if some == (0, 0):
                    return contacts, activities, await refusals(connection, sink)
                contacts += some[0]
                activities += some[1]
        finally:
            await connection.close()


@app.command("prune")
def prune(
    older_than: Annotated[
        int | None,
        typer.Option(min=60, help="Days to keep; default: CONNECTOR_DATABASE__KEEP_DAYS."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be forgotten.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Forget rows that nothing asks for any more, in short transactions beside running roles. Repeating is harmless.

    Messages that a CRM has, and sends, are kept at least as long as the log keeps them; consent is always kept.
    """
    from connector.settings import load_settings

    settings = load_settings()
    days = older_than or settings.database.keep_days
    if not days:
        raise typer.BadParameter("give --older-than DAYS, or set CONNECTOR_DATABASE__KEEP_DAYS")
    rows = asyncio.run(_prune(settings, days, dry_run=dry_run))
    if as_json:
        print_json({"dry_run": dry_run, "tables": rows})
        return
    print_table(
        ["table", "kept for days", "rows that would go" if dry_run else "rows forgotten"],
        [[row["table"], row["kept_days"], f"{row['rows']:,}"] for row in rows],
    )
    out.print(
        "Nothing was changed. next: the same without --dry-run"
        if dry_run
        else "Done. PostgreSQL's autovacuum makes the room free for new rows"
    )


async def _prune(settings: Settings, days: int, *, dry_run: bool) -> list[dict[str, Any]]:
    from connector.roles.tables import ALL_TABLES
    from connector.state.database import close_pool, open_pool
    from connector.state.pruning import kept_days, prune, rules_of

    rules = [rule for tables in ALL_TABLES for rule in rules_of(tables.schema)]
    pool = await open_pool(settings.database.url.get_secret_value(), size=1, application="state prune")
    try:
        gone = await prune(pool, rules, days=days, dry_run=dry_run)
    finally:
        await close_pool(pool)
    return [
        {"table": rule.name, "kept_days": kept_days(rule, days), "rows": gone[rule.name]} for rule in rules
    ]


@app.command("rebuild")
def rebuild(
    role: Annotated[
        list[StatefulRole] | None,
        typer.Option(help="Whose tables; several times for several. Default: every role's."),
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="Do it; without it, only say what would be done.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Make a role's tables anew from the log: for a database that was lost, or is older than the log can bridge.

    The tables are emptied and set to the beginning of the log; the role, running or started later, reads it, looks
    up in the CRM whatever may be there already, and writes only then. Nothing is doubled. What the log no longer has
    is not known afterwards; it stays in the CRM as it is.
    """
    from connector.settings import load_settings

    settings = load_settings()
    plans = asyncio.run(_rebuild(settings, [str(name) for name in role or StatefulRole], yes=yes))
    if as_json:
        print_json([_as_row(plan, done=yes) for plan in plans])
        return
    for plan in plans:
        emptied = [
            (f"{plan.tables.schema}.{name}", "(not there yet)" if count is None else f"{count:,}")
            for name, count in plan.rows.items()
        ]
        print_table(["table", "rows that go"], emptied, title=plan.tables.role)
        print_table(["topic", "records read again"], [(t, f"{n:,}") for t, n in plan.records.items()])
        if plan.tables.kept:
            out.print("kept: people whose record was erased in the CRM for good; they are not made anew")
        if plan.cut:
            out.print(f"note: the first records of {', '.join(plan.cut)} are not on the log any more")
    if yes:
        out.print("Done. next: start the roles, if they do not run; /readyz says how far they are")
    else:
        out.print("Nothing was changed. next: the same with --yes; roles may run or not meanwhile")


async def _rebuild(settings: Settings, roles: list[str], *, yes: bool) -> list[RebuildPlan]:
    from connector.recovery.rebuild import plan_rebuild, rebuild
    from connector.roles.tables import ALL_TABLES

    plans = [await plan_rebuild(settings, tables) for tables in ALL_TABLES if tables.role in roles]
    if yes:
        for plan in plans:
            await rebuild(settings, plan)
    return plans


def _as_row(plan: RebuildPlan, *, done: bool) -> dict[str, Any]:
    return {
        "role": plan.tables.role,
        "schema": plan.tables.schema,
        "rows": dict(plan.rows),
        "records": dict(plan.records),
        "no_longer_on_the_log": list(plan.cut),
        "done": done,
    }
