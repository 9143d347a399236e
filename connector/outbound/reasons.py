"""Why a send is where it is, in one sentence: what was recorded when it was settled, else what the gate said. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from connector.outbound.gate import Verdict

_BY_THE_GATE = ("blocked", "held", "expired")


@dataclass(frozen=True, kw_only=True, slots=True)
class Reason:
    """`cause`: a stable name. `code`: Meta's, None when it is ours."""

    sentence: str
    cause: str | None
    code: int | None


def reason_of(
    state: str, *, problem: Mapping[str, Any] | None, verdict: Mapping[str, Any] | None
) -> Reason | None:
    """The reason of a row of `outbound.sends`; None: it needs none."""
    if problem and problem.get("reason"):
        return Reason(sentence=problem["reason"], cause=problem.get("cause"), code=problem.get("code"))
    if verdict and state in _BY_THE_GATE:
        found = Verdict.from_json(dict(verdict))
        decisive = found.decisive
        return Reason(sentence=found.explain(), cause=decisive.policy if decisive else None, code=None)
    return None
