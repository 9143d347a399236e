"""The person agreed to this kind of message, as far as the business asks for it."""

from __future__ import annotations

from datetime import datetime

from connector.outbound.consent.ledger import Standing
from connector.outbound.decisions import PASS, Block, Decision, Pass
from connector.outbound.facts import Facts
from connector.outbound.policies.policy import Policy


def _decide(facts: Facts, *, now: datetime) -> Decision:
    purpose = facts.purpose(now=now)
    if facts.awaits_category:
        return PASS
    if purpose == "authentication":
        return Pass(reason="somebody waits for this code; consent is not asked for")
    standing = facts.standing(purpose)
    if standing.state == "granted":
        return Pass(reason=f"the person agreed to {purpose}{_when(standing)}", evidence=_evidence(standing))
    if standing.state == "denied":
        return PASS  # the opt-out says it
    if facts.rules.consent.get(purpose, "not_denied") == "not_denied":
        return Pass(reason=f"the person has not refused {purpose}", evidence=_evidence(standing))
    return Block(
        reason=f"the person has not agreed to {purpose}",
        advice="ask for their consent and record it: the CRM's consent property, or connector consent set with "
        "evidence",
        evidence={"purpose": purpose, **_evidence(standing)},
    )


def _when(standing: Standing) -> str:
    act = standing.act
    return f" on {act.at:%Y-%m-%d} ({act.source.replace('_', ' ')})" if act else ""


def _evidence(standing: Standing) -> dict[str, str]:
    act = standing.act
    if act is None:
        return {}
    return {"state": standing.state, "at": act.at.isoformat(), "source": act.source, "evidence": act.evidence}


POLICY = Policy(name="consent", asks="Did the person agree?", decide=_decide)
