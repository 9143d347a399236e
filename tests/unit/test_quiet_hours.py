"""Quiet hours on the recipient's clock, and where a number says that this clock is."""

from datetime import UTC, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings, strategies as st

from connector.outbound.places import country_of, zones_of, zones_of_country
from connector.outbound.quiet import awake_at, is_quiet, zone
from connector.outbound.rules import QuietHours

NIGHT = QuietHours()  # 21:00 to 08:00


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("place", "now", "awake"),
    [
        ("Europe/London", "2026-05-05T12:00", "2026-05-05T12:00"),
        ("Europe/London", "2026-05-05T19:59", "2026-05-05T19:59"),
        ("Europe/London", "2026-05-05T20:00", "2026-05-06T07:00"),
        ("Europe/London", "2026-05-06T06:59", "2026-05-06T07:00"),
        ("Europe/London", "2026-05-06T07:00", "2026-05-06T07:00"),
        ("Asia/Kolkata", "2026-05-05T15:29", "2026-05-05T15:29"),
        ("Asia/Kolkata", "2026-05-05T15:30", "2026-05-06T02:30"),
        ("Asia/Kathmandu", "2026-05-05T20:00", "2026-05-06T02:15"),
        ("Pacific/Kiritimati", "2026-05-05T07:00", "2026-05-05T18:00"),
    ],
)
def test_the_morning_of_one_clock(place: Any, now: Any, awake: Any) -> None:
    """Quarter-hour offsets and the date line included."""
    assert awake_at(NIGHT, [ZoneInfo(place)], now=utc(now)) == utc(awake)


@pytest.mark.parametrize(
    ("place", "now", "awake"),
    [
        # New York, 8 March 2026: 02:00 EST becomes 03:00 EDT; the night is an hour shorter.
        ("America/New_York", "2026-03-08T02:00", "2026-03-08T12:00"),
        # 1 November 2026: 02:00 EDT becomes 01:00 EST; the night is an hour longer.
        ("America/New_York", "2026-11-01T02:00", "2026-11-01T13:00"),
        # Berlin, 29 March and 25 October 2026.
        ("Europe/Berlin", "2026-03-28T21:00", "2026-03-29T06:00"),
        ("Europe/Berlin", "2026-10-24T21:00", "2026-10-25T07:00"),
        # Lord Howe moves by half an hour (5 April 2026).
        ("Australia/Lord_Howe", "2026-04-04T11:00", "2026-04-04T21:30"),
    ],
    ids=["forward", "back", "berlin forward", "berlin back", "half an hour"],
)
def test_the_morning_after_a_clock_change(place: Any, now: Any, awake: Any) -> None:
    """08:00 on the wall, whatever happened in the night."""
    assert awake_at(NIGHT, [ZoneInfo(place)], now=utc(now)) == utc(awake)


def test_a_morning_hour_that_the_clock_skips_begins_when_the_clock_is_past_it() -> None:
    """Quiet until 02:30, and the clock jumps from 02:00 to 03:00: at 03:00 the person may be written to."""
    quiet = QuietHours(start=time(21), end=time(2, 30))
    assert awake_at(quiet, [ZoneInfo("America/New_York")], now=utc("2026-03-08T05:00")) == utc(
        "2026-03-08T07:00"
    )


def test_an_evening_hour_that_comes_twice_is_quiet_twice() -> None:
    """Quiet from 01:30, and 01:30 comes again an hour later: both are quiet, the minutes between are not."""
    quiet, place = QuietHours(start=time(1, 30), end=time(8)), ZoneInfo("America/New_York")
    assert awake_at(quiet, [place], now=utc("2026-11-01T05:29")) == utc("2026-11-01T05:29")
    assert awake_at(quiet, [place], now=utc("2026-11-01T05:30")) == utc("2026-11-01T06:00")
    assert awake_at(quiet, [place], now=utc("2026-11-01T06:30")) == utc("2026-11-01T13:00")


def test_a_morning_that_comes_twice_begins_at_the_second_end_for_whoever_asks_in_the_second_hour() -> None:
    """Quiet until 01:30: after the first 01:30 the person is awake, then the clock goes back and it is quiet again."""
    quiet, place = QuietHours(start=time(21), end=time(1, 30)), ZoneInfo("America/New_York")
    assert awake_at(quiet, [place], now=utc("2026-11-01T05:10")) == utc("2026-11-01T05:30")
    assert awake_at(quiet, [place], now=utc("2026-11-01T06:10")) == utc("2026-11-01T06:30")


@pytest.mark.parametrize(
    ("now", "awake"),
    [("2028-02-28T22:00", "2028-02-29T08:00"), ("2028-02-29T22:00", "2028-03-01T08:00")],
)
def test_the_leap_day_is_a_day_like_any_other(now: Any, awake: Any) -> None:
    """2028 has a 29 February."""
    assert awake_at(NIGHT, [ZoneInfo("Africa/Abidjan")], now=utc(now)) == utc(awake)


def test_a_day_without_sends_ends_at_its_midnight_and_then_the_night_counts() -> None:
    """Quiet Sundays: after Saturday evening comes Monday morning."""
    quiet = QuietHours(days=frozenset({6}))
    london = ZoneInfo("Europe/London")
    assert awake_at(quiet, [london], now=utc("2026-05-09T20:30")) == utc("2026-05-11T07:00")
    assert awake_at(quiet, [london], now=utc("2026-05-10T12:00")) == utc("2026-05-11T07:00")


