"""Acts of consent applied to the ledger, and what they change told to everybody. In a transaction of the caller's."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from uuid import UUID

from connector.events import Origin
from connector.outbound.announcements import STAGE, consent_changed
from connector.outbound.consent.ledger import Act
from connector.outbound.store.consents import record_acts
from connector.outbound.store.people import Member
from connector.state.database import Connection
from connector.streams.outgoing import queue_outgoing


async def apply_acts(
    connection: Connection,
    acts: Sequence[tuple[UUID, Act]],
    *,
    members: Mapping[UUID, Member],
    origins: Mapping[str, Origin],
    otherwise: Origin,
    regrouped: Collection[UUID] = (),
) -> int:
    """Record acts of people who are locked and queue a `consent.changed` for each change; how many changes.

    `origins`: act id → the record that told it; `otherwise` for what a merge brought about.
    """
    changes = await record_acts(connection, acts, members=members, regrouped=regrouped)
    records = [
        consent_changed(change, origin=origins.get(change.act.act_id, otherwise)) for change in changes
    ]
    await queue_outgoing(connection, stage=STAGE, records=records)
    return len(records)
