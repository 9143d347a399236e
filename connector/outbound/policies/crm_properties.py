"""What the message says of the person was read from the CRM."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from connector.outbound.decisions import PASS, Decision, Hold
from connector.outbound.facts import Facts
from connector.outbound.policies.policy import Policy

_NAMES: Mapping[str, str] = {"hubspot": "HubSpot", "salesforce": "Salesforce"}


def _decide(facts: Facts, *, now: datetime) -> Decision:  # noqa: ARG001  a policy's signature
    if not facts.unread:
        return PASS
    crms = " and ".join(_NAMES.get(crm, crm) for crm in facts.unread)
    return Hold(
        until=max(facts.unread.values()),
        reason=f"what {crms} says of the person has to be read before the message can be filled in",
        evidence={"crms": ", ".join(sorted(facts.unread))},
    )


POLICY = Policy(name="crm_properties", asks="Is what the CRM says of the person known?", decide=_decide)
