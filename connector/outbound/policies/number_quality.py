"""The business number may send, and is not made worse by what people complain about."""

from __future__ import annotations

from datetime import datetime

from connector.outbound.decisions import PASS, Block, Decision, Hold
from connector.outbound.facts import Facts
from connector.outbound.policies.policy import Policy

# FLAGGED and RATE_LIMITED numbers still send (…/business-phone-numbers/phone-numbers).
UNLISTED = "UNLISTED"
_SENDS = frozenset({"CONNECTED", "FLAGGED", "RATE_LIMITED"})


def _decide(facts: Facts, *, now: datetime) -> Decision:
    number, later = facts.number, now + facts.rules.look_again_later
    if number.status == UNLISTED:
        return _unlisted(facts, now)
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


def _unlisted(facts: Facts, now: datetime) -> Decision:
    """Somebody may have added the number just before they asked: what counts was read after that."""
    number, asked = facts.number, facts.request.requested_at
    if number.listed_at is not None and number.listed_at >= asked:
        return Block(
            reason=f"{number.phone_number_id} is none of the business's numbers at Meta",
            advice="send from one that is, or correct CONNECTOR_WHATSAPP__DEFAULT_PHONE_NUMBER_ID and "
            "CONNECTOR_WHATSAPP__BUSINESS_ACCOUNT_IDS",
            evidence={
                "phone_number_id": number.phone_number_id,
                "listed_at": number.listed_at.isoformat(),
            },
        )
    return Hold(
        until=now + facts.rules.look_again,
        reason="the business's numbers have not been read from Meta since it was asked for; "
        "CONNECTOR_WHATSAPP__BUSINESS_ACCOUNT_IDS says whose they are",
        evidence={"phone_number_id": number.phone_number_id},
    )


POLICY = Policy(name="number_quality", asks="Is the business number in good standing?", decide=_decide)
