"""`connector consent`: what people allow, who said so and where it can be seen; and lists of it, in and out."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TextIO

import typer

from connector.cli.operator import ByOption, database, moment, who
from connector.cli.output import JsonOption, err, out, print_json, print_table

if TYPE_CHECKING:
    from connector.cli.consent_csv import ConsentFile
    from connector.events import ConsentGiven
    from connector.outbound.consent.ledger import Act, Standing
    from connector.recovery.consent import Applied, ConsentView
    from connector.settings import OutboundSettings

app = typer.Typer(help="What people allow.", no_args_is_help=True)

PersonArgument = Annotated[
    str,
    typer.Argument(
        metavar="PERSON",
        help="A phone with country code, a BSUID, hubspot:ID, salesforce:ID or a contact id.",
    ),
]
_Wait = Annotated[float, typer.Option("--wait", help="Seconds to wait until it counts; 0: not at all.")]
Purpose = Literal["marketing", "utility"]
State = Literal["granted", "denied", "unknown"]
_PROBLEMS_SHOWN = 50


@app.command("show")
def show(person: PersonArgument, as_json: JsonOption = False) -> None:
    """Show what a person allows now, what that means for sends, and everything that was said about it."""
    view, rules = asyncio.run(_view(person))
    if as_json:
        print_json(_document(view, rules))
        return
    out.print(f"[bold]{person}[/] contact {view.contact_id or 'not known yet'}")
    for purpose, standing in view.standings.items():
        out.print(f"{purpose:<10} {_said(standing)}", markup=False)
        out.print(f"           {_means(purpose, standing, rules)}", markup=False)
    if view.acts:
        out.print()
        print_table(
            ["at", "purpose", "says", "by", "through", "evidence"],
            [
                [
                    moment(act.at),
                    act.purpose,
                    _word(act),
                    "the person" if act.by_person else "somebody else",
                    act.source,
                    act.evidence,
                ]
                for act in view.acts
            ],
        )
    for act in view.waiting:
        out.print(
            f"waits until the person is known: {act.purpose} {act.state} of {moment(act.at)}", markup=False
        )
    out.print("next: connector why PERSON TEMPLATE tells whether a template may be sent to them now")


@app.command("set")
def set_consent(
    *,
    person: PersonArgument,
    purpose: Annotated[Purpose, typer.Argument(help="marketing or utility")],
    state: Annotated[State, typer.Argument(help="granted, denied, or unknown: granted no more, not denied")],
    evidence: Annotated[
        str, typer.Option("--evidence", help="Form, page, wording, recording: what shows it.")
    ] = "",
    by_person: Annotated[
        bool,
        typer.Option("--by-person", help="The person did it; only so an opt-out is undone. Needs evidence."),
    ] = False,
    at: Annotated[
        str, typer.Option("--at", help="When the person acted, e.g. 2026-03-01T09:00:00Z; else now.")
    ] = "",
    by: ByOption = "",
    wait: _Wait = 10.0,
    as_json: JsonOption = False,
) -> None:
    """Record an act of consent on the log, and show what counts then.

    A denial always counts. A grant undoes a denial only with --by-person, evidence, and a later time.
    """
    if (by_person or state == "granted") and not evidence.strip():
        raise typer.BadParameter("--evidence is needed: what shows that the person did or said it?")
    acted_at = _when(at)
    applied, view, rules = asyncio.run(
        _record(person, purpose, state, evidence.strip(), acted_at, by_person=by_person, by=by, wait=wait)
    )
    if as_json:
        print_json({**_document(view, rules), "applied": asdict(applied)})
        return
    out.print(f"On the log: {purpose} {state} of {moment(acted_at)}, by {who(by)}.", markup=False)
    if applied.waiting:
        out.print("The person is not known yet: it counts before anything is sent to them.")
    elif applied.outstanding:
        out.print(
            "It is not read yet: it counts as soon as the outbound role gets there. next: connector status"
        )
    else:
        standing = view.standings[purpose]
        out.print(f"{purpose} now: {_said(standing)}", markup=False)
        if standing.state == "denied" and state == "granted":
            out.print(
                "The denial stands: only a later act of the person undoes it.\n"
                "next: the same with --by-person, --evidence, and --at when they did it"
            )
            return
    out.print(f"next: connector consent show {person}", markup=False)


@app.command("import")
def import_file(
    *,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A CSV file, UTF-8; - reads standard input.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Read and check it; import nothing.")] = False,
    skip_wrong: Annotated[
        bool, typer.Option("--skip-wrong", help="Import the good lines; else one wrong line stops all.")
    ] = False,
    by: ByOption = "",
    wait: _Wait = 30.0,
    as_json: JsonOption = False,
) -> None:
    """Import acts of consent with their evidence. The same line twice, or in another file again, is one act.

    Columns: phone, bsuid, hubspot_id, salesforce_id (one of them), purpose, state (granted, denied), at, by_person
    (yes, no), evidence. Exits 1 when a line is wrong.
    """
    found = _read(file, who(by))
    goes = not dry_run and bool(found.acts) and (skip_wrong or not found.problems)
    applied = asyncio.run(_import(found.acts, wait=wait)) if goes else None
    if as_json:
        print_json(
            {
                "acts": len(found.acts),
                "repeated": found.repeated,
                "problems": [asdict(item) for item in found.problems],
                "imported": goes,
                "applied": asdict(applied) if applied else None,
            }
        )
    else:
        _report(found, applied, file=file, dry_run=dry_run)
    if found.problems:
        raise typer.Exit(1)


@app.command("export")
def export(
    *,
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="Where to write it; else standard output.")
    ] = None,
    purpose: Annotated[Purpose | None, typer.Option("--purpose", help="Only this one.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Write what counts now, a person and purpose a line, as a CSV file that can be imported again."""
    if as_json:
        rows: list[dict[str, Any]] = []
        asyncio.run(_export(None, purpose, rows=rows))
        print_json(rows)
        return
    if file is None:
        asyncio.run(_export(sys.stdout, purpose))
        return
    with file.open("x", encoding="utf-8", newline="") as target:
        count = asyncio.run(_export(target, purpose))
    out.print(f"{count:,} consents are in {file}.", markup=False)


