"""The harness under signals: real worker processes, stopped and killed in the middle of a batch."""

import asyncio
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer

from connector.settings import KafkaSettings
from connector.streams.topic_admin import create_topics
from connector.topics import WHATSAPP_UPDATES

WORKER = Path(__file__).with_name("harness_worker.py")
COUNT = 400
BATCH = 50


class Journal:
    """What the workers of a test wrote."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def lines(self) -> list[str]:
        return self.path.read_text().splitlines() if self.path.exists() else []

    def batches_begun(self) -> int:
        return self.lines().count("begin")

    def handled(self) -> Counter[str]:
        return Counter(line.split()[2] for line in self.lines() if line != "begin")

    async def until(self, condition: Callable[["Journal"], bool], *, within: float = 40.0) -> None:
        deadline = time.monotonic() + within
        while not condition(self):
            assert time.monotonic() < deadline, f"{sum(self.handled().values())} handled"
            await asyncio.sleep(0.05)


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "journal")


@pytest.fixture
async def kafka_settings(bootstrap_servers: str, topic_prefix: str) -> KafkaSettings:
    settings = KafkaSettings(
        bootstrap_servers=bootstrap_servers, topic_prefix=topic_prefix, partitions=4, replication_factor=1
    )
    await create_topics(settings)
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap_servers, acks="all")
    await producer.start()
    topic = WHATSAPP_UPDATES.full_name(topic_prefix)
    sent = [await producer.send(topic, value=b"v%d" % n, partition=n % 4) for n in range(COUNT)]
    await asyncio.gather(*sent)
    await producer.stop()
    return settings


@asynccontextmanager
async def worker(
    settings: KafkaSettings, journal: Journal, *, milliseconds: int
) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(WORKER),
        settings.bootstrap_servers,
        settings.topic_prefix,
        str(journal.path),
        str(milliseconds),
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_sigterm_in_mid_batch_loses_and_repeats_nothing(
    kafka_settings: KafkaSettings, journal: Journal
) -> None:
    """SIGTERM during a batch: it is finished and committed, the exit is 0, the next worker does only the rest."""
    async with worker(kafka_settings, journal, milliseconds=700) as first:
        await journal.until(lambda j: j.batches_begun() >= 2)
        first.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(first.wait(), 20) == 0
    assert 0 < sum(journal.handled().values()) < COUNT
    async with worker(kafka_settings, journal, milliseconds=0):
        await journal.until(lambda j: len(j.handled()) == COUNT)
    assert set(journal.handled().values()) == {1}


async def test_kill_in_mid_batch_loses_nothing_and_is_taken_over_in_time(
    kafka_settings: KafkaSettings, journal: Journal
) -> None:
    """`kill -9` during a batch: another replica takes over within the session timeout and nothing is lost."""
    async with worker(kafka_settings, journal, milliseconds=400) as first:
        await journal.until(lambda j: j.batches_begun() >= 3)
        first.kill()
        await first.wait()
    killed = time.monotonic()
    handled_before = len(journal.handled())
    assert handled_before < COUNT
    async with worker(kafka_settings, journal, milliseconds=0):
        await journal.until(lambda j: len(j.handled()) == COUNT)
    assert time.monotonic() - killed < 15, "resume after a kill took longer than the promise"
    # Repeated is at most what was handled since the last commit, never what nobody handled.
    assert sum(journal.handled().values()) <= COUNT + handled_before + BATCH
