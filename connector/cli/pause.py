"""`connector pause` and `connector resume`: hold up sends, what a sink writes or what a stage reads, and let it go on."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from connector.cli.operator import ByOption, database, given_reason, moment, who
from connector.cli.output import JsonOption, out, print_json, print_table
from connector.cli.pause_work import pause_sink, pause_stage, resume_sink, resume_stage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from connector.recovery.pausing import Switched
    from connector.state.switches import Pressed

pause_app = typer.Typer(
    help="Hold up sends, a sink or a stage at once; what waits, waits.", no_args_is_help=True
)
resume_app = typer.Typer(help="Let what was paused go on.", no_args_is_help=True)

pause_app.command("sink")(pause_sink)
pause_app.command("stage")(pause_stage)
resume_app.command("sink")(resume_sink)
resume_app.command("stage")(resume_stage)

_Template = Annotated[str, typer.Option("--template", help="Only this template, in every language.")]
_Number = Annotated[
    str, typer.Option("--number", help="Only what this business number sends: its id, or as it is dialled.")
]


@pause_app.command("sends")
def pause_sends(
    *,
    reason: Annotated[str, typer.Option("--reason", help="Why; everybody who asks why reads it.")],
    template: _Template = "",
    number: _Number = "",
    by: ByOption = "",
    as_json: JsonOption = False,
) -> None:
    """Pause all sends, one template, or one number: effective from the next claim of every dispatcher, within a second.

    What is on its way already arrives. What waits is judged again every few seconds, and expires at its time.
    """
    found = asyncio.run(
        _switch(paused=True, template=template, number=number, reason=given_reason(reason), by=by)
    )
    if as_json:
        print_json(_document(found))
        return
    what = _what(template, number)
    out.print(f"Paused: {what}. Sends that wait for it: {found.waiting:,}.", markup=False)
    out.print(f"next: connector resume sends{_options(template, number)}", markup=False)


@resume_app.command("sends")
def resume_sends(
    *,
    template: _Template = "",
    number: _Number = "",
    reason: Annotated[str, typer.Option("--reason", help="Why it may go on.")] = "",
    by: ByOption = "",
    as_json: JsonOption = False,
) -> None:
    """End the pause that `connector pause sends` with the same options began. Others stay."""
    found = asyncio.run(_switch(paused=False, template=template, number=number, reason=reason.strip(), by=by))
    if as_json:
        print_json(_document(found))
        return
    what = _what(template, number)
    out.print(
        f"Resumed: {what}." if found.changed else f"Not paused, so nothing changed: {what}.", markup=False
    )
    if found.pressed:
        out.print("Still paused:")
        _show(found.pressed)
    else:
        out.print(f"Nothing is paused now. Sends that go on within seconds: {found.waiting:,}.")


@pause_app.command("list")
def list_paused(as_json: JsonOption = False) -> None:
    """Show what is paused: since when, by whom, why."""
    found = asyncio.run(_pressed())
    if as_json:
        print_json([asdict(item) for item in found])
    elif found:
        _show(found)
    else:
        out.print("Nothing is paused.")


async def _pressed() -> Sequence[Pressed]:
    from connector.state.switches import everything_pressed

    async with database() as (_, connection):
        return await everything_pressed(connection)


async def _switch(*, paused: bool, template: str, number: str, reason: str, by: str) -> Switched:
    from connector.events import SendsSwitched
    from connector.recovery.pausing import known_number, known_template, press

    if template and number:
        raise typer.BadParameter("give --template or --number, not both: each is a switch of its own")
    async with database() as (_, connection):
        # A pause of a template that is gone by now must still be liftable.
        if template and paused:
            template = await known_template(connection, template)
        if number:
            number = await known_number(connection, number)
        act = SendsSwitched(
            event_id=f"sends.switched:{uuid.uuid4()}",
            source="cli",
            client=who(by),
            received_at=datetime.now(UTC),
            paused=paused,
            scope="template" if template else "number" if number else "all",
            subject=template or number,
            reason=reason,
        )
        return await press(connection, act)


def _what(template: str, number: str) -> str:
    if template:
        return f"sends of the template {template}"
    return f"sends from the number {number}" if number else "all sends"


def what_is_paused(item: Pressed) -> str:
    """In words."""
    if item.kind != "sends":
        return f"{item.kind} {item.subject}"
    return _what(
        item.subject if item.scope == "template" else "", item.subject if item.scope == "number" else ""
    )


def _options(template: str, number: str) -> str:
    return f" --template {template}" if template else f" --number {number}" if number else ""


def _document(found: Switched) -> dict[str, Any]:
    return {
        "changed": found.changed,
        "waiting": found.waiting,
        "paused": [asdict(item) for item in found.pressed],
    }


def _show(switches: Sequence[Pressed]) -> None:
    print_table(
        ["paused", "since", "by", "why"],
        [[what_is_paused(item), moment(item.at), item.who, item.reason] for item in switches],
    )
