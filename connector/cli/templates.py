"""`connector templates`: what Meta approved, what each template needs, and how it reads filled in."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from connector.cli.operator import database, moment
from connector.cli.output import JsonOption, err, out, print_json, print_table
from connector.cli.parameters import ParameterOption, given_parameters

if TYPE_CHECKING:
    from connector.outbound.personalisation.filling import CrmProperties
    from connector.outbound.templates.template import Template
    from connector.recovery.templates import AccountSync, Preview

app = typer.Typer(help="WhatsApp templates.", no_args_is_help=True)

_Name = Annotated[str, typer.Argument(metavar="NAME", help="The template's name.")]
_Account = Annotated[str, typer.Option("--account", help="The business account, where several have one.")]
_Language = Annotated[
    str, typer.Option("--language", help="A language code, e.g. pt_BR; else every one, or the one sent.")
]


@app.command("list")
def list_templates(
    *,
    only_sendable: Annotated[
        bool, typer.Option("--approved", help="Only those that may be sent now.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Show every template: language, status, Meta's category, quality, what it takes."""
    templates, syncs = asyncio.run(_all())
    shown = [template for template in templates if template.sendable or not only_sendable]
    if as_json:
        print_json({"accounts": [_sync(item) for item in syncs], "templates": [_row(item) for item in shown]})
        return
    if not shown:
        out.print("No template is known.\nnext: connector templates sync")
        return
    now = datetime.now(UTC)
    print_table(
        ["template", "language", "status", "category", "quality", "takes", "account"],
        [
            [
                item.name,
                item.language,
                _status(item),
                _category(item, now),
                item.quality,
                _takes(item),
                item.waba_id,
            ]
            for item in shown
        ],
    )
    for account in syncs:
        out.print(_said(account), markup=False)
    out.print(f"next: connector templates preview {shown[0].name}", markup=False)


@app.command("sync")
def sync(
    *,
    timeout: Annotated[float, typer.Option("--timeout", help="Seconds to wait for it.")] = 30.0,
    as_json: JsonOption = False,
) -> None:
    """Have all templates read from Meta now. The outbound role does it; without this it does so by itself, too."""
    accounts, complete = asyncio.run(_synced(timeout))
    if as_json:
        print_json({"complete": complete, "accounts": [_sync(item) for item in accounts]})
    else:
        for account in accounts:
            out.print(_said(account), markup=False)
    if complete and accounts:
        if not as_json:
            out.print("next: connector templates list")
        return
    if not accounts:
        advice = "set CONNECTOR_WHATSAPP__BUSINESS_ACCOUNT_IDS"
    elif any(account.problem for account in accounts):
        advice = "mend what is said above; the outbound role tries again by itself"
    else:
        advice = "it is asked for: does the outbound role run? connector status"
    err.print(f"error not every template was read within {timeout:g} s\nnext  {advice}", markup=False)
    raise typer.Exit(1)


@app.command("show")
def show(
    name: _Name, *, language: _Language = "", account: _Account = "", as_json: JsonOption = False
) -> None:
    """Show one template in each language: its text, what it takes, and why it may not be sent."""
    from connector.outbound.templates.reading import language_code
    from connector.outbound.templates.wording import rendered

    versions = asyncio.run(_versions(name, account))
    wanted = [item for item in versions if not language or item.language == language_code(language)]
    if not wanted:
        spoken = ", ".join(item.language for item in versions)
        err.print(f"error {name} is not there in {language}\nnext  it is in: {spoken}", markup=False)
        raise typer.Exit(1)
    if as_json:
        print_json([_row(item) | {"text": rendered(item, {}), "slots": _slots(item)} for item in wanted])
        return
    now = datetime.now(UTC)
    for item in wanted:
        out.print(f"[bold]{item.name}[/] {item.language}")
        out.print(f"status    {_status(item)}", markup=False)
        if item.rejected_reason:
            out.print(f"rejected  {item.rejected_reason}", markup=False)
        out.print(f"category  {_category(item, now)}; quality {item.quality}", markup=False)
        for line in rendered(item, {}).splitlines():
            out.print(f"  {line}", markup=False)
        for slot in _slots(item):
            out.print(
                f"takes     {slot['name']}: {slot['kind']}{'' if slot['required'] else ', may be left out'}",
                markup=False,
            )
        out.print(
            f"known     {moment(item.as_of.get('status'))} status, {moment(item.as_of.get('components'))} text",
            markup=False,
        )
        out.print()
    out.print(f"next: connector templates preview {name}", markup=False)


