"""A message that comes too late is worse than none."""

from __future__ import annotations

from datetime import datetime

from connector.outbound.decisions import PASS, Block, Decision
from connector.outbound.facts import Facts
from connector.outbound.policies.policy import Policy


def _decide(facts: Facts, *, now: datetime) -> Decision:
    request = facts.request
    if now < request.expires_at:
        return PASS
    return Block(
        reason=f"its time ran out on {request.expires_at:%Y-%m-%d %H:%M:%S} UTC",
        advice="ask for it again, with a later expires_at if it may come late",
        evidence={
            "requested_at": request.requested_at.isoformat(),
            "expires_at": request.expires_at.isoformat(),
        },
    )


POLICY = Policy(name="expiry", asks="Is it still wanted?", decide=_decide)
