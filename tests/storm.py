"""Damaged webhooks through the real ingress, Kafka, route and both CRM roles; nothing may be lost or stand still.

`make storm` plays 10,000 of them; `python tests/storm.py --count N --bases FOLDER` takes other payloads as a base.
What decides is outside of the connector's own code where that is possible: every text of a POST is looked for in the
records that came of it, every record in what lies on the log after it, every activity in both CRMs' own records.
"""

import argparse
import asyncio
import json
import shutil
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import httpx
from aiokafka import AIOKafkaConsumer, TopicPartition
from damage import damaged
from golden_conversations import conversations, document_of
from pure_pipeline import Pipeline
from storm_judge import CRM_TROUBLES, Log, Verdict, compare, judge_ends, judge_intake, refused_by_crm

from connector.crm.salesforce.activities import message_key
from connector.embedded.deployment import (
    EMBEDDED_PARTITIONS,
    SANDBOX_APP_SECRET,
    LocalDeployment,
    SandboxOptions,
)
from connector.sandbox.audit import hubspot_records, salesforce_records
from connector.sandbox.whatsapp.sender import WebhookSender
from connector.streams.codec import decode
from connector.sync.core.desired import activity_view
from connector.sync.mapping import built_in
from connector.topics import (
    ACCOUNT_EVENTS,
    ALL_TOPICS,
    CONVERSATION_EVENTS,
    DEAD_LETTERS,
    WHATSAPP_HISTORY,
    WHATSAPP_UPDATES,
    Topic,
)

ROLES = ("ingress", "route", "sync-hubspot", "sync-salesforce")
SINKS = ("hubspot", "salesforce")
_IN_FLIGHT = 4
_READERS = (
    ("identity", WHATSAPP_UPDATES),
    ("identity", WHATSAPP_HISTORY),
    *((sink, CONVERSATION_EVENTS) for sink in SINKS),
)


def golden_bases() -> list[dict[str, Any]]:
    """The webhooks of the golden conversations."""
    return [document_of(post) for golden in conversations().values() for post in golden["posts"]]


async def play(data_dir: Path, bodies: Sequence[bytes], *, timeout: float) -> Verdict:
    """Post the bodies, wait until nothing waits any more, at most `timeout` seconds, and judge."""
    began = time.monotonic()
    unlimited = {"burst_limit": None, "association_limit": None, "daily_limit": None, "search_limit": None}
    deployment = LocalDeployment(
        data_dir,
        roles=ROLES,
        sandbox=SandboxOptions(hubspot=unlimited, salesforce={"daily_limit": 10_000_000}),
        env={"CONNECTOR_LOG__LEVEL": "WARNING"},
    )
    async with deployment:
        verdict = Verdict(posts=len(bodies), answers=dict(await _post(deployment, bodies)))
        database = await asyncpg.connect(deployment.stack.database_url)
        try:
            await _settle(deployment, database, timeout=timeout)
            log = await _read_log(deployment.stack.bootstrap_servers)
            verdict.not_ready = await _not_ready(deployment)
            judge_intake(verdict, bodies, log)
            judge_ends(verdict, log)
            await _judge_crms(verdict, deployment, log)
        finally:
            await database.close()
        assert deployment.supervisor is not None
        verdict.restarts = {name: one.restarts for name, one in deployment.supervisor.statuses.items()}
    verdict.seconds = round(time.monotonic() - began, 1)
    return verdict


async def _post(deployment: LocalDeployment, bodies: Sequence[bytes]) -> Counter[str]:
    answers: Counter[str] = Counter()
    waiting = iter(bodies)
    url = f"{deployment.ingress_url}/webhooks/whatsapp"
    client = httpx.AsyncClient(timeout=20)  # not the sender's own: aiohttp warns of bodies of a megabyte
    async with WebhookSender(url=url, app_secret=SANDBOX_APP_SECRET, client=client) as sender:

        async def post_rest() -> None:
            for body in waiting:
                answer = await sender.post_bytes(body)
                while answer == 503:  # as Meta would, only sooner
                    await asyncio.sleep(0.2)
                    answer = await sender.post_bytes(body)
                answers[str(answer)] += 1

        await asyncio.gather(*(post_rest() for _ in range(_IN_FLIGHT)))
    return answers


async def _settle(deployment: LocalDeployment, database: asyncpg.Connection, *, timeout: float) -> None:
    """Return when every topic is read to its end, nothing is queued, and no CRM is owed anything."""
    consumer = AIOKafkaConsumer(bootstrap_servers=deployment.stack.bootstrap_servers)
    await consumer.start()
    deadline = time.monotonic() + timeout
    try:
        while time.monotonic() < deadline:
            owed = [
                await _end(consumer, topic) - await _offset(database, schema, topic)
                for schema, topic in _READERS
            ]
            owed += [await database.fetchval(query) for query in _QUEUED]
            if not any(owed):
                return
            await asyncio.sleep(0.3)
    finally:
        await consumer.stop()


# What waits for another day (a person held back by a rule) is owed to nobody.
_WAITING = """
SELECT (SELECT count(*) FROM {sink}.activities
        WHERE desired_version > written_version AND contact_id IS NOT NULL AND problem IS NULL)
     + (SELECT count(*) FROM {sink}.contacts
        WHERE desired_version > written_version AND redirect_to IS NULL AND problem IS NULL)
"""


