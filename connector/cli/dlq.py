"""`connector dlq`: dead letters, from the first look to the last: ls, show, fix, redrive, drop."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import aclosing, suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from connector.cli.dlq_fix import fix
from connector.cli.dlq_letters import Named, acting, doors, none_of, open_letters, record
from connector.cli.operator import ByOption, database, given_reason, moment
from connector.cli.output import JsonOption, err, out, print_json, print_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from connector.recovery.letters.acts import Act, LetterAct
    from connector.recovery.letters.groups import LetterGroups, Selection
    from connector.recovery.letters.reading import KeptLetter
    from connector.recovery.letters.redrive import Redrive, RedriveOptions
    from connector.recovery.retry import Refusals

app = typer.Typer(
    help="Dead letters: what a stage could not understand or apply, kept with its bytes.",
    no_args_is_help=True,
)

app.command("fix")(fix)

_SHOWN = 4000  # characters of an original on a screen


@app.command("ls")
def ls(
    *,
    everything: Annotated[
        bool, typer.Option("--all", help="Also groups of which nothing is open: redriven or dropped.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Dead letters by stage and cause, and what the CRMs refuse, with the command that goes on from there."""
    found, refused = asyncio.run(_list())
    groups = [group for group in found.groups if everything or group.open]
    if as_json:
        print_json(
            {
                "since": found.since,
                "groups": [{**asdict(group), "name": group.name} for group in groups],
                "refused": {sink: [asdict(item) for item in items] for sink, items in refused.items()},
            }
        )
        return
    if groups:
        print_table(
            [
                "letters of",
                "open",
                "fixed",
                "redriven",
                "dropped",
                "first (UTC)",
                "last (UTC)",
                "the last one says",
            ],
            [
                [
                    group.name,
                    group.open,
                    group.fixed,
                    group.redriven,
                    group.dropped,
                    f"{group.first:%m-%d %H:%M:%S}",
                    f"{group.last:%m-%d %H:%M:%S}",
                    group.reason,
                ]
                for group in groups
            ],
        )
    else:
        out.print("no open dead letters" if found.groups else "no dead letters")
    _show_refused(refused)
    if groups:
        out.print(f"next: connector dlq show {groups[0].name}", markup=False)


def _show_refused(refused: dict[str, Sequence[Refusals]]) -> None:
    rows = [
        [sink, item.cause, item.contacts, item.activities, item.example]
        for sink, items in refused.items()
        for item in items
    ]
    if not rows:
        return
    out.print("\nrefused by a CRM; kept in the tables of its sink, and tried again on a person's word")
    print_table(["sink", "cause", "contacts", "activities", "an example"], rows)
    out.print(
        f"next: mend the cause, then: connector state retry --sink {rows[0][0]} --cause {rows[0][1]}",
        markup=False,
    )


async def _list() -> tuple[LetterGroups, dict[str, Sequence[Refusals]]]:
    from connector.recovery.letters.listing import list_letters
    from connector.recovery.log_stages import SINKS
    from connector.recovery.retry import refusals

    async with database() as (settings, connection):
        found = await list_letters(settings.kafka, connection)
        return found, {sink: await refusals(connection, sink) for sink in SINKS}


