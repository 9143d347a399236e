"""`connector schemas` in a checkout of its own."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from connector.cli import app

run = CliRunner()


@pytest.fixture
def checkout(tmp_path: Path) -> Iterator[Path]:
    """An empty checkout that the command works in, frozen once."""
    before = Path.cwd()
    os.chdir(tmp_path)
    yield tmp_path
    os.chdir(before)


def test_what_is_missing_is_stale_and_what_was_written_is_not(checkout: Path) -> None:
    """Without files --check fails and names them; after --write it passes."""
    missing = run.invoke(app, ["schemas", "--check"])
    assert missing.exit_code == 1
    assert "schemas/asyncapi.json" in missing.stderr
    assert run.invoke(app, ["schemas", "--write"]).exit_code == 0
    assert run.invoke(app, ["schemas", "--check"]).exit_code == 0


def test_a_schema_that_broke_with_the_released_one_is_refused(checkout: Path) -> None:
    """A field that was released and is gone fails the check, by file and field."""
    assert run.invoke(app, ["schemas", "--freeze"]).exit_code == 0
    released = checkout / "schemas" / "v1" / "account.events.json"
    schema = json.loads(released.read_text("utf-8"))
    schema["properties"]["mood"] = {"type": "string", "default": ""}
    released.write_text(json.dumps(schema), "utf-8")
    result = run.invoke(app, ["schemas", "--check"])
    assert result.exit_code == 1
    assert "schemas/v1/account.events.json: mood: is gone" in result.stderr
    assert "docs/events.md" in result.stderr


def test_what_is_for_readers_first_is_named_and_passes(checkout: Path) -> None:
    """A value that the last release does not read is no error, but said."""
    run.invoke(app, ["schemas", "--freeze"])
    released = checkout / "schemas" / "v1" / "whatsapp.updates.json"
    schema = json.loads(released.read_text("utf-8"))
    schema["properties"]["kind"]["enum"].remove("history")
    released.write_text(json.dumps(schema), "utf-8")
    result = run.invoke(app, ["schemas", "--check"])
    assert result.exit_code == 0
    assert "kind: history is new" in result.stdout
