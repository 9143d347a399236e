"""The business number may send, and is not made worse by what people complain about."""

from __future__ import annotations

from datetime import datetime

from connector.outbound.decisions import PASS, Decision, Hold
from connector.outbound.facts import Facts
from connector.outbound.policies.policy import Policy

# FLAGGED and RATE_LIMITED numbers still send (…/business-phone-numbers/phone-numbers).
_SENDS = frozenset({"CONNECTED", "FLAGGED", "RATE_LIMITED"})


def _decide(facts: Facts, *, now: datetime) -> Decision:
    number, later = facts.number, now + facts.rules.look_again_later
    if number.paused_until is not None and now < number.paused_until:
        because = f": {number.pause_reason}" if number.pause_reason else ""
        return Hold(
            until=number.paused_until,
            reason=f"the business number rests{because}",
            evidence={"phone_number_id": number.phone_number_id, "until": number.paused_until.isoformat()},
        )
    if number.status not in _SENDS:
        return Hold(
            until=later,
            reason=f"the business number is {number.status} at Meta; WhatsApp Manager says what to do",
            evidence={"phone_number_id": number.phone_number_id, "status": number.status},
        )
    if number.quality == "RED" and facts.purpose(now=now) in facts.rules.held_for_quality:
        return Hold(
            until=later,
            reason="people blocked or reported the business number so often that its quality is RED, and more marketing "
            "could cost it",
            evidence={"phone_number_id": number.phone_number_id, "quality": number.quality},
        )
    return PASS


POLICY = Policy(name="number_quality", asks="Is the business number in good standing?", decide=_decide)
