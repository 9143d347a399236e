"""`connector replay`: read the log again, see what would change in a CRM, and have exactly that written."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from connector.cli.operator import ByOption, database, given_reason, who
from connector.cli.output import JsonOption, err, out, print_json
from connector.cli.replay_parts import (
    ALL,
    applier,
    chosen_sinks,
    named_people,
    planner,
    record_step,
    stop_on_signals,
)
from connector.cli.replay_shown import print_items, show_plan, show_plans, show_progress

if TYPE_CHECKING:
    import asyncpg

    from connector.recovery.replay.applying import Progress
    from connector.recovery.replay.plans import Plan

_COMMAND = "replay"
_SHOWN = 20
_SHOWN_ON_REQUEST = 1_000


def replay(
    *,
    sink: Annotated[str, typer.Option("--sink", help="hubspot, salesforce, or all that are enabled.")] = ALL,
    topic: Annotated[
        str,
        typer.Option(
            "--topic",
            help="conversation.events; whatsapp.updates: made into events again by today's code; "
            "none: only what the tables know.",
        ),
    ] = "conversation.events",
    begin: Annotated[
        str,
        typer.Option("--from", help="A time, an age (6h, 3d) or PARTITION:OFFSET[,…]; else the beginning."),
    ] = "",
    end: Annotated[
        str, typer.Option("--to", help="The same; else now. What is from then on is left out.")
    ] = "",
    contact: Annotated[
        list[str] | None,
        typer.Option(
            "--contact", help="Only this person: phone, BSUID, hubspot:ID, salesforce:ID, contact id."
        ),
    ] = None,
    event_type: Annotated[
        list[str] | None, typer.Option("--event-type", help="Only events of this type, e.g. status.")
    ] = None,
    verify: Annotated[
        bool,
        typer.Option("--verify", help="Compare with the CRM's own records, too: finds what people changed."),
    ] = False,
    restore_deleted: Annotated[
        bool,
        typer.Option(
            "--restore-deleted", help="Make anew what people deleted in the CRM; never what was erased."
        ),
    ] = False,
    apply: Annotated[str, typer.Option("--apply", metavar="HASH", help="Do exactly this plan.")] = "",
    resume: Annotated[
        str, typer.Option("--resume", metavar="HASH", help="Go on with a plan that was begun.")
    ] = "",
    cancel: Annotated[str, typer.Option("--cancel", metavar="HASH", help="End a plan before its end.")] = "",
    show: Annotated[str, typer.Option("--show", metavar="HASH", help="Show a plan and all its items.")] = "",
    list_plans: Annotated[bool, typer.Option("--list", help="Show the plans of the last week.")] = False,
    skip_stale: Annotated[
        bool, typer.Option("--skip-stale", help="With --apply: leave out items that changed since the plan.")
    ] = False,
    reason: Annotated[
        str, typer.Option("--reason", help="Why; needed by --apply and --cancel, and recorded.")
    ] = "",
    by: ByOption = "",
    as_json: JsonOption = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print the items as CSV.")] = False,
) -> None:
    """Plan a replay, and apply it. Without --apply nothing but the plan is written, and nothing is ever sent.

    A plan reads the log, puts it together with today's code and mapping, compares it with what the tables know and,
    with --verify, with the CRM's own records, and says what it would write. --apply HASH does exactly that, behind
    everything that is live.
    """
    acts = [name for name in (apply, resume, cancel, show) if name]
    if len(acts) + list_plans > 1:
        raise typer.BadParameter("give one of --apply, --resume, --cancel, --show and --list")
    if list_plans:
        asyncio.run(_list(as_json=as_json))
    elif show:
        asyncio.run(_show(show, as_json=as_json, as_csv=as_csv))
    elif apply or resume:
        why = given_reason(reason) if apply else reason.strip()
        asyncio.run(
            _apply(apply or resume, begin=bool(apply), why=why, by=by, skip_stale=skip_stale, as_json=as_json)
        )
    elif cancel:
        asyncio.run(_cancel(cancel, why=given_reason(reason), by=by, as_json=as_json))
    else:
        asyncio.run(
            _plan(
                sink=sink,
                topic=topic,
                begin=begin,
                end=end,
                contacts=contact or (),
                event_types=event_type or (),
                verify=verify,
                restore=restore_deleted,
                by=by,
                as_json=as_json,
                as_csv=as_csv,
            )
        )


async def _plan(
    *,
    sink: str,
    topic: str,
    begin: str,
    end: str,
    contacts: Sequence[str],
    event_types: Sequence[str],
    verify: bool,
    restore: bool,
    by: str,
    as_json: bool,
    as_csv: bool,
) -> None:
    from connector.recovery.replay.selection import EVENT_TYPES, TOPICS, Selection, read_point
    from connector.settings import load_settings

    if topic not in TOPICS and topic != "none":
        raise typer.BadParameter(f"--topic is one of {', '.join(TOPICS)}, none")
    if unknown := set(event_types) - set(EVENT_TYPES):
        raise typer.BadParameter(f"--event-type {min(unknown)} is none of {', '.join(EVENT_TYPES)}")
    settings, now = load_settings(), datetime.now(UTC)
    sinks = chosen_sinks(settings, sink)
    selection = Selection(
        sinks=sinks,
        topic="" if topic == "none" else topic,
        begin=read_point(begin, option="--from", now=now),
        end=read_point(end, option="--to", now=now),
        contacts=await named_people(settings, contacts, now=now),
        event_types=frozenset(event_types),
        verify=verify,
        restore=restore,
    )
    async with planner(settings, sinks, compare=verify, told=_told) as maker:
        plan = await maker.make(selection, who=who(by), now=now)
    async with database() as (_, connection):
        await _shown(connection, plan, as_json=as_json, as_csv=as_csv)


async def _shown(
    connection: asyncpg.Connection,
    plan: Plan,
    *,
    as_json: bool,
    as_csv: bool,
    progress: Progress | None = None,
) -> None:
    """Print a plan; `progress`: it is one that is kept, and this is how far it was applied."""
    from connector.recovery.replay.plans import count_items, each_item, listed_items

    if as_json or as_csv:
        async with connection.transaction():
            items = each_item(connection, plan.plan_id)
            await print_items(plan, items, as_csv=as_csv, progress=progress)
        return
    most = _SHOWN if progress is None else _SHOWN_ON_REQUEST
    first = await listed_items(connection, plan.plan_id, most=most)
    more = await count_items(connection, plan.plan_id) - len(first)
    if progress is None:
        show_plan(plan, first, more=more)
    else:
        show_progress(plan, first, more=more, progress=progress)


def _told(line: str) -> None:
    if err.is_terminal:
        err.print(f"[dim]{line}[/]")


async def _show(named: str, *, as_json: bool, as_csv: bool) -> None:
    from connector.recovery.replay.applying import progress_of
    from connector.recovery.replay.plans import load_plan

    async with database() as (_, connection):
        plan = await load_plan(connection, named)
        progress = await progress_of(connection, plan.plan_id)
        await _shown(connection, plan, as_json=as_json, as_csv=as_csv, progress=progress)


async def _list(*, as_json: bool) -> None:
    from connector.recovery.replay.plans import list_plans

    async with database() as (_, connection):
        show_plans(await list_plans(connection), as_json=as_json)


async def _apply(named: str, *, begin: bool, why: str, by: str, skip_stale: bool, as_json: bool) -> None:
    from connector.settings import load_settings

    settings = load_settings()
    work = applier(settings, told=_progress)
    stop = asyncio.Event()
    stop_on_signals(stop)
    act, person = str(uuid.uuid4()), who(by)
    if begin:
        plan = await work.begin(
            named, act=act, who=person, why=why, now=datetime.now(UTC), skip_stale=skip_stale
        )
    else:
        plan = await _known(named)
    act, why = plan.act or act, why or plan.why or ""
    # Before anything is marked: what nobody could look up later is not done.
    phase = "began" if begin else "resumed"
    await record_step(
        settings, plan, command=_COMMAND, act=act, phase=phase, who=person, why=why, details=_planned(plan)
    )
    progress = await work.go_on(plan.hash, stop=stop)
    phase = "stopped" if progress.open else "finished"
    await record_step(
        settings, plan, command=_COMMAND, act=act, phase=phase, who=person, why=why, details=asdict(progress)
    )
    if as_json:
        print_json({"plan": plan.hash, "state": "stopped" if progress.open else "done"} | asdict(progress))
    elif progress.open:
        out.print(f"Stopped: {progress}. What waits for the writer is written by its role all the same.")
        out.print(f"next: connector replay --resume {plan.hash}, or --cancel {plan.hash}")
    else:
        out.print(f"Done: {progress}; nothing was sent.")
        out.print("next: the same plan again says that nothing is to be done; connector status")
    if progress.open:
        raise typer.Exit(130)


def _progress(progress: Progress) -> None:
    if err.is_terminal:
        err.print(f"[dim]{progress}[/]")


async def _known(named: str) -> Plan:
    from connector.recovery.replay.plans import load_plan

    async with database() as (_, connection):
        return await load_plan(connection, named)


def _planned(plan: Plan) -> dict[str, Any]:
    return {"selection": plan.selection, "sinks": [asdict(summary) for summary in plan.summaries]}


async def _cancel(named: str, *, why: str, by: str, as_json: bool) -> None:
    from connector.settings import load_settings

    settings = load_settings()
    plan = await _known(named)
    progress = await applier(settings, told=_progress).cancel(plan.hash)
    act = plan.act or str(uuid.uuid4())
    await record_step(
        settings,
        plan,
        command=_COMMAND,
        act=act,
        phase="cancelled",
        who=who(by),
        why=why,
        details=asdict(progress),
    )
    if as_json:
        print_json({"plan": plan.hash, "state": "cancelled"} | asdict(progress))
        return
    out.print(f"Cancelled: {progress}.")
    if progress.marked:
        out.print(
            "What still waits for the writer holds facts that were missing, or is being sent: it is written."
        )
