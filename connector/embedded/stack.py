"""Both engines on one data directory."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import NoReturn, Self

import asyncpg

from connector.embedded.directory import DirectoryLock
from connector.embedded.errors import EngineError
from connector.embedded.kafka import EmbeddedKafka
from connector.embedded.postgres import EmbeddedPostgres


class EmbeddedStack:
    """Kafka and PostgreSQL under `data_dir`, kept between runs, owned by one process at a time.

    `secure_kafka`: TLS, SCRAM and ACLs. Enter it from the main thread: on Linux the engines end with the thread that started them.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        kafka_port: int | None = None,
        postgres_port: int | None = None,
        database: str = "connector",
        secure_kafka: bool = False,
    ) -> None:
        self.kafka = EmbeddedKafka(data_dir / "kafka", port=kafka_port, secure=secure_kafka)
        self.postgres = EmbeddedPostgres(data_dir / "postgres", port=postgres_port)
        self._database = database
        self._lock = DirectoryLock(data_dir)

    @property
    def bootstrap_servers(self) -> str:
        """`host:port` of the running broker."""
        return self.kafka.bootstrap_servers

    @property
    def database_url(self) -> str:
        """The DSN of the database, which exists; its tables are the migrations' business."""
        return self.postgres.dsn(self._database)

    async def start(self) -> None:
        """Start both at once; when one cannot, stop the other and raise its `EngineError`."""
        self._lock.acquire()
        try:
            outcomes = await asyncio.gather(self.kafka.start(), self.postgres.start(), return_exceptions=True)
            for outcome in outcomes:
                if outcome is not None:
                    raise outcome
            with contextlib.suppress(asyncpg.DuplicateDatabaseError):
                await self.postgres.create_database(self._database)
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Stop both cleanly and give the directory free. Whoever uses them should have stopped before."""
        try:
            await asyncio.gather(self.kafka.stop(), self.postgres.stop())
        finally:
            self.kafka.kill()
            self.postgres.kill()
            self._lock.release()

    async def keep_running(self, report: Callable[[str], None], *, every: float = 0.5) -> NoReturn:
        """Start an engine again that ended by itself, on its former address where that is still free.

        Runs until it is cancelled; `report` gets a sentence for each thing that happened; `every`: seconds
        between looks, and ten times that after a start that failed.
        """
        engines: dict[str, EmbeddedKafka | EmbeddedPostgres] = {
            "Kafka": self.kafka,
            "PostgreSQL": self.postgres,
        }
        while True:
            pause = every
            for name, engine in engines.items():
                if engine.pid is not None:
                    continue
                report(f"{name} ended unexpectedly; starting it again on its data ({engine.log_file})")
                try:
                    await engine.start()
                except EngineError as error:
                    report(f"{name} could not be started: {error}")
                    pause = 10 * every
                else:
                    report(f"{name} runs again")
            await asyncio.sleep(pause)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()
