"""Answers of a CRM that no adapter has met."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, cast

from connector.crm.port import Crm, Priority, Terms, Unknown, WriteResult
from connector.sync.calls import CallRunner
from connector.sync.leases import HeldLease
from connector.telemetry.health import StageHealth, State


class Item:
    key = "a"
    priority = Priority.LIVE


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
    runner = CallRunner(cast("Crm", portal), health=health, stopped_retry=1.0)
    lease = HeldLease(until=time.monotonic() + 60, leased_until=datetime.now(UTC))
    [(_, result)] = await runner.run([Item()], 100, portal.log_activities, lease=lease)
    assert isinstance(result, Unknown)
    assert runner.pause > 0
    assert health.state is State.WAITING
    assert "not understood" in str(health.snapshot())
