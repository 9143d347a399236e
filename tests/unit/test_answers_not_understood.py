"""Answers of a CRM that no adapter has met."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, cast
from uuid import UUID

from connector.crm.port import Crm, Later, Priority, Terms, Unknown, WriteResult
from connector.sync.calls import CallRunner
from connector.sync.leases import HeldLease
from connector.telemetry.health import StageHealth, State


class Item:
    key = "a"
    priority = Priority.LIVE
    contact_id = UUID(int=1)


class Portal:
    """A CRM whose answers are of another form than promised."""

    name = "hubspot"
    request_timeout = 1.0

    async def log_activities(self, _: Sequence[Any], __: Terms) -> Sequence[WriteResult]:
        answer: Any = ["not", "an", "object"]
        return list(answer["results"])


async def test_an_answer_of_another_form_is_lost_and_shown() -> None:
    """Something may have been written: its items are in doubt, the sink pauses, and its health says why."""
    portal, health = Portal(), StageHealth("writer")
    runner = CallRunner(cast("Crm", portal), health=health, stopped_retry=1.0, late_write=30.0)
    lease = HeldLease(until=time.monotonic() + 60, leased_until=datetime.now(UTC))
    [(_, result)] = await runner.run([Item()], 100, portal.log_activities, lease=lease)
    assert isinstance(result, Unknown)
    assert lease.lingering == {Item.contact_id}
    assert runner.pause > 0
    assert health.state is State.WAITING
    assert "not understood" in str(health.snapshot())


async def test_a_look_up_of_another_form_says_nothing_of_what_is_there() -> None:
    """What was looked for is not taken for absent, and nobody is left alone for a request that writes nothing."""
    portal = Portal()
    runner = CallRunner(cast("Crm", portal), health=StageHealth("writer"), stopped_retry=1.0, late_write=30.0)
    lease = HeldLease(until=time.monotonic() + 60, leased_until=datetime.now(UTC))
    [(_, result)] = await runner.run([Item()], 100, portal.log_activities, lease=lease, reads=True)
    assert isinstance(result, Later)
    assert lease.lingering == set()
