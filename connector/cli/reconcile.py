"""`connector reconcile`: does a CRM say what the log and our tables say it should; --repair mends what does not."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from connector.cli.operator import ByOption, database, given_reason, moment, who
from connector.cli.output import JsonOption, err, out, print_json, print_table
from connector.cli.replay_parts import (
    ALL,
    applier,
    chosen_sinks,
    named_people,
    planner,
    record_step,
    stop_on_signals,
)

if TYPE_CHECKING:
    from connector.recovery.reconcile.drift import SinkReport
    from connector.recovery.reconcile.leftovers import Settled
    from connector.recovery.reconcile.reconciling import Reconciler
    from connector.recovery.replay.applying import Progress
    from connector.recovery.replay.plans import Plan
    from connector.recovery.replay.selection import Selection
    from connector.settings import Settings

_COMMAND = "reconcile"
_SHOWN = 50


def reconcile(
    *,
    sink: Annotated[str, typer.Option("--sink", help="hubspot, salesforce, or all that are enabled.")] = ALL,
    begin: Annotated[
        str, typer.Option("--from", help="A time, or an age (6h, 3d); else everything that is known.")
    ] = "",
    end: Annotated[str, typer.Option("--to", help="The same; else now.")] = "",
    contact: Annotated[
        list[str] | None,
        typer.Option(
            "--contact", help="Only this person: phone, BSUID, hubspot:ID, salesforce:ID, contact id."
        ),
    ] = None,
    repair: Annotated[bool, typer.Option("--repair", help="Mend what is found. Needs --reason.")] = False,
    reason: Annotated[str, typer.Option("--reason", help="Why; needed by --repair, and recorded.")] = "",
    flagged: Annotated[
        bool, typer.Option("--flagged", help="Only list the records that earlier repairs left for a person.")
    ] = False,
    by: ByOption = "",
    as_json: JsonOption = False,
) -> None:
    """Compare the log, our tables and the CRM's own records: first by counts, then item by item. Exit code 1: drift.

    Tells what is missing, doubled, different and orphaned, with person, message and record. --repair writes what
    should be there, through a plan of `connector replay`, behind everything that is live; second records are deleted
    if all of them is ours, else flagged for a person. Nothing is ever sent.
    """
    if flagged:
        asyncio.run(_list_flagged(as_json=as_json))
        return
    if begin.strip() and contact:
        raise typer.BadParameter("give --from or --contact: a person is compared from the beginning")
    why = given_reason(reason) if repair else ""
    asyncio.run(
        _reconcile(sink=sink, begin=begin, end=end, contacts=contact or (), why=why, by=by, as_json=as_json)
    )


async def _reconcile(
    *, sink: str, begin: str, end: str, contacts: Sequence[str], why: str, by: str, as_json: bool
) -> None:
    from connector.recovery.reconcile.reconciling import Reconciler, only_one
    from connector.recovery.replay.selection import Selection, read_point
    from connector.settings import load_settings

    settings, now, person = load_settings(), datetime.now(UTC), who(by)
    sinks = chosen_sinks(settings, sink)
    selection = Selection(
        sinks=sinks,
        begin=read_point(begin, option="--from", now=now),
        end=read_point(end, option="--to", now=now),
        contacts=await named_people(settings, contacts, now=now),
    )
    if any(point is not None and point.at is None for point in (selection.begin, selection.end)):
        raise typer.BadParameter("--from and --to are a time or an age here: a CRM knows no offsets")
    url = settings.database.url.get_secret_value()
    repaired: Repaired | None = None
    async with only_one(url) as connection, planner(settings, sinks, compare=True, told=_told) as maker:
        surveys = {name: crm for name, known in maker.sinks.items() if (crm := known.survey) is not None}
        work = Reconciler(planner=maker, connection=connection, surveys=surveys)
        plan, reports = await work.look(selection, who=person, now=now)
        if not as_json:
            _print(reports)
        if why:
            repaired = await _repair(settings, work, selection, plan, reports, why=why, who=person)
    drift = any(report.drift for report in reports)
    if as_json:
        print_json(
            {
                "plan": plan.hash,
                "sinks": [asdict(report) | {"by_kind": report.by_kind} for report in reports],
                "repair": None if repaired is None else asdict(repaired) | {"complete": repaired.complete},
            }
        )
    elif repaired is not None:
        _print_repair(plan, reports, repaired)
    elif drift:
        out.print('next: connector reconcile with the same options and --repair --reason "…"', markup=False)
    if repaired is not None and repaired.stopped:
        raise typer.Exit(130)
    if drift and not (repaired is not None and repaired.complete):
        raise typer.Exit(1)


def _print(reports: Sequence[SinkReport]) -> None:
    from connector.recovery.reconcile.drift import sentence

    drift = [item for report in reports for item in report.drift]
    if drift:
        print_table(
            ["sink", "drift", "what", "contact", "wamid", "record", "why", "repair"],
            [
                [
                    *(item.sink, item.kind, item.what, item.contact_id, item.wamid, item.record_id),
                    *(item.said, item.mends),
                ]
                for item in drift[:_SHOWN]
            ],
        )
        if len(drift) > _SHOWN:
            out.print(f"and {len(drift) - _SHOWN:,} more: --json prints all")
    for report in reports:
        out.print(f"{report.sink}: {sentence(report)}", markup=False)
        if report.waiting:
            out.print(f"note: {report.waiting:,} wait to be written, and are on their way")
        if report.flagged:
            out.print(
                f"note: {report.flagged:,} records wait for a person, who was told: connector reconcile --flagged"
            )
        for reason, count in report.aside.items():
            out.print(f"note: {count:,} {reason}", markup=False)


@dataclass(frozen=True, kw_only=True)
class Repaired:
    """What a repair did. `progress`: of the plan; None: it had nothing to do. `settled`: one line a left-over record."""

    progress: Progress | None
    settled: Sequence[Settled] = ()
    stopped: bool = False

    @property
    def complete(self) -> bool:
        """Whether all that was found is mended, or told to a person."""
        went = self.progress
        return not self.stopped and (
            went is None or not (went.open or went.refused or went.stale or went.held)
        )


async def _repair(
    settings: Settings,
    work: Reconciler,
    selection: Selection,
    plan: Plan,
    reports: Sequence[SinkReport],
    *,
    why: str,
    who: str,
) -> Repaired:
    """Apply the plan, then delete or flag what is there too much. On Ctrl-C what was marked stays marked."""
    act, stop = str(uuid.uuid4()), asyncio.Event()
    record = partial(record_step, settings, plan, command=_COMMAND, act=act, who=who, why=why)
    stop_on_signals(stop)
    progress: Progress | None = None
    apply = applier(settings, told=_progress)
    if any(summary.acts for summary in plan.summaries):
        await apply.begin(plan.hash, act=act, who=who, why=why, now=datetime.now(UTC))
    found = {report.sink: report.by_kind for report in reports}
    await record(phase="began", details={"selection": plan.selection, "drift": found})
    if any(summary.acts for summary in plan.summaries):
        progress = await apply.go_on(plan.hash, stop=stop)
    settled: list[Settled] = []
    async for one in work.settle_leftovers([] if stop.is_set() else reports, act=act):
        settled.append(one)
        if stop.is_set():
            break
    repaired = Repaired(progress=progress, settled=settled, stopped=stop.is_set())
    if repaired.complete:
        await work.mended(selection, reports)
    await record(
        phase="stopped" if repaired.stopped else "finished",
        details={
            "plan": None if progress is None else asdict(progress),
            "left over": [str(one) for one in settled],
        },
    )
    return repaired


def _print_repair(plan: Plan, reports: Sequence[SinkReport], repaired: Repaired) -> None:
    planned = [item for report in reports for item in report.drift if not item.by_hand]
    if repaired.complete:
        for item in planned:
            out.print(f"{item.sink}: {item.what} {item.wamid or item.contact_id}: {item.mends}", markup=False)
    for one in repaired.settled:
        out.print(str(one), markup=False)
    if repaired.progress is not None:
        out.print(f"{'Stopped' if repaired.stopped else 'Done'}: {repaired.progress}; nothing was sent.")
    if repaired.stopped and repaired.progress is not None and repaired.progress.open:
        out.print(f"next: connector replay --resume {plan.hash}, or --cancel {plan.hash}")
    elif not repaired.complete:
        out.print(f"next: connector replay --show {plan.hash} says what became of each item")
    else:
        out.print("next: the same again without --repair finds nothing")


async def _list_flagged(*, as_json: bool) -> None:
    from connector.recovery.reconcile.leftovers import flagged_records

    async with database() as (_, connection):
        found = await flagged_records(connection)
    if as_json:
        print_json([asdict(item) for item in found])
        return
    if not found:
        out.print("No record waits for a person.")
        return
    print_table(
        ["sink", "drift", "what", "contact", "wamid", "record", "why", "told"],
        [
            [
                *(item.sink, item.kind, item.what, item.contact_id, item.wamid, item.record_id),
                *(item.reason, moment(item.flagged_at)),
            ]
            for item in found
        ],
    )


def _told(line: str) -> None:
    if err.is_terminal:
        err.print(f"[dim]{line}[/]")


def _progress(progress: Progress) -> None:
    if err.is_terminal:
        err.print(f"[dim]{progress}[/]")
