"""The ingress while its broker is away, killed or hung: never a 200 for what is not on the log, never a long wait."""

import asyncio
import itertools
import os
import signal
import time
from collections.abc import AsyncIterator, Callable

import httpx
import pytest
from httpx_aiohttp import HttpxAiohttpClient
from ingress_world import (
    URL,
    RunningIngress,
    eventually,
    ingress_settings,
    read_topic,
    running_ingress,
    signed,
    text_body,
)

from connector.embedded.kafka import EmbeddedKafka
from connector.settings import Settings
from connector.streams.topic_admin import create_topics
from connector.topics import WHATSAPP_UPDATES


@pytest.fixture(scope="module")
async def own_kafka(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[EmbeddedKafka]:
    """A broker that these tests may do anything to; each leaves it running."""
    async with EmbeddedKafka(tmp_path_factory.mktemp("kafka")) as engine:
        yield engine


@pytest.fixture
async def settings(own_kafka: EmbeddedKafka, topic_prefix: str) -> Settings:
    settings = ingress_settings(own_kafka.bootstrap_servers, topic_prefix)
    await create_topics(settings.kafka)
    return settings


async def kept_ids(settings: Settings) -> set[str]:
    return {update.update["id"] for _, _, update in await read_topic(settings, WHATSAPP_UPDATES)}


async def test_every_acknowledged_update_survives_a_killed_broker(
    own_kafka: EmbeddedKafka, settings: Settings
) -> None:
    """`kill -9` amid a stream of POSTs: only 200 and 503, none later than 5 s, every 200 on the topic, then it goes on."""
    answers: list[tuple[str, int, float]] = []

    def statuses() -> list[int]:
        return [status for _, status, _ in answers]

    # A pool that queues, or httpx's own with 400 connections, takes seconds that would count as the ingress's.
    limits = httpx.Limits(max_connections=2000)
    async with (
        running_ingress(settings) as ingress,
        HttpxAiohttpClient(base_url=ingress.client.base_url, timeout=15, limits=limits) as client,
        asyncio.TaskGroup() as posts,
    ):
        await ingress.until_ready()

        async def post(wamid: str) -> None:
            body = text_body(wamid)
            started = time.monotonic()
            response = await client.post(URL, content=body, headers=signed(body))
            answers.append((wamid, response.status_code, time.monotonic() - started))

        async def post_until(enough: Callable[[], bool]) -> None:
            async with asyncio.timeout(30):
                while not enough():
                    posts.create_task(post(f"wamid.{next(numbers)}"))
                    await asyncio.sleep(0.01)  # the pace of an open loop, not a wait

        numbers = itertools.count()
        await post_until(lambda: len(answers) > 100)
        own_kafka.kill()
        await post_until(lambda: 503 in statuses())
        restart = asyncio.create_task(own_kafka.start())
        await post_until(restart.done)
        seen = len(answers)
        await post_until(lambda: 200 in statuses()[seen:])

    assert set(statuses()) == {200, 503}
    assert max(seconds for _, _, seconds in answers) < 5
    assert {wamid for wamid, status, _ in answers if status == 200} <= await kept_ids(settings)


async def test_a_broker_that_is_away_is_503_until_it_is_back(
    own_kafka: EmbeddedKafka, settings: Settings
) -> None:
    """Started without a broker: listening, not ready, 503 at once; then ready by itself."""
    await own_kafka.stop()
    try:
        async with running_ingress(settings) as ingress:
            started = time.monotonic()
            away = await ingress.post(text_body("wamid.away"))
            assert (away.status_code, away.headers["Retry-After"]) == (503, "1")
            assert time.monotonic() - started < 1
            assert (await ingress.client.get("/healthz")).status_code == 200
            assert (await ingress.client.get("/readyz")).status_code == 503

            await own_kafka.start()
            await ingress.until_ready()
            assert (await ingress.post(text_body("wamid.back"))).status_code == 200
    finally:
        await own_kafka.start()

    assert await kept_ids(settings) == {"wamid.back"}


@pytest.fixture
async def impatient(own_kafka: EmbeddedKafka, topic_prefix: str) -> Settings:
    """Waits one second for the broker instead of four."""
    settings = ingress_settings(own_kafka.bootstrap_servers, topic_prefix, ack_timeout=1.0)
    await create_topics(settings.kafka)
    return settings


async def test_a_broker_that_hangs_is_503_at_the_deadline(
    own_kafka: EmbeddedKafka, impatient: Settings
) -> None:
    """SIGSTOP in mid-work: the deadline holds, memory is given back in time, and after SIGCONT it goes on."""
    assert own_kafka.pid is not None
    async with running_ingress(impatient) as ingress:
        await ingress.until_ready()
        assert (await ingress.post(text_body("wamid.before"))).status_code == 200
        os.kill(own_kafka.pid, signal.SIGSTOP)
        try:
            started = time.monotonic()
            answers = await asyncio.gather(*(ingress.post(text_body(f"wamid.{n}")) for n in range(20)))
            assert {answer.status_code for answer in answers} == {503}
            assert 1 <= time.monotonic() - started < 2
            assert await inflight_bytes(ingress) > 0

            await eventually(lambda: nothing_in_flight(ingress))
        finally:
            os.kill(own_kafka.pid, signal.SIGCONT)
        await ingress.until_ready()
        assert (await ingress.post(text_body("wamid.after"))).status_code == 200

    assert {"wamid.before", "wamid.after"} <= await kept_ids(impatient)


async def test_a_stop_while_the_broker_hangs_takes_less_than_twenty_seconds(
    own_kafka: EmbeddedKafka, settings: Settings
) -> None:
    """The POST under way is answered 503, and the process is not held up by what cannot be flushed."""
    assert own_kafka.pid is not None
    async with running_ingress(settings) as ingress:
        await ingress.until_ready()
        os.kill(own_kafka.pid, signal.SIGSTOP)
        try:
            post = asyncio.create_task(ingress.post(text_body("wamid.1")))
            await eventually(lambda: something_in_flight(ingress), within=3)
            assert not post.done()
            started = time.monotonic()
            ingress.stop.set()
            await ingress.serving
            assert time.monotonic() - started < 20
            assert (await post).status_code == 503
        finally:
            os.kill(own_kafka.pid, signal.SIGCONT)


async def inflight_bytes(ingress: RunningIngress) -> float:
    text = (await ingress.client.get("/metrics")).text
    (line,) = [line for line in text.splitlines() if line.startswith("connector_ingress_inflight_bytes ")]
    return float(line.split()[1])


async def nothing_in_flight(ingress: RunningIngress) -> bool:
    return await inflight_bytes(ingress) == 0


async def something_in_flight(ingress: RunningIngress) -> bool:
    return await inflight_bytes(ingress) > 0
