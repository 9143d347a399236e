"""Dead letters grouped by the stage that they died in and the cause. Pure, in memory for the ids only."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from connector.errors import Rejected
from connector.recovery.letters.reading import KeptLetter


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """Letters of one stage and cause; with `ids` only those of them."""

    stage: str = ""
    cause: str = ""
    ids: frozenset[str] = frozenset()

    def takes(self, kept: KeptLetter) -> bool:
        """Whether it is one of them."""
        letter = kept.letter
        return (
            (not self.stage or letter.stage == self.stage)
            and (not self.cause or letter.cause == self.cause)
            and (not self.ids or letter.event_id in self.ids)
        )

    def __str__(self) -> str:
        return ", ".join(sorted(self.ids)) if self.ids else f"{self.stage}/{self.cause}"


def selected(named: str) -> Selection:
    """The letters that `STAGE/CAUSE` or a letter's id names. Raises `Rejected` for anything else."""
    if named.startswith("dead:"):
        return Selection(ids=frozenset({named}))
    stage, separator, cause = named.partition("/")
    if not (separator and stage and cause) or "/" in cause:
        raise Rejected(
            f"{named!r} names no dead letters. Nothing was changed.",
            cause="no_letters",
            advice="give STAGE/CAUSE or a letter's id, as connector dlq ls shows them",
        )
    return Selection(stage=stage, cause=cause)


@dataclass(frozen=True, kw_only=True, slots=True)
class LetterGroup:
    """Letters of one stage and cause. `open`: nothing was done about them yet, or it was not finished."""

    stage: str
    cause: str
    open: int
    fixed: int
    """Of the open ones: those with a fix that a redrive will take."""
    redriven: int
    dropped: int
    first: datetime
    last: datetime
    sample: str
    """The id of the last one, preferably open; `reason` and `advice` are its own."""
    reason: str
    advice: str
    topic: str

    @property
    def name(self) -> str:
        """As commands take it."""
        return f"{self.stage}/{self.cause}"


@dataclass(frozen=True, kw_only=True, slots=True)
class LetterGroups:
    """`since`: the first letter counted, of any state. `complete`: False when older ones were left out."""

    since: datetime | None
    complete: bool
    groups: tuple[LetterGroup, ...]


@dataclass(slots=True)
class _Gathered:
    numbers: Counter[str] = field(default_factory=Counter)
    fixed: int = 0
    first: datetime | None = None
    sample: KeptLetter | None = None
    sample_open: bool = False
    last: datetime | None = None


class Grouping:
    """Count letters as they are read. A letter that lies there twice counts once."""

    def __init__(self, *, states: Mapping[str, str], fixed: frozenset[str] = frozenset()) -> None:
        """`states`: letter id → `redriving`, `redriven` or `dropped`; `fixed`: ids with a fix."""
        self._states = states
        self._fixed = fixed
        self._seen: set[bytes] = set()
        self._groups: dict[tuple[str, str], _Gathered] = {}

    def add(self, kept: KeptLetter) -> None:
        """One letter, in any order. Those of refused items belong to the sink's tables."""
        if kept.refused_by_crm:
            return
        letter = kept.letter
        mark = hashlib.blake2b(letter.event_id.encode("utf-8", "replace"), digest_size=12).digest()
        if mark in self._seen:
            return
        self._seen.add(mark)
        group = self._groups.setdefault((letter.stage, letter.cause), _Gathered())
        state = self._states.get(letter.event_id, "open")
        is_open = state not in ("redriven", "dropped")
        group.numbers["open" if is_open else state] += 1
        group.fixed += is_open and letter.event_id in self._fixed
        group.first = kept.at if group.first is None else min(group.first, kept.at)
        group.last = kept.at if group.last is None else max(group.last, kept.at)
        older = group.sample is not None and kept.at < group.sample.at
        if (
            group.sample is None
            or (is_open and not group.sample_open)
            or (is_open == group.sample_open and not older)
        ):
            # Only what is shown: the bytes of a letter may be many.
            slim = letter.model_copy(update={"original": b"", "key": None})
            group.sample = KeptLetter(letter=slim, at=kept.at, place=kept.place, offset=kept.offset)
            group.sample_open = is_open

    def result(self, *, complete: bool) -> LetterGroups:
        """What was counted, by stage and cause."""
        groups = tuple(_group(*name, found) for name, found in sorted(self._groups.items()))
        return LetterGroups(
            since=min((group.first for group in groups), default=None), complete=complete, groups=groups
        )


def _group(stage: str, cause: str, found: _Gathered) -> LetterGroup:
    assert found.sample is not None
    assert found.first is not None
    assert found.last is not None
    letter = found.sample.letter
    return LetterGroup(
        stage=stage,
        cause=cause,
        open=found.numbers["open"],
        fixed=found.fixed,
        redriven=found.numbers["redriven"],
        dropped=found.numbers["dropped"],
        first=found.first,
        last=found.last,
        sample=letter.event_id,
        reason=letter.reason,
        advice=letter.advice,
        topic=letter.topic,
    )
