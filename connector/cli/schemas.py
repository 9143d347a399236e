"""`connector schemas`: what is generated from the code: the JSON Schemas of the topics, the settings page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from connector.cli.output import err, out


def schemas(
    write: Annotated[bool, typer.Option("--write", help="Write them.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Fail when a file differs from its model.")] = False,
) -> None:
    """Write the generated files of a checkout, or check that they are what the code says."""
    from connector.events.schemas import rendered_schemas
    from connector.settings_reference import rendered_configuration

    files = {Path("schemas") / name: text for name, text in rendered_schemas().items()}
    files[Path("docs/configuration.md")] = rendered_configuration()
    if write:
        for file, text in files.items():
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
        out.print(f"wrote {len(files)} files")
        return
    stale = [
        file for file, text in files.items() if not file.is_file() or file.read_text(encoding="utf-8") != text
    ]
    if not check:
        for file in files:
            out.print(f"{file}{'  (differs)' if file in stale else ''}")
        return
    if stale:
        err.print(
            f"error {', '.join(map(str, stale))} differ from the code\nnext  make schemas, and commit the result"
        )
        raise typer.Exit(1)
    out.print(f"{len(files)} generated files are what the code says")
