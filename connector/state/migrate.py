"""Bring a database to this version's tables. Additive, so that version N−1 keeps running beside N."""

from __future__ import annotations

import asyncio
from pathlib import Path

import asyncpg
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import text
from sqlalchemy.engine import Connection
from sqlalchemy.ext.asyncio import create_async_engine

# One migration at a time, whoever starts first.
_LOCK = 7_261_400_001


def _configured() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return config


def newest_migration() -> str:
    """The revision that this version's tables have."""
    head = ScriptDirectory.from_config(_configured()).get_current_head()
    assert head is not None
    return head


def _upgrade(connection: Connection) -> None:
    config = _configured()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


async def migrate(url: str) -> None:
    """Apply every migration that is missing; harmless when there is none, safe when run by several at once."""
    # The URL is asyncpg's to read, as for the roles: SQLAlchemy does not know sslmode or the short scheme.
    engine = create_async_engine("postgresql+asyncpg://", async_creator=lambda: asyncpg.connect(url))
    try:
        async with engine.begin() as connection:
            await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
            await connection.run_sync(_upgrade)
    finally:
        await engine.dispose()


def migrate_blocking(url: str) -> None:
    """`migrate` for the command line."""
    asyncio.run(migrate(url))
