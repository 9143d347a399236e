"""Meta's messaging limit: how many people the whole portfolio may start to talk to in 24 h.

Messages within the person's 24-hour window do not count (developers.facebook.com/documentation/business-messaging/
whatsapp/messaging-limits).
"""

from __future__ import annotations

from datetime import datetime

from connector.outbound.decisions import PASS, Decision, Hold, Pass
from connector.outbound.facts import Facts
from connector.outbound.policies.policy import Policy


def _decide(facts: Facts, *, now: datetime) -> Decision:
    portfolio, window = facts.portfolio, facts.recipient.window_open_until
    if portfolio.limit is None:
        return PASS
    evidence = {"limit": portfolio.limit, "used": portfolio.used}
    if portfolio.counted or (window is not None and now < window) or portfolio.used < portfolio.limit:
        return Pass(evidence=evidence)
    frees = portfolio.frees_at
    return Hold(
        until=frees if frees is not None and frees > now else now + facts.rules.look_again_later,
        reason=f"Meta lets the business write first to {portfolio.limit:,} people in 24 hours, and "
        f"{portfolio.used:,} were",
        evidence=evidence,
    )


POLICY = Policy(name="portfolio_limit", asks="Does Meta's messaging limit leave room?", decide=_decide)
