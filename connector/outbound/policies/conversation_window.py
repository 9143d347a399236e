"""Anything but a template is allowed for 24 h after the person's last message (error 131047)."""

from __future__ import annotations

from datetime import datetime

from connector.outbound.decisions import PASS, Block, Decision, Pass
from connector.outbound.facts import Facts
from connector.outbound.policies.policy import Policy


def _decide(facts: Facts, *, now: datetime) -> Decision:
    if facts.request.kind == "template":
        return PASS
    until = facts.recipient.window_open_until
    if until is not None and now < until:
        return Pass(
            reason=f"the person wrote within the last 24 hours; the window is open until {until:%Y-%m-%d %H:%M} UTC",
            evidence={"window_open_until": until.isoformat()},
        )
    last = f"; the window closed on {until:%Y-%m-%d %H:%M} UTC" if until else ""
    return Block(
        reason=f"the person did not write within the last 24 hours{last}",
        advice="send an approved template",
        evidence={"window_open_until": until.isoformat() if until else None},
    )


POLICY = Policy(name="conversation_window", asks="Is the 24-hour window open?", decide=_decide)