async def _view(person: str) -> tuple[ConsentView, OutboundSettings]:
    from connector.cli.people import find_person
    from connector.recovery.consent import consent_of

    async with database() as (settings, connection):
        named = await find_person(connection, person, at=datetime.now(UTC))
        return await consent_of(connection, named.recipient, named.contact_id), settings.outbound


async def _record(
    person: str,
    purpose: Purpose,
    state: State,
    evidence: str,
    at: datetime,
    *,
    by_person: bool,
    by: str,
    wait: float,
) -> tuple[Applied, ConsentView, OutboundSettings]:
    import uuid

    from connector.cli.people import find_person, reachable
    from connector.cli.publishing import ORIGIN, publish
    from connector.events import ConsentGiven
    from connector.ingress.trigger_records import encode_trigger
    from connector.recovery.consent import applied, consent_of

    now = datetime.now(UTC)
    async with database() as (settings, connection):
        named = reachable(await find_person(connection, person, at=now))
        act = ConsentGiven(
            event_id=f"consent.given:cli:{uuid.uuid4()}",
            source="cli",
            client=who(by),
            received_at=now,
            to=named.recipient,
            purpose=purpose,
            state=state,
            at=at,
            by_person=by_person,
            evidence=evidence or f"set by {who(by)}",
        )
        await publish(settings, [encode_trigger(act, origin=ORIGIN)])
        done = await applied(connection, [act], timeout=wait)
        named = await find_person(connection, person, at=datetime.now(UTC))
        return done, await consent_of(connection, named.recipient, named.contact_id), settings.outbound


async def _import(acts: list[ConsentGiven] | Any, *, wait: float) -> Applied:
    from connector.cli.publishing import ORIGIN, publish
    from connector.ingress.trigger_records import encode_trigger
    from connector.recovery.consent import applied

    async with database() as (settings, connection):
        await publish(settings, [encode_trigger(act, origin=ORIGIN) for act in acts])
        return await applied(connection, acts, timeout=wait)


