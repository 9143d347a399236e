"""`connector schemas`: the JSON Schemas of every topic value, generated from the models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from connector.cli.output import err, out


def schemas(
    directory: Annotated[Path, typer.Option(help="Where they are kept.")] = Path("schemas"),
    write: Annotated[bool, typer.Option("--write", help="Write them.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Fail when a file differs from its model.")] = False,
) -> None:
    """Write the schemas, or check that the files are what the models say."""
    from connector.events.schemas import rendered_schemas

    files = rendered_schemas()
    if write:
        directory.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (directory / name).write_text(text, encoding="utf-8")
        out.print(f"wrote {len(files)} schemas to {directory}/")
        return
    stale = [
        name
        for name, text in files.items()
        if not (directory / name).is_file() or (directory / name).read_text(encoding="utf-8") != text
    ]
    if not check:
        for name in files:
            out.print(f"{directory / name}{'  (differs)' if name in stale else ''}")
        return
    if stale:
        err.print(
            f"error {', '.join(stale)} differ from the models\nnext  make schemas, and commit the result"
        )
        raise typer.Exit(1)
    out.print(f"{len(files)} schemas are what the models say")
