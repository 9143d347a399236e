"""`connector state`: the database."""

from __future__ import annotations

import typer

from connector.cli.output import out

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
