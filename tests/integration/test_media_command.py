"""`connector media` as an operator runs it, on a real PostgreSQL and a real store."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from media_world import MediaWorld, media_world

from connector.events import Message


class Operator:
    def __init__(self, world: MediaWorld, database_url: str) -> None:
        self.world = world
        self._env = {
            **os.environ,
            "CONNECTOR_DATABASE__URL": database_url,
            "CONNECTOR_MEDIA__STORE": str(world.folder),
            "CONNECTOR_MEDIA__SIGNING_SECRET": "the secret",
            "CONNECTOR_INGRESS__PUBLIC_URL": "https://hooks.example",
        }

    async def run(self, *arguments: str) -> tuple[int, str, str]:
        """Exit code, standard output, standard error."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "connector",
            "media",
            *arguments,
            env=self._env,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
        assert process.returncode is not None
        return process.returncode, out.decode(), err.decode()

    async def json(self, *arguments: str) -> Any:
        code, out, err = await self.run(*arguments, "--json")
        assert code == 0, err
        return json.loads(out)


@pytest.fixture
async def operator(database_url: str, tmp_path: Path) -> AsyncIterator[Operator]:
    async with media_world(database_url, tmp_path / "store") as world:
        yield Operator(world, database_url)


async def stored(world: MediaWorld, wamid: str, *, days: int = 0) -> Message:
    """A message of `days` ago whose file is in the store."""
    event, _ = world.sent(wamid, b"content")
    event = event.model_copy(update={"at": datetime.now(UTC) - timedelta(days=days)})
    await world.note(event)
    async with world.fetching():
        await world.until(event, "stored")
    return event


async def test_purge_counts_first_and_then_removes(operator: Operator) -> None:
    """A dry run removes nothing; the run removes what it counted, and only that; a third finds nothing."""
    await stored(operator.world, "old", days=91)
    young = await stored(operator.world, "young")
    wanted = {"files": 1, "bytes": 7}
    assert await operator.json("purge", "--older-than", "90d", "--dry-run") == wanted
    assert len(operator.world.stored()) == 2
    assert await operator.json("purge", "--older-than", "90d") == wanted
    assert list(operator.world.stored()) == [(await operator.world.row(young)).blob]
    assert await operator.json("purge", "--older-than", "90d") == {"files": 0, "bytes": 0}
    states = {(row["state"], row["reason"], row["files"]) for row in await operator.json("status")}
    assert states == {("stored", "", 1), ("purged", "removed after 90 days", 1)}


async def test_show_says_where_a_file_is_and_gives_a_link_that_works_today(operator: Operator) -> None:
    """The link's life begins now, whatever the age of the message."""
    await stored(operator.world, "wamid.m", days=60)
    (row,) = await operator.json("show", "wamid.m")
    assert (row["state"], row["size"]) == ("stored", 7)
    ends = int(row["link"].partition("expires=")[2].partition("&")[0])
    assert 29 * 86_400 < ends - datetime.now(UTC).timestamp() <= 30 * 86_400
    code, out, _ = await operator.run("show", "wamid.m")
    assert (code, row["link"].partition("?")[0] in out) == (0, True)


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["purge", "--older-than", "90"], 2, "a number of days"),
        (["purge", "--older-than", "0d"], 2, "a number of days"),
        (["show", "wamid.unknown"], 1, "connector trace"),
    ],
    ids=["no unit", "everything", "unknown message"],
)
async def test_a_mistake_is_told_with_what_to_do(
    operator: Operator, arguments: list[str], code: int, says: str
) -> None:
    """Nothing is guessed and nothing removed."""
    found, _, err = await operator.run(*arguments)
    assert (found, says in err) == (code, True)
