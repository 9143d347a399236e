"""A tool that looks at a CRM's records waits for its turn, and gives up only when the CRM is away."""

from collections.abc import Sequence
from typing import Any

import pytest

from connector.crm.port import NOW, Compared, Priority, Same, Terms
from connector.crm.quota import QuotaHeld
from connector.errors import Terminal, Transient
from connector.recovery.replay.patience import PatientComparison


class Records:
    """A CRM that answers what it is told to, one answer a call, and then that all is the same."""

    activities_per_call = 100

    def __init__(self, *first: Exception) -> None:
        self.first = list(first)
        self.asked: list[int] = []

    async def compare_contacts(self, items: Sequence[Any], terms: Terms = NOW) -> Sequence[Compared]:
        self.asked.append(len(items))
        if self.first:
            raise self.first.pop(0)
        return [Same()] * len(items)

    async def compare_activities(self, items: Sequence[Any], terms: Terms = NOW) -> Sequence[Compared]:
        return await self.compare_contacts(items, terms)

    async def find_activities(self, items: Sequence[Any], terms: Terms = NOW) -> Sequence[None]:
        self.asked.append(len(items))
        return [None] * len(items)


def held() -> QuotaHeld:
    return QuotaHeld("No turn for replay yet.", retry_after=0.001, priority=Priority.REPLAY)


async def test_what_the_quota_holds_back_is_asked_again_in_parts() -> None:
    """Only the part whose turn did not come is asked again, whatever that takes; what is waited for is told once."""
    told: list[str] = []
    records = Records(*(held() for _ in range(30)), Transient("away", retry_after=0.001))
    answers = await PatientComparison(records, told=told.append).compare_contacts([object()] * 1_100)  # type: ignore[list-item]
    assert (len(answers), records.asked[-3:], len(records.asked)) == (1_100, [500, 500, 100], 34)
    assert told == ["waiting: No turn for replay yet."]


async def test_messages_are_looked_for_as_many_as_one_call_takes() -> None:
    """The CRM's own limit of a call is kept."""
    records = Records()
    await PatientComparison(records).find_activities([object()] * 250)  # type: ignore[list-item]
    assert records.asked == [100, 100, 50]


@pytest.mark.parametrize(
    "error",
    [Transient("away", retry_after=1_000.0), Terminal("the token is refused")],
    ids=["away for too long", "refused"],
)
async def test_what_waiting_does_not_mend_is_raised(error: Exception) -> None:
    """A CRM that is away for longer than two minutes, or wants another credential, ends the plan."""
    with pytest.raises(type(error)):
        await PatientComparison(Records(error)).compare_activities([object()])  # type: ignore[list-item]
