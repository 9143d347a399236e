"""Plans of replays as people and programs read them. Items come one after the other, however many there are."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import typer

from connector.cli.operator import moment
from connector.cli.output import out, print_json, print_table

if TYPE_CHECKING:
    from connector.recovery.replay.applying import Progress
    from connector.recovery.replay.plans import ListedItem, Plan

_COLUMNS = ("sink", "act", "kind", "key", "fields", "reason", "state")
_FORMULA = ("=", "+", "-", "@")


def document(plan: Plan) -> dict[str, Any]:
    """A plan for programs, without its items."""
    found = asdict(plan)
    found.pop("plan_id")
    return found


async def print_items(
    plan: Plan, items: AsyncIterator[ListedItem], *, as_csv: bool, progress: Progress | None = None
) -> None:
    """All items, as CSV or as the last part of a JSON document."""
    if as_csv:
        typer.echo(_csv_line(_COLUMNS), nl=False)
        async for item in items:
            cells = (item.sink, item.act, item.kind, item.key, " ".join(item.fields), item.reason, item.state)
            typer.echo(_csv_line([_no_formula(cell) for cell in cells]), nl=False)
        return
    head = document(plan) | ({"progress": asdict(progress)} if progress else {})
    text = json.dumps(head, indent=2, ensure_ascii=False, default=str)
    typer.echo(text.removesuffix("\n}") + ',\n  "items": [', nl=False)
    separator = "\n    "
    async for item in items:
        typer.echo(separator + json.dumps(asdict(item), ensure_ascii=False), nl=False)
        separator = ",\n    "
    typer.echo("\n  ]\n}")


def _csv_line(cells: Sequence[str]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()


def _no_formula(cell: str) -> str:
    """A spreadsheet takes a leading = + - @ for a formula."""
    return f"'{cell}" if cell.startswith(_FORMULA) else cell


def show_plan(plan: Plan, items: Sequence[ListedItem], *, more: int) -> None:
    """A plan that was just made: its first items, what it comes to, and how to go on."""
    from connector.recovery.replay.items import sentence

    _show_items(items, more=more, of=plan)
    for summary in plan.summaries:
        out.print(f"{summary.sink}: {sentence(summary, verified=plan.verified)}", markup=False)
    for note in _notes(plan):
        out.print(f"note: {note}", markup=False)
    if not any(summary.acts for summary in plan.summaries):
        out.print("Nothing is to be done.")
        return
    out.print(f"plan {plan.hash}. Nothing was changed.")
    out.print(f'next: connector replay --apply {plan.hash} --reason "…"', markup=False)


def show_progress(plan: Plan, items: Sequence[ListedItem], *, more: int, progress: Progress) -> None:
    """A plan that is kept: its first items, and what became of it."""
    _show_items(items, more=more, of=plan)
    out.print(
        f"plan {plan.hash}, made by {plan.made_by} at {moment(plan.made_at)}: {plan.state}; {progress}",
        markup=False,
    )


def _show_items(items: Sequence[ListedItem], *, more: int, of: Plan) -> None:
    if not items:
        return
    print_table(
        ["sink", "act", "what", "key", "fields", "why", "state"],
        [
            [item.sink, item.act, item.kind, item.key, ", ".join(item.fields), item.reason, item.state]
            for item in items
        ],
    )
    if more > 0:
        out.print(f"… and {more:,} more: connector replay --show {of.hash} --csv")


def _notes(plan: Plan) -> list[str]:
    found = plan.summary
    notes = []
    if found["log_begins"] and not plan.selection["from"]:
        notes.append(
            f"the log begins at {found['log_begins']}: of what is older only what the tables know was compared"
        )
    if found["unread"]:
        notes.append(f"{found['unread']:,} records are not understood: connector dlq ls")
    if found["unrouted"]:
        notes.append(
            f"{found['unrouted']:,} messages were never routed; they are redriven, not replayed: connector dlq ls"
        )
    if not plan.verified:
        notes.append(
            "the CRM was not looked at: --verify finds what people changed there, and counts exactly"
        )
    return notes


def show_plans(plans: Sequence[Plan], *, as_json: bool) -> None:
    """The plans that are kept."""
    if as_json:
        print_json([document(plan) for plan in plans])
        return
    if not plans:
        out.print("There is no plan. next: connector replay --sink …")
        return
    print_table(
        ["plan", "state", "made", "by", "sinks", "writes", "why"],
        [
            [
                plan.hash,
                plan.state,
                moment(plan.made_at),
                plan.made_by,
                ", ".join(plan.sinks),
                f"{sum(summary.writes for summary in plan.summaries):,}",
                plan.why or "",
            ]
            for plan in plans
        ],
    )
