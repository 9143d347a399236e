"""The items of a plan, their hash and their summary. Pure."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from connector.sync.core.fold import Position


class Kind(StrEnum):
    """What an item is, in the order in which a plan is applied."""

    MERGE = "merge"
    CONTACT = "contact"
    ACTIVITY = "activity"


class Act(StrEnum):
    """What a plan does with an item. Of the last three nothing is kept but their number, or the reason."""

    MERGE = "merge"
    """Two people are one, as the log says; the tables have not heard of it."""
    CREATE = "create"
    RESTORE = "restore"
    """Made anew: somebody deleted it in the CRM."""
    CHANGE = "change"
    LEARN = "learn"
    """The tables lack a fact that changes nothing in the CRM. No call is made for it."""
    CANNOT = "cannot"
    WAITS = "waits"
    """It is ahead of the CRM already: the writer writes it with or without a replay."""
    NOTHING = "nothing"


WRITING = frozenset({Act.CREATE, Act.RESTORE, Act.CHANGE})
"""Acts that are calls to the CRM."""
KEPT = WRITING | {Act.MERGE, Act.LEARN, Act.CANNOT}
"""Acts that a plan lists."""


PLACE = "contact"
"""Among the fields of an activity: the contact record that it hangs on."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedItem:
    """One item. `fields`: names of what changes in the CRM. `base_version`: the desired version that was looked at;
    None: there was no row. `record_id`: of an activity that the tables had lost. `facts`: what should be known now; None: as it is known. `digest`: what the CRM is known
    to say already; None: it is written whatever was written before.
    """

    kind: Kind
    key: str
    act: Act
    fields: Sequence[str] = ()
    reason: str = ""
    base_version: int | None = None
    facts: Mapping[str, Any] | None = None
    digest: str | None = None
    fresh_at: datetime | None = None
    position: Position | None = None
    event: bytes | None = None
    record_id: str | None = None

    def canonical(self, sink: str) -> bytes:
        """What the plan's hash is made of: the same plan, made twice, has the same hash."""
        said = [
            sink,
            self.kind,
            self.key,
            self.act,
            list(self.fields),
            self.base_version,
            self.facts,
            self.digest,
            self.record_id,
        ]
        return json.dumps(said, sort_keys=True, ensure_ascii=True).encode() + b"\n"


class PlanHash:
    """The hash of a plan's items in their order, and of what they were made with."""

    def __init__(self, *made_with: str) -> None:
        self._hash = hashlib.sha256(json.dumps(made_with).encode())

    def add(self, sink: str, item: PlannedItem) -> None:
        """The next item."""
        self._hash.update(item.canonical(sink))

    @property
    def value(self) -> str:
        """The hash, as people type it."""
        return self._hash.hexdigest()[:12]


@dataclass(frozen=True, kw_only=True, slots=True)
class CallCost:
    """How items become calls to one CRM. `calls_per_second`: what the account's quota lets pass; 0: not known."""

    contacts_per_call: int
    activities_per_call: int
    lookups_per_call: int
    calls_per_second: float = 0.0


@dataclass(slots=True)
class Tally:
    """What a plan does to one sink, counted while it is made."""

    acts: Counter[tuple[Kind, Act]] = field(default_factory=Counter)
    fields: Counter[Kind] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    looks: Counter[tuple[Kind, str]] = field(default_factory=Counter)

    def look(self, kind: Kind, **having: int) -> None:
        """Count how many of the items looked at the log, the tables and the CRM have."""
        for where, count in having.items():
            self.looks[kind, where] += count

    def add(self, item: PlannedItem) -> None:
        """Count an item."""
        self.acts[item.kind, item.act] += 1
        if item.act is Act.CHANGE:
            self.fields[item.kind] += len(item.fields)
        if item.act is Act.CANNOT:
            self.reasons[item.reason] += 1


@dataclass(frozen=True, kw_only=True)
class SinkSummary:
    """What a plan does to one sink. `seconds`: of the account's quota; None: it is not known."""

    sink: str
    create_contacts: int
    change_contacts: int
    change_contact_fields: int
    restore_contacts: int
    add_activities: int
    change_activities: int
    change_activity_fields: int
    restore_activities: int
    merges: int
    learn: int
    waiting: int
    already_there: int
    cannot: int
    reasons: Mapping[str, int]
    calls: int
    seconds: float | None
    looked_at: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """Of contacts and activities, how many the log's slice, the tables and the CRM have; the CRM: of those compared."""
    sends: int = 0
    """A replay cannot send: it touches a sink's tables only."""

    @property
    def writes(self) -> int:
        """Items that are written to the CRM."""
        return (
            self.create_contacts
            + self.change_contacts
            + self.restore_contacts
            + self.add_activities
            + self.change_activities
            + self.restore_activities
        )

    @property
    def acts(self) -> int:
        """Items that applying does anything with."""
        return self.writes + self.merges + self.learn


