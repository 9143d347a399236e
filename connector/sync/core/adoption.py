"""Which record of the CRM is a person's: the rule of adoption. Pure.

A search finds records by some digits of a number; here each is read as a number and compared in full. A record
that already carries a key is somebody's. Search serves adoption only: what keeps people from being doubled is our
unique key.

| the person's number is on              | outcome       | what happens                                           |
|----------------------------------------|---------------|--------------------------------------------------------|
| no record                              | `none`        | a contact is made, unless `known_only`                 |
| a record with our key of this person   | `ours`        | it is written by its id                                |
| one record without a key               | `adopted`     | it gets our key                                        |
| several                                | `chosen`      | the rule takes the oldest or the newest                |
| several, and the rule is `none`        | `ambiguous`   | as with no record                                      |
| more records than the CRM shows        | `ambiguous`   | as with no record                                      |
| only records that other people of ours have taken | `taken` | as with no record                                 |
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Literal

from connector.crm.port import CandidateContact
from connector.sync.core.typed_numbers import readings
from connector.whatsapp.numbers import lookup_variants

AdoptionRule = Literal["oldest", "newest", "none"]

_UNDATED = datetime.max.replace(tzinfo=UTC)


class Outcome(StrEnum):
    """What became of a look-up; the words stand in the adoptions table."""

    NONE = "none"
    OURS = "ours"
    ADOPTED = "adopted"
    CHOSEN = "chosen"
    AMBIGUOUS = "ambiguous"
    TAKEN = "taken"
    DUPLICATE = "possible_duplicate"
    """The person has a record, and their number is on another one too."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """The record to write the person to, and the records that it was chosen from."""

    outcome: Outcome
    record_id: str | None = None
    candidates: Sequence[CandidateContact] = ()


def phones_of(phone: str) -> tuple[str, ...]:
    """The digits under which an E.164 number may be on file."""
    return lookup_variants(phone.removeprefix("+"))


def has_phone(candidate: CandidateContact, phones: Collection[str], *, region: str) -> bool:
    """Whether one of the record's numbers means one of these."""
    return any(not readings(typed, region=region).isdisjoint(phones) for typed in candidate.phones)


def choose(
    candidates: Sequence[CandidateContact],
    *,
    key: str,
    phones: Collection[str],
    region: str,
    rule: AdoptionRule,
    taken: Collection[str],
    complete: bool = True,
) -> Choice:
    """Choose the record of a person who has none. `taken`: record ids that other people of ours have.

    `complete`: these are all candidates; else none is chosen, but one that has our key.
    """
    for candidate in candidates:
        if candidate.key == key and candidate.record_id not in taken:
            return Choice(outcome=Outcome.OURS, record_id=candidate.record_id, candidates=(candidate,))
    theirs = [item for item in candidates if not item.key and has_phone(item, phones, region=region)]
    if not complete:
        return Choice(outcome=Outcome.AMBIGUOUS, candidates=tuple(theirs))
    free = [item for item in theirs if item.record_id not in taken]
    if not free:
        return Choice(outcome=Outcome.TAKEN if theirs else Outcome.NONE, candidates=tuple(theirs))
    best = [item for item in free if not item.second_choice] or free
    if len(best) == 1:
        return Choice(outcome=Outcome.ADOPTED, record_id=best[0].record_id, candidates=tuple(theirs))
    if rule == "none":
        return Choice(outcome=Outcome.AMBIGUOUS, candidates=tuple(theirs))
    best.sort(key=lambda item: (item.created_at or _UNDATED, item.record_id))
    chosen = best[0] if rule == "oldest" else best[-1]
    return Choice(outcome=Outcome.CHOSEN, record_id=chosen.record_id, candidates=tuple(theirs))


def duplicates(
    candidates: Sequence[CandidateContact], *, record_id: str, phones: Collection[str], region: str
) -> Choice:
    """Other records with the number of a person who has one. Nothing is done but to report them."""
    others = [
        item
        for item in candidates
        if item.record_id != record_id and not item.key and has_phone(item, phones, region=region)
    ]
    return Choice(outcome=Outcome.DUPLICATE if others else Outcome.NONE, candidates=tuple(others))
