"""What the commands of an operator share: the database, who is asking, and times as they are typed and shown."""

from __future__ import annotations

import getpass
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    import asyncpg

    from connector.settings import Settings

ByOption = Annotated[
    str, typer.Option("--by", help="Who decides it, as it is recorded; else the user of this machine.")
]
LONGEST_REASON = 500


@asynccontextmanager
async def database() -> AsyncIterator[tuple[Settings, asyncpg.Connection]]:
    """The settings and one connection. Raises the connector's errors."""
    from connector.settings import load_settings
    from connector.state.database import connect, database_errors

    settings = load_settings()
    async with database_errors():
        connection = await connect(settings.database.url.get_secret_value())
        try:
            yield settings, connection
        finally:
            await connection.close()


def who(by: str) -> str:
    """Who is asking: as said, else the user of this machine."""
    if by.strip():
        return by.strip()[:100]
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user id without a name
        return f"uid {os.getuid()}"


def given_reason(reason: str) -> str:
    """A reason that says something; it is read by whoever asks why nothing is sent."""
    text = " ".join(reason.split())
    if not text or len(text) > LONGEST_REASON:
        raise typer.BadParameter(f"--reason needs a sentence of at most {LONGEST_REASON} characters")
    return text


def moment(value: datetime | None) -> str:
    """As people read it; "" for none and for PostgreSQL's infinities."""
    if value is None or value.year in (1, 9999):
        return ""
    return f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
