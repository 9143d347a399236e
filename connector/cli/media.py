"""`connector media`: where a message's file is and why it is not, and removal by age."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from connector.cli.output import JsonOption, err, out, print_json, print_table

if TYPE_CHECKING:
    import asyncpg

    from connector.media.tables import FileRow
    from connector.settings import Settings

app = typer.Typer(help="Files of messages.", no_args_is_help=True)

_AGE = re.compile(r"(?P<days>[1-9][0-9]{0,4})d")


@app.command("show")
def show(
    wamid: Annotated[str, typer.Argument(help="The WhatsApp message id, wamid.…")],
    as_json: JsonOption = False,
) -> None:
    """Show a message's files: stored, waiting for what, or why they are not there; and a link that works today."""
    rows = asyncio.run(_show(wamid))
    if not rows:
        err.print(
            f"error no file is known of {wamid}\n"
            "next  connector trace WAMID says whether the message was seen; the role media notes its files"
        )
        raise typer.Exit(1)
    if as_json:
        print_json(rows)
        return
    for row in rows:
        out.print(
            f"file      {row['kind']} {row['filename'] or ''} ({row['mime_type'] or 'type not said'})",
            markup=False,
        )
        out.print(f"state     {row['state']}{': ' + row['reason'] if row['reason'] else ''}", markup=False)
        if row["state"] == "waiting":
            out.print(
                f"attempts  {row['attempts']}, WhatsApp forgets it at {row['fetch_until']:%Y-%m-%d %H:%M} UTC"
            )
        if row["state"] == "stored":
            out.print(f"stored    {row['blob']}, {row['size']:,} bytes", markup=False)
        if row["differs"]:
            out.print(f"differs   {row['differs']}", markup=False)
        out.print(
            f"link      {row['link'] or 'set CONNECTOR_MEDIA__SIGNING_SECRET and CONNECTOR_INGRESS__PUBLIC_URL'}",
            markup=False,
        )


@app.command("status")
def status(as_json: JsonOption = False) -> None:
    """Count the files: stored, waiting, and why others are not there."""
    rows = asyncio.run(_status())
    if as_json:
        print_json(
            [
                {"state": state, "reason": reason, "files": files, "bytes": size}
                for state, reason, files, size in rows
            ]
        )
    elif rows:
        print_table(
            ["state", "files", "bytes", "reason"],
            [[state, files, f"{size:,}", reason] for state, reason, files, size in rows],
        )
    else:
        out.print("No message has brought a file yet.\nnext: connector run media")


@app.command("purge")
def purge(
    older_than: Annotated[str, typer.Option("--older-than", help="Age of the message, in days: 90d.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count, and remove nothing.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Remove the files of old messages for good. Their links then say so. Run it by cron; repeating is harmless."""
    age = _AGE.fullmatch(older_than.strip())
    if age is None:
        raise typer.BadParameter("give a number of days, e.g. --older-than 90d")
    days = int(age["days"])
    before = datetime.now(UTC) - timedelta(days=days)
    result = asyncio.run(_purge(before, days=days, dry_run=dry_run))
    if as_json:
        print_json(result)
        return
    cutoff = f"messages before {before:%Y-%m-%d %H:%M} UTC"
    if dry_run:
        out.print(
            f"would remove {result['files']:,} files of {cutoff}, {result['bytes']:,} bytes\nnext: the same without --dry-run"
        )
    else:
        out.print(f"removed {result['files']:,} files of {cutoff}, {result['bytes']:,} bytes")


async def _show(wamid: str) -> list[dict[str, Any]]:
    from connector.media import tables
    from connector.state.database import transaction

    async with _opened() as (settings, pool), transaction(pool) as connection:
        rows = await tables.files_of(connection, wamid)
    return [asdict(row) | {"link": _fresh_link(settings, row)} for row in rows]


def _fresh_link(settings: Settings, row: FileRow) -> str | None:
    """A link whose life begins now: what the CRM shows may have ended."""
    from connector.media.links import media_links

    links = media_links(settings)
    if links is None:
        return None
    now = int(datetime.now(UTC).timestamp() * 1000)
    return links.link(wamid=row.wamid, media_id=row.media_id, at=now)


async def _status() -> list[tuple[str, str, int, int]]:
    from connector.media import tables
    from connector.state.database import transaction

    async with _opened() as (_, pool), transaction(pool) as connection:
        return list(await tables.summary(connection))


async def _purge(before: datetime, *, days: int, dry_run: bool) -> dict[str, int]:
    from connector.media import removal, tables
    from connector.media.store import BlobStore
    from connector.state.database import transaction

    async with _opened() as (settings, pool):
        async with transaction(pool) as connection:
            files, size = await tables.count_older(connection, before=before)
        if not dry_run:
            store = BlobStore(settings.media.store)
            try:
                reason = f"removed after {days} days"
                files = await removal.purge(pool, store, before=before, reason=reason)
            finally:
                await store.close()
    return {"files": files, "bytes": size}


@asynccontextmanager
async def _opened() -> AsyncIterator[tuple[Settings, asyncpg.Pool]]:
    from connector.settings import load_settings
    from connector.state.database import close_pool, open_pool

    settings = load_settings()
    pool = await open_pool(settings.database.url.get_secret_value(), size=2, application="media command")
    try:
        yield settings, pool
    finally:
        await close_pool(pool)
