"""WhatsApp delivers no marketing templates to United States numbers (since 2025-04-01; refused with 131049).

…/templates/marketing-templates/per-user-limits: "+1 dialing code and a US area code". Canada and the Caribbean share
+1 and are not meant.
"""

from __future__ import annotations

from datetime import datetime

from connector.outbound.decisions import PASS, Block, Decision
from connector.outbound.facts import Facts
from connector.outbound.places import country_of
from connector.outbound.policies.policy import Policy


def _decide(facts: Facts, *, now: datetime) -> Decision:
    if facts.awaits_category:
        return PASS
    if facts.rules.us_marketing or facts.request.kind != "template" or facts.purpose(now=now) != "marketing":
        return PASS
    if country_of(facts.recipient.phone, facts.recipient.bsuid) != "US":
        return PASS
    return Block(
        reason="WhatsApp delivers no marketing templates to United States numbers",
        advice="use another channel, or a utility template if the content is one",
        evidence={"country": "US"},
    )


POLICY = Policy(name="us_marketing", asks="Does WhatsApp deliver marketing there?", decide=_decide)
