"""`connector trace`: what happened to one message or one person, and what of it is still on its way."""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from connector.cli.operator import database, moment
from connector.cli.output import JsonOption, err, out, print_json, print_table
from connector.cli.why import show_send

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    import asyncpg

    from connector.recovery.in_flight import InFlight, Queued
    from connector.recovery.replays import ReplayTrace
    from connector.recovery.trace import ContactTrace, MessageTrace
    from connector.settings import Settings


@dataclass(frozen=True, kw_only=True)
class _Elsewhere:
    """What is not in the tables of the roles. `broker`: None when it does not answer, `said` why."""

    broker: InFlight | None
    said: str
    queued: Sequence[Queued]
    replays: Sequence[ReplayTrace]
    paused: Mapping[str, str]
    """Stage → the sentence that says who holds it up."""

    @property
    def empty(self) -> bool:
        return not (
            self.queued or self.replays or (self.broker and (self.broker.unread or self.broker.letters))
        )


def trace(
    wamid: Annotated[
        str | None, typer.Argument(help="A WhatsApp message id, wamid.…, or a send id, trg_….")
    ] = None,
    contact: Annotated[
        str | None,
        typer.Option(
            "--contact",
            help="A phone, a BSUID, hubspot:ID, salesforce:ID or a contact id: the whole conversation.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show where a message was received, whose it is, what each CRM should say and was told, and where it waits.

    Of a person: the conversation both ways, sends with their verdicts, dead letters and replays. What no stage has read
    yet is looked for on the topics.
    """
    if (wamid is None) == (contact is None):
        raise typer.BadParameter("give a wamid or a send id, or --contact PERSON")
    message: MessageTrace | None = None
    person: ContactTrace | None = None
    if wamid is not None:
        message, elsewhere = asyncio.run(_message(wamid))
    else:
        assert contact is not None
        person, elsewhere = asyncio.run(_contact(contact))
    if message is None and person is None and elsewhere.empty:
        _seen_nowhere(wamid or contact or "", elsewhere)
        raise typer.Exit(1)
    if as_json:
        print_json(_document(message or person, elsewhere))
        return
    if message is not None:
        _show_message(message, elsewhere)
    elif person is not None:
        _show_contact(person, elsewhere)
    else:
        out.print(f"[bold]{wamid or contact}[/]: no stage has handled anything of it")
    _show_elsewhere(elsewhere)
    if wamid is not None:
        _show_trace_id(wamid)


def _show_trace_id(name: str) -> None:
    from connector.settings import load_settings
    from connector.telemetry.trace_ids import context_of, message_subject, send_subject

    tracing = load_settings().tracing
    if not tracing.endpoint:
        return
    context = context_of(send_subject(name) if name.startswith("trg_") else message_subject(name))
    said = "" if context.is_among(tracing.share) else ", not among those that are traced"
    out.print(f"trace {context.trace_id:032x} at the collector{said}", highlight=False)


def _seen_nowhere(name: str, elsewhere: _Elsewhere) -> None:
    err.print(f"error no stage has seen {name}, and nothing of it waits on the topics", markup=False)
    if elsewhere.said:
        err.print(f"note  {elsewhere.said}", markup=False)
    err.print(
        "next  look whether Meta's webhook reached the ingress: its log and /metrics, and connector doctor"
    )


async def _message(name: str) -> tuple[MessageTrace | None, _Elsewhere]:
    from connector.recovery.trace import trace_message

    async with database() as (settings, connection):
        found = await trace_message(connection, name)
        names = {name}
        if found is not None:
            names |= {found.wamid} | ({found.send.send_id} if found.send else set())
        return found, await _elsewhere(settings, connection, names, keys=names)


async def _contact(name: str) -> tuple[ContactTrace | None, _Elsewhere]:
    from connector.cli.people import find_person, names_of
    from connector.recovery.trace import trace_contact

    async with database() as (settings, connection):
        person = await find_person(connection, name, at=datetime.now(UTC))
        names = await names_of(connection, person)
        if person.contact_id is None:
            return None, await _elsewhere(settings, connection, names, keys=())
        found = await trace_contact(connection, person.contact_id)
        keys = {str(one) for one in (found.contact_id, *found.merged)}
        keys |= {message.wamid for message in found.messages}
        return found, await _elsewhere(settings, connection, names, keys=keys)


async def _elsewhere(
    settings: Settings, connection: asyncpg.Connection, names: Collection[str], *, keys: Collection[str]
) -> _Elsewhere:
    from connector.errors import ConnectorError
    from connector.recovery.in_flight import Marks, in_flight, queued_about
    from connector.recovery.letters.acts import letter_states
    from connector.recovery.replays import replays_of
    from connector.state.switches import pressed

    broker, said = None, ""
    try:
        broker = await in_flight(settings.kafka, Marks(names), states=await letter_states(connection))
    except ConnectorError as error:
        said = f"what no stage has read yet is not known: {error.message}"
    return _Elsewhere(
        broker=broker,
        said=said,
        queued=await queued_about(connection, names),
        replays=await replays_of(connection, keys),
        paused={
            item.subject: f"paused by {item.who} since {moment(item.at)}: {item.reason}; "
            f"connector resume stage {item.subject}"
            for item in await pressed(connection, kind="stage")
        },
    )


def _document(found: MessageTrace | ContactTrace | None, elsewhere: _Elsewhere) -> dict[str, Any]:
    from connector.recovery.trace import ContactTrace

    document: dict[str, Any] = asdict(found) if found is not None else {}
    document |= {
        "in_flight": asdict(elsewhere.broker) if elsewhere.broker else None,
        "queued": [asdict(item) for item in elsewhere.queued],
        "replays": [asdict(item) for item in elsewhere.replays],
    }
    if isinstance(found, ContactTrace):
        document["conversation"] = [asdict(turn) for turn in _turns(found, elsewhere)]
    return document


def _show_message(found: MessageTrace, elsewhere: _Elsewhere) -> None:
    from connector.recovery.sends import WAITING

    out.print(f"[bold]{found.wamid}[/]")
    if found.send:
        show_send(found.send)
        verdict = found.send.judged
        out.print(
            f"judged     {f'{moment(verdict.at)}: {verdict.explain()}' if verdict else 'not yet'}",
            markup=False,
        )
    elif found.received:
        place = found.received
        out.print(
            f"received   {place.at:%Y-%m-%d %H:%M:%S.%f} UTC  {place.topic}/{place.partition}/{place.offset}"
        )
        out.print(f"event      {place.event_id}", markup=False)
    else:
        out.print("received   not by route: only statuses of it are known")
    out.print(f"contact    {found.contact_id or 'not known yet'}")
    for sink in found.sinks:
        out.print(f"{sink.sink:<10} {sink.stage}", markup=False)
        out.print(f"           desired version {sink.desired_version}, written {sink.written_version}")
        out.print(
            f"           record {sink.record_id or '-'} on contact record {sink.contact_record_id or '-'}"
        )
        out.print(f"           status {sink.status}; text: {sink.text}", markup=False)
    for replay in elsewhere.replays:
        out.print(
            f"replay     {moment(replay.at)} by {replay.who}: {replay.act} for {replay.sink}, {replay.state}",
            markup=False,
        )
    if found.send:
        out.print(f"next: connector why {found.send.send_id}", markup=False)
    waits = elsewhere.broker is not None and bool(elsewhere.broker.unread)
    if not found.sinks and not waits and not (found.send and found.send.state in WAITING):
        out.print(
            "crm        no sync role has folded it: connector status shows whether they run, and their lag"
        )


def _show_contact(found: ContactTrace, elsewhere: _Elsewhere) -> None:
    out.print(f"[bold]contact {found.contact_id}[/]")
    for alias in found.aliases:
        out.print(f"  {alias}", markup=False)
    for merged in found.merged:
        out.print(f"  merged from {merged}")
    for record in found.records:
        out.print(
            f"  {record.sink}: {record.stage}, record {record.record_id or '-'}: {record.text}", markup=False
        )
    for adoption in found.adoptions:
        out.print(f"  {adoption.sink}: {adoption.at:%Y-%m-%d %H:%M:%S} UTC {adoption.said}", markup=False)
    out.print()
    print_table(
        ["at (UTC)", "", "message, send or letter", "what", "where it stands"],
        [
            [
                f"{turn.at:%m-%d %H:%M:%S}" if turn.at else "-",
                turn.arrow,
                turn.name,
                " ".join(turn.what.split())[:60],
                turn.stands,
            ]
            for turn in _turns(found, elsewhere)
        ],
    )
    if found.sends:
        out.print(f"next: connector why {found.sends[-1].send_id}", markup=False)


def _turns(found: ContactTrace, elsewhere: _Elsewhere) -> list[Any]:
    from connector.recovery.conversation import conversation

    letters = elsewhere.broker.letters if elsewhere.broker else ()
    return conversation(found, letters=letters, replays=elsewhere.replays)


def _show_elsewhere(elsewhere: _Elsewhere) -> None:
    """What waits, stage by stage, and dead letters, with what helps."""
    for item in elsewhere.queued:
        out.print(
            f"waits      {item.count} records of {item.stage} for {item.topic} are still to be sent",
            markup=False,
        )
    broker = elsewhere.broker
    if broker is None:
        out.print(f"note       {elsewhere.said}", markup=False)
        return
    for unread in broker.unread:
        what = f" ({unread.schema})" if unread.schema else ""
        out.print(f"waits      {unread.explain()}{what}", markup=False)
        if held := elsewhere.paused.get(unread.stage):
            out.print(f"           {held}", markup=False)
    if not broker.complete:
        out.print("note       more records wait than were looked at: connector status shows the lag")
    for letter in broker.letters:
        out.print(f"letter     {letter.stage}/{letter.cause}, {letter.state}: {letter.reason}", markup=False)
        if letter.state in ("open", "redriving"):
            out.print(f"           next: connector dlq show {letter.letter_id}", markup=False)
