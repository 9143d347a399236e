"""Connections to PostgreSQL, and which of its failures mean "wait" rather than "wrong"."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import orjson

from connector.errors import Terminal, Transient

Connection = asyncpg.pool.PoolConnectionProxy | asyncpg.Connection

# A statement that runs longer than this is stuck behind something that a person should look at.
_STATEMENT_TIMEOUT_SECONDS = 60.0

# A statement's own values are at fault: such an error belongs to some record, all others to the database.
_DATA = (
    asyncpg.CardinalityViolationError,
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.PLPGSQLError,
    asyncpg.ProgramLimitExceededError,
    asyncpg.WithCheckOptionViolationError,
)
_AGAIN = (
    asyncpg.InvalidCachedStatementError,  # a migration ran beside us
    asyncpg.LockNotAvailableError,
    asyncpg.TransactionRollbackError,
)
_WRONG = (
    asyncpg.FeatureNotSupportedError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.InvalidSchemaNameError,
    asyncpg.InvalidSQLStatementNameError,  # a pooler gave our prepared statement to another server connection
    asyncpg.SyntaxOrAccessError,  # tables or columns that are not there, privileges
)
_GONE = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.PostgresError,
)


_ARRAYS = ("uuid", "text", "jsonb", "bool", "int2", "int4", "int8", "float8", "timestamptz")


async def _prepare(connection: asyncpg.Connection) -> None:
    await connection.set_type_codec(
        "jsonb",
        encoder=lambda value: b"\x01" + orjson.dumps(value),
        decoder=lambda value: orjson.loads(value[1:]),
        schema="pg_catalog",
        format="binary",
    )
    # asyncpg looks a type up when it first meets it, with three statements each time: here once for all of ours.
    await connection.prepare(f"SELECT {', '.join(f'${n}::{name}[]' for n, name in enumerate(_ARRAYS, 1))}")


async def _keep(_: object) -> None:
    """Give a connection back as it is: nobody changes its session, and asyncpg's own reset is a round trip."""


async def open_pool(
    url: str, *, size: int, application: str, settings: Mapping[str, str] | None = None
) -> asyncpg.Pool:
    """A pool that connects lazily, so that a role starts (and waits, visibly) while the database is down.

    `settings`: PostgreSQL's own, of its sessions.
    """
    return await asyncpg.create_pool(
        url,
        min_size=0,
        max_size=size,
        command_timeout=_STATEMENT_TIMEOUT_SECONDS,
        init=_prepare,
        reset=_keep,
        server_settings={"application_name": f"connector {application}", **(settings or {})},
    )


async def connect(url: str) -> asyncpg.Connection:
    """One connection, for a command line tool. Use it inside `database_errors`."""
    connection = await asyncpg.connect(url, timeout=10, command_timeout=_STATEMENT_TIMEOUT_SECONDS)
    try:
        await _prepare(connection)
    except BaseException:
        connection.terminate()
        raise
    return connection


@asynccontextmanager
async def database_errors() -> AsyncIterator[None]:
    """Turn what asyncpg raises into the connector's tree: gone → `Transient`, wrong → `Terminal`.

    Unchanged are errors of the values in a statement: those are some record's, and only those may make it a dead
    letter. Everything else, also what PostgreSQL will say in future, is waited for or stops the line.
    """
    try:
        yield
    except _DATA:
        raise
    except _AGAIN as error:
        raise Transient(f"The database asks to repeat the transaction: {error}.", retry_after=0.05) from error
    except _WRONG as error:
        raise Terminal(
            f"The database refuses us or lacks our tables: {error}.",
            advice="check CONNECTOR_DATABASE__URL (a pooler in between has to pool sessions, not transactions), then "
            "run: connector state migrate",
        ) from error
    except _GONE as error:
        raise Transient(
            f"The database does not answer: {type(error).__name__}: {error}.", advice=_advice(error)
        ) from error


def _advice(error: BaseException) -> str:
    if isinstance(error, ssl.SSLError):
        return (
            "check sslmode and sslrootcert of CONNECTOR_DATABASE__URL (or PGSSLMODE, PGSSLROOTCERT): the file has to hold "
            "the authority that signed the server's certificate, and the host to be a name in it"
        )
    if isinstance(error, FileNotFoundError):
        return "check the files that CONNECTOR_DATABASE__URL or PGSSLROOTCERT name, or the server's socket where it is a folder"
    return (
        "check CONNECTOR_DATABASE__URL; `connector up` keeps its own in connector.env of its data directory"
    )


@asynccontextmanager
async def transaction(pool: asyncpg.Pool) -> AsyncIterator[Any]:
    """One transaction on one connection; failures come out as the connector's errors."""
    async with database_errors(), pool.acquire(timeout=10) as connection, connection.transaction():
        yield connection


async def close_pool(pool: asyncpg.Pool) -> None:
    """Close within 5 s, whatever the server does."""
    try:
        await asyncio.wait_for(pool.close(), timeout=5)
    except (TimeoutError, *_GONE):
        pool.terminate()
