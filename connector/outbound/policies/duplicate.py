"""The same words twice in a short time are a mistake of some automation."""

from __future__ import annotations

from datetime import datetime

from connector.outbound.decisions import PASS, Block, Decision
from connector.outbound.facts import Facts
from connector.outbound.policies.policy import Policy


def _decide(facts: Facts, *, now: datetime) -> Decision:
    within = facts.rules.duplicate_within.get(facts.purpose(now=now))
    key = facts.request.content_key
    if within is None or not key:
        return PASS
    for past in facts.recent:
        if past.content_key == key and past.send_id != facts.request.send_id and past.at > now - within:
            return Block(
                reason=f"the person got exactly this on {past.at:%Y-%m-%d %H:%M} UTC",
                advice="if it is meant, wait, or say it differently",
                evidence={"send_id": past.send_id, "at": past.at.isoformat()},
            )
    return PASS


POLICY = Policy(name="duplicate", asks="Did the person just get exactly this?", decide=_decide)
