"""The harness through a broker's `kill -9` and restart."""

from collections.abc import Sequence
from pathlib import Path

from test_harness_delivery import Bench, RecordingStage, eventually, eventually_equal, full, values

from connector.embedded.kafka import EmbeddedKafka
from connector.settings import Settings, StreamSettings
from connector.streams.codec import EncodedRecord
from connector.streams.outcomes import Done, Outcome, Record
from connector.streams.topic_admin import create_topics
from connector.telemetry.health import State
from connector.topics import CONVERSATION_EVENTS


async def test_a_broker_killed_in_mid_stream_is_waited_for(tmp_path: Path) -> None:
    """The stage says that Kafka is away, resumes by itself, and every record's product is on the log."""

    def act(records: Sequence[Record]) -> list[Outcome]:
        return [
            Done(
                produce=(
                    EncodedRecord(topic=CONVERSATION_EVENTS, key=b"k", value=r.value or b"", headers=[]),
                )
            )
            for r in records
        ]

    async with EmbeddedKafka(tmp_path / "kafka") as broker:
        bench = Bench(broker.bootstrap_servers, "restart.")
        await create_topics(bench.kafka)
        await bench.fill(values(4000))
        settings = Settings(kafka=bench.kafka, streams=StreamSettings(stalled_after=10))
        stage = RecordingStage(act)
        async with bench.running(stage, settings=settings) as health:
            await eventually(lambda: len(stage.handled) >= 500)
            broker.kill()
            await eventually(lambda: health.state is State.WAITING)
            await broker.start()
            await eventually_equal(bench.committed, full(4000))
            await eventually(lambda: health.ready)
        produced = await bench.read(CONVERSATION_EVENTS.full_name("restart."))
    assert set(produced) == set(values(4000))
