"""What a policy answers: pass, hold until a time, or block. Block beats hold, hold beats pass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

Scalar = str | int | float | bool | None
Evidence = Mapping[str, Scalar]
"""What was looked at, by name: enough to understand the decision later. Times are ISO 8601 in UTC."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pass:
    """Nothing speaks against it. `reason` says why it may be sent, where there is something to say."""

    reason: str = ""
    evidence: Evidence = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Hold:
    """Not now. `until`: when to judge again; the cause may be gone then, or it may be held anew."""

    until: datetime
    reason: str
    evidence: Evidence = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Block:
    """Never, as it was asked for. `advice`: what a person can do about it."""

    reason: str
    advice: str = ""
    evidence: Evidence = field(default_factory=dict)


Decision = Pass | Hold | Block

PASS = Pass()
"""For policies that have nothing to say about a send."""
