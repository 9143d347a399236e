"""What a policy is: a name and a pure function of the facts and the time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from connector.outbound.decisions import Decision
from connector.outbound.facts import Facts


class Decide(Protocol):
    """Pass, hold or block. Never raises, reads nothing but its arguments."""

    def __call__(self, facts: Facts, *, now: datetime) -> Decision: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Policy:
    """`name` is stable: it stands in verdicts, metrics and `send.blocked`. `asks`: its question, for people."""

    name: str
    asks: str
    decide: Decide
