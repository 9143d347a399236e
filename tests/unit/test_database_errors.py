"""Whose fault a database error is: a record's, a person's to mend, or nobody's."""

import asyncpg
import pytest

from connector.errors import Terminal, Transient
from connector.state.database import database_errors


@pytest.mark.parametrize(
    "failure",
    [
        asyncpg.CharacterNotInRepertoireError,
        asyncpg.NumericValueOutOfRangeError,
        asyncpg.NotNullViolationError,
        asyncpg.ProgramLimitExceededError,
    ],
)
async def test_errors_of_values_are_left_for_the_record_they_belong_to(
    failure: type[asyncpg.PostgresError],
) -> None:
    """A value that PostgreSQL cannot hold is the record's: it comes out as it is, and may become a dead letter."""
    with pytest.raises(failure):
        async with database_errors():
            raise failure("no")


@pytest.mark.parametrize(
    "failure",
    [
        asyncpg.UndefinedColumnError,
        asyncpg.UndefinedTableError,
        asyncpg.InsufficientPrivilegeError,
        asyncpg.DuplicatePreparedStatementError,
        asyncpg.InvalidSQLStatementNameError,
        asyncpg.InvalidPasswordError,
    ],
)
async def test_a_wrong_database_stops_the_line(failure: type[asyncpg.PostgresError]) -> None:
    """Missing columns, privileges, or a pooler that mixes up prepared statements: no record is at fault."""
    with pytest.raises(Terminal, match="lacks our tables"):
        async with database_errors():
            raise failure("no")


@pytest.mark.parametrize(
    "failure",
    [
        asyncpg.LockNotAvailableError,
        asyncpg.DeadlockDetectedError,
        asyncpg.InvalidCachedStatementError,
        asyncpg.IdleInTransactionSessionTimeoutError,
        asyncpg.PostgresIOError,
        asyncpg.InternalServerError,
        asyncpg.DatabaseDroppedError,
        asyncpg.DiskFullError,
        asyncpg.InterfaceError,
        ConnectionResetError,
    ],
)
async def test_a_failing_database_is_waited_for(failure: type[Exception]) -> None:
    """Timeouts an administrator set, a broken disk, a migration beside us: the batch is repeated, nothing dies."""
    with pytest.raises(Transient):
        async with database_errors():
            raise failure("no")
