"""The ingress on a real Kafka, over real sockets: what is answered 200 lies on the topics."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from ingress_world import (
    RunningIngress,
    eventually,
    ingress_settings,
    read_topic,
    running_ingress,
    text_body,
)
from prometheus_client import REGISTRY

from connector.errors import SettingsError
from connector.ingress.server import serve
from connector.settings import Settings
from connector.streams.topic_admin import create_topics
from connector.topics import CRM_TRIGGERS, DEAD_LETTERS, WHATSAPP_HISTORY, WHATSAPP_UPDATES


@pytest.fixture
async def settings(bootstrap_servers: str, topic_prefix: str) -> Settings:
    settings = ingress_settings(bootstrap_servers, topic_prefix)
    await create_topics(settings.kafka)
    return settings


@pytest.fixture
async def ingress(settings: Settings) -> AsyncIterator[RunningIngress]:
    async with running_ingress(settings) as ingress:
        await ingress.until_ready()
        yield ingress


async def test_a_thousand_updates_of_one_post_are_on_the_topic(
    ingress: RunningIngress, settings: Settings
) -> None:
    """3 MB and 1,000 messages: each once, in the partition of its customer, in their order there."""
    wamids = [f"wamid.{number:06}" for number in range(1000)]
    body = text_body(*wamids, text="ab😀/" * 185)
    assert len(body) > 2_900_000

    response = await ingress.post(body)

    assert response.status_code == 200
    records = await read_topic(settings, WHATSAPP_UPDATES)
    assert sorted(update.update["id"] for _, _, update in records) == wamids
    partitions: dict[bytes, set[int]] = {}
    order: dict[bytes, list[str]] = {}
    for partition, key, update in records:
        assert key.decode() == update.update["from"]
        partitions.setdefault(key, set()).add(partition)
        order.setdefault(key, []).append(update.update["id"])
    assert {len(where) for where in partitions.values()} == {1}
    assert len(set.union(*partitions.values())) == 4
    assert all(ids == sorted(ids) for ids in order.values())


async def test_concurrent_posts_are_each_kept_once(ingress: RunningIngress, settings: Settings) -> None:
    """200 POSTs at the same time, one update each."""
    answers = await asyncio.gather(*(ingress.post(text_body(f"wamid.{number}")) for number in range(200)))

    assert Counter(answer.status_code for answer in answers) == {200: 200}
    records = await read_topic(settings, WHATSAPP_UPDATES)
    assert Counter(update.update["id"] for _, _, update in records) == {
        f"wamid.{number}": 1 for number in range(200)
    }


async def test_a_signed_post_that_is_not_json_is_on_the_dead_letter_topic(
    ingress: RunningIngress, settings: Settings
) -> None:
    """8 MB of noise, byte for byte."""
    body = bytes(range(256)) * (settings.ingress.max_body_bytes // 256)

    response = await ingress.post(body)

    assert response.status_code == 200
    ((_, key, letter),) = await read_topic(settings, DEAD_LETTERS)
    assert (key, letter.cause) == (b"ingress", "not_json")
    assert letter.original == body
    assert await read_topic(settings, WHATSAPP_UPDATES) == []


async def test_a_body_above_the_bound_is_413_over_a_socket(
    ingress: RunningIngress, settings: Settings
) -> None:
    """The sender of too much gets its answer, and the ingress goes on."""
    response = await ingress.post(b"x" * (settings.ingress.max_body_bytes + 1))

    assert response.status_code == 413
    assert (await ingress.post(text_body("wamid.after"))).status_code == 200


async def test_missing_topics_are_named_by_readiness(bootstrap_servers: str, topic_prefix: str) -> None:
    """Until they are created every POST is 503; then it works without a restart."""
    settings = ingress_settings(bootstrap_servers, topic_prefix)
    async with running_ingress(settings) as ingress:

        async def says_what_to_run() -> bool:
            return "connector topics create" in (await ingress.client.get("/readyz")).text

        await eventually(says_what_to_run)
        assert (await ingress.post(text_body("wamid.1"))).status_code == 503

        await create_topics(settings.kafka)
        await ingress.until_ready()
        assert (await ingress.post(text_body("wamid.2"))).status_code == 200

    assert [update.update["id"] for _, _, update in await read_topic(settings, WHATSAPP_UPDATES)] == [
        "wamid.2"
    ]


async def test_a_producer_with_a_hole_in_its_sequence_is_replaced(
    bootstrap_servers: str, topic_prefix: str
) -> None:
    """A record that the broker refuses is 503; POSTs after it are kept, by a new producer."""
    settings = ingress_settings(bootstrap_servers, topic_prefix)
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers)
    await admin.start()
    try:
        await admin.create_topics(
            [
                NewTopic(
                    topic_prefix + WHATSAPP_UPDATES.name, 1, 1, topic_configs={"max.message.bytes": "3000"}
                ),
                NewTopic(topic_prefix + WHATSAPP_HISTORY.name, 1, 1),
                NewTopic(topic_prefix + CRM_TRIGGERS.name, 1, 1),
                NewTopic(topic_prefix + DEAD_LETTERS.name, 1, 1),
            ]
        )
    finally:
        await admin.close()
    name = "connector_ingress_producers_replaced_total"
    labels = {"reason": "MessageSizeTooLargeError"}
    before = REGISTRY.get_sample_value(name, labels) or 0.0
    async with running_ingress(settings) as ingress:
        await ingress.until_ready()
        assert (await ingress.post(text_body("wamid.1"))).status_code == 200

        incompressible = "".join(chr(0x4E00 + (number * 7919) % 20_000) for number in range(5000))
        refused = await ingress.post(text_body("wamid.large", text=incompressible))
        assert refused.status_code == 503
        assert "connector topics create" in refused.json()["advice"]

        async def accepts() -> bool:
            return (await ingress.post(text_body("wamid.2"))).status_code == 200

        await eventually(accepts, within=10)

    assert REGISTRY.get_sample_value(name, labels) == before + 1
    kept = [update.update["id"] for _, _, update in await read_topic(settings, WHATSAPP_UPDATES)]
    assert kept == ["wamid.1", "wamid.2"]


async def test_a_stop_finishes_the_posts_under_way(settings: Settings) -> None:
    """Each POST that was begun is answered, and what was answered 200 is on the topic."""
    async with running_ingress(settings) as ingress:
        await ingress.until_ready()
        bodies = {f"wamid.{number}": text_body(f"wamid.{number}") for number in range(50)}
        posts = {wamid: asyncio.create_task(ingress.post(body)) for wamid, body in bodies.items()}
        await asyncio.wait(posts.values(), return_when=asyncio.FIRST_COMPLETED)
        ingress.stop.set()
        async with asyncio.timeout(20):
            await ingress.serving
        answers = await asyncio.gather(*posts.values(), return_exceptions=True)

    acked = {
        wamid
        for wamid, answer in zip(posts, answers, strict=True)
        if not isinstance(answer, BaseException) and answer.status_code == 200
    }
    assert acked
    kept = {update.update["id"] for _, _, update in await read_topic(settings, WHATSAPP_UPDATES)}
    assert acked <= kept


@pytest.mark.parametrize(
    ("ingress", "variable"),
    [
        pytest.param({"max_body_bytes": 20_000_000}, "CONNECTOR_INGRESS__MAX_BODY_BYTES", id="body"),
        pytest.param(
            {"max_inflight_bytes": 20_000_000}, "CONNECTOR_INGRESS__MAX_INFLIGHT_BYTES", id="in flight"
        ),
        pytest.param({"host": "203.0.113.1"}, "CONNECTOR_INGRESS__PORT", id="an address of others"),
    ],
)
async def test_a_bound_or_address_that_cannot_work_is_refused_at_start(
    ingress: dict[str, object], variable: str
) -> None:
    """The error names the variable; nothing listens."""
    settings = ingress_settings("127.0.0.1:1", "x.", **ingress)

    with pytest.raises(SettingsError) as caught:
        await serve(settings, stop=asyncio.Event())

    assert variable in str(caught.value)


async def test_a_trigger_that_is_answered_202_is_on_its_topic(
    bootstrap_servers: str, topic_prefix: str
) -> None:
    """A hundred recipients, each in the partition of its person, under the ids of the answer."""
    plain = ingress_settings(bootstrap_servers, topic_prefix)
    clients = [{"name": "shop", "secret": "the-secret-of-the-shop"}]
    settings = Settings.model_validate({**plain.model_dump(), "triggers": {"clients": clients}})
    await create_topics(settings.kafka)
    recipients = [{"to": {"phone": f"+4915100000{number:03}"}} for number in range(100)]
    headers = {"Authorization": "Bearer the-secret-of-the-shop", "Idempotency-Key": "campaign-1"}

    async with running_ingress(settings) as ingress:
        await ingress.until_ready()
        answer = await ingress.client.post(
            "/triggers/templates",
            json={"template": {"name": "news"}, "recipients": recipients},
            headers=headers,
        )

    assert answer.status_code == 202
    records = await read_topic(settings, CRM_TRIGGERS)
    assert sorted(send.send_id for _, _, send in records) == sorted(
        item["send_id"] for item in answer.json()["recipients"]
    )
    assert {key.decode() for _, key, _ in records} == {f"4915100000{number:03}" for number in range(100)}
    assert len({partition for partition, _, _ in records}) == 4
