"""The person said stop, to us, to WhatsApp or to somebody who told the CRM. Only they undo it, later, with evidence."""

from __future__ import annotations

from datetime import datetime

from connector.outbound.decisions import PASS, Block, Decision
from connector.outbound.facts import Facts
from connector.outbound.policies.policy import Policy

_HOW = {
    "keyword": "wrote so",
    "button": "tapped the button",
    "user_preferences": "stopped it in WhatsApp",
    "error_131050": "stopped it in WhatsApp",
    "crm_property": "is marked so in the CRM",
}


def _decide(facts: Facts, *, now: datetime) -> Decision:
    purpose = facts.purpose(now=now)
    if facts.awaits_category:
        return PASS
    if purpose == "authentication":
        return PASS
    standing = facts.standing(purpose)
    act = standing.act
    if standing.state != "denied" or act is None:
        return PASS
    how = _HOW.get(act.source, f"is recorded so ({act.source})")
    return Block(
        reason=f"the person wants no {purpose} messages: they opted out on {act.at:%Y-%m-%d %H:%M} UTC ({how})",
        advice="only the person can undo it, for example by writing START",
        evidence={
            "purpose": purpose,
            "at": act.at.isoformat(),
            "source": act.source,
            "evidence": act.evidence,
            "act": act.act_id,
        },
    )


POLICY = Policy(name="opt_out", asks="Did the person say stop?", decide=_decide)
