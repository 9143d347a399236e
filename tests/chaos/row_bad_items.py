"""Row 9: one message in a hundred is refused by the CRMs, whose answers are short, wrong or late, and rows locked."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import orjson
from chaos_figures import Figure, Row, at_most, equal, none_of, told
from chaos_judge import NAMES
from chaos_load import Load
from chaos_world import NO_QUOTA, World, opened

from connector.events import DeadLetter
from connector.sandbox.whatsapp import payloads
from connector.sandbox.whatsapp.conversations import ExpectedPerson
from connector.sandbox.whatsapp.payloads import BusinessNumber, Person, Update

POISON = "☠ DROP TABLE"
_NUMBER = BusinessNumber()
_ONE_IN = 100
EXTRA_CALLS_BAR = 7  # "fewer than 8"

# Chances of a call; what is refused whole, late or unreadable is the CRM's fault and never an item's.
_EVERYWHERE: Sequence[dict[str, Any]] = (
    {"kind": "empty_results", "probability": 0.02},
    {"kind": "missing_results", "probability": 0.03},
    {"kind": "repeated_results", "probability": 0.03},
    {"kind": "empty_body", "probability": 0.01},
    {"kind": "other_type", "probability": 0.02},
    {"kind": "truncated_body", "probability": 0.01},
    {"kind": "slow_body", "seconds": 1.0, "probability": 0.02},
    {"kind": "poison", "text": POISON},
)
_OF_ONE: dict[str, Sequence[dict[str, Any]]] = {
    "hubspot": (
        {"kind": "shuffled_results", "probability": 0.2},
        {"kind": "status", "status": 423, "probability": 0.2},
    ),
    "salesforce": ({"kind": "lock", "share": 0.2},),
}
_PATHS = {"hubspot": "/crm/objects/*/batch/*", "salesforce": "/services/data/*/composite/sobjects*"}


async def play(world: World, *, updates: int, per_second: float, settle: float) -> list[Figure]:
    """Let the CRMs refuse some messages and answer badly; then see what it costs to find one bad among a hundred."""
    for sink in world.sinks:
        for fault in (*_EVERYWHERE, *_OF_ONE[sink]):
            await world.fault(sink, path=_PATHS[sink], **fault)
    letters_before = len(await world.read_dead_letters())
    async with Load(world.deployment.ingress_urls, seed=world.seed) as load:
        before = len(world.expected.people)
        crowd = world.crowd(updates)
        people = world.expected.people[before:]
        bad = [
            _poisoned(people[place % len(people)], place, world.seed) for place in range(updates // _ONE_IN)
        ]
        await load.post(_mixed(crowd, bad), per_second=per_second)
        acknowledged = await load.all_acknowledged(within=60)
        figures = await world.settled(within=settle)
        letters = (await world.read_dead_letters())[letters_before:]
        for sink in world.sinks:
            await world.calm(sink)
        figures += [
            told("updates posted", load.updates),
            equal("everything was answered 200 in the end", acknowledged, True),
        ]
        for sink in world.sinks:
            figures += _of_letters(sink, letters, wanted={str(one.wamid) for one in bad})
        for sink in world.sinks:
            figures += await _isolation(world, load, sink, people)
    return [*figures, *await world.settled(within=settle)]


def _poisoned(person: ExpectedPerson, place: int, seed: int) -> Update:
    """A text of somebody who is in the CRM anyway, at a time when they wrote: it changes nothing about the person."""
    shown = Person(
        name=person.name,
        wa_id=person.phones[-1] if person.phones else None,
        bsuid=person.bsuids[-1],
        username=person.username,
    )
    wamid = payloads.wamid("0", Random(f"poison {seed} {place} {person.number}"))
    at = person.messages[0].at
    return payloads.text(shown, _NUMBER, message_id=wamid, at=at, body=f"{POISON} {place}")


def _mixed(crowd: Sequence[Update], bad: Sequence[Update]) -> list[Update]:
    """The bad ones at even distances, in the second half: their people's moves are done by then."""
    mixed = list(crowd)
    half = len(mixed) // 2
    for number, update in enumerate(bad):
        mixed.insert(half + number * (half // len(bad)), update)
    return mixed


def _of_letters(sink: str, letters: Sequence[DeadLetter], *, wanted: set[str]) -> list[Figure]:
    """Exactly the bad messages are in the dead letters of this CRM's stage, each with its reason."""
    mine = [letter for letter in letters if letter.stage == f"sync-{sink}"]
    subjects = Counter(orjson.loads(letter.original).get("subject") for letter in mine)
    unsaid = [letter.event_id for letter in mine if not (letter.reason and letter.advice)]
    nameless = [letter.event_id for letter in mine if "crm-correlation-id" not in letter.headers]
    name = NAMES[sink]
    figures = [
        none_of(
            f"{name}: bad messages without a dead letter (of {len(wanted)})", sorted(wanted - set(subjects))
        ),
        none_of(f"{name}: dead letters of good items", sorted(map(str, set(subjects) - wanted))),
        none_of(f"{name}: dead letters without reason or advice", unsaid),
    ]
    if sink == "hubspot":  # Salesforce gives rows no id that its support could look up
        figures.append(none_of(f"{name}: dead letters without the CRM's correlation id", nameless))
    return figures


async def _isolation(world: World, load: Load, sink: str, people: Sequence[ExpectedPerson]) -> list[Figure]:
    """What it costs to find one bad message among a hundred that a CRM refuses whole."""
    number = await world.fault(sink, path=_PATHS[sink], kind="poison", text=POISON, scope="batch")
    while await world.owed() != 0:
        await asyncio.sleep(0.2)
    marks = await world.journal(sink, limit=1)
    since = marks["calls"][-1]["number"]
    chosen = [people[place % len(people)] for place in range(_ONE_IN)]
    serial = f"isolation {world.seed} {sink}"
    messages = [
        payloads.text(
            Person(
                name=one.name,
                wa_id=one.phones[-1] if one.phones else None,
                bsuid=one.bsuids[-1],
                username=one.username,
            ),
            _NUMBER,
            message_id=payloads.wamid("0", Random(f"{serial} {place}")),
            at=one.messages[0].at,
            body=f"{POISON} alone" if place == _ONE_IN // 3 else f"one of a hundred {place}",
        )
        for place, one in enumerate(chosen)
    ]
    async with _held_back(world, f"sync-{sink}"):
        await load.post(messages, per_second=2000)
        await load.all_acknowledged(within=10)
        await _routed(world, within=8)
    while await world.owed() != 0:
        await asyncio.sleep(0.2)
    journal = await world.journal(sink, limit=10_000, since=since)
    path = "communications/batch/create" if sink == "hubspot" else "composite/sobjects/Task"
    calls = [call["inputs"] for call in journal["calls"] if path in call["path"]]
    await world.control[sink].delete(f"/_sandbox/faults/{number}")
    for place, (one, update) in enumerate(zip(chosen, messages, strict=True)):
        if place != _ONE_IN // 3:
            world.also_said(one, update)
    # Beside the first call, which is refused, and a last one that writes those that were not tried again.
    looking = calls[1:-1] if len(calls) > 2 and calls[-1] > calls[-2] else calls[1:]
    return [
        told(
            f"{NAMES[sink]}: messages of each call with one bad among a hundred", ", ".join(map(str, calls))
        ),
        at_most(f"{NAMES[sink]}: extra calls until the bad one is known", len(looking), EXTRA_CALLS_BAR),
    ]


@asynccontextmanager
async def _held_back(world: World, role: str) -> AsyncIterator[None]:
    """Freeze a role, so that what comes meanwhile is worked on as one batch."""
    pid = world.supervisor.statuses[role].pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


async def _routed(world: World, *, within: float) -> None:
    deadline = time.monotonic() + within
    while not await world.is_routed() and time.monotonic() < deadline:
        await asyncio.sleep(0.1)


async def run(data_dir: Path, seed: int) -> Sequence[Figure]:
    figures: list[Figure] = []
    for status in ("multi_status", "success"):
        portal = {**NO_QUOTA, "partial_status": status}
        async with opened(data_dir / status, seed=seed, hubspot=portal) as world:
            answer = "207" if status == "multi_status" else "200 with errors"
            figures.append(told("HubSpot answers a batch that failed in part with", answer))
            figures += await play(world, updates=10_000, per_second=150, settle=300)
    return figures


ROW = Row(
    number=9,
    title="poison rows, wrong values, empty, short and repeated results, partial 207, lock errors 20 %",
    run=run,
)
