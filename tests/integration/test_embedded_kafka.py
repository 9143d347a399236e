"""The embedded broker: it keeps what it acknowledged, starts again after anything, and says what is wrong."""

import asyncio
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from connector.embedded.directory import DirectoryLock
from connector.embedded.errors import DataDirectoryInUse, PortTaken
from connector.embedded.kafka import EmbeddedKafka
from connector.embedded.process import identity


async def create_topic(bootstrap: str, name: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(name, num_partitions=1, replication_factor=1)])
    finally:
        await admin.close()


async def produce(bootstrap: str, topic: str, values: list[bytes]) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", enable_idempotence=True)
    await producer.start()
    try:
        for value in values:
            await producer.send_and_wait(topic, value, partition=0)
    finally:
        await producer.stop()


async def read_all(bootstrap: str, topic: str) -> list[bytes]:
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    try:
        partition = TopicPartition(topic, 0)
        consumer.assign([partition])
        end = (await consumer.end_offsets([partition]))[partition]
        values = []
        while await consumer.position(partition) < end:
            batch = await consumer.getmany(partition, timeout_ms=1000)
            values += [record.value for records in batch.values() for record in records]
        return values
    finally:
        await consumer.stop()


def leave(folder: Path, name: str, content: str) -> None:
    """Leave a file, as a former run would have."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(content)


async def ended(pid: int) -> None:
    """Wait until there is no such process."""
    async with asyncio.timeout(20):
        while True:
            if identity(pid) is None:
                return
            await asyncio.sleep(0.05)


def run_python(source: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", source, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


async def test_records_of_one_run_are_read_by_the_next(private_dir: Path) -> None:
    """A record that was acknowledged is there after a stop, and after a `kill -9`, on the same address."""
    kafka = EmbeddedKafka(private_dir)
    await kafka.start()
    try:
        address = kafka.bootstrap_servers
        await create_topic(address, "kept")
        await produce(address, "kept", [b"one"])
        await kafka.stop()

        await kafka.start()
        await produce(kafka.bootstrap_servers, "kept", [b"two"])
        kafka.kill()
        assert kafka.pid is None

        await kafka.start()
        assert kafka.bootstrap_servers == address
        assert await read_all(address, "kept") == [b"one", b"two"]
    finally:
        await kafka.stop()
    assert not (private_dir / "kafka.pid").exists()


async def test_a_group_commits_as_soon_as_the_start_returns(kafka: EmbeddedKafka, topic_prefix: str) -> None:
    """The group coordinator answers from the start on."""
    topic = f"{topic_prefix}committed"
    await create_topic(kafka.bootstrap_servers, topic)
    consumer = AIOKafkaConsumer(
        topic,
        bootstrap_servers=kafka.bootstrap_servers,
        group_id=f"{topic_prefix}group",
        enable_auto_commit=False,
    )
    await consumer.start()
    try:
        partition = TopicPartition(topic, 0)
        await consumer.commit({partition: 7})
        assert await consumer.committed(partition) == 7
    finally:
        await consumer.stop()


async def test_topics_are_never_created_by_themselves(kafka: EmbeddedKafka, topic_prefix: str) -> None:
    """Asking for the metadata of an unknown topic creates none."""
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka.bootstrap_servers)
    await consumer.start()
    try:
        consumer.subscribe([f"{topic_prefix}unknown"])
        await consumer.getmany(timeout_ms=500)
        assert f"{topic_prefix}unknown" not in await consumer.topics()
    finally:
        await consumer.stop()


async def test_another_port_is_chosen_when_the_remembered_one_is_taken(private_dir: Path) -> None:
    """A remembered port that another program took does not keep the broker from starting."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        leave(private_dir, "ports.json", json.dumps({"broker": taken, "controller": taken}))
        async with EmbeddedKafka(private_dir) as kafka:
            assert kafka.bootstrap_servers != f"127.0.0.1:{taken}"
            await create_topic(kafka.bootstrap_servers, "works")
            await produce(kafka.bootstrap_servers, "works", [b"one"])


async def test_a_taken_port_that_was_asked_for_is_an_error(private_dir: Path) -> None:
    """A fixed port in use is named, and nothing is left running or locked."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        kafka = EmbeddedKafka(private_dir, port=port)
        with pytest.raises(PortTaken, match=str(port)):
            await kafka.start()
    assert kafka.pid is None
    assert not (private_dir / "kafka.pid").exists()
    again = EmbeddedKafka(private_dir, port=port)  # the lock was given back: no DataDirectoryInUse
    await again.start()
    await again.stop()


async def test_a_data_directory_serves_one_owner(kafka: EmbeddedKafka) -> None:
    """A second owner is refused with the pid of the first, and the first goes on."""
    with pytest.raises(DataDirectoryInUse) as refused:
        await EmbeddedKafka(kafka.log_file.parent).start()
    assert refused.value.pid == os.getpid()
    assert kafka.pid is not None


OWNER = """
import asyncio, pathlib, sys
from connector.embedded.kafka import EmbeddedKafka
async def main():
    kafka = EmbeddedKafka(pathlib.Path(sys.argv[1]))
    await kafka.start()
    print(kafka.pid, flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's parent-death signal is Linux's")
async def test_the_broker_ends_with_a_killed_owner(private_dir: Path) -> None:
    """`kill -9` of the process that started it ends the broker too, and its directory is free again."""
    with run_python(OWNER, str(private_dir)) as owner:
        assert owner.stdout is not None
        broker = int(await asyncio.to_thread(owner.stdout.readline))
        assert identity(broker) is not None
        owner.kill()
    await ended(broker)
    lock = DirectoryLock(private_dir)
    lock.acquire()
    lock.release()