@app.command("preview")
def preview(
    name: _Name,
    *,
    parameter: ParameterOption = None,
    person: Annotated[
        str,
        typer.Option(
            "--person", help="Fill it in from their CRM record: a phone, BSUID, hubspot:ID, salesforce:ID."
        ),
    ] = "",
    language: _Language = "",
    account: _Account = "",
    as_json: JsonOption = False,
) -> None:
    """Show how a template reads with these parameters, and everything that is wrong with them. Nothing is sent.

    What is not given comes from the personalisation file; from a CRM only with --person.
    """
    given = given_parameters(parameter)
    versions, found = asyncio.run(_filled(name, given, language, account=account, person=person))
    if found is None:
        spoken = ", ".join(item.language for item in versions)
        err.print(
            f"error no language of {name} suits: it is in {spoken}\n"
            "next  say --language, or set fallbacks in the personalisation file",
            markup=False,
        )
        raise typer.Exit(1)
    if as_json:
        print_json(_preview(found))
    else:
        _show_preview(found)
    if found.problems:
        raise typer.Exit(1)


async def _filled(
    name: str, given: Mapping[str, Any], language: str, *, account: str, person: str
) -> tuple[Sequence[Template], Preview | None]:
    """(every language of the template, the one that would be sent, filled in)."""
    from connector.cli.people import find_person, said_of
    from connector.outbound.personalisation.loading import load_personalisation
    from connector.recovery import templates
    from connector.recovery.templates import versions_of

    async with database() as (settings, connection):
        versions = await versions_of(connection, name, account=account)
        rules = load_personalisation(settings.outbound.personalisation)
        properties: CrmProperties = {}
        if person:
            named = await find_person(connection, person, at=datetime.now(UTC))
            properties = (await said_of(connection, settings, named, rules)).by_crm
    known_language = bool(language or rules.languages(properties, crms=templates.CRMS))
    asked = language or (versions[0].language if len(versions) == 1 and not known_language else "")
    return versions, templates.preview(
        versions, given, language=asked, personalisation=rules, properties=properties
    )


async def _all() -> tuple[Sequence[Template], Sequence[AccountSync]]:
    from connector.recovery.templates import account_syncs, all_templates

    async with database() as (_, connection):
        return await all_templates(connection), await account_syncs(connection)


async def _versions(name: str, account: str) -> Sequence[Template]:
    from connector.recovery.templates import versions_of

    async with database() as (_, connection):
        return await versions_of(connection, name, account=account)


async def _synced(timeout: float) -> tuple[Sequence[AccountSync], bool]:
    from connector.recovery.templates import sync as synced

    async with database() as (settings, connection):
        return await synced(connection, settings.whatsapp.business_account_ids, timeout=timeout)


def _show_preview(found: Preview) -> None:
    for line in found.text.splitlines():
        out.print(f"  {line}", markup=False)
    out.print()
    for name, value in found.parameters.items():
        out.print(f"{name} = {value!r} ({found.sources.get(name, 'trigger')})", markup=False)
    for problem in found.problems:
        out.print(f"WRONG {problem.sentence}\n next {problem.advice}", markup=False)
    if not found.template.sendable:
        out.print(f"note: {_status(found.template)}, so it may not be sent now", markup=False)
    if not found.problems:
        out.print(f"next: connector why PERSON {found.template.name}", markup=False)


def _preview(found: Preview) -> dict[str, Any]:
    return {
        "template": found.template.name,
        "language": found.template.language,
        "sendable": found.template.sendable,
        "text": found.text,
        "parameters": [
            {"name": name, "value": value, "from": found.sources.get(name, "trigger")}
            for name, value in found.parameters.items()
        ],
        "problems": [
            {"parameter": item.parameter, "code": item.code, "says": item.sentence, "do": item.advice}
            for item in found.problems
        ],
    }


def _row(template: Template) -> dict[str, Any]:
    document = template.model_dump(mode="json", include=_SHOWN)
    return document | {"sendable": template.sendable, "category": template.category_on(datetime.now(UTC))}


_SHOWN = {
    "waba_id",
    "name",
    "language",
    "id",
    "status",
    "status_note",
    "coming",
    "quality",
    "rejected_reason",
}


def _slots(template: Template) -> list[dict[str, Any]]:
    from connector.outbound.templates.slots import slots_of

    return [
        {"name": slot.key, "kind": slot.kind, "required": slot.required, "label": slot.label}
        for slot in slots_of(template)
    ]


def _takes(template: Template) -> str:
    return ", ".join(
        f"{slot['name']}{'' if slot['required'] else ' (if wanted)'}" for slot in _slots(template)
    )


def _status(template: Template) -> str:
    return f"{template.status}{f' ({template.status_note})' if template.status_note else ''}"


def _category(template: Template, now: datetime) -> str:
    current, coming = template.category_on(now), template.coming
    if coming is None or coming.category == current:
        return current
    return f"{current}, {coming.category} from {moment(coming.at)}"


def _sync(item: AccountSync) -> dict[str, Any]:
    return {
        "account": item.waba_id,
        "read_at": item.asked_at,
        "templates": item.templates,
        "problem": item.problem,
    }


def _said(item: AccountSync) -> str:
    when = f"{item.templates:,} templates read at {moment(item.asked_at)}" if item.asked_at else "never read"
    return f"account {item.waba_id}: {when}{f'; the last try failed: {item.problem}' if item.problem else ''}"