def summarise(sink: str, tally: Tally, cost: CallCost) -> SinkSummary:
    """Count calls as the writer makes them: full batches, and a look-up before anything is made that may be there."""
    count = tally.acts

    def of(kind: Kind, *acts: Act) -> int:
        return sum(count[kind, act] for act in acts)

    def calls_for(items: int, size: int) -> int:
        return math.ceil(items / size)

    people = of(Kind.CONTACT, Act.CREATE, Act.RESTORE)
    calls = (
        calls_for(people, cost.lookups_per_call)
        + calls_for(people, cost.contacts_per_call)
        + calls_for(of(Kind.CONTACT, Act.CHANGE), cost.contacts_per_call)
        + 2 * calls_for(of(Kind.ACTIVITY, Act.CREATE), cost.activities_per_call)
        + calls_for(of(Kind.ACTIVITY, Act.RESTORE), cost.activities_per_call)
        + calls_for(of(Kind.ACTIVITY, Act.CHANGE), cost.activities_per_call)
    )
    return SinkSummary(
        sink=sink,
        create_contacts=of(Kind.CONTACT, Act.CREATE),
        change_contacts=of(Kind.CONTACT, Act.CHANGE),
        change_contact_fields=tally.fields[Kind.CONTACT],
        restore_contacts=of(Kind.CONTACT, Act.RESTORE),
        add_activities=of(Kind.ACTIVITY, Act.CREATE),
        change_activities=of(Kind.ACTIVITY, Act.CHANGE),
        change_activity_fields=tally.fields[Kind.ACTIVITY],
        restore_activities=of(Kind.ACTIVITY, Act.RESTORE),
        merges=of(Kind.MERGE, Act.MERGE),
        learn=of(Kind.CONTACT, Act.LEARN) + of(Kind.ACTIVITY, Act.LEARN),
        waiting=of(Kind.CONTACT, Act.WAITS) + of(Kind.ACTIVITY, Act.WAITS),
        already_there=of(Kind.CONTACT, Act.NOTHING) + of(Kind.ACTIVITY, Act.NOTHING),
        cannot=sum(tally.reasons.values()),
        reasons=dict(tally.reasons.most_common()),
        calls=calls,
        seconds=calls / cost.calls_per_second if cost.calls_per_second else None,
        looked_at={
            str(kind): {where: tally.looks[kind, where] for where in ("log", "tables", "crm")}
            for kind in (Kind.CONTACT, Kind.ACTIVITY)
        },
    )


def sentence(summary: SinkSummary, *, verified: bool) -> str:
    """The plan for one sink in one sentence."""
    upto = "" if verified else "up to "
    parts = [f"create {summary.create_contacts:,} {_plural('contact', summary.create_contacts)}"]
    parts.append(
        f"change {upto if summary.change_contact_fields else ''}{summary.change_contact_fields:,} "
        f"{_plural('field', summary.change_contact_fields)} on {summary.change_contacts:,} "
        f"{_plural('contact', summary.change_contacts)}"
    )
    parts.append(f"add {_activities(summary.add_activities)}")
    parts.append(f"change {_activities(summary.change_activities)}")
    if summary.restore_contacts or summary.restore_activities:
        parts.append(
            f"make anew {summary.restore_contacts:,} contacts and {summary.restore_activities:,} activities "
            "that people deleted"
        )
    if summary.merges:
        parts.append(f"merge {summary.merges:,} people into others")
    if summary.learn:
        parts.append(f"learn {summary.learn:,} facts without a call")
    parts.append(f"skip {summary.already_there:,} already there")
    if summary.waiting:
        parts.append(f"leave {summary.waiting:,} that wait to be written as it is")
    why = "; ".join(f"{count:,} {reason}" for reason, count in list(summary.reasons.items())[:3])
    parts.append(f"cannot {summary.cannot:,}{f' ({why})' if why else ''}")
    quota = "" if summary.seconds is None else f", {_duration(summary.seconds)} of quota"
    return f"{', '.join(parts)}; sends 0; about {summary.calls:,} CRM calls{quota}"


def _activities(count: int) -> str:
    return f"{count:,} {'activity' if count == 1 else 'activities'}"


def _plural(word: str, count: int) -> str:
    return word if count == 1 else f"{word}s"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{math.ceil(seconds)} s"
    return f"{math.ceil(seconds / 60)} min" if seconds < 5_400 else f"{seconds / 3_600:.1f} h"
