"""Somebody pressed stop."""

from __future__ import annotations

from datetime import datetime

from connector.outbound.decisions import PASS, Decision, Hold
from connector.outbound.facts import Facts, Switch
from connector.outbound.policies.policy import Policy


def _decide(facts: Facts, *, now: datetime) -> Decision:
    for switch in facts.switches:
        if _applies(switch, facts):
            whom = {"all": "all sends are", "template": "this template is", "number": "this number is"}
            by = f" by {switch.by}" if switch.by else ""
            because = f" ({switch.reason})" if switch.reason else ""
            return Hold(
                until=now + facts.rules.look_again,
                reason=f"{whom[switch.scope]} paused{by} since {switch.since:%Y-%m-%d %H:%M} UTC{because}; "
                "connector resume sends ends it",
                evidence={
                    "scope": switch.scope,
                    "subject": switch.subject,
                    "since": switch.since.isoformat(),
                },
            )
    return PASS


def _applies(switch: Switch, facts: Facts) -> bool:
    match switch.scope:
        case "all":
            return True
        case "template":
            return switch.subject == facts.request.template
        case "number":
            return switch.subject == facts.number.phone_number_id


POLICY = Policy(name="kill_switch", asks="Has somebody paused sends?", decide=_decide)
