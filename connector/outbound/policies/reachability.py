"""WhatsApp can deliver this kind of message to the person at all.

Countries: "Accounts in Cuba, Iran, North Korea, Syria … are not reachable" (Meta, support). One-time passwords need a
phone, error 131062. 131026: not on WhatsApp, an old client, or terms not accepted; repeating it at once fails again.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from connector.outbound.decisions import PASS, Block, Decision
from connector.outbound.facts import Facts
from connector.outbound.places import country_of
from connector.outbound.policies.policy import Policy

_UNREACHABLE = {"CU": "Cuba", "IR": "Iran", "KP": "North Korea", "SY": "Syria"}
_WINDOW = timedelta(hours=24)


def _decide(facts: Facts, *, now: datetime) -> Decision:
    recipient = facts.recipient
    country = country_of(recipient.phone, recipient.bsuid)
    if country in _UNREACHABLE:
        return Block(
            reason=f"WhatsApp does not deliver business messages to {_UNREACHABLE[country]}",
            advice="use another channel",
            evidence={"country": country},
        )
    if recipient.bsuid and not recipient.phone and facts.purpose(now=now) == "authentication":
        return Block(
            reason="WhatsApp sends one-time passwords to phone numbers only, and does not share this person's",
            advice="ask the person for their number, or send the code on another channel",
        )
    failed = recipient.unreachable_at
    if failed is not None and now - failed < facts.rules.unreachable_for and not _wrote_since(facts, failed):
        return Block(
            reason=f"WhatsApp said on {failed:%Y-%m-%d} that it cannot deliver to this person, which usually means "
            "that the number is not on WhatsApp",
            advice="check the number, or use another channel",
            evidence={"code": 131026, "at": failed.isoformat()},
        )
    return PASS


def _wrote_since(facts: Facts, moment: datetime) -> bool:
    opened = facts.recipient.window_open_until
    return opened is not None and opened - _WINDOW > moment


POLICY = Policy(name="reachability", asks="Can WhatsApp deliver it to them?", decide=_decide)
