"""WhatsApp's own limit of marketing a person gets from all businesses: after 131049 it rests at least 24 h."""

from __future__ import annotations

from datetime import datetime

from connector.outbound.decisions import PASS, Decision, Hold
from connector.outbound.facts import Facts
from connector.outbound.policies.policy import Policy


def _decide(facts: Facts, *, now: datetime) -> Decision:
    refused = facts.recipient.marketing_refused_at
    if refused is None or facts.purpose(now=now) != "marketing":
        return PASS
    until = refused + facts.rules.marketing_refused_for
    if now >= until:
        return PASS
    return Hold(
        until=until,
        reason="WhatsApp limits how much marketing this person gets from all businesses, and said so on "
        f"{refused:%Y-%m-%d %H:%M} UTC",
        evidence={"code": 131049, "at": refused.isoformat()},
    )


POLICY = Policy(name="marketing_rest", asks="Did WhatsApp refuse marketing to them lately?", decide=_decide)
