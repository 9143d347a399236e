"""`connector reconcile`: does a CRM say what the log and our tables say it should; --repair mends what does not."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from connector.cli.operator import ByOption, database, given_reason, who
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
    from connector.recovery.replay.applying import Progress
    from connector.recovery.replay.plans import Plan
    from connector.settings import Settings

_COMMAND = "reconcile"


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
    by: ByOption = "",
    as_json: JsonOption = False,
) -> None:
    """Compare the log, our tables and the CRM's own records: first by counts, then item by item. Exit code 1: drift.

    Tells what is missing, doubled, different and orphaned, with person, message and record. --repair writes what
    should be there, through a plan of `connector replay`, behind everything that is live. Nothing is ever sent.
    """
    if begin.strip() and contact:
        raise typer.BadParameter("give --from or --contact: a person is compared from the beginning")
    why = given_reason(reason) if repair else ""
    asyncio.run(
        _reconcile(sink=sink, begin=begin, end=end, contacts=contact or (), why=why, by=by, as_json=as_json)
    )


async def _reconcile(
    *, sink: str, begin: str, end: str, contacts: Sequence[str], why: str, by: str, as_json: bool
) -> None:
    from connector.recovery.reconcile.findings import findings
    from connector.recovery.replay.selection import Selection, read_point
    from connector.settings import load_settings

    settings, now = load_settings(), datetime.now(UTC)
    sinks = chosen_sinks(settings, sink)
    selection = Selection(
        sinks=sinks,
        begin=read_point(begin, option="--from", now=now),
        end=read_point(end, option="--to", now=now),
        contacts=await named_people(settings, contacts, now=now),
        verify=True,
        restore=True,
        restore_known=False,
    )
    person = who(by)
    async with planner(settings, sinks, compare=True, told=_told) as maker:
        plan = await maker.make(selection, who=person, now=now)
    async with database() as (_, connection):
        reports = await findings(connection, plan)
    if not as_json:
        _print(reports)
    progress = await _repair(settings, plan, why=why, who=person) if why else None
    if as_json:
        print_json(
            {
                "plan": plan.hash,
                "sinks": [asdict(report) | {"by_kind": report.by_kind} for report in reports],
                "repair": None if progress is None else asdict(progress),
            }
        )
    elif progress is not None:
        out.print(f"Done: {progress}; nothing was sent.")
        out.print("next: the same again without --repair finds nothing; connector replay --show", plan.hash)
    elif any(report.drift for report in reports):
        out.print('next: connector reconcile with the same options and --repair --reason "…"', markup=False)
    left = progress is None or progress.open or progress.refused or progress.stale
    if left and any(report.drift for report in reports):
        raise typer.Exit(1)


def _print(reports: Sequence[SinkReport]) -> None:
    from connector.recovery.reconcile.drift import sentence

    drift = [item for report in reports for item in report.drift]
    if drift:
        print_table(
            ["sink", "drift", "what", "contact", "wamid", "record", "why", "repair"],
            [
                [
                    item.sink,
                    item.kind,
                    item.what,
                    item.contact_id,
                    item.wamid,
                    item.record_id,
                    item.said,
                    item.mends,
                ]
                for item in drift
            ],
        )
    for report in reports:
        out.print(f"{report.sink}: {sentence(report)}", markup=False)
        if report.waiting:
            out.print(f"note: {report.waiting:,} wait to be written, and are on their way")
        for reason, count in report.aside.items():
            out.print(f"note: {count:,} {reason}", markup=False)


async def _repair(settings: Settings, plan: Plan, *, why: str, who: str) -> Progress:
    """Apply the plan; on Ctrl-C what was marked stays marked, and `connector replay --resume` goes on."""
    act, stop = str(uuid.uuid4()), asyncio.Event()
    stop_on_signals(stop)
    work = applier(settings, told=_progress)
    await work.begin(plan.hash, act=act, who=who, why=why, now=datetime.now(UTC))
    details = {"selection": plan.selection, "sinks": [asdict(summary) for summary in plan.summaries]}
    await record_step(
        settings, plan, act=act, command=_COMMAND, phase="began", who=who, why=why, details=details
    )
    progress = await work.go_on(plan.hash, stop=stop)
    phase = "stopped" if progress.open else "finished"
    await record_step(
        settings, plan, act=act, command=_COMMAND, phase=phase, who=who, why=why, details=asdict(progress)
    )
    if progress.open:
        err.print(f"Stopped: {progress}.")
        err.print(f"next: connector replay --resume {plan.hash}, or --cancel {plan.hash}")
        raise typer.Exit(130)
    return progress


def _told(line: str) -> None:
    if err.is_terminal:
        err.print(f"[dim]{line}[/]")


def _progress(progress: Progress) -> None:
    if err.is_terminal:
        err.print(f"[dim]{progress}[/]")
