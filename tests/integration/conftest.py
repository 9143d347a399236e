"""A real Kafka and a real PostgreSQL, one of each a session; every test has its own topics and database."""

import itertools
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from connector.embedded.kafka import EmbeddedKafka
from connector.embedded.postgres import EmbeddedPostgres
from connector.state.migrate import migrate

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
async def kafka(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[EmbeddedKafka]:
    """The session's broker. A test that kills a broker starts one of its own."""
    async with EmbeddedKafka(tmp_path_factory.mktemp("kafka")) as engine:
        yield engine


@pytest.fixture(scope="session")
async def postgres(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[EmbeddedPostgres]:
    """The session's server. A test that kills a server starts one of its own."""
    async with EmbeddedPostgres(tmp_path_factory.mktemp("postgres")) as engine:
        yield engine


@pytest.fixture(scope="session")
async def migrated_template(postgres: EmbeddedPostgres) -> str:
    """The name of a migrated database that the tests' databases are copies of."""
    await migrate(await postgres.create_database("migrated"))
    return "migrated"


@pytest.fixture
def bootstrap_servers(kafka: EmbeddedKafka) -> str:
    """`host:port` of the session's broker."""
    return kafka.bootstrap_servers


@pytest.fixture
def topic_prefix() -> str:
    """Put before every topic and group name of a test: the broker is shared, also with former tests."""
    return f"t{uuid.uuid4().hex[:8]}."


@pytest.fixture
async def database_url(postgres: EmbeddedPostgres, migrated_template: str) -> AsyncIterator[str]:
    """The DSN of a migrated database of this test's own, dropped after it."""
    name = f"test_{next(_numbers)}"
    yield await postgres.create_database(name, template=migrated_template)
    await postgres.drop_database(name)


@pytest.fixture
def private_dir(tmp_path: Path) -> Path:
    """A data directory whose path would break a careless command line."""
    return tmp_path / "own engine, ünïcode"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest file: started last, it would run alone while the other workers are done."""
    items.sort(key=lambda item: item.path.name != "test_chaos_short.py")
