"""Parameters of a template as they are typed: `-p first_name=Ana -p header='{"link": "https://…"}'`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any

import typer

ParameterOption = Annotated[
    list[str] | None,
    typer.Option(
        "--parameter",
        "-p",
        metavar="NAME=VALUE",
        help="A parameter by name or position, again for each; an object as JSON: "
        'header=\'{"link": "https://…"}\'.',
    ),
]


def given_parameters(typed: Sequence[str] | None) -> dict[str, Any]:
    """What was typed, in the form that a trigger has. Raises `typer.BadParameter` that says what is valid."""
    from connector.ingress import trigger_fields

    found: dict[str, Any] = {}
    for item in typed or ():
        name, sign, content = item.partition("=")
        name = name.strip()
        if not sign or not name:
            raise typer.BadParameter(f"-p {item}: give NAME=VALUE, e.g. -p first_name=Ana")
        if name in found:
            raise typer.BadParameter(f"-p {name} is there twice")
        found[name] = _value(name, content.strip())
    try:
        return trigger_fields.parameters(found)
    except ValueError as error:
        raise typer.BadParameter(f"parameters: {error}") from None


def _value(name: str, content: str) -> Any:
    if not content.startswith("{"):
        return content
    try:
        return json.loads(content)
    except ValueError as error:
        raise typer.BadParameter(f"-p {name} is not valid JSON: {error}") from None
