"""`connector state`: the database."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from connector.cli.output import JsonOption, out, print_json, print_table

if TYPE_CHECKING:
    from connector.recovery.retry import Refusals

app = typer.Typer(help="The PostgreSQL state.", no_args_is_help=True)


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
    from connector.recovery.trace import SINKS

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
