"""`connector replay`: read the log again, see what would change in a CRM, and have exactly that written."""

from __future__ import annotations

import asyncio
import csv
import io
import uuid
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

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
    from connector.recovery.replay.applying import Progress
    from connector.recovery.replay.plans import ListedItem, Plan

_COMMAND = "replay"
_SHOWN = 20


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
        _list(as_json=as_json)
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
    from connector.recovery.replay.plans import listed_items
    from connector.recovery.replay.selection import EVENT_TYPES, TOPICS, Selection, read_point
    from connector.settings import load_settings
    from connector.state.database import connect, database_errors

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
    async with database_errors():
        connection = await connect(settings.database.url.get_secret_value())
        try:
            most = None if as_json or as_csv else _SHOWN
            items = await listed_items(connection, plan.plan_id, most=most)
        finally:
            await connection.close()
    _print(plan, items, as_json=as_json, as_csv=as_csv)


def _told(line: str) -> None:
    if err.is_terminal:
        err.print(f"[dim]{line}[/]")


def _print(plan: Plan, items: Sequence[ListedItem], *, as_json: bool, as_csv: bool) -> None:
    from connector.recovery.replay.items import sentence

    if as_json:
        print_json(_document(plan) | {"items": [asdict(item) for item in items]})
        return
    if as_csv:
        typer.echo(_as_csv(items), nl=False)
        return
    if items:
        print_table(
            ["sink", "act", "what", "key", "fields", "why"],
            [
                [item.sink, item.act, item.kind, item.key, ", ".join(item.fields), item.reason]
                for item in items
            ],
        )
    for summary in plan.summaries:
        out.print(f"{summary.sink}: {sentence(summary, verified=plan.verified)}", markup=False)
    for note in _notes(plan):
        out.print(f"note: {note}", markup=False)
    if not any(summary.acts for summary in plan.summaries):
        out.print("Nothing is to be done.")
        return
    out.print(f"plan {plan.hash}. Nothing was changed.")
    out.print(f"next: connector replay --show {plan.hash} (all items)")
    out.print(f'next: connector replay --apply {plan.hash} --reason "…"', markup=False)


def _notes(plan: Plan) -> list[str]:
    found = plan.summary
    notes = []
    if found["log_begins"] and not plan.selection["from"]:
        notes.append(
            f"the log begins at {found['log_begins']}: of what is older only what the tables know was compared"
        )
    if found["unread"]:
        notes.append(f"{found['unread']:,} records are not understood: connector dlq ls")
    if found["unrouted"]:
        notes.append(
            f"{found['unrouted']:,} messages were never routed; they are redriven, not replayed: connector dlq ls"
        )
    if not plan.verified:
        notes.append(
            "the CRM was not looked at: --verify finds what people changed there, and counts exactly"
        )
    return notes


def _as_csv(items: Sequence[ListedItem]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["sink", "act", "kind", "key", "fields", "reason", "state"])
    for item in items:
        row = (item.sink, item.act, item.kind, item.key, " ".join(item.fields), item.reason, item.state)
        # A spreadsheet takes a leading = + - @ for a formula.
        writer.writerow([f"'{cell}" if cell[:1] in ("=", "+", "-", "@") else cell for cell in row])
    return text.getvalue()


def _document(plan: Plan) -> dict[str, Any]:
    found = asdict(plan)
    found.pop("plan_id")
    return found | {"selection": plan.selection}


async def _show(named: str, *, as_json: bool, as_csv: bool) -> None:
    from connector.recovery.replay.applying import progress_of
    from connector.recovery.replay.plans import listed_items, load_plan

    async with database() as (_, connection):
        plan = await load_plan(connection, named)
        items = await listed_items(connection, plan.plan_id)
        progress = await progress_of(connection, plan.plan_id)
    if as_json:
        print_json(
            _document(plan) | {"progress": asdict(progress), "items": [asdict(item) for item in items]}
        )
        return
    if as_csv:
        typer.echo(_as_csv(items), nl=False)
        return
    print_table(
        ["sink", "act", "what", "key", "fields", "why", "state"],
        [
            [item.sink, item.act, item.kind, item.key, ", ".join(item.fields), item.reason, item.state]
            for item in items
        ],
    )
    out.print(f"plan {plan.hash}, made by {plan.made_by} at {moment(plan.made_at)}: {plan.state}; {progress}")


def _list(*, as_json: bool) -> None:
    async def load() -> Sequence[Plan]:
        from connector.recovery.replay.plans import list_plans

        async with database() as (_, connection):
            return await list_plans(connection)

    plans = asyncio.run(load())
    if as_json:
        print_json([_document(plan) for plan in plans])
        return
    if not plans:
        out.print("There is no plan. next: connector replay --sink …")
        return
    print_table(
        ["plan", "state", "made", "by", "sinks", "writes", "why"],
        [
            [
                plan.hash,
                plan.state,
                moment(plan.made_at),
                plan.made_by,
                ", ".join(plan.sinks),
                f"{sum(summary.writes for summary in plan.summaries):,}",
                plan.why or "",
            ]
            for plan in plans
        ],
    )


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
