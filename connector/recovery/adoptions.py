"""Which records of a CRM were found for a person, and what was decided; why a person is not written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from connector.state.database import Connection
from connector.sync.core.adoption import Outcome
from connector.sync.core.holding import Hold


@dataclass(frozen=True, kw_only=True, slots=True)
class AdoptionTrace:
    """One look-up that brought records up. `said` says in a sentence what became of it."""

    sink: str
    at: datetime
    phone: str
    outcome: str
    chosen: str | None
    rule: str
    candidates: Sequence[str]
    said: str


async def adoptions_of(connection: Connection, sink: str, contacts: Sequence[UUID]) -> list[AdoptionTrace]:
    """What was found for these contacts, oldest first."""
    rows = await connection.fetch(
        f"SELECT * FROM {sink}.adoptions WHERE contact_id = ANY($1::uuid[]) ORDER BY at, outcome",  # noqa: S608 - ours
        list(contacts),
    )
    return [
        AdoptionTrace(
            sink=sink,
            at=row["at"],
            phone=row["phone"],
            outcome=row["outcome"],
            chosen=row["chosen"],
            rule=row["rule"],
            candidates=[candidate["record_id"] for candidate in row["candidates"]],
            said=_said(
                Outcome(row["outcome"]),
                chosen=row["chosen"],
                rule=row["rule"],
                names=[
                    f"{item['record_id']} ({', '.join(filter(None, (item['name'], *item['phones'])))})"
                    for item in row["candidates"]
                ],
            ),
        )
        for row in rows
    ]


def _said(outcome: Outcome, *, chosen: str | None, rule: str, names: Sequence[str]) -> str:
    listed = "; ".join(names)
    match outcome:
        case Outcome.ADOPTED:
            return f"adopted record {chosen}: {listed}"
        case Outcome.CHOSEN:
            return f"adopted record {chosen}, the {rule} of {len(names)} with this phone: {listed}; merge the others by hand"
        case Outcome.AMBIGUOUS:
            return f"adopted none of {len(names)} records with this phone (adoption_rule none): {listed}"
        case Outcome.TAKEN:
            return f"another person of ours has the record with this phone: {listed}"
        case _:
            return f"possible duplicate, not touched: {listed}; if it is the same person, merge them by hand"


def held_because(held: str, sink: str) -> str:
    """Why nothing is written for a person, and what ends that."""
    match Hold(held):
        case Hold.LOOKUP:
            return f"waits to be looked up in {sink} by phone before the first write"
        case Hold.UNKNOWN:
            return f"not in {sink}; known_only: waits until a person enters them there, looked for once a day"
        case Hold.IGNORED:
            return "on the ignore list (CONNECTOR_SYNC__IGNORE): kept here, never written"
        case Hold.DELETED:
            return f"the person's record was deleted in {sink}: it is made again when they write again"
        case Hold.ERASED:
            return f"the person was erased in {sink}: never made again, unless a person enters them there"
        case Hold.REFUSED:
            return f"blocked: {sink} refuses the person it belongs to; connector trace --contact says why"
