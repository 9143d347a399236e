"""`connector mapping`: the built-in mapping, and what a mapping of one's own makes of a webhook."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from connector.cli.output import JsonOption, out, print_json, print_table

if TYPE_CHECKING:
    from connector.rehearsal import CrmOutcome, Rehearsal
    from connector.sync.core.mapping import SyncMapping

app = typer.Typer(
    help="Which facts go to which CRM properties, and how an activity reads.", no_args_is_help=True
)

_FileArgument = Annotated[Path, typer.Argument(metavar="FILE", help="The mapping, a YAML file.")]


@app.command("show")
def show(
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="A mapping; without it, the built-in one.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Print the built-in mapping, to begin a file of your own with; or what a FILE makes of it."""
    from connector.sync.mapping import default_text, load_mapping

    mapping = load_mapping(file)
    if as_json:
        print_json(_mapping(mapping))
    elif file is None:
        typer.echo(default_text(), nl=False)
    else:
        for crm, contacts in mapping.contacts.items():
            rows = [
                (
                    rule.name,
                    rule.fact or repr(rule.constant),
                    "new records" if rule.only_new else "always",
                    "built-in" if rule.line == 0 else f"line {rule.line}",
                )
                for rule in contacts.rules
            ]
            print_table([f"{crm} property", "fact or value", "written", "from"], rows)
            out.print()
        out.print(f"mapping {mapping.version}. next: connector mapping test {file} PAYLOAD", markup=False)


@app.command("test")
def rehearse(
    file: _FileArgument,
    payloads: Annotated[
        list[Path],
        typer.Argument(metavar="PAYLOAD...", help="Webhooks, JSON files in their order; - reads one."),
    ],
    as_json: JsonOption = False,
) -> None:
    """Show what each CRM would be told of these webhooks. Nothing is written anywhere."""
    from datetime import UTC, datetime

    from connector.rehearsal import Rehearsal, crm_outcomes
    from connector.settings import load_settings
    from connector.sync.mapping import load_mapping

    settings = load_settings()
    mapping = load_mapping(file)
    rehearsal = Rehearsal(arrival=datetime.now(UTC), keep_deleted_text=settings.sync.keep_deleted_text)
    rehearsal.feed(*(_body(path) for path in payloads))
    outcomes = crm_outcomes(rehearsal, mapping=mapping, settings=settings)
    refused = list(_refused(rehearsal))
    if as_json:
        print_json(
            {
                "mapping": {"source": mapping.source, "version": mapping.version},
                "refused": refused,
                "crms": {outcome.crm: _outcome(outcome) for outcome in outcomes},
            }
        )
    else:
        _print(outcomes, refused)
        following = "" if refused else f" next: CONNECTOR_SYNC__MAPPING={file}"
        out.print(f"mapping {mapping.version}. Nothing was written.{following}", markup=False)
    if refused:
        raise typer.Exit(1)


def _body(path: Path) -> bytes:
    from connector.errors import SettingsError

    if str(path) == "-":
        return sys.stdin.buffer.read()
    try:
        return path.read_bytes()
    except OSError as error:
        raise SettingsError(
            f"The payload {path} cannot be read: {error.strerror}.",
            advice="name a webhook's JSON file; connector trigger inbound.text --dry-run prints one",
        ) from None


def _refused(rehearsal: Rehearsal) -> Iterator[str]:
    """What the connector would not take from the payloads."""
    if rehearsal.refused_posts:
        yield f"payloads that hold something else than a WhatsApp webhook: {rehearsal.refused_posts}"
    yield from (f"{letter.cause}: {letter.reason}" for letter in rehearsal.dead)


def _mapping(mapping: SyncMapping) -> dict[str, Any]:
    def layout(one: Any) -> dict[str, Any]:
        return {
            "subject": [template.source for template in one.subject],
            "text": one.text.source,
            "details": list(one.details),
        }

    return {
        "source": mapping.source,
        "version": mapping.version,
        "contact": {
            crm: [
                {
                    "property": rule.name,
                    **({"fact": rule.fact} if rule.fact else {"value": rule.constant}),
                    "only": "new" if rule.only_new else "always",
                    "empty": "clear" if rule.clear else "keep",
                    "format": str(rule.format),
                    "line": rule.line or None,
                }
                for rule in contacts.rules
            ]
            for crm, contacts in mapping.contacts.items()
        },
        "activity": {
            **layout(mapping.layout.usual),
            "families": {name: layout(one) for name, one in mapping.layout.families.items()},
        },
    }


def _outcome(outcome: CrmOutcome) -> dict[str, Any]:
    return {
        "contacts": [
            {"contact_id": str(one.contact_id), "new_record": one.made, "later_write": one.kept}
            for one in outcome.people
        ],
        "activities": [
            {
                "wamid": one.wamid,
                "contact_id": str(one.contact_id),
                "subject": one.subject,
                "body": one.body,
                "properties": one.properties,
            }
            for one in outcome.activities
        ],
    }


def _print(outcomes: Sequence[CrmOutcome], refused: Sequence[str]) -> None:
    for outcome in outcomes:
        for one in outcome.people:
            names = sorted({*one.made, *one.kept})
            rows = [(name, _cell(one.made, name), _cell(one.kept, name)) for name in names]
            print_table([f"{outcome.crm} contact", "new record", "later write"], rows)
            out.print()
        for message in outcome.activities:
            subject = message.subject if outcome.crm != "hubspot" else "(HubSpot shows no subject)"
            out.print(f"{outcome.crm} activity: {subject}", markup=False)
            out.print("\n".join(f"  {line}" for line in message.body.split("\n")), markup=False)
            out.print()
        if not outcome.people and not outcome.activities:
            out.print(f"{outcome.crm}: these payloads are about no person and no message")
    for reason in refused:
        out.print(f"refused: {reason}", markup=False)


def _cell(values: Any, name: str) -> str:
    """As text; — where the write does not name the property, (cleared) where it empties it."""
    if name not in values:
        return "—"
    return "(cleared)" if values[name] in (None, "") else str(values[name])
