"""What the business decided about its sends: the numbers that the policies judge by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import time, timedelta
from typing import get_args

from connector.events.triggers import Purpose
from connector.outbound.personalisation.records import PropertyAges
from connector.settings import ConsentNeeded, OutboundSettings, Weekday


@dataclass(frozen=True, slots=True)
class Cap:
    """At most `count` messages to one person in any `period`."""

    count: int
    period: timedelta


@dataclass(frozen=True, kw_only=True, slots=True)
class QuietHours:
    """From `start` until `end` on the recipient's clock nothing is sent, and not at all on `days`.

    `end` before `start` is the next morning; the same twice is no quiet hours. Both are whole minutes. `days`: 0
    Monday … 6 Sunday.
    """

    start: time = time(21, 0)
    end: time = time(8, 0)
    days: frozenset[int] = frozenset()

    def __post_init__(self) -> None:
        """Refuse what cannot be judged a minute at a time."""
        if any(clock.second or clock.microsecond or clock.tzinfo for clock in (self.start, self.end)):
            raise ValueError("quiet hours begin and end with a whole minute of the recipient's own clock")


@dataclass(frozen=True, kw_only=True, slots=True)
class GateRules:
    """The rules of one deployment. Authentication has no consent, no cap and no quiet hours: somebody waits for it."""

    consent: Mapping[Purpose, ConsentNeeded] = field(
        default_factory=lambda: {"marketing": "granted", "utility": "not_denied"}
    )
    """Meta asks for an opt-in before any message; one given elsewhere covers utility until the person says no."""
    caps: Mapping[Purpose, tuple[Cap, ...]] = field(
        default_factory=lambda: {
            "marketing": (Cap(1, timedelta(days=1)), Cap(3, timedelta(days=7))),
            "utility": (Cap(10, timedelta(days=1)),),
        }
    )
    quiet: Mapping[Purpose, QuietHours] = field(default_factory=lambda: {"marketing": QuietHours()})
    fallback_zone: str = "UTC"
    """The clock of people whose country is not known."""
    duplicate_within: Mapping[Purpose, timedelta] = field(
        default_factory=lambda: {"marketing": timedelta(days=7), "utility": timedelta(hours=1)}
    )
    """The same content to the same person is sent once in this time."""
    longest_lag: Mapping[Purpose, timedelta] = field(
        default_factory=lambda: {"marketing": timedelta(seconds=5), "utility": timedelta(seconds=60)}
    )
    """How far the consent folds may be behind the log."""
    templates_stale_after: timedelta = timedelta(hours=6)
    """Templates not read from Meta for so long are not trusted for marketing and utility."""
    unreachable_for: timedelta = timedelta(days=7)
    """How long a person counts as not on WhatsApp after WhatsApp said so (131026)."""
    marketing_refused_for: timedelta = timedelta(hours=24)
    """How long marketing to a person rests after WhatsApp's per-user limit (131049: at least 24 h)."""
    property_ages: PropertyAges = field(default_factory=PropertyAges)
    """How old what the CRM says of a person may be in a message."""
    us_marketing: bool = False
    """Whether marketing to United States numbers is tried. WhatsApp does not deliver it since April 2025."""
    look_again: timedelta = timedelta(seconds=5)
    """When to judge again what waits for something that is usually over in seconds."""
    look_again_later: timedelta = timedelta(minutes=5)
    """When to judge again what waits for a person or for Meta, and has no known end."""
    held_for_quality: frozenset[Purpose] = frozenset({"marketing"})
    """What a number of RED quality does not send."""


def gate_rules(settings: OutboundSettings) -> GateRules:
    """The rules that the settings say."""
    quiet = QuietHours(
        start=settings.quiet_from,
        end=settings.quiet_until,
        days=frozenset(get_args(Weekday).index(day) for day in settings.quiet_days),
    )
    return GateRules(
        consent={"marketing": settings.marketing_consent, "utility": settings.utility_consent},
        caps={
            "marketing": _caps((settings.marketing_per_day, _DAY), (settings.marketing_per_week, 7 * _DAY)),
            "utility": _caps((settings.utility_per_day, _DAY)),
        },
        quiet={"marketing": quiet, "utility": quiet} if settings.quiet_for_utility else {"marketing": quiet},
        fallback_zone=settings.fallback_zone,
        duplicate_within={
            "marketing": timedelta(days=settings.marketing_repeat_days),
            "utility": timedelta(hours=settings.utility_repeat_hours),
        },
        longest_lag={
            "marketing": timedelta(seconds=settings.marketing_lag),
            "utility": timedelta(seconds=settings.utility_lag),
        },
        templates_stale_after=timedelta(seconds=settings.templates_stale_after),
        property_ages=PropertyAges(
            fresh=timedelta(seconds=settings.properties_fresh_for),
            usable=timedelta(seconds=settings.properties_usable_for),
            patience=timedelta(seconds=settings.properties_patience),
        ),
        us_marketing=settings.us_marketing,
    )


_DAY = timedelta(days=1)


def _caps(*limits: tuple[int, timedelta]) -> tuple[Cap, ...]:
    return tuple(Cap(count, period) for count, period in limits if count)
