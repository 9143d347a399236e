"""A replay of a long log, measured: events planned a second, memory of every process, and that the second plan is empty.

python tests/bench/replay.py --events 1000000
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench_world import BenchWorld, bench_world
from conversation_events import message, status
from pydantic import SecretStr

from connector.crm.hubspot.adapter import HubSpot
from connector.settings import HubSpotSettings, KafkaSettings, SyncSettings
from connector.state.database import close_pool, open_pool
from connector.streams.codec import EncodedRecord, encode
from connector.streams.producer import DurableProducer
from connector.sync.wake import Wake
from connector.sync.writer import Writer
from connector.telemetry.health import StageHealth
from connector.topics import CONVERSATION_EVENTS

_STATUSES = ("sent", "delivered", "read")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_MB = 1_000_000


@dataclass
class Run:
    """One command: what it printed, how long it took, the most that its processes held together, over its quarters."""

    document: Any = None
    seconds: float = 0.0
    cpu: float = 0.0
    rss: list[int] = field(default_factory=list)

    def quarters(self) -> str:
        """The highest resident memory in each quarter of the run, in MB."""
        size = max(1, len(self.rss) // 4)
        parts = [self.rss[start : start + size] for start in range(0, len(self.rss), size)][:4]
        return ", ".join(f"{max(part) // _MB}" for part in parts if part)


async def command(world: BenchWorld, *arguments: str) -> Run:
    """Run `connector …` as an operator does, and watch its memory."""
    stack = world.deployment.stack
    env = os.environ | {
        "CONNECTOR_KAFKA__BOOTSTRAP_SERVERS": stack.bootstrap_servers,
        "CONNECTOR_DATABASE__URL": stack.database_url,
    }
    run = Run()
    cpu, began = _cpu(), time.perf_counter()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "connector", *arguments, "--json", env=env, stdout=asyncio.subprocess.PIPE
    )
    reading = asyncio.create_task(process.communicate())
    while not reading.done():
        run.rss.append(sum(_memory(pid) for pid in _tree(process.pid)))
        await asyncio.sleep(0.2)
    run.seconds = time.perf_counter() - began
    printed, _ = await reading
    run.cpu = _cpu() - cpu
    if process.returncode:
        raise RuntimeError(f"{arguments} ended with {process.returncode}")
    run.document = json.loads(printed)
    return run


def _cpu() -> float:
    """Seconds of CPU of all processes that have ended under us."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _tree(root: int) -> list[int]:
    """A process and its descendants, as Linux shows them."""
    parents: dict[int, int] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(folder.name)] = int(fields[1])
    found = [root]
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid]
    return found


def _memory(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
    except OSError:
        return 0


async def fill(world: BenchWorld, events: int, people: int) -> None:
    """Conversations of outbound messages, each read: four events a message."""
    producer = DurableProducer(
        KafkaSettings(bootstrap_servers=world.deployment.stack.bootstrap_servers), client="bench-replay"
    )
    batch: list[EncodedRecord] = []
    for number in range(events // 4):
        who, wamid = f"person {number % people}", f"wamid.{number:09d}"
        shown = {"name": who, "wa_id": f"1555{number % people:07d}"}
        told = [message(wamid, who, seconds=number, shown=shown, direction="outbound")]
        said = [status(wamid, word, who, seconds=number + place) for place, word in enumerate(_STATUSES)]
        batch += [
            encode(CONVERSATION_EVENTS, key=str(event.person.contact_id), value=event, origin="bench")
            for event in (*told, *said)
        ]
        if len(batch) >= 2_000:
            await producer.send_all(batch, timeout=60)
            batch = []
    await producer.send_all(batch, timeout=60)
    await producer.stop()


@asynccontextmanager
async def writing(world: BenchWorld) -> AsyncIterator[Writer]:
    """The writer of sync-hubspot, without the half that folds: what is written is the plan's doing."""
    crm = HubSpot(HubSpotSettings(access_token=SecretStr("stub"), base_url=world.stub_url, calls_in_flight=8))
    await crm.check_setup(create=True)
    pool = await open_pool(world.deployment.stack.database_url, size=14, application="bench")
    stop = asyncio.Event()
    writer = Writer(
        crm=crm,
        pool=pool,
        settings=SyncSettings(),
        calls_in_flight=8,
        health=StageHealth("writer"),
        stop=stop,
        wake=Wake(),
    )
    running = asyncio.create_task(writer.run())
    try:
        yield writer
    finally:
        stop.set()
        await running
        await close_pool(pool)
        await crm.close()


async def measure(data_dir: Path, events: int, people: int) -> None:
    """Plan, apply, plan again."""
    async with bench_world(data_dir) as world:
        began = time.perf_counter()
        await fill(world, events, people)
        print(f"{events:,} events on the log in {time.perf_counter() - began:.0f} s")
        planned = await command(world, "replay", "--sink", "hubspot")
        (summary,) = planned.document["summary"]["sinks"]
        rate = planned.document["summary"]["records"] / planned.seconds
        print(
            f"planned {planned.document['summary']['records']:,} events in {planned.seconds:.1f} s: {rate:,.0f}/s, CPU {planned.cpu:.1f} s"
        )
        print(f"  memory of its processes in the quarters of the run, MB: {planned.quarters()}")
        print(
            f"  creates {summary['create_contacts']:,} contacts, adds {summary['add_activities']:,} activities"
        )
        async with writing(world):
            applied = await command(
                world, "replay", "--apply", planned.document["hash"], "--reason", "a benchmark"
            )
        print(
            f"applied in {applied.seconds:.1f} s (CPU {applied.cpu:.1f} s): {applied.document['written']:,} written"
        )
        print(f"  memory, MB: {applied.quarters()}")
        counts = await world.counts("hubspot")
        again = await command(world, "replay", "--sink", "hubspot")
        (second,) = again.document["summary"]["sinks"]
        print(
            f"planned again in {again.seconds:.1f} s: {again.document['summary']['records'] / again.seconds:,.0f}/s, CPU {again.cpu:.1f} s"
        )
        print(
            f"  memory, MB: {again.quarters()}; already there {second['already_there']:,}; items {len(again.document['items'])}"
        )
        print(f"  the CRM: {json.dumps(counts)[:300]}")
        assert not again.document["items"]
        assert await world.counts("hubspot") == counts


def main() -> None:
    """Run it once."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--people", type=int, default=0)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="replay-bench-") as folder:
        asyncio.run(measure(Path(folder), chosen.events, chosen.people or chosen.events // 80))


if __name__ == "__main__":
    main()
