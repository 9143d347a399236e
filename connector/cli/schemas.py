"""`connector schemas`: what is generated from the code: the topics' contract, the settings page, deployment files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from connector.cli.output import err, out

if TYPE_CHECKING:
    from connector.schema_compatibility import Change


def schemas(
    *,
    write: Annotated[bool, typer.Option("--write", help="Write them.")] = False,
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            help="Fail when a file differs from its model, or a schema broke with what was released.",
        ),
    ] = False,
    freeze: Annotated[
        bool, typer.Option("--freeze", help="Release: what the schemas say now is what later ones must keep.")
    ] = False,
) -> None:
    """Write the generated files of a checkout, or check that they are what the code says."""
    files = _rendered()
    if write or freeze:
        if freeze:
            files |= _released(files)
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
    _check_compatible(files)
    out.print(f"{len(files)} generated files are what the code says")


def _rendered() -> dict[Path, str]:
    from connector.deployment_files import rendered_deployment_files
    from connector.monitoring_files import rendered_monitoring_files
    from connector.settings_reference import rendered_configuration
    from connector.topics_reference import rendered_contract

    files = {Path("schemas") / name: text for name, text in rendered_contract().items()}
    files |= rendered_deployment_files()
    files |= rendered_monitoring_files()
    files[Path("docs/configuration.md")] = rendered_configuration()
    return files


def _released(files: Mapping[Path, str]) -> dict[Path, str]:
    """The released copies of the values' schemas: file → content as it should be at a release."""
    from connector.topics_reference import CONTRACT_VERSION

    folder = Path("schemas") / f"v{CONTRACT_VERSION}"
    return {
        folder / file.name: text
        for file, text in files.items()
        if file.parent == Path("schemas") and file.name != "asyncapi.json"
    }


def _check_compatible(files: Mapping[Path, str]) -> None:
    from connector.schema_compatibility import Verdict

    breaking: list[tuple[Path, Change]] = []
    for file, change in _changes(files):
        if change.verdict is Verdict.BREAKING:
            breaking.append((file, change))
        else:
            out.print(f"{file}: {change.where}: {change.says} ({change.verdict})", markup=False)
    for file, change in breaking:
        err.print(f"error {file}: {change.where}: {change.says}", markup=False)
    if breaking:
        err.print("next  add instead of changing, or begin a new version: docs/events.md")
        raise typer.Exit(1)


def _changes(files: Mapping[Path, str]) -> list[tuple[Path, Change]]:
    from connector.schema_compatibility import schema_changes

    return [
        (released, change)
        for released, text in _released(files).items()
        if released.is_file()
        for change in schema_changes(json.loads(released.read_text(encoding="utf-8")), json.loads(text))
    ]
