"""Webhooks → timeline, without Kafka, PostgreSQL and CRM: the product's own rehearsal, read as a CRM would be told.

What the roles do around it is shown in tests/integration.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from connector.rehearsal import Rehearsal
from connector.sync.core.desired import ActivityView, activity_view
from connector.sync.mapping import built_in

ARRIVAL = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)


@dataclass(kw_only=True)
class Pipeline(Rehearsal):
    """A rehearsal whose webhooks arrive at a known time."""

    arrival: datetime = ARRIVAL

    def timeline(self) -> Sequence[ActivityView]:
        """Every activity, oldest first, by the built-in mapping."""
        layout = built_in().layout
        views = [
            (activity_view(state.facts, layout=layout), wamid) for wamid, state in self.activities.items()
        ]
        return [view for view, _ in sorted(views, key=lambda one: (one[0].at, one[1]))]


def shown(view: ActivityView) -> dict[str, Any]:
    """A view as the golden files write it."""
    return {
        "at": f"{view.at:%Y-%m-%d %H:%M:%S}",
        "subject": view.subject,
        "direction": view.direction,
        "status": view.status,
        "body": view.body.split("\n"),
    }
