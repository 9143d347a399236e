"""Which items of a drain may go out at the same time."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import cast
from uuid import UUID, uuid5

import pytest
from hypothesis import given, strategies as st

from connector.crm.port import Crm, Priority, Terms, WriteResult, Written
from connector.sync.calls import CallRunner, lanes_of
from connector.sync.leases import HeldLease
from connector.telemetry.health import StageHealth

_SPACE = UUID(int=1)


@dataclass(frozen=True, slots=True)
class Item:
    """A message `key` of a person."""

    key: str
    person: int

    @property
    def contact_id(self) -> UUID:
        """Of the person."""
        return uuid5(_SPACE, str(self.person))

    @property
    def priority(self) -> Priority:
        """The usual class."""
        return Priority.LIVE


def items(*people: int) -> list[Item]:
    return [Item(str(number), person) for number, person in enumerate(people)]


@given(st.lists(st.integers(0, 12), max_size=60), st.integers(1, 9))
def test_a_person_is_in_one_lane_and_in_order(people: list[int], per_call: int) -> None:
    """Two lanes share nobody, none is lost, each person's items keep their order; only one person makes a lane long."""
    given_items = items(*people)
    lanes = lanes_of(given_items, per_call)
    owners = [{item.person for item in lane} for lane in lanes]
    assert sum(map(len, owners)) == len(set(people))
    assert sorted(int(item.key) for lane in lanes for item in lane) == list(range(len(people)))
    for lane, persons in zip(lanes, owners, strict=True):
        assert len(lane) <= per_call or len(persons) == 1
        for person in persons:
            keys = [int(item.key) for item in lane if item.person == person]
            assert keys == sorted(keys)


@pytest.mark.parametrize(
    ("people", "lengths"),
    [
        pytest.param([], [], id="nothing"),
        pytest.param(range(250), [100, 100, 50], id="one item a person"),
        pytest.param([1] * 250, [250], id="one person, call after call"),
        pytest.param([n // 3 for n in range(300)], [99, 99, 99, 3], id="three items a person"),
    ],
)
def test_lanes_are_as_full_as_calls(people: list[int], lengths: list[int]) -> None:
    """Calls cost quota: lanes are filled before another is opened."""
    assert [len(lane) for lane in lanes_of(items(*people), 100)] == lengths


class Portal:
    """A CRM that notes how many calls are open at once, and whether two of them write one person."""

    name = "hubspot"
    request_timeout = 1.0

    def __init__(self) -> None:
        self.open: list[int] = []
        self.most = 0
        self.calls = 0
        self.overlaps = 0

    async def write(self, chunk: Sequence[Item], _: Terms) -> Sequence[WriteResult]:
        """Take a few turns of the loop."""
        people = {item.person for item in chunk}
        self.overlaps += len(people.intersection(self.open))
        self.open += people
        self.calls += 1
        self.most = max(self.most, self.calls)
        for _turn in range(5):
            await asyncio.sleep(0)
        self.calls -= 1
        for person in people:
            self.open.remove(person)
        return [Written(record_id=item.key) for item in chunk]


async def test_calls_of_a_drain_go_at_the_same_time_and_share_nobody() -> None:
    """As many calls as may be are open, never more, none with a person of another, and every item has its answer."""
    portal = Portal()
    runner = CallRunner(
        cast("Crm", portal), health=StageHealth("writer"), stopped_retry=1.0, late_write=30.0, at_once=3
    )
    lease = HeldLease(until=time.monotonic() + 60, leased_until=datetime.now(UTC))
    waiting = items(*(number % 7 for number in range(40)), *[7] * 20, *range(8, 40))
    answers = await runner.run(waiting, 5, portal.write, lease=lease)
    assert portal.most == 3
    assert portal.overlaps == 0
    assert {item.key: result for item, result in answers} == {
        item.key: Written(record_id=item.key) for item in waiting
    }