def test_every_zone_of_the_person_has_to_be_awake() -> None:
    """A United States number of no certain state: Hawaii's morning and New York's evening."""
    places = [ZoneInfo("America/New_York"), ZoneInfo("Pacific/Honolulu")]
    assert awake_at(NIGHT, places, now=utc("2026-05-05T12:00")) == utc("2026-05-05T18:00")
    assert awake_at(NIGHT, places, now=utc("2026-05-06T00:59")) == utc("2026-05-06T00:59")
    assert awake_at(NIGHT, places, now=utc("2026-05-06T01:00")) == utc("2026-05-06T18:00")


def test_zones_that_are_never_awake_together_have_no_moment() -> None:
    """Then the policy takes the clock of the most populous one."""
    day = QuietHours(start=time(12), end=time(9))
    assert (
        awake_at(day, [ZoneInfo("Europe/London"), ZoneInfo("Asia/Tokyo")], now=utc("2026-05-05T00:00"))
        is None
    )


def test_equal_hours_are_no_quiet_hours() -> None:
    """Midnight to midnight would be always; nobody means that."""
    assert not is_quiet(QuietHours(start=time(), end=time()), utc("2026-05-05T03:00"))


def test_quiet_hours_are_whole_minutes() -> None:
    """A campaign asks once a minute and zone."""
    with pytest.raises(ValueError, match="whole minute"):
        QuietHours(start=time(21, 0, 30))


clocks = st.builds(time, st.integers(0, 23), st.sampled_from([0, 15, 30, 59]))
changes = st.sampled_from(
    ["2026-03-08T07:00", "2026-11-01T06:00", "2026-03-29T01:00", "2026-10-25T01:00", "2026-04-04T15:00"]
)
some_day = st.integers(0, 3 * 365 * 24 * 60).map(
    lambda minutes: utc("2026-01-01T00:00") + timedelta(minutes=minutes)
)
near_a_change = st.builds(
    lambda change, seconds: utc(change) + timedelta(seconds=seconds), changes, st.integers(-43_200, 43_200)
)
places = st.lists(
    st.sampled_from(
        ["Europe/London", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "Africa/Casablanca"]
    ),
    min_size=1,
    max_size=3,
    unique=True,
).map(lambda names: [ZoneInfo(name) for name in names])


@settings(max_examples=300, deadline=None)
@given(
    st.builds(QuietHours, start=clocks, end=clocks, days=st.frozensets(st.integers(0, 6), max_size=2)),
    places,
    some_day | near_a_change,
)
def test_the_moment_found_is_awake_everywhere_and_none_before_it_is(quiet: Any, zones: Any, now: Any) -> None:
    """Against a search that simply tries every minute."""
    found = awake_at(quiet, zones, now=now)
    moment, limit = now, now + timedelta(days=3)
    while moment < limit and any(is_quiet(quiet, moment.astimezone(place)) for place in zones):
        moment = moment.replace(second=0, microsecond=0) + timedelta(minutes=1)
    if moment < limit:
        assert found == moment
    else:
        assert found is None or found >= limit


def test_a_zone_that_nobody_knows_is_none() -> None:
    """A CRM may hold anything."""
    assert zone("Middle/Earth") is None
    assert zone("../../etc/passwd") is None


@pytest.mark.parametrize(
    ("phone", "bsuid", "country"),
    [
        ("+12125550123", "", "US"),
        ("+14165550123", "", "CA"),
        ("+18765550123", "", "JM"),
        ("+447400123456", "", "GB"),
        ("+77011234567", "", "KZ"),
        ("+79161234567", "", "RU"),
        ("+5511987654321", "", "BR"),
        ("", "BR.1349ab", "BR"),
        ("", "US.ENT.77", "US"),
        ("", "user.abcdef", ""),
        ("+881612345678", "", ""),
        ("+5511987654321", "US.1", "BR"),
        ("no phone", "", ""),
    ],
)
def test_the_country_of_a_number_or_of_a_user_id(phone: Any, bsuid: Any, country: Any) -> None:
    """A phone goes before a user id; satellites have none."""
    assert country_of(phone, bsuid) == country


@pytest.mark.parametrize(
    ("phone", "bsuid", "zones"),
    [
        ("+12125550123", "", ("America/New_York",)),
        ("+13105550123", "", ("America/Los_Angeles",)),
        ("+447400123456", "", ("Europe/London",)),
        ("+971501234567", "", ("Asia/Dubai",)),
        ("+919812345678", "", ("Asia/Kolkata",)),
        ("", "AE.13", ("Asia/Dubai",)),
        ("", "", ()),
        ("+881612345678", "", ()),
    ],
)
def test_the_zones_of_a_number(phone: Any, bsuid: Any, zones: Any) -> None:
    """By area code where that tells, else by country."""
    assert zones_of(phone, bsuid) == zones


def test_a_prefix_that_two_countries_share_gives_only_the_persons_own() -> None:
    """+7 is Russia and Kazakhstan; libphonenumber names the zones of both for either, and Bucharest."""
    assert set(zones_of("+77011234567")) == set(zones_of_country("KZ"))
    russian = set(zones_of("+79161234567"))
    assert {"Europe/Kaliningrad", "Asia/Kamchatka"} <= russian
    assert not russian & {"Asia/Almaty", "Europe/Bucharest"}


def test_a_number_of_no_area_has_every_zone_of_its_country_the_most_populous_first() -> None:
    """A toll-free number, or a user id that shows no phone."""
    assert zones_of("+18005550123")[0] == "America/New_York"
    assert "Pacific/Honolulu" in zones_of("", "US.1349")
    assert "Pacific/Guam" not in zones_of("", "US.1349")
