"""`connector dlq` beside two running stages of one topic: one whose letters are put back, one that must not see them."""

import asyncio
import json
from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from operator_shell import Operator

from connector.events import WhatsAppUpdate
from connector.settings import KafkaSettings, Settings
from connector.streams.codec import decode, encode
from connector.streams.harness import run_stage
from connector.streams.lag import broker_view
from connector.streams.outcomes import Dead, Done, Outcome, Record
from connector.streams.producer import DurableProducer
from connector.streams.redriven import how_redriven
from connector.streams.topic_admin import create_topics
from connector.telemetry.health import StageHealth
from connector.topics import DEAD_LETTERS, OPERATOR_ACTIONS, WHATSAPP_UPDATES

GROUP = "picky/wrong_account"


class Picky:
    """Takes updates of the account 102 only; remembers all that it was shown."""

    topic = WHATSAPP_UPDATES
    batch_size = 50

    def __init__(self, name: str, *, takes: str = "102") -> None:
        self.name = name
        self.takes = takes
        self.shown: list[tuple[str, int]] = []

    async def handle(self, records: Sequence[Record]) -> Sequence[Outcome]:
        return [self._one(record) for record in records]

    def _one(self, record: Record) -> Outcome:
        update: WhatsAppUpdate = decode(WHATSAPP_UPDATES, record.value)
        how = how_redriven(record.headers)
        self.shown.append((update.waba_id, how.attempt if how else 0))
        good = self.takes in ("*", update.waba_id)
        return (
            Done()
            if good
            else Dead(cause="wrong_account", reason=f"It is of {update.waba_id}.", advice="mend it")
        )


def update(number: int, *, account: str) -> WhatsAppUpdate:
    return WhatsAppUpdate.model_validate(
        {
            "event_id": f"message:{number}",
            "kind": "message",
            "field": "messages",
            "waba_id": account,
            "update": {
                "id": f"wamid.{number}",
                "from": "491701234567",
                "timestamp": "1772300000",
                "type": "text",
            },
            "received_at": datetime.now(UTC),
            "post_id": "p",
        }
    )


async def actions(settings: KafkaSettings) -> list[Any]:
    """What `operator.actions` says, in order."""
    found: list[Any] = []
    async with broker_view(settings, timeout=20) as view:
        places = await view.places(OPERATOR_ACTIONS)
        ends = await view.consumer.end_offsets(places)
        view.consumer.assign(places)
        await view.consumer.seek_to_beginning(*places)
        while len(found) < sum(ends.values()):
            for records in (await view.consumer.getmany(timeout_ms=200)).values():
                found += [decode(OPERATOR_ACTIONS, record.value) for record in records]
    return sorted(found, key=lambda action: action.at)


async def test_letters_go_back_to_their_stage_once_when_they_were_mended(
    bootstrap_servers: str,
    topic_prefix: str,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """The first redrive stops after one that dies again; mended, all are handled, once, by that stage alone."""
    kafka = KafkaSettings(bootstrap_servers=bootstrap_servers, topic_prefix=topic_prefix)
    await create_topics(
        kafka, partitions=2, replication=1, topics=(WHATSAPP_UPDATES, DEAD_LETTERS, OPERATOR_ACTIONS)
    )
    operator = Operator(
        monkeypatch,
        kafka__bootstrap_servers=bootstrap_servers,
        kafka__topic_prefix=topic_prefix,
        database__url=database_url,
    )
    picky, other, stop = Picky("picky"), Picky("other", takes="*"), asyncio.Event()
    async with AsyncExitStack() as stack:
        producer = DurableProducer(kafka, client="test")
        stack.push_async_callback(producer.stop)
        updates = [update(number, account="7") for number in range(3)]
        await producer.send_all(
            [encode(WHATSAPP_UPDATES, key=one.event_id, value=one, origin="ingress") for one in updates],
            timeout=20,
        )
        stages = asyncio.gather(
            *(
                run_stage(stage, Settings(kafka=kafka), stop=stop, health=StageHealth(stage.name))
                for stage in (picky, other)
            )
        )

        async def end() -> None:
            stop.set()
            await stages

        stack.push_async_callback(end)
        async with asyncio.timeout(30):
            while not (group := (await operator.json("dlq", "ls"))["groups"]) or group[0]["open"] < 3:
                await asyncio.sleep(0.2)
        assert (group[0]["name"], group[0]["redriven"], group[0]["reason"]) == (GROUP, 0, "It is of 7.")

        code, out, _ = await operator.run("dlq", "redrive", GROUP, "--reason", "try", "--by", "ana")
        assert (code, "Stopped: it died in picky again" in out) == (1, True)

        patch = tmp_path / "patch.json"
        patch.write_text(json.dumps([{"op": "replace", "path": "/waba_id", "value": None}]))
        code, _, said = await operator.run("dlq", "fix", GROUP, "--patch", str(patch), "--reason", "account")
        assert (code, "3 of 3 letters would not pass" in said) == (1, True)
        patch.write_text(json.dumps([{"op": "replace", "path": "/waba_id", "value": "102"}]))
        fixed = await operator.json("dlq", "fix", GROUP, "--patch", str(patch), "--reason", "account")
        assert (fixed["tried"], fixed["failed"], fixed["kept"]) == (3, 0, 3)

        before = len(picky.shown)
        done = await operator.json("dlq", "redrive", GROUP, "--reason", "mended")
        assert (done["sent"], done["handled"], done["died_again"], done["already"]) == (3, 3, 0, 1)
        assert sorted(picky.shown[before:]) == [("102", 1), ("102", 1), ("102", 2)]

        again = await operator.json("dlq", "redrive", GROUP)
        assert (again["sent"], again["already"]) == (0, 4)
        (left,) = (await operator.json("dlq", "ls", "--all"))["groups"]
        assert (left["open"], left["redriven"], left["fixed"]) == (0, 4, 0)
    assert sorted(other.shown) == [("7", 0)] * 3
    told = [(action.command, action.phase, action.who, action.why) for action in await actions(kafka)]
    assert told[:2] == [("dlq redrive", "began", "ana", "try"), ("dlq redrive", "stopped", "ana", "try")]
    assert [phase for command, phase, _, _ in told[2:]] == [
        "finished",
        "began",
        "finished",
        "began",
        "finished",
    ]
