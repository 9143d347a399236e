"""The recipient that was asked for is exactly one person we may write to."""

from __future__ import annotations

from datetime import datetime

from connector.outbound.decisions import PASS, Block, Decision
from connector.outbound.facts import Facts
from connector.outbound.policies.policy import Policy

_OBSTACLES = {
    "not_found": ("nobody is known by what was given", "give a phone with country code, or a BSUID"),
    "ambiguous": ("what was given belongs to several people", "give only one of phone, BSUID and record id"),
    "erased": ("the person asked to be forgotten", "do not write to them"),
    "phone_moved": (
        "the phone belongs to somebody else by now",
        "ask the person for their number, then correct the CRM record",
    ),
    "no_phone": (
        "the CRM record has no phone",
        "add the person's number with country code to the record, then ask for the message again",
    ),
    "invalid_phone": (
        "the phone is not a possible number of any country",
        "give it with country code, for example +5511987654321",
    ),
}


def _decide(facts: Facts, *, now: datetime) -> Decision:  # noqa: ARG001  a policy's signature
    recipient = facts.recipient
    if recipient.obstacle:
        reason, advice = _OBSTACLES[recipient.obstacle]
        return Block(reason=reason, advice=advice, evidence={"obstacle": recipient.obstacle})
    if recipient.contact_id is None or not (recipient.phone or recipient.bsuid):
        return Block(
            reason="the person has neither a phone nor a WhatsApp user id",
            advice="add a phone with country code to the CRM record",
        )
    return PASS


POLICY = Policy(name="recipient", asks="Is it clear whom it goes to?", decide=_decide)
