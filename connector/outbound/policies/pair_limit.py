"""Not too fast to one person: a message every 6 s, a burst of 45 (error 131056)."""

from __future__ import annotations

from datetime import datetime

from connector.outbound.decisions import PASS, Decision, Hold
from connector.outbound.facts import Facts
from connector.outbound.pacing.pair import pair_opens_at
from connector.outbound.policies.policy import Policy


def _decide(facts: Facts, *, now: datetime) -> Decision:
    opens = pair_opens_at(facts.pair, now=now)
    if opens <= now:
        return PASS
    return Hold(
        until=opens,
        reason="WhatsApp limits how fast one number may write to one person",
        evidence={"opens_at": opens.isoformat(), "refusals": facts.pair.refusals if facts.pair else 0},
    )


POLICY = Policy(name="pair_limit", asks="Is it too fast for one person?", decide=_decide)
