"""The third route stage: people whom the business writes to before they ever wrote to it (`person.introduced`).

They get their contact here, by the rules and under the locks of everybody else, so that whoever meets them first,
they have one. Somebody who is known already is left as they are: that a business names a number is no evidence of whose
it is. The other records of `crm.triggers` are the outbound role's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import asyncpg

from connector.errors import Rejected
from connector.events import ContactChanged, Origin, Person, PersonIntroduced
from connector.identity.batches import Guard, unguarded
from connector.identity.directory import Alias
from connector.identity.parked import discard_parked, find_parked
from connector.identity.routing import STAGE as ROUTE, Routing, encoded
from connector.identity.rules import introduced
from connector.identity.store import load_directory, save_directory
from connector.state.database import transaction
from connector.state.offsets import store_offsets
from connector.streams.codec import HEADER_SCHEMA, EncodedRecord, decode
from connector.streams.outcomes import Done, Outcome, Record
from connector.streams.outgoing import queue_outgoing
from connector.topics import CRM_TRIGGERS
from connector.whatsapp.numbers import e164, lookup_variants

STAGE = "route-introductions"
INTRODUCED = "introduced"
"""The reason of the `contact.changed` that tells of them."""
_SCHEMA = f"{CRM_TRIGGERS.name}/person.introduced".encode()


def _nothing() -> None:
    """Nobody waits for what was queued."""


class IntroductionStage:
    """Safe in any number of replicas, and beside the other stages."""

    name = STAGE
    topic = CRM_TRIGGERS
    batch_size = 500

    def __init__(
        self, pool: asyncpg.Pool, *, on_queued: Callable[[], None] = _nothing, guard: Guard = unguarded
    ) -> None:
        """`on_queued` is called after a commit that left rows for the relay. `guard`: see batches.py."""
        self._pool = pool
        self._on_queued = on_queued
        self._guard = guard

    async def handle(self, records: Sequence[Record]) -> Sequence[Outcome]:
        """Make contacts for one batch. Raises `Transient` when the database is away or asks to repeat."""
        people = [(person, record) for record in records if (person := _read(record)) is not None]
        shown = {alias for person, _ in people for alias in forms_of(person)}
        async with transaction(self._pool) as connection:
            queued = False
            if people:
                await self._guard(connection)
                directory = await load_directory(connection, shown=shown, wamids=(), inquiries=())
                announced: list[EncodedRecord] = []
                for person, record in people:
                    forms = forms_of(person)
                    contact_id = introduced(directory, forms, person.received_at) if forms else None
                    if contact_id is not None:
                        event = _announcement(person, contact_id, alias=forms[0], record=record)
                        announced.append(encoded(event, key=str(contact_id)))
                await save_directory(connection, directory, messages=(), parked=(), conflicts=())
                routing = Routing(directory)
                candidates = await find_parked(connection, wamids=(), aliases=directory.newly_held)
                await discard_parked(connection, routing.release(candidates))
                await queue_outgoing(connection, stage=ROUTE, records=[*announced, *routing.outgoing])
                queued = bool(announced or routing.outgoing)
            await store_offsets(connection, schema="identity", offsets=records)
        if queued:
            self._on_queued()
        return [Done() for _ in records]


def forms_of(person: PersonIntroduced) -> tuple[Alias, ...]:
    """The one alias that is introduced, in every form under which its holder may be known; its own first."""
    if person.bsuid:
        return (Alias("bsuid", person.bsuid),)
    digits = person.phone.removeprefix("+")
    return tuple(Alias("phone", form) for form in lookup_variants(digits)) if e164(digits) else ()


def _read(record: Record) -> PersonIntroduced | None:
    """None for what is somebody else's; what cannot be read is the outbound role's dead letter."""
    if record.headers.get(HEADER_SCHEMA, _SCHEMA) != _SCHEMA:
        return None
    try:
        event = decode(CRM_TRIGGERS, record.value)
    except Rejected:
        return None
    return event if isinstance(event, PersonIntroduced) else None


def _announcement(
    person: PersonIntroduced, contact_id: object, *, alias: Alias, record: Record
) -> ContactChanged:
    is_phone = alias.kind == "phone"
    return ContactChanged(
        event_id=f"contact.changed:{INTRODUCED}:{contact_id}",
        waba_id="",
        at=person.received_at,
        person=Person.model_validate(
            {
                "contact_id": contact_id,
                "wa_id": alias.value if is_phone else None,
                "phone": e164(alias.value) if is_phone else None,
                "bsuid": None if is_phone else alias.value,
            }
        ),
        origin=Origin(
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            received_at=person.received_at,
        ),
        reason=INTRODUCED,
    )
