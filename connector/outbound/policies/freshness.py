"""What we know is recent enough to be judged by: an opt-out may be on its way to us."""

from __future__ import annotations

from datetime import datetime

from connector.outbound.decisions import PASS, Decision, Hold
from connector.outbound.facts import Facts
from connector.outbound.policies.policy import Policy


def _decide(facts: Facts, *, now: datetime) -> Decision:
    allowed = facts.rules.longest_lag.get(facts.purpose(now=now))
    if allowed is None:
        return PASS
    again = now + facts.rules.look_again
    lag = facts.view.lag
    if lag is None:
        return Hold(
            until=again, reason="it is not known yet whether every opt-out was read", evidence={"lag_s": None}
        )
    if lag > allowed:
        return Hold(
            until=again,
            reason=f"messages of the last {lag.total_seconds():.0f} s were not read yet, and an opt-out may be among "
            "them",
            evidence={"lag_s": lag.total_seconds(), "allowed_s": allowed.total_seconds()},
        )
    synced = facts.view.templates_synced_at
    if facts.request.kind == "template" and synced and now - synced > facts.rules.templates_stale_after:
        return Hold(
            until=again,
            reason=f"templates were last read from Meta on {synced:%Y-%m-%d %H:%M} UTC; connector templates sync reads "
            "them now",
            evidence={"templates_synced_at": synced.isoformat()},
        )
    return PASS


POLICY = Policy(name="freshness", asks="Is what we know recent?", decide=_decide)
