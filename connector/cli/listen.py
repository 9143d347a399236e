"""`connector listen`: events as they pass."""

from __future__ import annotations

import asyncio
import json
import re
from contextlib import aclosing
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from connector.cli.operator import database
from connector.cli.output import JsonOption, err, out

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from connector.recovery.in_flight import Marks
    from connector.recovery.listening import Heard
    from connector.topics import Topic

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def listen(
    *,
    topic: Annotated[
        list[str] | None, typer.Option("--topic", help="Only this topic, again for each; else all.")
    ] = None,
    kind: Annotated[
        list[str] | None,
        typer.Option(
            "--type", help="Only events of this type, again for each: message, status, send.blocked, …"
        ),
    ] = None,
    person: Annotated[
        str,
        typer.Option(
            "--person", help="Only of this person: a phone, BSUID, hubspot:ID, salesforce:ID or contact id."
        ),
    ] = "",
    since: Annotated[
        str,
        typer.Option("--from", metavar="TIME", help="Begin earlier: 10m, 2h, 1d ago, or 2026-03-01T09:00Z."),
    ] = "",
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="End after so many.")] = None,
    plain: Annotated[
        bool, typer.Option("--unmasked", help="Show phones, names and texts as they are: personal data.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Show records of the topics as they pass, masked, until Ctrl-C. Reads beside the roles and changes nothing.

    With --json a line is a record with its whole value, masked, for a filter such as jq.
    """
    topics = _topics(topic or ())
    begin = moment_given(since, now=datetime.now(UTC)) if since else None
    try:
        asyncio.run(
            _listen(
                topics,
                kinds=frozenset(kind or ()),
                person=person,
                since=begin,
                limit=limit,
                plain=plain,
                as_json=as_json,
            )
        )
    except KeyboardInterrupt:
        err.print()


def moment_given(text: str, *, now: datetime) -> datetime:
    """`90s`, `10m`, `2h`, `1d` before `now`, or an ISO time, in UTC unless it says otherwise."""
    ago = re.fullmatch(r"(\d{1,6})([smhd])", text.strip())
    if ago:
        return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError:
        raise typer.BadParameter(
            f"--from {text}: give 10m, 2h, 1d, or a time such as 2026-03-01T09:00Z"
        ) from None
    found = found if found.tzinfo else found.replace(tzinfo=UTC)
    if found > now:
        raise typer.BadParameter(f"--from {text} is in the future")
    return found


def _topics(names: Collection[str]) -> Sequence[Topic]:
    from connector.topics import ALL_TOPICS

    known = {one.name: one for one in ALL_TOPICS}
    for name in names:
        if name not in known:
            raise typer.BadParameter(f"--topic {name} is none of {', '.join(known)}")
    return [one for one in ALL_TOPICS if not names or one.name in names]


async def _listen(
    topics: Sequence[Topic],
    *,
    kinds: frozenset[str],
    person: str,
    since: datetime | None,
    limit: int | None,
    plain: bool,
    as_json: bool,
) -> None:
    from connector.recovery.listening import heard
    from connector.settings import load_settings
    from connector.streams.tail import tail

    settings = load_settings()
    marks = await _marks(person) if person else None
    if not as_json:
        err.print(f"listening to {', '.join(one.name for one in topics)}; Ctrl-C ends it", markup=False)
    count = 0
    async with aclosing(tail(settings.kafka, topics, since=since)) as records:
        async for topic, record in records:
            if marks is not None and not marks.in_record(record.key, record.value):
                continue
            found = heard(
                topic=topic.name,
                partition=record.partition,
                offset=record.offset,
                timestamp=record.timestamp,
                key=record.key,
                value=record.value,
                headers=dict(record.headers),
                plain=plain,
            )
            if kinds and found.type not in kinds:
                continue
            _show(found, as_json=as_json)
            count += 1
            if count == limit:
                return


async def _marks(person: str) -> Marks:
    from connector.cli.people import find_person, names_of
    from connector.recovery.in_flight import Marks

    async with database() as (_, connection):
        return Marks(await names_of(connection, await find_person(connection, person, at=datetime.now(UTC))))


def _show(found: Heard, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(asdict(found), ensure_ascii=False, default=str))
        return
    again = " (redriven)" if found.redriven else ""
    out.print(
        f"{found.at:%H:%M:%S}.{found.at.microsecond // 1000:03} {found.topic:<19} {found.type or '-':<16} {found.key:<36} "
        f"{found.told()}{again}  [{found.partition}/{found.offset}]",
        markup=False,
    )
