"""What a simulator was asked and what it did: every request, its effects, and the client's offences.

A chaos test decides by this journal, not by the client's own view: which calls were made, what each
one really wrote (also when its answer was lost), and whether two writes of one contact ever overlapped.
"""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase
from typing import Any

_ID_SEGMENT = re.compile(r"(?<=/)\d+(?=/|$)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """One change that a request made to the simulator's state."""

    action: str
    """created, updated, archived, merged, erased, associated, dissociated."""
    object_type: str
    record_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """Something that no correct client does, whatever the network did to it."""

    kind: str
    """overlapping_writes: two requests in flight at once that both write this contact. One whose client gave it up
    is in flight until it was handled: Salesforce works on a call for up to ten minutes, whoever still listens
    (developer.salesforce.com, API Request Limits and Allocations), and no CRM takes a call back when its connection
    ends."""
    subject: str
    """The contact's record id, or `property=value` while it has none."""
    first_call: int
    second_call: int
    at: float
    """Unix seconds."""


@dataclass(slots=True, kw_only=True)
class Call:
    """One request, from its arrival to its answer."""

    number: int
    """Counts from 1 in order of arrival."""
    method: str
    path: str
    caller: str
    inputs: int
    """Number of records in the body's `inputs`; 1 for a body without; 0 without a body."""
    started_at: float
    """Unix seconds."""
    finished_at: float | None = None
    status: int | None = None
    """None while in flight, and for ever when the client got no answer."""
    client_left: bool = False
    """Whether the client gave up before the request was handled."""
    faults: list[str] = field(default_factory=list)
    effects: list[Effect] = field(default_factory=list)
    touches: set[str] = field(default_factory=set)
    """The contacts this request writes; empty for a reading request."""

    def as_json(self) -> dict[str, Any]:
        """Return the call as the control API shows it."""
        return {**asdict(self), "touches": sorted(self.touches)}


class Journal:
    """All calls since the last reset, newest last; counters survive the bound on kept calls.

    `clock` gives Unix seconds. `keep` bounds the calls kept in memory, not the counters or violations.
    """

    def __init__(self, *, clock: Callable[[], float], keep: int = 100_000) -> None:
        self._clock = clock
        self._kept: deque[Call] = deque(maxlen=keep)
        self._open: dict[int, Call] = {}
        self._next = 1
        self.violations: list[Violation] = []
        self.counters: Counter[str] = Counter()

    def open(self, *, method: str, path: str, caller: str, inputs: int, touches: Iterable[str] = ()) -> Call:
        """Record the arrival of a request that is about to write the contacts in `touches`."""
        call = Call(
            number=self._next,
            method=method,
            path=path,
            caller=caller,
            inputs=inputs,
            started_at=self._clock(),
        )
        self._next += 1
        self._kept.append(call)
        self._open[call.number] = call
        self.touch(call, touches)
        return call

    def touch(self, call: Call, contacts: Iterable[str]) -> None:
        """Add contacts to an open call; a contact that another open call writes too is a violation."""
        added = set(contacts) - call.touches
        if not added or call.number not in self._open:
            return
        for other in self._open.values():
            if other is call:
                continue
            for subject in sorted(added & other.touches):
                self.violations.append(
                    Violation(
                        kind="overlapping_writes",
                        subject=subject,
                        first_call=min(other.number, call.number),
                        second_call=max(other.number, call.number),
                        at=self._clock(),
                    )
                )
        call.touches |= added

    def abandon(self, call: Call) -> None:
        """Note that the client gave a request up; it is in flight until it is closed."""
        call.client_left = True

    def close(self, call: Call, *, status: int | None) -> None:
        """Record the end of a request; `status` is None when the client got no answer."""
        status = None if call.client_left else status
        call.status = status
        call.finished_at = self._clock()
        self._open.pop(call.number, None)
        family = _ID_SEGMENT.sub("{id}", call.path)
        self.counters[f"{call.method} {family} {'no answer' if status is None else status}"] += 1

    def calls(
        self,
        *,
        method: str | None = None,
        path: str = "*",
        status: int | None = None,
        caller: str | None = None,
        since: int = 0,
    ) -> Iterator[Call]:
        """Yield the kept calls that match; `path` is a shell pattern, `since` a call number."""
        for call in self._kept:
            if (
                call.number > since
                and (method is None or call.method == method)
                and (status is None or call.status == status)
                and (caller is None or call.caller == caller)
                and fnmatchcase(call.path, path)
            ):
                yield call

    def count(self, *, path: str = "*", method: str | None = None, status: int | None = None) -> int:
        """Return how many calls match, from the counters: exact however many there were."""
        total = 0
        for key, times in self.counters.items():
            key_method, family, answer = key.split(" ", 2)
            if (
                fnmatchcase(family, path)
                and (method is None or method == key_method)
                and (status is None or str(status) == answer)
            ):
                total += times
        return total

    def clear(self) -> None:
        """Forget everything but the calls in flight, which end in the new journal."""
        self._kept.clear()
        self.violations.clear()
        self.counters.clear()
