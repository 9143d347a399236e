"""`connector pause sink|stage` and `connector resume sink|stage`: a role's own work, from its next look on."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from connector.cli.acting import record_action
from connector.cli.operator import ByOption, database, given_reason, who
from connector.cli.output import JsonOption, err, out, print_json

if TYPE_CHECKING:
    from connector.recovery.pausing import Switched

_Sink = Annotated[str, typer.Argument(metavar="SINK", help="hubspot or salesforce")]
_Stage = Annotated[
    str,
    typer.Argument(
        metavar="STAGE", help="As connector status names it: route, sync-hubspot, outbound-admission, …"
    ),
]
_Why = Annotated[str, typer.Option("--reason", help="Why; everybody who asks why reads it.")]
_WhyOn = Annotated[str, typer.Option("--reason", help="Why it may go on.")]


def pause_sink(*, sink: _Sink, reason: _Why, by: ByOption = "", as_json: JsonOption = False) -> None:
    """Write nothing to a CRM, within two seconds. What is under way is finished; events are folded and wait.

    Past the bound of waiting items Kafka holds the rest. Nothing is lost by a long pause.
    """
    _press("sink", sink, paused=True, reason=given_reason(reason), by=by, as_json=as_json)


def resume_sink(*, sink: _Sink, reason: _WhyOn = "", by: ByOption = "", as_json: JsonOption = False) -> None:
    """Let a sink write what waits."""
    _press("sink", sink, paused=False, reason=reason.strip(), by=by, as_json=as_json)


def pause_stage(*, stage: _Stage, reason: _Why, by: ByOption = "", as_json: JsonOption = False) -> None:
    """Let a stage handle no further record, within two seconds. Kafka holds what it does not read."""
    _press("stage", stage, paused=True, reason=given_reason(reason), by=by, as_json=as_json)


def resume_stage(
    *, stage: _Stage, reason: _WhyOn = "", by: ByOption = "", as_json: JsonOption = False
) -> None:
    """Let a stage go on where it was."""
    _press("stage", stage, paused=False, reason=reason.strip(), by=by, as_json=as_json)


def _press(kind: str, name: str, *, paused: bool, reason: str, by: str, as_json: bool) -> None:
    found, said = asyncio.run(_switch(_known(kind, name), name, paused=paused, reason=reason, by=by))
    if as_json:
        print_json(
            {
                "changed": found.changed,
                "waiting": found.waiting,
                "paused": [asdict(item) for item in found.pressed],
                "note": said,
            }
        )
        return
    waiting = f" Items that wait: {found.waiting:,}." if kind == "sink" else ""
    if paused:
        out.print(f"Paused: {kind} {name}.{waiting}\nnext: connector resume {kind} {name}", markup=False)
    else:
        done = "Resumed" if found.changed else "Not paused, so nothing changed"
        out.print(f"{done}: {kind} {name}.{waiting}\nnext: connector status", markup=False)
    if said:
        err.print(f"note  {said}", markup=False)


def _known(kind: str, name: str) -> str:
    from connector.recovery.log_stages import SINKS, STAGES

    names = SINKS if kind == "sink" else [stage for stage, _ in STAGES]
    if name not in names:
        raise typer.BadParameter(f"{name} is none of {', '.join(names)}")
    return kind


async def _switch(kind: str, name: str, *, paused: bool, reason: str, by: str) -> tuple[Switched, str]:
    """(what there is now, what could not be done). The switch counts whether or not the broker takes the record."""
    from connector.errors import ConnectorError
    from connector.recovery.pausing import press_work
    from connector.state.switches import SwitchAct

    act = SwitchAct(
        act_id=str(uuid.uuid4()),
        scope="one",
        subject=name,
        paused=paused,
        reason=reason,
        who=who(by),
        at=datetime.now(UTC),
    )
    async with database() as (settings, connection):
        found = await press_work(connection, kind, act)
    try:
        await record_action(
            settings,
            act=act.act_id,
            phase="finished",
            command=f"{'pause' if paused else 'resume'} {kind}",
            who=act.who,
            why=reason,
            subject=name,
            details={},
        )
    except ConnectorError as error:
        return found, f"it counts, but operator.actions has no record of it: {error.message}"
    return found, ""
