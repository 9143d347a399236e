"""Quiet hours on clocks that are put forward and back: when the recipient may be written to next."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from connector.outbound.rules import QuietHours

_MINUTE = timedelta(minutes=1)
# Every step passes the end of somebody's night; a moment that suits all comes within days or never.
_MOST_STEPS = 64


@lru_cache(maxsize=1024)
def zone(name: str) -> ZoneInfo | None:
    """The zone; None when the IANA database has none of that name."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        return None


def is_quiet(quiet: QuietHours, local: datetime) -> bool:
    """Whether a wall clock that shows `local` is within the quiet hours."""
    if local.weekday() in quiet.days:
        return True
    clock = local.time()
    if quiet.start <= quiet.end:
        return quiet.start <= clock < quiet.end
    return clock >= quiet.start or clock < quiet.end


def awake_at(quiet: QuietHours, zones: Sequence[ZoneInfo], *, now: datetime) -> datetime | None:
    """The first moment from `now` on that is quiet in none of the zones, UTC; None: there is none."""
    minute = now.replace(second=0, microsecond=0)
    awake = _awake_in(quiet, tuple(zones), minute)
    return now if awake == minute else awake


@lru_cache(maxsize=4096)
def _awake_in(quiet: QuietHours, zones: tuple[ZoneInfo, ...], minute: datetime) -> datetime | None:
    """The same for a whole minute: quiet hours begin and end with one. A campaign asks this thousands of times."""
    moment = minute
    for _ in range(_MOST_STEPS):
        later = max((_ends(quiet, place, moment) for place in zones), default=moment)
        if later == moment:
            return moment
        moment = later
    return None


def _ends(quiet: QuietHours, place: ZoneInfo, moment: datetime) -> datetime:
    """When the quiet that covers `moment` in one zone ends, day or night; `moment` itself when it is not quiet."""
    local = moment.astimezone(place)
    if not is_quiet(quiet, local):
        return moment
    if local.weekday() in quiet.days:
        wall = datetime.combine(local.date() + timedelta(days=1), time())
    else:
        over_midnight = quiet.end < quiet.start and local.time() >= quiet.start
        wall = datetime.combine(local.date() + timedelta(days=over_midnight), quiet.end)
    end = wall.replace(tzinfo=place).astimezone(UTC)
    if end <= moment:  # the clock was put back, and shows the same times again
        end = wall.replace(tzinfo=place, fold=1).astimezone(UTC)
    if end.astimezone(place).utcoffset() != local.utcoffset():
        # The clock changes before the end: it may jump over it, or back to before the quiet hours began.
        changed = _clock_change(place, moment, end)
        if not is_quiet(quiet, changed.astimezone(place)):
            return changed
    return end


def _clock_change(place: ZoneInfo, before: datetime, after: datetime) -> datetime:
    """The minute at which the clock of `before` becomes that of `after`, both whole minutes."""
    offset = before.astimezone(place).utcoffset()
    while after - before > _MINUTE:
        middle = before + (after - before) // (2 * _MINUTE) * _MINUTE
        if middle.astimezone(place).utcoffset() == offset:
            before = middle
        else:
            after = middle
    return after
