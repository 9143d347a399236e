"""Faults that a simulator plays on request: lost answers, stalls, error statuses, broken bodies, poison.

The kinds follow what HubSpot documents (developers.hubspot.com/docs/api-reference/error-handling: 401,
423, 429, 477, 502-504) and what any network does. The distinction that matters most is `when`: a fault
*before* handling left nothing behind, a fault *after* handling left the write but lost its answer.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from fnmatch import fnmatchcase
from random import Random
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class FaultKind(StrEnum):
    """What goes wrong."""

    LATENCY = "latency"
    """The request waits `seconds` (up to `seconds_max`) before it is handled; it *is* handled, also when
    the client has given up meanwhile: a write that lands late."""
    STALL = "stall"
    """No answer: the connection stays open until the client gives up, or `seconds` when given."""
    RESET = "reset"
    """The connection is reset (TCP RST)."""
    STATUS = "status"
    """The error status `status` with the body HubSpot sends for it."""
    EMPTY_RESULTS = "empty_results"
    """A success whose results are empty and which names no error."""
    MISSING_RESULTS = "missing_results"
    """A success that silently lacks its last result."""
    TRUNCATED_BODY = "truncated_body"
    """Half of the JSON, with a matching Content-Length."""
    NOT_JSON = "not_json"
    """An HTML page with status 200, as a proxy in between sends it."""
    INCOMPLETE_BODY = "incomplete_body"
    """Headers that promise the whole body, half of it, then a reset."""
    EMPTY_BODY = "empty_body"
    """The status of the success, and no body at all."""
    OTHER_TYPE = "other_type"
    """The whole JSON under another media type (text/plain), as a gateway that rewrites headers sends it."""
    REPEATED_RESULTS = "repeated_results"
    """A success whose first result comes twice."""
    SHUFFLED_RESULTS = "shuffled_results"
    """HubSpot only, whose results carry their ids: in another order. Salesforce promises the request's order."""
    SLOW_BODY = "slow_body"
    """The whole answer, in pieces over `seconds`: each piece comes before a read times out."""
    POISON = "poison"
    """Any record whose text contains `text` is refused; the others follow the batch's own rules, or are refused
    with it (`scope`)."""
    LOCK = "lock"
    """Salesforce only: records whose text contains `text` (None: any), `share` of them, answer
    UNABLE_TO_LOCK_ROW."""


ANSWER_FAULTS = frozenset(
    {
        FaultKind.EMPTY_RESULTS,
        FaultKind.MISSING_RESULTS,
        FaultKind.TRUNCATED_BODY,
        FaultKind.NOT_JSON,
        FaultKind.INCOMPLETE_BODY,
        FaultKind.EMPTY_BODY,
        FaultKind.OTHER_TYPE,
        FaultKind.REPEATED_RESULTS,
        FaultKind.SHUFFLED_RESULTS,
        FaultKind.SLOW_BODY,
    }
)
"""Kinds that spoil the answer of a request that was handled."""


