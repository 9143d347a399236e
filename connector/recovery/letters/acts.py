"""What was done about dead letters: `shared.dead_letter_acts`, at most one act a letter, and fixes that are kept.

A letter that dies again after a redrive is another letter. Nothing here is folded from the log: with an older
database a letter may be redriven again, which every stage takes for the repetition that it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from connector.errors import Rejected
from connector.state.database import Connection

REDRIVING, REDRIVEN, DROPPED = "redriving", "redriven", "dropped"


@dataclass(frozen=True, kw_only=True, slots=True)
class Act:
    """Who does something about letters, when and why. `act` names it on `operator.actions`."""

    act: str
    who: str
    why: str
    at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class LetterAct:
    """What was done about one letter."""

    letter_id: str
    state: str
    act: str
    who: str
    why: str
    at: datetime


async def alone(connection: Connection) -> None:
    """One command that changes letters at a time, for as long as the connection lives. Raises `Rejected`."""
    if not await connection.fetchval("SELECT pg_try_advisory_lock(hashtextextended('dead-letters', 0))"):
        raise Rejected(
            "Somebody else fixes, redrives or drops dead letters at this moment. Nothing was changed.",
            cause="busy",
            advice="wait until that command has ended (connector dlq ls shows what is left), then repeat",
        )


async def letter_states(connection: Connection) -> dict[str, str]:
    """Letter id → state, of every letter that something was done about."""
    rows = await connection.fetch("SELECT letter_id, state FROM shared.dead_letter_acts")
    return {row["letter_id"]: row["state"] for row in rows}


async def states_of(connection: Connection, letters: Sequence[str]) -> dict[str, str]:
    """The same of some letters."""
    rows = await connection.fetch(
        "SELECT letter_id, state FROM shared.dead_letter_acts WHERE letter_id = ANY($1::text[])", letters
    )
    return {row["letter_id"]: row["state"] for row in rows}


async def fixed_letters(connection: Connection) -> frozenset[str]:
    """The ids of letters that have a fix."""
    return frozenset(
        row["letter_id"] for row in await connection.fetch("SELECT letter_id FROM shared.dead_letter_fixes")
    )


async def letter_act(connection: Connection, letter_id: str) -> LetterAct | None:
    """What was done about a letter."""
    row = await connection.fetchrow(
        "SELECT letter_id, state, act, who, why, at FROM shared.dead_letter_acts WHERE letter_id = $1",
        letter_id,
    )
    return None if row is None else LetterAct(**row)


async def begin_redrive(connection: Connection, letters: Sequence[str], act: Act) -> list[str]:
    """Mark letters before they are sent; those that may be. One that an act left half done is among them."""
    return await _mark(connection, letters, act, state=REDRIVING)


async def finish_redrive(connection: Connection, letters: Sequence[str]) -> None:
    """The broker has them. Their fixes have served."""
    async with connection.transaction():
        await connection.execute(
            "UPDATE shared.dead_letter_acts SET state = 'redriven' WHERE letter_id = ANY($1::text[])", letters
        )
        await connection.execute(
            "DELETE FROM shared.dead_letter_fixes WHERE letter_id = ANY($1::text[])", letters
        )


async def drop(connection: Connection, letters: Sequence[str], act: Act) -> list[str]:
    """Declare letters settled without putting them back; those that nothing else was done about."""
    async with connection.transaction():
        dropped = await _mark(connection, letters, act, state=DROPPED)
        await connection.execute(
            "DELETE FROM shared.dead_letter_fixes WHERE letter_id = ANY($1::text[])", dropped
        )
    return dropped


async def _mark(connection: Connection, letters: Sequence[str], act: Act, *, state: str) -> list[str]:
    rows = await connection.fetch(
        "INSERT INTO shared.dead_letter_acts AS a (letter_id, state, act, who, why, at) "
        "SELECT letter_id, $2, $3, $4, $5, $6 FROM unnest($1::text[]) AS l (letter_id) "
        "ON CONFLICT (letter_id) DO UPDATE SET act = excluded.act, who = excluded.who, why = excluded.why, "
        "at = excluded.at WHERE a.state = 'redriving' AND excluded.state = 'redriving' RETURNING letter_id",
        list(dict.fromkeys(letters)),
        state,
        act.act,
        act.who,
        act.why,
        act.at,
    )
    return [row["letter_id"] for row in rows]


async def keep_fixes(connection: Connection, fixes: Mapping[str, bytes], act: Act) -> None:
    """Values that a redrive takes instead of the letters' own; a later fix of a letter replaces an earlier one."""
    await connection.execute(
        "INSERT INTO shared.dead_letter_fixes (letter_id, value, act, who, why, at) "
        "SELECT letter_id, value, $3, $4, $5, $6 FROM unnest($1::text[], $2::bytea[]) AS f (letter_id, value) "
        "ON CONFLICT (letter_id) DO UPDATE SET value = excluded.value, act = excluded.act, who = excluded.who, "
        "why = excluded.why, at = excluded.at",
        list(fixes),
        list(fixes.values()),
        act.act,
        act.who,
        act.why,
        act.at,
    )


async def fixes_of(connection: Connection, letters: Iterable[str]) -> dict[str, bytes]:
    """Letter id → the value that is sent instead of its own."""
    rows = await connection.fetch(
        "SELECT letter_id, value FROM shared.dead_letter_fixes WHERE letter_id = ANY($1::text[])",
        list(letters),
    )
    return {row["letter_id"]: row["value"] for row in rows}