@app.command("show")
def show(
    named: Named,
    *,
    limit: Annotated[
        int, typer.Option("--limit", min=1, help="Letters of a group that are shown, newest first.")
    ] = 3,
    original: Annotated[
        bool,
        typer.Option(
            "--original", help="Write the bytes of one letter, and nothing else, to standard output."
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Letters with all that is known of them: why, where it lay, what it holds, what was done about it."""
    found = asyncio.run(_letters(named, limit=limit))
    if original:
        if len(found) != 1:
            raise typer.BadParameter("--original is for one letter: give its id")
        sys.stdout.buffer.write(found[0][0].letter.original)
        sys.stdout.buffer.flush()
        return
    if as_json:
        print_json([_document(kept, act) for kept, act in found])
        return
    for kept, act in found:
        _show(kept, act)
    if any(kept.refused_by_crm for kept, _ in found):
        out.print("next: connector dlq ls", markup=False)
    elif any(act is None for _, act in found):
        out.print(
            f"next: connector dlq redrive {named}, or first: connector dlq fix {named} --patch FILE",
            markup=False,
        )


def _show(kept: KeptLetter, act: LetterAct | None) -> None:
    letter = kept.letter
    out.print(f"[bold]{letter.event_id}[/]")
    lay = (
        f"{letter.topic}/{letter.partition}/{letter.offset}"
        if letter.topic
        else "no topic: it never came so far"
    )
    for name, text in (
        ("stage", letter.stage),
        ("cause", letter.cause),
        ("reason", letter.reason),
        ("advice", letter.advice),
        ("died", moment(letter.at)),
        ("lay on", lay),
        ("key", (letter.key or b"").decode("utf-8", "replace")),
        ("headers", ", ".join(f"{name}={text}" for name, text in letter.headers.items())),
        ("done", f"{act.state} by {act.who} at {moment(act.at)}: {act.why}" if act else "nothing yet"),
    ):
        if text:
            out.print(f"  {name:<8} {text}", markup=False)
    out.print(_text(letter.original), markup=False)
    out.print()


def _text(original: bytes) -> str:
    try:
        text = json.dumps(json.loads(original), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        text = original.decode("utf-8", "backslashreplace")
    if len(text) <= _SHOWN:
        return text
    return f"{text[:_SHOWN]}\n… {len(text) - _SHOWN:,} characters more: --original writes all of it"


def _document(kept: KeptLetter, act: LetterAct | None) -> dict[str, Any]:
    return {**kept.letter.model_dump(mode="json"), "done": asdict(act) if act else None}


async def _letters(named: str, *, limit: int) -> list[tuple[KeptLetter, LetterAct | None]]:
    from connector.recovery.letters.acts import letter_act
    from connector.recovery.letters.groups import selected
    from connector.recovery.letters.reading import all_letters

    selection = selected(named)
    found: dict[str, KeptLetter] = {}
    async with database() as (settings, connection):
        async with aclosing(all_letters(settings.kafka)) as letters:
            async for kept in letters:
                if selection.takes(kept):
                    found[kept.letter.event_id] = kept
                    if len(found) > limit:
                        del found[min(found, key=lambda name: found[name].at)]
        newest = sorted(found.values(), key=lambda kept: kept.at, reverse=True)
        if not newest:
            raise none_of(selection)
        return [(kept, await letter_act(connection, kept.letter.event_id)) for kept in newest]


@app.command("redrive")
def redrive(
    named: Named,
    *,
    reason: Annotated[str, typer.Option("--reason", help="Why it will pass now.")] = "",
    allow_sends: Annotated[
        bool,
        typer.Option(
            "--allow-sends", help="Also requests to send; never past the time until which they were wanted."
        ),
    ] = False,
    most: Annotated[int | None, typer.Option("--limit", min=1, help="Send at most so many.")] = None,
    wait: Annotated[
        float,
        typer.Option(
            "--wait", min=0, help="Seconds that the stage has to handle what was sent; 0: do not look."
        ),
    ] = 30.0,
    by: ByOption = "",
    as_json: JsonOption = False,
) -> None:
    """Put letters back for the stage that they died in, once. The first goes alone; if it dies again, the others stay.

    They are read by that stage only, pass its checks as any record does, and come back as new letters if they die;
    a record is redriven five times at most.
    """
    from connector.recovery.letters.groups import selected
    from connector.recovery.letters.redrive import RedriveOptions

    options = RedriveOptions(doors=doors(), allow_sends=allow_sends, patience=wait, most=most)
    act = acting(given_reason(reason) if reason else "", by)
    found = asyncio.run(_redrive(selected(named), act=act, options=options, quiet=as_json))
    if as_json:
        print_json(_redrive_document(found))
    else:
        _show_redrive(found, named=named)
    if found.stopped or found.refused:
        raise typer.Exit(1)


async def _redrive(selection: Selection, *, act: Act, options: RedriveOptions, quiet: bool) -> Redrive:
    from connector.errors import ConnectorError
    from connector.recovery.letters import acts
    from connector.recovery.letters.redrive import Redrive, redrive as run
    from connector.streams.producer import DurableProducer

    def progress() -> None:
        if not quiet:
            err.print(f"{found.sent:,} sent, {found.handled:,} handled, {found.died_again:,} died again")

    async def tell(phase: str, details: dict[str, Any]) -> None:
        await record(settings, act, phase=phase, command="dlq redrive", selection=selection, details=details)

    found = Redrive()
    async with database() as (settings, connection):
        await acts.alone(connection)
        await tell("began", {"allow_sends": options.allow_sends, "limit": options.most})
        producer = DurableProducer(settings.kafka, client="connector-dlq")
        try:
            await run(
                settings.kafka,
                connection,
                selection,
                act=act,
                options=options,
                sender=producer,
                found=found,
                progress=progress,
            )
        except BaseException as error:  # Ctrl-C, too: what was done so far is on record
            with suppress(ConnectorError):
                await tell("stopped", _redrive_document(found))
            if isinstance(error, ConnectorError):
                error.advice = f"{error.advice}; then run the same again: it goes on where it stopped"
            raise
        finally:
            await producer.stop()
        await tell("stopped" if found.stopped else "finished", _redrive_document(found))
        if not (found.sent or found.already or found.refused):
            raise none_of(selection)
    return found


def _redrive_document(found: Redrive) -> dict[str, Any]:
    return {
        "sent": found.sent,
        "handled": found.handled,
        "died_again": found.died_again,
        "already": found.already,
        "refused": dict(found.refused),
        "stopped": found.stopped,
    }


def _show_redrive(found: Redrive, *, named: str) -> None:
    already = f"; {found.already:,} were redriven or dropped before" if found.already else ""
    out.print(f"{found.sent:,} letters were put back, {found.handled:,} of them handled{already}.")
    for cause, count in found.refused.items():
        example = found.refusals[cause]
        out.print(f"{count:,} stay: {example.message}\n  next: {example.advice}", markup=False)
    if found.stopped:
        out.print(f"Stopped: {found.stopped}. The other letters stay as they are.", markup=False)
        out.print("next: connector status, then connector dlq ls", markup=False)
    elif found.died_again:
        out.print(
            f"{found.died_again:,} died again, as new letters.\nnext: connector dlq show {named}",
            markup=False,
        )
    elif not found.refused:
        out.print("next: connector dlq ls", markup=False)


@app.command("drop")
def drop(
    named: Named,
    *,
    reason: Annotated[str, typer.Option("--reason", help="Why nothing has to be done about them.")],
    by: ByOption = "",
    as_json: JsonOption = False,
) -> None:
    """Declare letters settled as they are. They stay on the topic for its 30 days, and on record with who and why."""
    from connector.recovery.letters.groups import selected

    dropped = asyncio.run(_drop(selected(named), act=acting(given_reason(reason), by)))
    if as_json:
        print_json({"dropped": dropped})
        return
    out.print(f"{dropped:,} letters are dropped. Nothing was sent.\nnext: connector dlq ls --all")


async def _drop(selection: Selection, *, act: Act) -> int:
    from connector.recovery.letters import acts

    async with database() as (settings, connection):
        await acts.alone(connection)
        states = await acts.letter_states(connection)
        ids = {kept.letter.event_id async for kept in open_letters(settings, selection, states)}
        dropped = await acts.drop(connection, sorted(ids), act)
        if not dropped:
            raise none_of(selection)
        details = {"letters": len(dropped)}
        await record(
            settings, act, phase="finished", command="dlq drop", selection=selection, details=details
        )
    return len(dropped)
