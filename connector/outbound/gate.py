"""May it be sent? Every policy is asked, every answer kept, and the whole is one verdict that explains itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from connector.outbound.decisions import Block, Decision, Hold, Pass
from connector.outbound.facts import Facts
from connector.outbound.policies import POLICIES, Policy

Outcome = Literal["pass", "hold", "block"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """What one policy said."""

    policy: str
    decision: Decision

    @property
    def outcome(self) -> Outcome:
        """Its kind of answer."""
        return _OUTCOMES[type(self.decision)]


_OUTCOMES: dict[type[Pass | Hold | Block], Outcome] = {Pass: "pass", Hold: "hold", Block: "block"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What the gate said at `at`, line by line in the order of the policies."""

    send_id: str
    at: datetime
    lines: tuple[Line, ...]

    @property
    def outcome(self) -> Outcome:
        """Block beats hold, hold beats pass."""
        found = {line.outcome for line in self.lines}
        return "block" if "block" in found else "hold" if "hold" in found else "pass"

    @property
    def decisive(self) -> Line | None:
        """The first policy that blocks; else the one that holds longest; None when all pass."""
        held: Line | None = None
        for line in self.lines:
            if isinstance(line.decision, Block):
                return line
            if isinstance(line.decision, Hold) and (
                held is None
                or (isinstance(held.decision, Hold) and line.decision.until > held.decision.until)
            ):
                held = line
        return held

    @property
    def until(self) -> datetime | None:
        """When to judge again, of a hold; else None."""
        if self.outcome != "hold":
            return None
        return max(line.decision.until for line in self.lines if isinstance(line.decision, Hold))

    def explain(self) -> str:
        """One sentence for the person who asks why."""
        line = self.decisive
        if line is None:
            why = next(
                (
                    item.decision.reason
                    for item in self.lines
                    if item.policy == "consent" and item.decision.reason
                ),
                "",
            )
            return f"It may be sent: {why}." if why else "It may be sent: nothing speaks against it."
        decision = line.decision
        if isinstance(decision, Hold):
            return f"It waits until {decision.until:%Y-%m-%d %H:%M:%S} UTC: {decision.reason}."
        advice = f" What to do: {decision.advice}." if isinstance(decision, Block) and decision.advice else ""
        return f"It is not sent: {decision.reason}.{advice}"

    def to_json(self) -> dict[str, Any]:
        """The whole verdict, for the log and the tables."""
        return {
            "send_id": self.send_id,
            "at": self.at.isoformat(),
            "outcome": self.outcome,
            "explanation": self.explain(),
            "lines": [_line_json(line) for line in self.lines],
        }

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Verdict:
        """What `to_json` wrote."""
        return cls(
            send_id=document["send_id"],
            at=datetime.fromisoformat(document["at"]),
            lines=tuple(Line(policy=line["policy"], decision=_decision(line)) for line in document["lines"]),
        )


def judge(facts: Facts, *, now: datetime, policies: Sequence[Policy] = POLICIES) -> Verdict:
    """Ask every policy. `now`: UTC."""
    return Verdict(
        send_id=facts.request.send_id,
        at=now,
        lines=tuple(Line(policy=policy.name, decision=policy.decide(facts, now=now)) for policy in policies),
    )


def _line_json(line: Line) -> dict[str, Any]:
    decision = line.decision
    document: dict[str, Any] = {"policy": line.policy, "outcome": line.outcome}
    if decision.reason:
        document["reason"] = decision.reason
    if isinstance(decision, Hold):
        document["until"] = decision.until.isoformat()
    if isinstance(decision, Block) and decision.advice:
        document["advice"] = decision.advice
    if decision.evidence:
        document["evidence"] = dict(decision.evidence)
    return document


def _decision(line: dict[str, Any]) -> Decision:
    reason, evidence = line.get("reason", ""), line.get("evidence", {})
    match line["outcome"]:
        case "hold":
            return Hold(until=datetime.fromisoformat(line["until"]), reason=reason, evidence=evidence)
        case "block":
            return Block(reason=reason, advice=line.get("advice", ""), evidence=evidence)
    return Pass(reason=reason, evidence=evidence)
