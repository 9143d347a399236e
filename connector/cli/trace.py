"""`connector trace`: what happened to one message or one person."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from connector.cli.operator import database, moment
from connector.cli.output import JsonOption, err, out, print_json, print_table
from connector.cli.why import show_send

if TYPE_CHECKING:
    from connector.recovery.trace import ContactTrace, MessageTrace


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
    """Show where a message was received, whose it is, and what each CRM should say and was told."""
    if (wamid is None) == (contact is None):
        raise typer.BadParameter("give a wamid or a send id, or --contact PERSON")
    message = asyncio.run(_message(wamid)) if wamid is not None else None
    person = asyncio.run(_contact(contact)) if contact is not None else None
    if message is None and person is None:
        err.print(
            f"error no stage has seen {wamid or contact}\n"
            "next  look whether Meta's webhook reached the ingress (its log and /metrics), and at the route role's lag"
        )
        raise typer.Exit(1)
    found = message or person
    assert found is not None
    if as_json:
        print_json(asdict(found))
    elif message is not None:
        _show_message(message)
    elif person is not None:
        _show_contact(person)


async def _message(wamid: str) -> MessageTrace | None:
    from connector.recovery.trace import trace_message

    async with database() as (_, connection):
        return await trace_message(connection, wamid)


async def _contact(name: str) -> ContactTrace | None:
    from connector.cli.people import find_person
    from connector.recovery.trace import trace_contact

    async with database() as (_, connection):
        person = await find_person(connection, name, at=datetime.now(UTC))
        return None if person.contact_id is None else await trace_contact(connection, person.contact_id)


def _show_message(found: MessageTrace) -> None:
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
    if found.send:
        out.print(f"next: connector why {found.send.send_id}", markup=False)
    if not found.sinks and not (found.send and found.send.state in WAITING):
        out.print("crm        no sync role has folded it yet: look at its lag (/readyz of sync-hubspot)")


def _show_contact(found: ContactTrace) -> None:
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
        ["received (UTC)", "message", "where", "record", "status", "text"],
        [
            [
                f"{item.received.at:%m-%d %H:%M:%S}" if item.received else "-",
                item.wamid,
                sink.stage,
                sink.record_id or "-",
                sink.status,
                sink.text.replace("\n", " ")[:60],
            ]
            for item in found.messages
            for sink in item.sinks
        ],
    )
    if found.sends:
        out.print()
        print_table(
            ["asked (UTC)", "send", "template", "state", "why"],
            [
                [f"{item.requested_at:%m-%d %H:%M:%S}", item.send_id, item.template, item.state, item.reason]
                for item in found.sends
            ],
        )
        out.print(f"next: connector why {found.sends[-1].send_id}", markup=False)
