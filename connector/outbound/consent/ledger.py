"""The consent ledger: acts → what a person allows, per purpose. Pure, commutative and idempotent.

Five registers a person and purpose hold the latest act of each kind, and nothing else is needed to know the standing:

* `denied`: no more of this. Anybody may say it: the person, WhatsApp, the CRM, an operator.
* `granted`: yes, by the person, with evidence. Only such an act, and only a later one, undoes a denial.
* `resumed`: messages again (START). It undoes a denial like a grant, and what was agreed to before counts again; where
  nothing was denied it says nothing, so that a word typed to a menu is no consent.
* `reported`: yes, as somebody told us (CRM property, import without evidence). It holds until something is said.
* `withdrawn`: not known any more. It ends a grant and is no denial.

Registers belong to the contact that the event named, and are never moved when people are merged: `standing` looks at
all that became one person. Across a merge only what was granted after it undoes what was denied before, so the most
restrictive standing wins at a merge, in whichever order acts and merge are learned.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from typing import Literal
from uuid import UUID

from connector.events.triggers import ConsentState

ConsentPurpose = Literal["marketing", "utility"]
PURPOSES: tuple[ConsentPurpose, ...] = ("marketing", "utility")
ConsentSource = Literal[
    "keyword",
    "button",
    "user_preferences",
    "error_131050",
    "crm_property",
    "api",
    "import",
    "operator",
    "click",
]


@dataclass(frozen=True, kw_only=True, slots=True)
class Act:
    """One thing that was said about one purpose. `act_id`: of the event, so that the same act is one act."""

    act_id: str
    purpose: ConsentPurpose
    state: ConsentState
    at: datetime
    """When the person acted, UTC."""
    source: ConsentSource
    by_person: bool = False
    evidence: str = ""
    resumes: bool = False
    """Of a grant: it only lifts a denial (see `resumed` above)."""

    @property
    def convincing(self) -> bool:
        """Whether it can undo a denial: the person did it, and that can be shown."""
        return self.by_person and bool(self.evidence.strip())

    @property
    def order(self) -> tuple[datetime, str]:
        """By time; acts of the same moment by id."""
        return self.at, self.act_id


@dataclass(frozen=True, kw_only=True, slots=True)
class Registers:
    """What is remembered of one contact and one purpose: the latest act of each kind."""

    denied: Act | None = None
    granted: Act | None = None
    resumed: Act | None = None
    reported: Act | None = None
    withdrawn: Act | None = None


NOTHING_SAID = Registers()


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """What counts now, and the act that decided it (None: nobody ever said anything)."""

    state: ConsentState
    act: Act | None = None


NOBODY_ASKED = Standing(state="unknown")

_Owned = Sequence[tuple[UUID, Act]]
"""Acts with the contact id that each belongs to."""


RegisterName = Literal["denied", "granted", "resumed", "reported", "withdrawn"]


def register_of(act: Act) -> RegisterName | None:
    """Which register an act belongs to; None: it says nothing that is kept."""
    match act.state:
        case "denied":
            return "denied"
        case "unknown":
            return "withdrawn"
    if act.resumes:
        return "resumed" if act.convincing else None
    return "granted" if act.convincing else "reported"


def recorded(registers: Registers, act: Act) -> Registers:
    """The registers after one more act."""
    name = register_of(act)
    return registers if name is None else replace(registers, **{name: _later(getattr(registers, name), act)})


def united(one: Registers, other: Registers) -> Registers:
    """Two halves of the same contact's and purpose's registers, as one."""
    return Registers(
        **{
            item.name: _latest([getattr(one, item.name), getattr(other, item.name)])
            for item in fields(Registers)
        }
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class ConsentLedger:
    """All that one person said for one purpose, under every contact id they had.

    `merged_at`: when a contact id was merged into the person (its `contact.merged` event); the surviving id has none.
    """

    members: Mapping[UUID, Registers] = field(default_factory=dict)
    merged_at: Mapping[UUID, datetime] = field(default_factory=dict)

    @classmethod
    def of(
        cls, acts: Iterable[tuple[UUID, Act]], *, merged_at: Mapping[UUID, datetime] | None = None
    ) -> ConsentLedger:
        """The ledger of one person and purpose from the acts that were kept, in any order."""
        members: dict[UUID, Registers] = {}
        for contact_id, act in acts:
            members[contact_id] = recorded(members.get(contact_id, NOTHING_SAID), act)
        return cls(members=members, merged_at=merged_at or {})

    def with_act(self, contact_id: UUID, act: Act) -> ConsentLedger:
        """The ledger after an act. `contact_id`: the one the act's event names, redirects not applied."""
        registers = recorded(self.members.get(contact_id, NOTHING_SAID), act)
        return replace(self, members={**self.members, contact_id: registers})

    def with_merge(self, loser_id: UUID, *, at: datetime) -> ConsentLedger:
        """The ledger after the news that a contact id is the same person."""
        known = self.merged_at.get(loser_id, at)
        return replace(self, merged_at={**self.merged_at, loser_id: max(known, at)})

    def standing(self) -> Standing:
        """What counts: denied, unless every denial was undone; then granted, unless that was withdrawn."""
        said = self.members.items()
        denials = [(owner, it.denied) for owner, it in said if it.denied]
        grants = [(owner, it.granted) for owner, it in said if it.granted]
        resumes = [(owner, it.resumed) for owner, it in said if it.resumed]
        if denial := self._latest_open(denials, undone_by=grants + resumes):
            return Standing(state="denied", act=denial)
        # What was only reported before a denial comes back to life when the person resumes, not by another grant.
        resumed = bool(denials) and self._latest_open(denials, undone_by=resumes) is None
        last_denial = max((act.at for _, act in denials), default=_ALWAYS)
        yes = grants + [
            (owner, it.reported)
            for owner, it in said
            if it.reported and (resumed or it.reported.at > last_denial)
        ]
        withdrawals = [(owner, it.withdrawn) for owner, it in said if it.withdrawn]
        if withdrawn := self._latest_open(withdrawals, undone_by=yes):
            return Standing(state="unknown", act=withdrawn)
        if granted := _latest(act for _, act in yes):
            return Standing(state="granted", act=granted)
        return NOBODY_ASKED

    def latest_resumption(self) -> Act | None:
        """The last START, whether it lifted anything or not."""
        return _latest(registers.resumed for registers in self.members.values())

    def _latest_open(self, acts: _Owned, *, undone_by: _Owned) -> Act | None:
        """The latest of those that nothing undoes."""
        return _latest(
            act for owner, act in acts if not any(self._undoes(later, owner, act) for later in undone_by)
        )

    def _undoes(self, grant: tuple[UUID, Act], owner: UUID, earlier: Act) -> bool:
        giver, act = grant
        if act.at <= earlier.at:
            return False
        return giver == owner or act.at > self._joined(giver, owner)

    def _joined(self, one: UUID, other: UUID) -> datetime:
        """Since when two contact ids are known to be one person."""
        return max(self.merged_at.get(one, _ALWAYS), self.merged_at.get(other, _ALWAYS))


_ALWAYS = datetime(1970, 1, 1, tzinfo=UTC)


def _later(known: Act | None, act: Act) -> Act:
    return act if known is None or act.order > known.order else known


def _latest(acts: Iterable[Act | None]) -> Act | None:
    found: Act | None = None
    for act in acts:
        if act is not None:
            found = _later(found, act)
    return found
