"""Whether a message may be filled in from what is known of a CRM record now."""

from datetime import UTC, datetime, timedelta

import pytest

from connector.outbound.personalisation.records import (
    PropertyAges,
    RecordFacts,
    RecordPlace,
    RecordState,
    record_facts,
)

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
PLACE = RecordPlace("hubspot", "7")
AGES = PropertyAges(fresh=timedelta(hours=1), usable=timedelta(hours=24), patience=timedelta(seconds=30))
ANA = {"firstname": "Ana", "city": None}


def ago(**spans: float) -> datetime:
    return NOW - timedelta(**spans)


def known(
    requested_at: datetime, state: RecordState, *, names: tuple[str, ...] = ("firstname",)
) -> RecordFacts:
    return record_facts(
        {"hubspot": frozenset(names)}, {"hubspot": state}, requested_at=requested_at, now=NOW, ages=AGES
    )


def read(at: datetime | None, *, wanted_at: datetime | None = None) -> RecordState:
    return RecordState(place=PLACE, properties=ANA if at else {}, read_at=at, wanted_at=wanted_at)


@pytest.mark.parametrize(
    ("requested", "state", "used"),
    [
        pytest.param(ago(minutes=5), read(ago(minutes=4)), True, id="read after it was asked for"),
        pytest.param(
            ago(minutes=5), read(ago(minutes=6)), False, id="read before a workflow may have set it"
        ),
        pytest.param(ago(hours=9), read(ago(hours=2)), False, id="read before a long wait"),
        pytest.param(ago(hours=9), read(ago(minutes=59)), True, id="read lately"),
        pytest.param(ago(minutes=5), read(None), False, id="never read"),
        pytest.param(
            ago(minutes=5),
            read(ago(hours=23), wanted_at=ago(seconds=30)),
            True,
            id="the crm is away for long enough",
        ),
        pytest.param(
            ago(minutes=5),
            read(ago(hours=23), wanted_at=ago(seconds=29)),
            False,
            id="the crm may still answer",
        ),
        pytest.param(
            ago(minutes=5),
            read(ago(hours=25), wanted_at=ago(hours=1)),
            False,
            id="too old even while it is away",
        ),
        pytest.param(
            ago(minutes=5), read(None, wanted_at=ago(hours=1)), False, id="never read while it is away"
        ),
    ],
)
def test_a_record_is_used_when_it_is_fresh_or_nothing_better_comes(
    requested: datetime,
    state: RecordState,
    *,
    used: bool,
) -> None:
    """What is not used is read first, and the message waits."""
    found = known(requested, state)
    assert found.properties == ({"hubspot": ANA} if used else {})
    assert found.unread == ({} if used else {"hubspot": NOW + AGES.patience})
    assert found.wanted == (() if used else (PLACE,))


def test_a_property_that_was_not_read_is_read() -> None:
    """A new line in the file does not take an old reading for an empty property."""
    assert known(ago(minutes=5), read(ago(minutes=1)), names=("firstname", "plan")).wanted == (PLACE,)


def test_an_empty_property_is_known() -> None:
    """The CRM was asked and has nothing: the fall-back is used at once."""
    assert known(ago(minutes=5), read(ago(minutes=1)), names=("city",)).unread == {}


def test_somebody_without_a_record_gets_the_fall_back() -> None:
    """Nothing is read, and nothing is waited for."""
    assert known(ago(seconds=1), RecordState()) == RecordFacts()


def test_a_record_that_is_on_its_way_is_waited_for_a_while() -> None:
    """A person who was just introduced may be in the CRM already; nobody waits for it longer than for an answer."""
    coming = RecordState(coming=True)
    assert known(ago(seconds=10), coming).unread == {"hubspot": NOW + timedelta(seconds=5)}
    assert known(ago(seconds=10), coming).wanted == ()
    assert known(ago(seconds=31), coming) == RecordFacts()
