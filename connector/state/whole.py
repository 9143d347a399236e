"""What a writer asks before it acts on tables: are they whole, and are they still the same ones?"""

from __future__ import annotations

from typing import Protocol

from connector.state.database import Connection

Token = tuple[str, int]
"""Names the tables that a piece of work began on: which database, and how often it was found behind."""


class Wholeness(Protocol):
    """Tells whether a role's tables may be acted on."""

    async def must_be_whole(self, connection: Connection, *, since: Token | None = None) -> Token:
        """Return in the caller's transaction if they are. `since`: what it returned when the work began.

        Raises `Transient` while they are behind the log, not compared with it yet, or others than at `since`: what was
        done then belongs to tables that are no more, and is found again as in doubt.
        """


class AlwaysWhole:
    """For tables that nobody restores: a rehearsal, a test."""

    async def must_be_whole(self, connection: Connection, *, since: Token | None = None) -> Token:  # noqa: ARG002
        """Always."""
        return "", 0
