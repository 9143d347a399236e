"""This machine's clock against others'. Signatures, tokens and windows are counted by it."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from connector.recovery.doctor.finding import Finding, fail, not_asked, ok, warn

_LATE = 5.0
"""Seconds. What is shown to people is wrong by as much; an HTTP date is exact to one."""
_WRONG = 60.0
"""Seconds. Salesforce takes a JWT for three minutes, our trigger signatures are good for five."""

_MEND = "let chrony, systemd-timesyncd or the cloud's time service keep this machine's clock"


def judged_clock(whose: str, theirs: datetime | None, *, sent: datetime, received: datetime) -> Finding:
    """`theirs`: what they said between `sent` and `received`, by our clock; None: nothing."""
    if theirs is None:
        return not_asked("clock", whose, "it told no time")
    middle = sent + (received - sent) / 2
    away = abs((theirs - middle).total_seconds())
    unsure = (received - sent).total_seconds() / 2
    which = "ahead of" if middle > theirs else "behind"
    says = f"this clock is {away:.1f} s {which} it"
    if away > _WRONG + unsure:
        return fail("clock", whose, says, mend=_MEND)
    if away > _LATE + unsure:
        return warn("clock", whose, says, mend=_MEND)
    return ok("clock", whose, f"agrees within {_LATE + unsure:.0f} s")


def http_date(text: str | None) -> datetime | None:
    """The header `Date`."""
    try:
        found = parsedate_to_datetime(text or "")
    except (TypeError, ValueError):
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
