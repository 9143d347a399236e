"""`connector send`: one template to one person, and what becomes of it; `connector send settle`: of an unknown one."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from connector.cli.operator import ByOption, database, given_reason, who
from connector.cli.output import JsonOption, err, out, print_json
from connector.cli.parameters import ParameterOption, given_parameters
from connector.cli.why import FromOption, LanguageOption, PurposeOption, checked, show_send

if TYPE_CHECKING:
    from connector.events import Recipient, SendRequested
    from connector.events.triggers import TriggerSource
    from connector.recovery.sends import SendTrace

_SOURCE: TriggerSource = "cli"
_DEFAULT = "template"
_LOOK_EVERY = 0.1  # seconds


@dataclass(frozen=True, kw_only=True)
class _Wanted:
    """What was typed, checked."""

    person: str
    template: str
    language: str
    purpose: str
    sender: str
    parameters: Mapping[str, Any]
    key: str
    client: str

    def request(self, recipient: Recipient, *, received_at: datetime) -> SendRequested:
        """The trigger: the same key makes the same ids, the same content the same hash."""
        from connector.events import TemplateRef
        from connector.ingress.trigger_records import request_hash_of, send_requested

        content = asdict(self) | {"to": recipient.model_dump()}
        del content["key"], content["person"]
        return send_requested(
            source=_SOURCE,
            client=self.client,
            key=self.key,
            request_hash=request_hash_of(content),
            received_at=received_at,
            template=TemplateRef(name=self.template, language=self.language),
            to=recipient,
            parameters=dict(self.parameters),
            from_number=self.sender,
            purpose=self.purpose or None,  # type: ignore[arg-type]  # checked by its field
        )


class _Group(TyperGroup):
    """`connector send PERSON TEMPLATE` is `connector send template PERSON TEMPLATE`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            args = [_DEFAULT, *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_Group, help="Send one template to one person: connector send PERSON TEMPLATE.", no_args_is_help=True
)


@app.command(_DEFAULT)
def send_template(
    *,
    person: Annotated[
        str,
        typer.Argument(
            metavar="PERSON",
            help="A phone with country code, a BSUID, hubspot:ID, salesforce:ID or a contact id.",
        ),
    ],
    template: Annotated[str, typer.Argument(metavar="TEMPLATE", help="The template's name.")],
    parameter: ParameterOption = None,
    language: LanguageOption = "",
    sender: FromOption = "",
    purpose: PurposeOption = "",
    key: Annotated[
        str,
        typer.Option("--key", help="Names the request: the same key again is the same send. Else a new one."),
    ] = "",
    by: ByOption = "",
    wait: Annotated[
        float, typer.Option("--wait", help="Seconds to wait until it left or was blocked; 0: not at all.")
    ] = 30.0,
    as_json: JsonOption = False,
) -> None:
    """Ask for a send like any trigger: the gate judges it, it is recorded, and sent once. The word template may be left out.

    Exits 1 when it is blocked, failed, expired or unknown.
    """
    request = _Wanted(
        person=person,
        template=checked("template", template),
        language=checked("language", language),
        purpose=checked("purpose", purpose),
        sender=checked("from", sender),
        parameters=given_parameters(parameter),
        key=key or uuid.uuid4().hex,
        client=who(by),
    )
    asked, found, rejected = asyncio.run(_send(request, wait=wait, tell=not as_json))
    if as_json:
        print_json(
            {
                "send_id": asked.send_id,
                "trigger_id": asked.trigger_id,
                "key": request.key,
                "rejected": rejected,
                "send": asdict(found) if found else None,
            }
        )
    else:
        _conclude(asked, found, rejected, waited=wait > 0)
    from connector.recovery.sends import WENT_WRONG

    if rejected or (found is not None and found.state in WENT_WRONG):
        raise typer.Exit(1)


