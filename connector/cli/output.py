"""What every command prints with: tables for people, JSON for programs, errors that say what to do next."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from connector.errors import ConnectorError

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]

_UNBOUNDED = 10_000  # columns; a table is as wide as what it holds

out = Console(soft_wrap=True, highlight=False)
if not out.is_terminal:
    out.width = _UNBOUNDED
err = Console(stderr=True, soft_wrap=True, highlight=False)


def print_json(value: Any) -> None:
    """One JSON document on standard output."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[Any]], *, title: str = "") -> None:
    """A table; on a pipe it has no colours, and a row is a line."""
    table = Table(title=title or None, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(escape(str(cell)) for cell in row))  # a cell may hold what people typed
    out.print(table)


def show_error(error: ConnectorError) -> None:
    """What happened and what to do next, on standard error."""
    err.print(f"[bold red]error[/] {escape(error.message)}")
    if error.advice:
        err.print(f"[bold]next[/]  {escape(error.advice)}")
