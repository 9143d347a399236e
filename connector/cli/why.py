"""`connector why`: may this template go to this person now, or what was decided about a send, line by line."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from connector.cli.operator import database, moment
from connector.cli.output import JsonOption, err, out, print_json
from connector.cli.parameters import ParameterOption, given_parameters
from connector.cli.verdicts import show_verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from connector.cli.people import Named
    from connector.outbound.dispatch.judging import Judged
    from connector.recovery.sends import SendTrace

_PATIENCE = 3.0
"""Seconds for the outbound role to read what is on the log."""

LanguageOption = Annotated[
    str, typer.Option("--language", help="A language code; else the person's, then the fall-backs.")
]
FromOption = Annotated[
    str, typer.Option("--from", help="The business number: its id, or as it is dialled; else the default.")
]
PurposeOption = Annotated[
    str,
    typer.Option(
        "--purpose", help="marketing, utility, authentication: stricter than Meta's category, if at all."
    ),
]


def why(
    *,
    subject: Annotated[
        str,
        typer.Argument(
            metavar="PERSON|SEND_ID",
            help="A send id (trg_…); or a phone, BSUID, hubspot:ID, salesforce:ID or contact id, with a TEMPLATE.",
        ),
    ],
    template: Annotated[str, typer.Argument(metavar="TEMPLATE", help="What would be sent to them.")] = "",
    parameter: ParameterOption = None,
    language: LanguageOption = "",
    sender: FromOption = "",
    purpose: PurposeOption = "",
    as_json: JsonOption = False,
) -> None:
    """Say why a send was or was not sent; or whether a template may go to a person now. Nothing is sent or reserved.

    Exits 0 when it was, or may be; 1 when not, or not now.
    """
    if template:
        given = given_parameters(parameter)
        found, current = asyncio.run(
            _evaluate(subject, template, given, language=language, sender=sender, purpose=purpose)
        )
        if as_json:
            print_json(_judged(found))
        else:
            _show_judged(found, subject, template, current=current)
        raise typer.Exit(0 if found.verdict.outcome == "pass" else 1)
    if parameter or language or sender or purpose:
        raise typer.BadParameter("these options ask about a new send: give a TEMPLATE, too")
    send = asyncio.run(_recorded(subject))
    if send is None:
        err.print(
            f"error no send {subject} has been admitted\n"
            "next  one that was just asked for is admitted within seconds; to ask about a person, give a TEMPLATE, too",
            markup=False,
        )
        raise typer.Exit(1)
    if as_json:
        print_json(asdict(send))
    else:
        show_send(send)
        if (verdict := send.judged) is not None:
            out.print(f"\njudged     {moment(verdict.at)}")
            show_verdict(verdict)
        out.print(f"next: connector trace {send.wamid or send.send_id}", markup=False)
    raise typer.Exit(1 if send.state in _NOT_SENT else 0)


_NOT_SENT = frozenset({"blocked", "failed", "expired", "unknown", "held"})


def show_send(send: SendTrace) -> None:
    """What was asked for, and where it is."""
    to = ", ".join(f"{name} {value}" for name, value in send.recipient.items())
    out.print(f"send       {send.send_id}", markup=False)
    out.print(
        f"asked      {moment(send.requested_at)} by {send.client or '?'} ({send.source}), {send.record or 'not read yet'}",
        markup=False,
    )
    out.print(f"template   {send.template} {send.language or '(language chosen when judged)'}", markup=False)
    out.print(f"to         {to}; contact {send.contact_id or 'not known yet'}", markup=False)
    out.print(f"state      {send.state}{f': {send.reason}' if send.reason else ''}", markup=False)
    if send.attempts:
        out.print(f"attempts   {send.attempts}, the last at {moment(send.attempted_at)}")
    if send.wamid:
        out.print(f"message    {send.wamid}", markup=False)
    if send.settlement:
        decided = send.settlement
        out.print(
            f"settled    {decided['outcome']} by {decided['who']} at {moment(datetime.fromisoformat(decided['at']))}: "
            f"{decided['reason']}",
            markup=False,
        )
    if send.workflow_waits:
        out.print(
            f"workflow   {f'told at {moment(send.outcome_told_at)}' if send.outcome_told_at else 'waits'}"
        )


async def _recorded(send_id: str) -> SendTrace | None:
    from connector.recovery.sends import send_trace

    async with database() as (_, connection):
        return await send_trace(connection, send_id)


async def _evaluate(
    person: str, template: str, given: Mapping[str, Any], *, language: str, sender: str, purpose: str
) -> tuple[Judged, bool]:
    """(the judgement, whether it is known how current our knowledge is)."""
    from connector.cli.people import find_person, said_of
    from connector.errors import Transient
    from connector.outbound.dispatch.evaluation import Terms, Wish, evaluate
    from connector.outbound.personalisation.loading import load_personalisation
    from connector.outbound.rules import gate_rules
    from connector.recovery.currency import lag_of
    from connector.roles.tables import OUTBOUND

    async with database() as (settings, connection):
        named = _reachable_now(await find_person(connection, person, at=datetime.now(UTC)))
        personalisation = load_personalisation(settings.outbound.personalisation)
        said = await said_of(connection, settings, named, personalisation)
        try:
            lag = await lag_of(
                connection,
                settings.kafka,
                list(OUTBOUND.sources.values()),
                schema=OUTBOUND.schema,
                patience=_PATIENCE,
            )
        except Transient as error:
            err.print(f"note: {error.message} How recent our knowledge is, is not known.", markup=False)
            lag = None
        wish = Wish(
            recipient=named.recipient,
            contact_id=named.contact_id,
            obstacle=named.obstacle,
            template=checked("template", template),
            language=checked("language", language),
            parameters=given,
            purpose=checked("purpose", purpose),
            sender=checked("from", sender),
            properties=said.by_crm,
        )
        terms = Terms(
            rules=gate_rules(settings.outbound),
            personalisation=personalisation,
            rates=settings.outbound.rates,
            default_number=settings.whatsapp.default_phone_number_id,
            lag=lag,
            crms=tuple(said.properties),
            accounts=settings.whatsapp.business_account_ids,
        )
        return await evaluate(connection, wish, terms), lag is not None


def _reachable_now(named: Named) -> Named:
    """Of somebody unknown a phone or a BSUID is enough; a CRM's record alone would have to be asked for first."""
    from connector.errors import Rejected

    if (
        named.contact_id is None
        and not named.obstacle
        and not (named.recipient.phone or named.recipient.bsuid)
    ):
        record = named.recipient.hubspot_id or named.recipient.salesforce_id
        raise Rejected(
            f"Nobody knows yet whose record {record} is: a send would ask the CRM first, and this command does not.",
            cause="no_person",
            advice="give the person's phone or BSUID instead",
        )
    return named


