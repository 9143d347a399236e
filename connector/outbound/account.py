"""The stage that reads `account.events`: templates and numbers as Meta changes them, opt-outs made in WhatsApp itself.

One transaction a batch, acknowledged on commit. What a webhook leaves out (the content of an edited template, a
number's new throughput) is read from Graph at once: the account is marked as wanted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from uuid import UUID

import asyncpg

from connector.errors import Rejected
from connector.events import AccountEvent, Origin, Recipient
from connector.outbound.applying import apply_acts
from connector.outbound.consent.acts import PersonsAct, act_of_preference
from connector.outbound.consent.ledger import Act
from connector.outbound.recipients import sought
from connector.outbound.store import SCHEMA
from connector.outbound.store.account_syncs import want_sync
from connector.outbound.store.people import lock_people
from connector.outbound.store.recipients import look_up
from connector.outbound.store.templates import fold_changes
from connector.outbound.store.waiting import WaitingAct, keep_waiting
from connector.outbound.templates.reading import webhook_change
from connector.state.database import Connection, transaction
from connector.state.offsets import store_offsets
from connector.streams.codec import decode
from connector.streams.outcomes import Dead, Done, Outcome, Record
from connector.topics import ACCOUNT_EVENTS

# Webhooks that say that something about the numbers or their limits changed, in words that differ from Graph's.
_LOOK_AT_NUMBERS = frozenset(
    {
        "phone_number_quality_update",
        "phone_number_name_update",
        "account_update",
        "account_review_update",
        "business_capability_update",
    }
)


def _nobody() -> None:
    """Nobody waits for it."""


class AccountStage:
    """Safe in any number of replicas."""

    name = "outbound-account"
    topic = ACCOUNT_EVENTS
    batch_size = 200

    def __init__(
        self,
        pool: asyncpg.Pool,
        *,
        on_queued: Callable[[], None] = _nobody,
        on_unknown: Callable[[], None] = _nobody,
        on_wanted: Callable[[], None] = _nobody,
    ) -> None:
        """`on_queued`: rows wait for the relay. `on_unknown`: acts of unknown people. `on_wanted`: accounts to read."""
        self._pool = pool
        self._on_queued = on_queued
        self._on_unknown = on_unknown
        self._on_wanted = on_wanted

    async def handle(self, records: Sequence[Record]) -> Sequence[Outcome]:
        """Fold one batch. Raises `Transient` while the database is away; nothing is kept then."""
        outcomes: list[Outcome] = []
        events: list[AccountEvent] = []
        for record in records:
            try:
                events.append(decode(ACCOUNT_EVENTS, record.value))
            except Rejected as error:
                outcomes.append(Dead(cause=error.cause, reason=error.message, advice=error.advice))
                continue
            outcomes.append(Done())
        said = [(event, act) for event in events if (act := act_of_preference(event)) is not None]
        async with transaction(self._pool) as connection:
            queued, unknown = await _hear(connection, said)
            changes = [change for event in events if (change := webhook_change(event)) is not None]
            templates = await fold_changes(connection, changes)
            wanted = {template.waba_id for template in templates if template.incomplete}
            wanted |= {event.waba_id for event in events if event.field in _LOOK_AT_NUMBERS}
            await want_sync(connection, wanted)
            await store_offsets(connection, schema=SCHEMA, offsets=records)
        if queued:
            self._on_queued()
        if unknown:
            self._on_unknown()
        if wanted:
            self._on_wanted()
        return outcomes


async def _hear(connection: Connection, said: Sequence[tuple[AccountEvent, PersonsAct]]) -> tuple[int, bool]:
    """Apply what people set in WhatsApp; (standings that changed, whether somebody is not known)."""
    if not said:
        return 0, False
    people = [Recipient(bsuid=one.person.bsuid or "", phone=one.person.wa_id or "") for _, one in said]
    found = await look_up(
        connection, [sought(person) for person in people], at=max(event.at for event, _ in said)
    )
    known: list[tuple[UUID, Act]] = []
    waiting: list[WaitingAct] = []
    origins: dict[str, Origin] = {}
    for (event, one), person, who in zip(said, people, found, strict=True):
        origins[one.act.act_id] = event.origin
        if who.contact_id is not None:
            known.append((who.contact_id, one.act))
        elif not who.obstacle:
            waiting.append(WaitingAct(recipient=person, act=one.act, received_at=event.origin.received_at))
    await keep_waiting(connection, waiting)
    if not known:
        return 0, bool(waiting)
    members = await lock_people(connection, {contact_id for contact_id, _ in known})
    changed = await apply_acts(
        connection, known, members=members, origins=origins, otherwise=said[0][0].origin
    )
    return changed, bool(waiting)