class Fault(BaseModel):
    """One fault, and which requests it meets."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: FaultKind
    path: str = "*"
    """Shell pattern over the request's path, e.g. `*/contacts/batch/upsert`."""
    method: str | None = None
    when: Literal["before", "after"] = "before"
    """For stall, reset and status: before the request is handled, or after (the write happened)."""
    lands_after: Annotated[float, Field(ge=0)] | None = None
    """reset, status; before: the request is handled all the same, so many seconds after its client was told that it
    failed, as by a proxy that gave up on a CRM that did not. None: it is never handled."""
    times: Annotated[int, Field(ge=1)] | None = None
    """Meets this many requests, then is gone; None: for ever."""
    skip: Annotated[int, Field(ge=0)] = 0
    """Lets this many matching requests pass first."""
    probability: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Chance to meet a matching request; drawn from the plan's seed."""
    seconds: Annotated[float, Field(ge=0)] | None = None
    """latency, slow_body: how long (seconds). stall: reset after this long; None: until the client gives up."""
    seconds_max: Annotated[float, Field(ge=0)] | None = None
    """latency: upper end of a uniform draw; None: exactly `seconds`."""
    status: Literal[401, 403, 423, 429, 477, 500, 502, 503, 504] | None = None
    """403 is Salesforce's limit on long requests at once; on HubSpot it is a missing scope."""
    retry_after: str | None = None
    """Value of the Retry-After header, sent as it is ("10", "10000"); None: no such header."""
    text: str | None = None
    """poison, lock: the text that makes a record unacceptable."""
    scope: Literal["item", "batch"] = "item"
    """poison, HubSpot: whether it refuses the whole batch, trace ids or not, as some of its validations do on live
    portals."""
    share: Annotated[float, Field(gt=0, le=1)] = 1.0
    """lock: which part of those records is locked, drawn anew for each record of each request."""

    @model_validator(mode="after")
    def _complete(self) -> Fault:
        needs = {
            FaultKind.LATENCY: "seconds",
            FaultKind.SLOW_BODY: "seconds",
            FaultKind.STATUS: "status",
            FaultKind.POISON: "text",
        }
        name = needs.get(self.kind)
        if name is not None and getattr(self, name) is None:
            msg = f"a fault of kind {self.kind} needs `{name}`"
            raise ValueError(msg)
        if self.lands_after is not None and (
            self.kind not in (FaultKind.RESET, FaultKind.STATUS) or self.when != "before"
        ):
            msg = "`lands_after` is for a reset or a status before the request is handled"
            raise ValueError(msg)
        return self

    def matches(self, *, method: str, path: str) -> bool:
        """Whether this request is one the fault is meant for."""
        return (self.method is None or self.method == method) and fnmatchcase(path, self.path)


class _Armed:
    """A fault in a plan, with what is left of it."""

    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        self.skip = fault.skip
        self.left = fault.times
        self.met = 0


class FaultPlan:
    """The faults in force. The same seed and the same sequence of requests meet the same faults."""

    def __init__(self, *, seed: int = 0) -> None:
        self._random = Random(seed)
        self._armed: dict[int, _Armed] = {}
        self._next = 1

    def add(self, fault: Fault) -> int:
        """Put a fault in force; the number returned removes it."""
        number = self._next
        self._next += 1
        self._armed[number] = _Armed(fault)
        return number

    def remove(self, number: int) -> None:
        """Take one fault out of force; unknown or used-up numbers are no error."""
        self._armed.pop(number, None)

    def clear(self, *, seed: int | None = None) -> None:
        """Take all faults out of force; with `seed`, start the draws anew."""
        self._armed.clear()
        if seed is not None:
            self._random.seed(seed)

    def draw(self, *, method: str, path: str) -> list[Fault]:
        """Return the faults that meet this request, in the order they were added, and count them."""
        drawn: list[Fault] = []
        for number, armed in list(self._armed.items()):
            fault = armed.fault
            if not fault.matches(method=method, path=path):
                continue
            if armed.skip:
                armed.skip -= 1
                continue
            if fault.probability < 1 and self._random.random() >= fault.probability:
                continue
            armed.met += 1
            if armed.left is not None:
                armed.left -= 1
                if armed.left == 0:
                    del self._armed[number]
            drawn.append(fault)
        return drawn

    def delay(self, fault: Fault) -> float:
        """Return how long a latency fault holds this request, in seconds."""
        low = fault.seconds or 0.0
        return low if fault.seconds_max is None else self._random.uniform(low, fault.seconds_max)

    def in_force(self) -> list[dict[str, object]]:
        """Return the faults as the control API shows them."""
        return [
            {"number": number, "met": armed.met, "left": armed.left, **armed.fault.model_dump(mode="json")}
            for number, armed in self._armed.items()
        ]


def poison(faults: list[Fault]) -> Callable[[str], bool]:
    """Return the test of a record's text that the drawn poison faults amount to."""
    texts = [fault.text for fault in faults if fault.kind is FaultKind.POISON and fault.text]
    return lambda text: any(bad in text for bad in texts)


def contended(faults: list[Fault], *, chance: Callable[[], float]) -> Callable[[str], bool]:
    """Return the test of a record's text that the drawn lock faults amount to. `chance` draws from [0, 1)."""
    locks = [fault for fault in faults if fault.kind is FaultKind.LOCK]
    return lambda text: any(
        (lock.text is None or lock.text in text) and (lock.share == 1 or chance() < lock.share)
        for lock in locks
    )
