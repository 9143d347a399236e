"""From a plan to findings: each of its items is something that is not as it should be."""

from __future__ import annotations

from typing import Any

from connector.recovery.reconcile.drift import Counts, Drift, SinkReport, kind_of, mending
from connector.recovery.replay.items import Act, Kind, SinkSummary
from connector.recovery.replay.plans import Plan
from connector.state.database import Connection


async def findings(connection: Connection, plan: Plan) -> list[SinkReport]:
    """What a plan found in each of its CRMs. Only `connection` is read: the plan looked at the CRMs when it was made."""
    return [await _of_sink(connection, plan, summary) for summary in plan.summaries]


async def _of_sink(connection: Connection, plan: Plan, summary: SinkSummary) -> SinkReport:
    rows = await connection.fetch(
        "SELECT i.kind, i.key, i.act, i.fields, i.reason, coalesce(i.record_id, c.record_id, a.record_id, '') AS record_id, "  # noqa: S608 - ours
        "i.record_id IS NOT NULL AS found, coalesce(a.contact_id::text, i.facts->'owner'->>1, '') AS owner "
        f"FROM replay.items i LEFT JOIN {summary.sink}.contacts c ON i.kind = 'contact' AND c.contact_id = "
        "CASE WHEN i.kind = 'contact' THEN i.key::uuid END "
        f"LEFT JOIN {summary.sink}.activities a ON i.kind = 'activity' AND a.wamid = i.key "
        "WHERE i.plan_id = $1 AND i.sink = $2 AND i.act <> 'cannot' ORDER BY i.number",
        plan.plan_id,
        summary.sink,
        timeout=600,
    )
    return SinkReport(
        sink=summary.sink,
        counts={name: Counts(**looked) for name, looked in summary.looked_at.items()},
        drift=[_drift(summary.sink, row) for row in rows],
        waiting=summary.waiting,
        aside=summary.reasons,
    )


def _drift(sink: str, row: Any) -> Drift:
    act = Act(row["act"])
    message = row["kind"] == Kind.ACTIVITY
    said = row["reason"]
    if row["fields"]:
        said = f"{said} ({', '.join(row['fields'])})"
    return Drift(
        sink=sink,
        kind=kind_of(act, found=row["found"]),
        what=row["kind"],
        contact_id=row["owner"] if message else row["key"],
        wamid=row["key"] if message else "",
        record_id=row["record_id"],
        said=said,
        mends=mending(act, found=row["found"]),
    )
