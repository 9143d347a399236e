"""Not more often than the business decided, counted per person and purpose over all numbers."""

from __future__ import annotations

from datetime import datetime, timedelta

from connector.outbound.decisions import PASS, Decision, Hold, Pass
from connector.outbound.facts import Facts
from connector.outbound.policies.policy import Policy


def _decide(facts: Facts, *, now: datetime) -> Decision:
    purpose = facts.purpose(now=now)
    caps = facts.rules.caps.get(purpose)
    if not caps:
        return PASS
    sends = sorted(
        past.at for past in facts.recent if past.purpose == purpose and past.send_id != facts.request.send_id
    )
    held: Hold | None = None
    for cap in caps:
        within = [at for at in sends if at > now - cap.period]
        if len(within) < cap.count:
            continue
        free = (within[-cap.count] if cap.count else now) + cap.period
        if held is None or free > held.until:
            held = Hold(
                until=free,
                reason=f"the person got {len(within)} {purpose} messages in the last {_words(cap.period)}, and "
                f"{cap.count} are allowed",
                evidence={"sent": len(within), "cap": cap.count, "period_s": cap.period.total_seconds()},
            )
    return held or Pass(evidence={"sent": len(sends)})


def _words(period: timedelta) -> str:
    hours = period.total_seconds() / 3600
    return f"{hours / 24:g} days" if hours >= 48 else f"{hours:g} hours"


POLICY = Policy(name="frequency_cap", asks="Did the person get enough already?", decide=_decide)