@app.command("settle")
def settle(
    *,
    send_id: Annotated[str, typer.Argument(metavar="SEND_ID", help="A send whose outcome is unknown.")],
    reason: Annotated[str, typer.Option("--reason", help="How it was found out; it is recorded.")],
    sent: Annotated[bool, typer.Option("--sent", help="It was sent.")] = False,
    not_sent: Annotated[bool, typer.Option("--not-sent", help="It was not sent, and is not sent.")] = False,
    resend: Annotated[
        bool, typer.Option("--resend", help="Send it (again): it may reach the person twice.")
    ] = False,
    by: ByOption = "",
    as_json: JsonOption = False,
) -> None:
    """Settle a send whose answer was lost and of which no status came. Nobody else ever sends such a one again."""
    chosen = [name for name, given in (("sent", sent), ("not-sent", not_sent), ("resend", resend)) if given]
    if len(chosen) != 1:
        raise typer.BadParameter("give one of --sent, --not-sent and --resend")
    found = asyncio.run(_settle(send_id, chosen[0], by=who(by), reason=given_reason(reason)))
    if as_json:
        print_json(asdict(found))
        return
    show_send(found)
    next_step = "connector why" if resend else "connector trace"
    out.print(f"Recorded. next: {next_step} {send_id}", markup=False)


async def _send(
    wanted: _Wanted, *, wait: float, tell: bool
) -> tuple[SendRequested, SendTrace | None, str | None]:
    """(what was put on the log, where it is when the wait is over, why the request was refused as a whole)."""
    from connector.cli.people import find_person, reachable
    from connector.cli.publishing import ORIGIN, publish
    from connector.ingress.trigger_records import encode_trigger

    async with database() as (settings, connection):
        named = reachable(await find_person(connection, wanted.person, at=datetime.now(UTC)))
        asked = wanted.request(named.recipient, received_at=datetime.now(UTC))
        await publish(settings, [encode_trigger(asked, origin=ORIGIN)])
        if tell:
            out.print(f"On the log: {asked.send_id} (key {wanted.key})", markup=False)
        found, rejected = await _watch(connection, asked, wait=wait, tell=tell)
        return asked, found, rejected


async def _watch(
    connection: Any, asked: SendRequested, *, wait: float, tell: bool
) -> tuple[SendTrace | None, str | None]:
    """Show each new state until it is sent or settled, `wait` seconds at most."""
    from connector.recovery.sends import WAITING, send_trace

    deadline = asyncio.get_running_loop().time() + wait
    shown = ("", "")
    while True:
        found = await send_trace(connection, asked.send_id)
        if found is not None and found.request_hash not in ("", asked.request_hash):
            return found, "The key was used for another request: that one counts, and this one is not sent."
        if found is not None and tell and shown != (found.state, found.reason):
            shown = (found.state, found.reason)
            out.print(f"{found.state:<10} {found.reason}".rstrip(), markup=False)
        over = found is not None and found.state not in WAITING
        if over or asyncio.get_running_loop().time() >= deadline:
            return found, None
        await asyncio.sleep(_LOOK_EVERY)


async def _settle(send_id: str, outcome: Any, *, by: str, reason: str) -> SendTrace:
    from connector.recovery.sends import send_trace
    from connector.recovery.settlement import settle as settled

    async with database() as (_, connection):
        await settled(connection, send_id, outcome, who=by, reason=reason)
        found = await send_trace(connection, send_id)
    assert found is not None, "it was just settled"
    return found


def _conclude(asked: SendRequested, found: SendTrace | None, rejected: str | None, *, waited: bool) -> None:
    from connector.recovery.sends import WAITING

    if rejected:
        err.print(
            f"error {rejected}\nnext  give another --key, or none; connector why {asked.send_id} shows the first",
            markup=False,
        )
    elif found is None:
        said = "It is not read yet: the outbound role admits it when it gets there." if waited else ""
        out.print(f"{said}\nnext: connector why {asked.send_id}".strip(), markup=False)
    elif found.state in WAITING:
        out.print(f"It goes by itself. next: connector why {asked.send_id}", markup=False)
    else:
        if found.text and found.wamid:
            for line in found.text.splitlines():
                out.print(f"  {line}", markup=False)
        ask = "trace" if found.wamid else "why"
        out.print(f"next: connector {ask} {found.wamid or asked.send_id}", markup=False)
