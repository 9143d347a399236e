"""`connector …` as an operator types it, within this process: exit code, standard output, standard error."""

import asyncio
import json
from typing import Any

import pytest
from typer.testing import CliRunner

from connector.cli import app
from connector.errors import ConnectorError


class Operator:
    """Runs commands with settings of this test's own."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **settings: str) -> None:
        """`settings`: `database__url` is CONNECTOR_DATABASE__URL."""
        for name, value in settings.items():
            monkeypatch.setenv(f"CONNECTOR_{name.upper()}", value)

    async def run(self, *arguments: str) -> tuple[int, str, str]:
        """In a thread of its own: commands bring their own event loop."""
        return await asyncio.to_thread(self._run, arguments)

    def _run(self, arguments: tuple[str, ...]) -> tuple[int, str, str]:
        result = CliRunner().invoke(app, list(arguments))
        if isinstance(result.exception, ConnectorError):  # what `main` does with it
            return 1, result.stdout, f"{result.stderr}{result.exception}"  # `main` shows it
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.exit_code, result.stdout, result.stderr

    async def json(self, *arguments: str) -> Any:
        """What a command that ends well prints with --json."""
        code, out, err = await self.run(*arguments, "--json")
        assert code == 0, (out, err)
        # Roles that a test runs beside it log to the same output.
        lines = out.splitlines()
        start = next(place for place, line in enumerate(lines) if line.startswith(("{", "[")))
        return json.loads("\n".join(lines[start:]))
