"""One reconciliation: list the CRM, plan, name what came apart; and settling what a plan cannot mend."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime

import asyncpg

from connector.crm.survey import RecordSurvey
from connector.errors import Rejected
from connector.recovery.reconcile.drift import SinkReport
from connector.recovery.reconcile.findings import findings
from connector.recovery.reconcile.leftovers import Settled, settle
from connector.recovery.reconcile.survey import Surveyor
from connector.recovery.reconcile.suspects import suspects
from connector.recovery.replay.patience import Patience
from connector.recovery.replay.planning import Planner
from connector.recovery.replay.plans import Plan
from connector.recovery.replay.selection import Selection
from connector.state.database import connect, database_errors

_LOCK = "hashtextextended('connector reconcile', 0)"


@asynccontextmanager
async def only_one(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection with the lock of reconciliations. Raises `Rejected` (cause `reconcile_running`)."""
    async with database_errors():
        connection = await connect(database_url)
        try:
            if not await connection.fetchval(f"SELECT pg_try_advisory_lock({_LOCK})"):
                raise Rejected(
                    "Another reconciliation is being made. Nothing was compared.",
                    cause="reconcile_running",
                    advice="wait until it is done",
                )
            yield connection
        finally:
            await connection.close()


@dataclass(frozen=True, kw_only=True)
class Reconciler:
    """What reconciliations are made with. `connection`: with the lock; `surveys`: each CRM, to be listed."""

    planner: Planner
    connection: asyncpg.Connection
    surveys: Mapping[str, RecordSurvey]

    async def look(self, selection: Selection, *, who: str, now: datetime) -> tuple[Plan, list[SinkReport]]:
        """Compare, and say what is wrong. Nothing but the plan and what is found is written down.

        Raises `Rejected` for a range that the log does not have, or while a replay works, and the connector's other
        errors.
        """
        selection = replace(selection, verify=True, restore=True, restore_known=False, surveyed=True)
        for sink in selection.sinks:
            self.planner.told(f"{sink}: listing")
            await self._surveyor(sink).list_all(selection)
        plan = await self._plan(selection, who=who, now=now)
        reports = []
        for report in await findings(self.connection, plan):
            more = await suspects(self._surveyor(report.sink), plan_id=plan.plan_id)
            if selection.whole and selection.contacts is None:
                await self._forget_what_is_gone(report.sink)
            flagged = await self.connection.fetchval(
                "SELECT count(*) FROM replay.left_over WHERE sink = $1", report.sink
            )
            reports.append(replace(report, drift=[*report.drift, *more], flagged=flagged))
        if selection.contacts is None:
            await self._note(selection, reports)
        return plan, reports

    async def _plan(self, selection: Selection, *, who: str, now: datetime) -> Plan:
        """A plan; in a time in which nothing came, one that is about nothing: a quiet night is no error."""
        begin, end = (point.at if point else None for point in (selection.begin, selection.end))
        try:
            return await self.planner.make(selection, who=who, now=now)
        except Rejected as error:
            if error.cause != "impossible_range" or (begin or now) > min(end or now, now):
                raise
            return await self.planner.make(replace(selection, topic=""), who=who, now=now)

    async def settle_leftovers(self, reports: Sequence[SinkReport], *, act: str) -> AsyncIterator[Settled]:
        """Delete or flag what is doubled and what nobody knows, one after the other."""
        for report in reports:
            surveyor = self._surveyor(report.sink)
            for drift in report.drift:
                if drift.by_hand:
                    yield await settle(surveyor, drift, act=act)

    async def mended(self, selection: Selection, reports: Sequence[SinkReport]) -> None:
        """Note that a repair left nothing over."""
        if selection.contacts is None:
            await self._note(selection, [replace(report, drift=()) for report in reports])

    async def _forget_what_is_gone(self, sink: str) -> None:
        """A person has looked: records that were flagged, and that the CRM does not list any more."""
        await self.connection.execute(
            "DELETE FROM replay.left_over o WHERE o.sink = $1 AND NOT EXISTS (SELECT 1 FROM replay.listed l "
            "WHERE l.sink = o.sink AND l.what = o.what AND l.record_id = o.record_id)",
            sink,
        )

    def _surveyor(self, sink: str) -> Surveyor:
        return Surveyor(
            sink=sink,
            crm=self.surveys[sink],
            connection=self.connection,
            patience=Patience(told=self.planner.told),
        )

    async def _note(self, selection: Selection, reports: Sequence[SinkReport]) -> None:
        """What the role's gauges show (gauges.py)."""
        part = " to ".join(str(point or "now") for point in (selection.begin, selection.end))
        for report in reports:
            await self.connection.execute(
                "INSERT INTO replay.reconciliations (sink, part, drift) VALUES ($1, $2, $3) ON CONFLICT (sink) "
                "DO UPDATE SET at = now(), part = excluded.part, drift = excluded.drift",
                report.sink,
                part if selection.begin or selection.end else "",
                report.by_kind,
            )
