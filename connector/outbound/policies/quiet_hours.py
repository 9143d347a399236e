"""Nobody is woken by marketing: it waits for the morning of the recipient's clock.

A number may belong to several time zones; then all of them must be awake. Where no hour suits them all, the clock of
the country's most populous one counts.
"""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from connector.outbound.decisions import PASS, Decision, Hold, Pass
from connector.outbound.facts import Facts
from connector.outbound.places import zones_of
from connector.outbound.policies.policy import Policy
from connector.outbound.quiet import awake_at, zone


def _decide(facts: Facts, *, now: datetime) -> Decision:
    quiet = facts.rules.quiet.get(facts.purpose(now=now))
    if quiet is None:
        return PASS
    names, known = _zones(facts)
    clocks = [found for name in names if (found := zone(name)) is not None]
    until = awake_at(quiet, clocks, now=now)
    if until is None:
        clocks = clocks[:1]
        until = awake_at(quiet, clocks, now=now)
    if until is None:
        until = now + facts.rules.look_again_later
        reason = "the quiet hours leave no time at which anything may be sent"
        return Hold(until=until, reason=reason, evidence=_evidence(clocks, now))
    if until <= now:
        return Pass(evidence=_evidence(clocks, now))
    whose = "where the person's number is from" if known else f"by the clock of {names[0]}"
    return Hold(
        until=until,
        reason=f"it is quiet {whose} ({_clock(clocks, now)}); nothing is sent between {quiet.start:%H:%M} and "
        f"{quiet.end:%H:%M}" + (" and on days without sends" if quiet.days else ""),
        evidence=_evidence(clocks, now),
    )


def _zones(facts: Facts) -> tuple[tuple[str, ...], bool]:
    """(names, whether they are the person's)."""
    recipient = facts.recipient
    found = tuple(name for name in recipient.zones if zone(name)) or zones_of(
        recipient.phone, recipient.bsuid
    )
    return (found, True) if found else ((facts.rules.fallback_zone,), False)


def _clock(clocks: list[ZoneInfo], now: datetime) -> str:
    if len(clocks) == 1:
        return f"{now.astimezone(clocks[0]):%H:%M}"
    return f"in one of {len(clocks)} time zones"


def _evidence(clocks: list[ZoneInfo], now: datetime) -> dict[str, str | int]:
    if not clocks:
        return {}
    first = clocks[0]
    return {
        "zone": first.key,
        "zones": len(clocks),
        "local_time": now.astimezone(first).strftime("%a %H:%M %z"),
    }


POLICY = Policy(name="quiet_hours", asks="Is it daytime for the person?", decide=_decide)
