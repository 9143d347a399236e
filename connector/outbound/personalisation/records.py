"""What is known of a person's CRM record, and whether a message may be filled in from it now. Pure.

What was read after the message was asked for, and not long ago, is taken: a workflow that sets a property and then asks
for a template means the new value. While a CRM is away for longer than people wait, what was read before is taken, up
to an age; without that the message waits, because a fall-back would be wrong for somebody of whom the CRM knows more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from connector.outbound.personalisation.filling import CrmProperties


class RecordPlace(NamedTuple):
    """A record of a person in a CRM."""

    crm: str
    record_id: str


@dataclass(frozen=True, kw_only=True, slots=True)
class RecordState:
    """One record as the tables have it. `place` None: the CRM has none of this person, or none yet (`coming`)."""

    place: RecordPlace | None = None
    coming: bool = False
    properties: Mapping[str, Any] = field(default_factory=dict)
    read_at: datetime | None = None
    """None: it was never read."""
    wanted_at: datetime | None = None
    """Since when somebody waits for it to be read; None: nobody does."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PropertyAges:
    """How old what a CRM says may be. `fresh`: without asking. `usable`: while it does not answer for `patience`."""

    fresh: timedelta = timedelta(hours=1)
    usable: timedelta = timedelta(hours=24)
    patience: timedelta = timedelta(seconds=30)


@dataclass(frozen=True, kw_only=True, slots=True)
class RecordFacts:
    """What a message is filled in from. `unread`: CRM → when to look again, of those that have to be read before."""

    properties: CrmProperties = field(default_factory=dict)
    unread: Mapping[str, datetime] = field(default_factory=dict)
    wanted: tuple[RecordPlace, ...] = ()
    """What has to be read."""


NOTHING = RecordFacts()
"""Of a message that the request fills in alone."""

_COMING_EVERY = timedelta(seconds=5)


def record_facts(
    needs: Mapping[str, frozenset[str]],
    records: Mapping[str, RecordState],
    *,
    requested_at: datetime,
    now: datetime,
    ages: PropertyAges,
) -> RecordFacts:
    """Judge what is known. `needs`: CRM → properties; `records`: CRM → the person's record there."""
    properties: dict[str, Mapping[str, Any]] = {}
    unread: dict[str, datetime] = {}
    wanted: list[RecordPlace] = []
    for crm, names in needs.items():
        record = records.get(crm, RecordState())
        if record.place is None:
            if record.coming and now < requested_at + ages.patience:
                unread[crm] = now + _COMING_EVERY
        elif _may_be_used(record, names, requested_at=requested_at, now=now, ages=ages):
            properties[crm] = record.properties
        else:
            unread[crm] = now + ages.patience
            wanted.append(record.place)
    return RecordFacts(properties=properties, unread=unread, wanted=tuple(wanted))


def _may_be_used(
    record: RecordState, names: frozenset[str], *, requested_at: datetime, now: datetime, ages: PropertyAges
) -> bool:
    if record.read_at is None or not names <= record.properties.keys():
        return False
    if record.read_at >= max(requested_at, now - ages.fresh):
        return True
    kept_waiting = record.wanted_at is not None and now >= record.wanted_at + ages.patience
    return kept_waiting and record.read_at >= now - ages.usable
