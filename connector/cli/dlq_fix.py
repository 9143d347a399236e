"""`connector dlq fix`: mend what letters hold, tried on all of them before any of it is kept."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from connector.cli.dlq_letters import Named, acting, doors, none_of, open_letters, record
from connector.cli.operator import ByOption, database, given_reason
from connector.cli.output import JsonOption, err, out, print_json

if TYPE_CHECKING:
    from connector.recovery.letters.acts import Act
    from connector.recovery.letters.fixing import Transformation
    from connector.recovery.letters.groups import Selection


def fix(
    named: Named,
    *,
    reason: Annotated[str, typer.Option("--reason", help="What was wrong.")],
    patch: Annotated[
        Path | None,
        typer.Option(
            "--patch", exists=True, dir_okay=False, help="A JSON Patch (RFC 6902) for what the letters hold."
        ),
    ] = None,
    value: Annotated[
        Path | None,
        typer.Option(
            "--value", exists=True, dir_okay=False, help="A file that one letter's bytes are replaced with."
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Try it, keep nothing.")] = False,
    by: ByOption = "",
    as_json: JsonOption = False,
) -> None:
    """Mend what letters hold. Tried on every open letter named; kept only if each would pass its stage's checks.

    The letters stay as they are; the next redrive sends the mended values. A later fix replaces an earlier one.
    """
    from connector.recovery.letters.fixing import by_patch, by_value
    from connector.recovery.letters.groups import selected
    from connector.recovery.letters.json_patch import checked_patch

    if (patch is None) == (value is None):
        raise typer.BadParameter("give --patch FILE or --value FILE")
    selection = selected(named)
    transformation: Transformation
    if patch is not None:
        try:
            document = json.loads(patch.read_bytes())
        except ValueError as error:
            raise typer.BadParameter(f"--patch {patch} is not JSON: {error}") from None
        transformation = by_patch(checked_patch(document))
    else:
        assert value is not None
        if not selection.ids:
            raise typer.BadParameter(
                "--value replaces one letter's bytes: give its id, from connector dlq show"
            )
        transformation = by_value(value.read_bytes())
    report = asyncio.run(
        _fix(selection, transformation, act=acting(given_reason(reason), by), keep=not dry_run)
    )
    if as_json:
        print_json(report)
    else:
        _show_fix(report, named=named)
    if report["failed"]:
        raise typer.Exit(1)


async def _fix(
    selection: Selection, transformation: Transformation, *, act: Act, keep: bool
) -> dict[str, Any]:
    """Twice over the letters: a trial of all, then, if each passed, keeping them."""
    from connector.recovery.letters import acts
    from connector.recovery.letters.fixing import tried

    tries, failed, examples = 0, 0, []
    kept: set[str] = set()
    async with database() as (settings, connection):
        await acts.alone(connection)
        states = await acts.letter_states(connection)
        for keeping in (False, True):
            if keeping and (failed or not keep):
                break
            async for letter in open_letters(settings, selection, states):
                trial = tried(
                    letter.letter,
                    transformation,
                    prefix=settings.kafka.topic_prefix,
                    doors=doors(),
                    now=act.at,
                )
                if keeping and trial.letter_id not in kept and trial.refusal is None:
                    await acts.keep_fixes(connection, {trial.letter_id: trial.value}, act)
                    kept.add(trial.letter_id)
                elif not keeping:
                    tries += 1
                    if trial.refusal is not None:
                        failed += 1
                        examples.append({"letter": trial.letter_id, "why": trial.refusal.message})
        if not tries:
            raise none_of(selection)
        if kept:
            details = {"letters": len(kept)}
            await record(
                settings, act, phase="finished", command="dlq fix", selection=selection, details=details
            )
    return {"tried": tries, "failed": failed, "kept": len(kept), "examples": examples[:5]}


def _show_fix(report: dict[str, Any], *, named: str) -> None:
    if report["failed"]:
        err.print(
            f"error {report['failed']} of {report['tried']} letters would not pass after it. Nothing was kept.",
            markup=False,
        )
        for example in report["examples"]:
            err.print(f"  {example['letter']}: {example['why']}", markup=False)
        err.print(
            f"next  mend the fix, or name the letters that it is for: connector dlq show {named}",
            markup=False,
        )
    elif report["kept"]:
        out.print(f"Tried on {report['tried']} letters, and kept for {report['kept']}. Nothing was sent.")
        out.print(f"next: connector dlq redrive {named}", markup=False)
    else:
        out.print(f"Tried on {report['tried']} letters; each would pass. Nothing was kept.")
        out.print("next: the same without --dry-run")