def checked(name: str, value: str) -> str:
    """A field in the form that a trigger has it. Raises `typer.BadParameter` that says what is valid."""
    from connector.ingress import trigger_fields as fields

    checks: Mapping[str, Callable[[str], str | None]] = {
        "template": fields.template_name,
        "language": fields.language,
        "purpose": fields.purpose,
        "from": fields.sender,
    }
    try:
        return checks[name](value) or ""
    except ValueError as error:
        raise typer.BadParameter(f"{name} {error}") from None


def _show_judged(found: Judged, person: str, template: str, *, current: bool) -> None:
    out.print(f"to         {person}: {found.send.phone or found.send.bsuid}", markup=False)
    out.print(f"template   {template} {found.send.template_language} {found.send.category}", markup=False)
    for line in found.send.rendered.splitlines():
        out.print(f"  {line}", markup=False)
    out.print()
    show_verdict(found.verdict)
    if not current:
        out.print("\nThe outbound role has not read everything on the log. next: connector status")
    elif found.verdict.outcome == "pass":
        out.print(f"\nNothing was sent. next: connector send {person} {template}", markup=False)
    else:
        out.print("\nNothing was sent.")


def _judged(found: Judged) -> dict[str, Any]:
    return {
        "phone": found.send.phone,
        "bsuid": found.send.bsuid,
        "template": found.send.template_name,
        "language": found.send.template_language,
        "category": found.send.category,
        "phone_number_id": found.send.phone_number_id,
        "text": found.send.rendered,
        "verdict": found.verdict.to_json(),
    }