_QUEUED = ("SELECT count(*) FROM shared.outgoing", *(_WAITING.format(sink=sink) for sink in SINKS))


async def _end(consumer: AIOKafkaConsumer, topic: Topic) -> int:
    return sum((await consumer.end_offsets(_partitions(topic))).values())


def _partitions(topic: Topic) -> list[TopicPartition]:
    return [TopicPartition(topic.name, number) for number in range(EMBEDDED_PARTITIONS)]


async def _offset(database: asyncpg.Connection, schema: str, topic: Topic) -> int:
    query = f"SELECT coalesce(sum(next_offset), 0) FROM {schema}.offsets WHERE topic = $1"
    return int(await database.fetchval(query, topic.name))


async def _read_log(bootstrap_servers: str) -> Log:
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap_servers, max_partition_fetch_bytes=32 * 1024 * 1024
    )
    await consumer.start()
    found: dict[str, dict[tuple[str, int, int], Any]] = defaultdict(dict)
    try:
        for topic in ALL_TOPICS:
            partitions = _partitions(topic)
            consumer.assign(partitions)
            await consumer.seek_to_beginning(*partitions)
            ends = await consumer.end_offsets(partitions)
            left = {partition for partition in partitions if ends[partition]}
            while left:
                for records in (await consumer.getmany(timeout_ms=500)).values():
                    for record in records:
                        place = (record.topic, record.partition, record.offset)
                        found[topic.name][place] = decode(topic, record.value)
                left = {one for one in left if await consumer.position(one) < ends[one]}
    finally:
        await consumer.stop()
    return Log(
        updates={**found[WHATSAPP_UPDATES.name], **found[WHATSAPP_HISTORY.name]},
        conversation=list(found[CONVERSATION_EVENTS.name].values()),
        account=list(found[ACCOUNT_EVENTS.name].values()),
        dead=list(found[DEAD_LETTERS.name].values()),
    )


async def _not_ready(deployment: LocalDeployment) -> list[str]:
    async with httpx.AsyncClient(timeout=5) as client:
        answers = {name: await client.get(f"{url}/readyz") for name, url in deployment.role_urls.items()}
    return [f"{name}: {answer.text[:500]}" for name, answer in answers.items() if answer.status_code != 200]


async def _judge_crms(verdict: Verdict, deployment: LocalDeployment, log: Log) -> None:
    """Both CRMs say of every message what the log says, on a record of exactly its person."""
    told = Pipeline(arrival=datetime.now(UTC))
    for start in range(0, len(log.conversation), 1000):
        told.fold(log.conversation[start : start + 1000])
    layout = built_in().layout
    owners = {wamid: one.contact_id for wamid, one in told.activities.items() if one.contact_id is not None}
    statuses = {wamid: activity_view(told.activities[wamid].facts, layout=layout).status for wamid in owners}
    verdict.contacts, verdict.activities = len(set(owners.values())), len(owners)
    refused = refused_by_crm(log)
    async with httpx.AsyncClient(timeout=120) as client:
        for sink in SINKS:
            url = deployment.hubspot_url if sink == "hubspot" else deployment.salesforce_url
            state = (await client.get(f"{url}/_sandbox/{sink}/state")).json()
            found = hubspot_records(state) if sink == "hubspot" else salesforce_records(state)
            keys = {wamid: message_key(wamid) if sink == "salesforce" else wamid for wamid in owners}
            compare(verdict, sink, found, keys=keys, owners=owners, statuses=statuses, refused=refused[sink])


def main() -> int:
    """Play a storm and tell what became of it; 1 when anything is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--timeout", type=float, default=600.0, help="seconds to wait until nothing waits")
    parser.add_argument("--bases", type=Path, help="a folder of webhook payloads to damage, *.json")
    parser.add_argument("--intact", action="store_true", help="also post each base as it is, first")
    parser.add_argument("--keep", action="store_true", help="keep the data and logs")
    asked = parser.parse_args()
    bases = golden_bases()
    if asked.bases is not None:
        bases = [json.loads(file.read_bytes()) for file in sorted(asked.bases.glob("*.json"))]
    bodies = [json.dumps(base).encode() for base in bases] if asked.intact else []
    bodies += damaged(bases, count=asked.count, seed=asked.seed)
    data_dir = Path(tempfile.mkdtemp(prefix="connector-storm-"))
    try:
        verdict = asyncio.run(play(data_dir, bodies, timeout=asked.timeout))
    finally:
        if asked.keep:
            sys.stderr.write(f"kept: {data_dir}\n")
        else:
            shutil.rmtree(data_dir, ignore_errors=True)
    counts = {name: value for name, value in asdict(verdict).items() if not isinstance(value, list)}
    shown = {name: value for name, value in counts.items() if value and name not in CRM_TROUBLES}
    sys.stdout.write(json.dumps(shown, indent=2, ensure_ascii=False) + "\n")
    for trouble in verdict.troubles:
        sys.stderr.write(f"error {trouble}\n")
    return 1 if verdict.troubles else 0


if __name__ == "__main__":
    sys.exit(main())