async def _export(target: TextIO | None, purpose: Purpose | None, *, rows: list[Any] | None = None) -> int:
    from connector.cli.consent_csv import header, line_of
    from connector.recovery.consent import exported

    count = 0
    async with database() as (_, connection):
        if target is not None:
            target.write(header())
        async for consent in exported(connection, purpose=purpose):
            count += 1
            if target is not None:
                target.write(line_of(consent))
            if rows is not None:
                rows.append(asdict(consent))
    return count


def _read(file: Path, by: str) -> ConsentFile:
    from connector.cli.consent_csv import read_consent
    from connector.errors import Rejected

    try:
        raw = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
        text = raw.decode("utf-8-sig")
    except OSError as error:
        raise typer.BadParameter(f"{file}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise Rejected(
            f"{file} is not UTF-8 (byte {error.start:,}). Nothing was imported.",
            cause="no_consent_file",
            advice="save it as CSV UTF-8",
        ) from None
    return read_consent(text, who=by, now=datetime.now(UTC))


def _report(found: ConsentFile, applied: Applied | None, *, file: Path, dry_run: bool) -> None:
    for item in found.problems[:_PROBLEMS_SHOWN]:
        err.print(f"line {item.line}: {item.problem}", markup=False)
    if len(found.problems) > _PROBLEMS_SHOWN:
        err.print(f"… and {len(found.problems) - _PROBLEMS_SHOWN:,} more; --json lists all")
    again = f", {found.repeated:,} lines say one of them again" if found.repeated else ""
    out.print(f"{len(found.acts):,} acts{again}; {len(found.problems):,} wrong lines.", markup=False)
    if applied is None:
        out.print("Nothing was imported.")
        following = "correct these lines, or leave them out with --skip-wrong" if found.problems else ""
        if not found.problems and dry_run and found.acts:
            following = f"connector consent import {file}"
    else:
        out.print(f"On the log: {len(found.acts):,}. In the ledger: {applied.recorded:,}.")
        if applied.waiting:
            out.print(f"{applied.waiting:,} wait until their person is known; they count before any send.")
        if applied.outstanding:
            out.print(f"{applied.outstanding:,} are not read yet, or are of people who were erased.")
        following = "connector status" if applied.outstanding else "connector consent show PERSON"
    if following:
        out.print(f"next: {following}", markup=False)


def _when(text: str) -> datetime:
    from connector.ingress.trigger_fields import moment as parsed

    now = datetime.now(UTC)
    if not text:
        return now
    try:
        at = parsed(text)
    except ValueError as error:
        raise typer.BadParameter(f"--at {error}") from None
    if at > now:
        raise typer.BadParameter("--at is in the future")
    return at


def _word(act: Act) -> str:
    return "messages again" if act.resumes else act.state


def _said(standing: Standing) -> str:
    act = standing.act
    if act is None:
        return "unknown: nobody ever said anything"
    whose = "the person" if act.by_person else act.source
    return f"{standing.state} since {moment(act.at)}, by {whose}: {act.evidence or '(no evidence)'}"


def _means(purpose: str, standing: Standing, rules: OutboundSettings) -> str:
    needed = rules.marketing_consent if purpose == "marketing" else rules.utility_consent
    if standing.state == "denied":
        return f"{purpose} is not sent to them"
    if standing.state == "granted":
        return f"{purpose} may be sent"
    if needed == "granted":
        return f"{purpose} is not sent: CONNECTOR_OUTBOUND__{purpose.upper()}_CONSENT asks for a grant"
    return f"{purpose} may be sent until they refuse"


def _document(view: ConsentView, rules: OutboundSettings) -> dict[str, Any]:
    return {
        "contact_id": view.contact_id,
        "standings": {
            purpose: {
                "state": standing.state,
                "means": _means(purpose, standing, rules),
                "act": asdict(standing.act) if standing.act else None,
            }
            for purpose, standing in view.standings.items()
        },
        "acts": [asdict(act) for act in view.acts],
        "waiting": [asdict(act) for act in view.waiting],
    }
