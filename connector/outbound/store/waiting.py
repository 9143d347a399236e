"""Acts of consent of people who have no contact yet: kept until they have one, and applied before anything is sent."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from connector.events import Recipient
from connector.outbound.consent.ledger import Act
from connector.outbound.recipients import names_of
from connector.state.database import Connection

_KEEP = """
INSERT INTO outbound.waiting_acts (act_id, names, recipient, act, received_at)
SELECT act_id, string_to_array(names, chr(10)), recipient, act, received_at
FROM unnest($1::text[], $2::text[], $3::jsonb[], $4::jsonb[], $5::timestamptz[])
    AS n (act_id, names, recipient, act, received_at)
ON CONFLICT (act_id) DO NOTHING
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class WaitingAct:
    """An act, and whose it is as far as anybody said."""

    recipient: Recipient
    act: Act
    received_at: datetime
    resolutions: int = 0


async def keep_waiting(connection: Connection, acts: Sequence[WaitingAct]) -> None:
    """Keep acts until their people are known; one that is recorded already is not kept."""
    known = await connection.fetch(
        "SELECT act_id FROM outbound.consent_acts WHERE act_id = ANY($1::text[])",
        [one.act.act_id for one in acts],
    )
    recorded = {row["act_id"] for row in known}
    rows = sorted((one for one in acts if one.act.act_id not in recorded), key=lambda one: one.act.act_id)
    if rows:
        await connection.execute(
            _KEEP,
            [one.act.act_id for one in rows],
            ["\n".join(names_of(one.recipient)) for one in rows],
            [one.recipient.model_dump() for one in rows],
            [_document(one.act) for one in rows],
            [one.received_at for one in rows],
        )


async def waited_for(connection: Connection, names: Collection[str]) -> set[str]:
    """Those of these names whose acts still wait."""
    if not names:
        return set()
    rows = await connection.fetch(
        "SELECT DISTINCT name FROM outbound.waiting_acts, unnest(names) AS name "
        "WHERE names && $1::text[] AND name = ANY($1::text[])",
        sorted(names),
    )
    return {row["name"] for row in rows}


def waiting_act(row: Any) -> WaitingAct:
    """An act as the table has it."""
    document = row["act"]
    return WaitingAct(
        recipient=Recipient.model_validate(row["recipient"]),
        act=Act(**{**document, "at": datetime.fromisoformat(document["at"])}),
        received_at=row["received_at"],
        resolutions=row["resolutions"],
    )


def _document(act: Act) -> dict[str, Any]:
    return {
        "act_id": act.act_id,
        "purpose": act.purpose,
        "state": act.state,
        "at": act.at.isoformat(),
        "source": act.source,
        "by_person": act.by_person,
        "evidence": act.evidence,
        "resumes": act.resumes,
    }
