"""Both engines on one data directory."""

import asyncio
import socket
from pathlib import Path

import asyncpg
import pytest

from connector.embedded.deployment import LocalDeployment
from connector.embedded.errors import DataDirectoryInUse, PortTaken
from connector.embedded.kafka import EmbeddedKafka
from connector.embedded.ports import HOST
from connector.embedded.stack import EmbeddedStack


async def test_the_stack_starts_both_and_brings_a_fallen_one_back(private_dir: Path) -> None:
    """Both addresses work, a second owner is refused, and an engine that is killed runs again with its data."""
    said: list[str] = []
    async with EmbeddedStack(private_dir) as stack:
        with pytest.raises(DataDirectoryInUse):
            await EmbeddedStack(private_dir).start()
        address, url = stack.bootstrap_servers, stack.database_url
        connection = await asyncpg.connect(url)
        assert await connection.fetchval("SELECT current_database()") == "connector"
        await connection.close()

        keeper = asyncio.create_task(stack.keep_running(said.append, every=0.05))
        stack.kafka.kill()
        stack.postgres.kill()
        async with asyncio.timeout(60):
            while True:
                if [line for line in said if line.endswith("runs again")][1:]:
                    break
                await asyncio.sleep(0.05)
        keeper.cancel()
        assert (stack.bootstrap_servers, stack.database_url) == (address, url)
        connection = await asyncpg.connect(url)
        await connection.close()
    assert stack.kafka.pid is None
    assert stack.postgres.pid is None


async def test_one_engine_that_cannot_start_stops_the_other(private_dir: Path, kafka: EmbeddedKafka) -> None:
    """When Kafka's port is taken, PostgreSQL does not stay behind and the directory is free."""
    taken = int(kafka.bootstrap_servers.removeprefix(f"{HOST}:"))
    stack = EmbeddedStack(private_dir, kafka_port=taken)
    with pytest.raises(PortTaken):
        await stack.start()
    assert stack.postgres.pid is None
    with pytest.raises(PortTaken):  # not DataDirectoryInUse: the lock was given back
        await stack.start()


async def test_a_deployment_whose_port_is_taken_starts_nothing(private_dir: Path) -> None:
    """The ingress's port is asked for by number and in use: said before any engine is started."""
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        deployment = LocalDeployment(private_dir, roles=["ingress"], ingress_port=port)
        with pytest.raises(PortTaken, match=str(port)):
            await deployment.start()
    assert not (private_dir / "kafka").exists()
