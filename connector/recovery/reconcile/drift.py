"""What a reconciliation found, as people read it: one line an item, and counts. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from connector.recovery.replay.items import Act, Kind


class DriftKind(StrEnum):
    """How a CRM and what we know of it have come apart."""

    MISSING = "missing"
    """The log or the tables have it, and the CRM does not."""
    DOUBLED = "doubled"
    """The CRM has it more than once."""
    DIFFERENT = "different"
    """The CRM has it and says something else, or the tables lack what the log says."""
    ORPHANED = "orphaned"
    """The CRM has a record of ours, and the tables do not know it."""


FLAGGED = "flagged"
"""What a repair does about a record that nobody knows: a person is to look."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Drift:
    """One item that is not as it should be. `what`: contact | activity | merge. `record_id`: in the CRM; "": none.

    `contact_id`: whose it is; "": nobody's that we know. `said`: what is wrong, `mends`: what a repair does about it.
    `kept`: of a doubled one, the record that stays.
    """

    sink: str
    kind: DriftKind
    what: str
    contact_id: str
    wamid: str
    record_id: str
    said: str
    mends: str
    kept: str = ""

    @property
    def by_hand(self) -> bool:
        """Whether a plan does not mend it: a record that is there too much."""
        return self.kind is DriftKind.DOUBLED or self.mends == FLAGGED


@dataclass(frozen=True, kw_only=True, slots=True)
class Counts:
    """Of contacts or messages, how many the log's part has, the tables, and the CRM (of those that were compared)."""

    log: int
    tables: int
    crm: int


@dataclass(frozen=True, kw_only=True)
class SinkReport:
    """What was found in one CRM. `counts`: contact and activity. `waiting`: on their way, and no drift.

    `aside`: reason → items that nothing is to be done about here: erased, on hold, refused, or not told of.
    """

    sink: str
    counts: Mapping[str, Counts]
    drift: Sequence[Drift] = ()
    waiting: int = 0
    aside: Mapping[str, int] = field(default_factory=dict)
    flagged: int = 0
    """Records that a person was told of before, and that are no drift any more."""

    @property
    def by_kind(self) -> dict[str, int]:
        """Kind of drift → items, every kind named."""
        found = Counter(item.kind for item in self.drift)
        return {str(kind): found[kind] for kind in DriftKind}


_MENDS: Mapping[Act, str] = {
    Act.MERGE: "merged",
    Act.CREATE: "written",
    Act.RESTORE: "made anew",
    Act.CHANGE: "written over",
    Act.LEARN: "learned, without a call",
}


def kind_of(act: Act, *, found: bool) -> DriftKind:
    """The drift that an item of a plan mends. `found`: a record in the CRM that the tables had lost."""
    if found:
        return DriftKind.ORPHANED
    return DriftKind.MISSING if act in (Act.CREATE, Act.RESTORE) else DriftKind.DIFFERENT


def mending(act: Act, *, found: bool) -> str:
    """What a repair does."""
    return f"adopted again, {_MENDS[act]}" if found else _MENDS[act]


def sentence(report: SinkReport) -> str:
    """What was found in one CRM, in one sentence."""
    people, messages = report.counts[Kind.CONTACT], report.counts[Kind.ACTIVITY]
    found = ", ".join(f"{count:,} {kind}" for kind, count in report.by_kind.items())
    return (
        f"messages: {messages.log:,} in the log, {messages.tables:,} in the tables, {messages.crm:,} in the CRM; "
        f"people: {people.log:,}, {people.tables:,}, {people.crm:,}; {found}"
    )
