"""The pace of calls, as a rule without a clock: what it can never exceed, and what it leaves unused."""

import math

import pytest
from hypothesis import given, settings, strategies as st

from connector.crm.hubspot.quota import ASSOCIATIONS, BURST, SEARCH, bucket_of, read_news
from connector.crm.port import Priority
from connector.crm.quota import DayNews, News, Pace, PaceNews
from connector.crm.quota.rule import kept_back
from connector.crm.retry_after import read_retry_after
from connector.crm.salesforce.quota import read_news as read_usage


@settings(max_examples=60, deadline=None)
@given(
    calls=st.sampled_from([1, 2, 5, 20, 100, 110]),
    seconds=st.sampled_from([0.5, 1.0, 10.0, 60.0]),
    pauses=st.lists(st.sampled_from([0.0, 0.3, 1.0, 2.5, 40.0]), min_size=1, max_size=150),
    late=st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=150, max_size=150),
)
def test_spaced_calls_never_exceed_the_limit(
    calls: int, seconds: float, pauses: list[float], late: list[float]
) -> None:
    """Calls at their turns, however they came and however late each arrives, stay within the limit of every window."""
    pace = Pace(calls=calls, seconds=seconds)
    now = next_at = 0.0
    arrivals = []
    for pause, part in zip(pauses, late, strict=False):
        now += pause * pace.spacing
        arrivals.append(max(now, next_at - pace.tolerance) + part * pace.travel * 0.999_999)
        next_at = max(now, next_at) + pace.spacing
    arrivals.sort()
    for place, at in enumerate(arrivals):
        assert sum(at <= other < at + seconds * 0.999_999 for other in arrivals[place:]) <= calls


@pytest.mark.parametrize("calls", [100, 110, 150, 190, 200, 250])
def test_at_least_95_percent_of_the_limit_can_be_used(calls: int) -> None:
    """Calls that follow one another without a pause use nearly all of each of HubSpot's limits of 10 s."""
    pace = Pace(calls=calls, seconds=10.0)
    assert 10.0 / pace.spacing >= 0.95 * calls
    assert pace.burst - 1 + math.ceil(round((10.0 + pace.travel) / pace.spacing, 6)) <= calls


def test_searches_use_nine_tenths_of_their_narrow_limit() -> None:
    """5 searches a second have no room for a burst, and what calls may bunch by is a tenth of their window."""
    assert 1.0 / Pace(calls=5, seconds=1.0).spacing >= 4.5


@pytest.mark.parametrize(("calls", "seconds"), [(0, 10.0), (5, 0.0), (-1, 1.0)])
def test_a_limit_of_nothing_is_no_pace(calls: int, seconds: float) -> None:
    """What cannot be kept is refused rather than divided by."""
    with pytest.raises(ValueError, match="no pace"):
        Pace(calls=calls, seconds=seconds)


def test_a_share_of_the_account_leaves_the_rest_of_the_day_to_others() -> None:
    """With half the account, live keeps back half the day, and replay a fifth of our half besides."""
    assert kept_back(Priority.LIVE, share=0.5) == 0.5
    assert kept_back(Priority.REPLAY, share=0.5) == 0.6
    assert Pace(calls=190, seconds=10.0).share(0.5).calls == 95
    assert Pace(calls=1, seconds=10.0).share(0.1).calls == 1


@pytest.mark.parametrize(
    ("path", "bucket"),
    [
        ("/crm/objects/2026-09/contacts/batch/upsert", BURST),
        ("/crm/properties/2026-09/contacts", BURST),
        ("/crm/objects/2026-09/contacts/search", SEARCH),
        ("/crm/associations/2026-09/contacts/communications/batch/read", ASSOCIATIONS),
    ],
)
def test_each_call_counts_for_its_own_window(path: str, bucket: str) -> None:
    """HubSpot counts searches and the association endpoints apart."""
    assert bucket_of(path) == bucket


def test_hubspot_tells_its_limits_in_headers() -> None:
    """Rolling window and day are read from an answer; search sends none of them, and nonsense says nothing."""
    headers = {
        "X-HubSpot-RateLimit-Max": "190",
        "x-hubspot-ratelimit-remaining": "12",
        "X-HubSpot-RateLimit-Interval-Milliseconds": "10000",
        "X-HubSpot-RateLimit-Daily": "625000",
        "X-HubSpot-RateLimit-Daily-Remaining": "0",
    }
    news = read_news(headers)
    assert news == News(pace=PaceNews(calls=190, seconds=10.0, left=12), day=DayNews(calls=625_000, left=0))
    assert read_news({}) == News()
    assert read_news({**headers, "X-HubSpot-RateLimit-Max": "many"}).pace is None


@pytest.mark.parametrize(
    ("header", "left"),
    [
        ("api-usage=10018/100000", 89_982),
        ("api-usage=18/15000; api-bursts=1/750", 14_982),
        ("api-bursts=1/750; api-usage=15001/15000", 0),
    ],
)
def test_salesforce_tells_its_use_in_one_header(header: str, left: int) -> None:
    """What is used of the day is told, whatever stands beside it, also beyond the limit."""
    day = read_usage({"Sforce-Limit-Info": header}).day
    assert day is not None
    assert day.left == left


@pytest.mark.parametrize("header", ["", "per-app-api-usage=1/2(appName=x)", "api-usage=1/0", "api-usage=a/b"])
def test_a_header_without_the_orgs_use_says_nothing(header: str) -> None:
    """Another count, an impossible limit or no header are no news."""
    assert read_usage({"Sforce-Limit-Info": header}) == News()


@pytest.mark.parametrize(
    ("value", "longest", "seconds"),
    [
        ("10", 60.0, 10.0),
        ("10000", 60.0, 10.0),
        ("500", 60.0, 0.5),
        ("1", 10.0, 1.0),
        ("1000", 10.0, 1.0),
        ("3600", 86_400.0, 3_600.0),
        ("3600000", 86_400.0, 3_600.0),
        ("999999999999", 60.0, 60.0),
        ("0", 60.0, 0.0),
        ("-1", 60.0, None),
        ("nan", 60.0, None),
        ("inf", 60.0, None),
        ("Tue, 24 Nov 2026 12:00:00 GMT", 60.0, None),
    ],
)
def test_retry_after_is_read_in_seconds_or_milliseconds(
    value: str, longest: float, seconds: float | None
) -> None:
    """A number too large to be seconds is one of milliseconds; what is no time is no news."""
    assert read_retry_after({"retry-After": value}, longest=longest) == seconds


def test_an_answer_without_retry_after_says_no_time() -> None:
    """Then the caller's own time counts."""
    assert read_retry_after({}, longest=60.0) is None
