"""`connector status`: what answers, what waits, what is refused, and what to do about each thing that is wrong."""

from __future__ import annotations

import asyncio
import time
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from connector.cli.output import JsonOption, out, print_json, print_table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from connector.recovery.advice import Advice
    from connector.recovery.overview import Dependency, Overview
    from connector.settings import Settings

_LOOK_EVERY = 2.0  # seconds
_CRMS_EVERY = 30.0  # seconds; asking a CRM costs calls of its quota


def status(
    *,
    role: Annotated[
        list[str] | None,
        typer.Option("--role", help="NAME=URL of a role's health endpoint; else CONNECTOR_HEALTH__ROLES."),
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Look again every 2 s until Ctrl-C.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show roles, dependencies, lag, waiting, held and refused items, dead letters, and advice for what is wrong.

    Needs Kafka and the database; asks roles and CRMs where the settings name them. Exits 1 when something does not work.
    """
    from connector.settings import load_settings

    settings = load_settings()
    roles = dict(_role(item) for item in role) if role else settings.health.roles
    try:
        works = asyncio.run(_watch(settings, roles, forever=watch, as_json=as_json))
    except KeyboardInterrupt:  # how a watch ends
        out.print()
        return
    if not works:
        raise typer.Exit(1)


def _role(item: str) -> tuple[str, str]:
    name, separator, url = item.partition("=")
    if not separator or not url.startswith(("http://", "https://")):
        raise typer.BadParameter(f"--role {item}: give NAME=URL, e.g. route=http://10.0.0.7:9000")
    return name, url.rstrip("/")


async def _watch(settings: Settings, roles: Mapping[str, str], *, forever: bool, as_json: bool) -> bool:
    """Look once, or until interrupted; whether everything worked at the last look."""
    from connector.recovery.advice import advise
    from connector.recovery.overview import check_crms, look

    crms: Sequence[Dependency] = ()
    asked_at = float("-inf")
    while True:
        if time.monotonic() - asked_at >= _CRMS_EVERY:
            asked_at, crms = time.monotonic(), await check_crms(settings)
        overview = await look(settings, roles=roles, crms=crms)
        advice = advise(overview, now=datetime.now(UTC))
        if forever and out.is_terminal and not as_json:
            out.clear()
        if as_json:
            print_json({**asdict(overview), "advice": [asdict(item) for item in advice]})
        else:
            _show(overview, advice, asks_roles=bool(roles))
        if not forever:
            return not any(item.urgent for item in advice)
        await asyncio.sleep(_LOOK_EVERY)


def _show(overview: Overview, advice: Sequence[Advice], *, asks_roles: bool) -> None:
    now = datetime.now(UTC)
    print_table(
        ["depends on", "works", "what it says"],
        [[item.name, _WORKS[item.works], item.said] for item in overview.dependencies],
    )
    out.print()
    if asks_roles:
        print_table(
            ["role", "state", "lag", "waiting", "errors", "what holds it up"],
            [
                [
                    role.name,
                    role.state,
                    _number(role.reading.lag),
                    _number(role.reading.waiting),
                    _number(role.reading.errors),
                    role.reading.held_up_by,
                ]
                for role in overview.roles
            ],
        )
    else:
        out.print("roles were not asked: name them with --role NAME=URL or CONNECTOR_HEALTH__ROLES")
    if overview.groups:
        out.print()
        print_table(
            ["stage", "topic", "lag", "workers", "group"],
            [
                [
                    item.stage,
                    item.topic,
                    item.lag,
                    item.members,
                    item.state.lower() if item.ever_committed else "never ran",
                ]
                for item in overview.groups
            ],
        )
    if overview.sinks:
        out.print()
        print_table(
            [
                "sink",
                "waiting",
                "oldest",
                "in doubt",
                "people held",
                "refused",
                "blocked by it",
                "retried",
                "last because",
            ],
            [
                [
                    item.sink,
                    item.waiting,
                    _age(item.oldest, now),
                    item.in_doubt,
                    ", ".join(f"{count} {held}" for held, count in item.held.items()) or 0,
                    sum(refused.contacts + refused.activities for refused in item.refused),
                    item.blocked,
                    item.retried,
                    item.setback,
                ]
                for item in overview.sinks
            ],
        )
    if overview.quotas:
        out.print()
        print_table(
            ["quota of", "account", "left of the day", "left now", "calls open"],
            [
                [
                    item.crm,
                    item.account,
                    "" if item.day_calls is None else f"{item.day_left} of {item.day_calls}",
                    ", ".join(
                        f"{bucket.bucket} {bucket.left} of {bucket.calls} in {bucket.seconds:g} s"
                        for bucket in item.buckets
                    ),
                    item.open_calls if item.at_once is None else f"{item.open_calls} of {item.at_once}",
                ]
                for item in overview.quotas
            ],
        )
    if overview.parked is not None and overview.parked.count:
        out.print(f"\n{overview.parked.count} statuses are parked until their message comes")
    _show_letters(overview)
    out.print()
    if not advice:
        out.print("nothing is wrong")
    for item in advice:
        out.print(f"{'WRONG' if item.urgent else 'look '} {item.what}\n next {item.do}", markup=False)


def _show_letters(overview: Overview) -> None:
    letters = overview.dead_letters
    if letters is None:
        return
    if letters.since is None:
        out.print("\nno dead letters")
        return
    older = "" if letters.complete else ", older ones not counted"
    out.print(f"\ndead letters since {letters.since:%Y-%m-%d %H:%M} UTC{older}")
    print_table(
        ["stage", "cause", "open", "redriven", "dropped", "last (UTC)"],
        [
            [item.stage, item.cause, item.open, item.redriven, item.dropped, f"{item.last:%Y-%m-%d %H:%M:%S}"]
            for item in letters.groups
        ],
    )


_WORKS: dict[bool | None, str] = {True: "yes", False: "no", None: "?"}


def _number(value: int | None) -> Any:
    return "" if value is None else value


def _age(since: datetime | None, now: datetime) -> str:
    return "" if since is None else f"{(now - since).total_seconds():.1f} s"
