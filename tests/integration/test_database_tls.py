"""TLS to PostgreSQL, as the URL or PostgreSQL's own variables ask for it.

The embedded server has no TLS of its own: a proxy speaks it in front, as PostgreSQL's protocol has it (SSLRequest).
"""

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Self

import pytest

from connector.embedded.kafka_security import KafkaSecurity
from connector.embedded.postgres import EmbeddedPostgres
from connector.errors import Transient
from connector.state.database import close_pool, connect, database_errors, open_pool
from connector.state.migrate import migrate

_SSL_REQUEST = bytes.fromhex("0000000804d2162f")


class TlsFront:
    """Terminates TLS before a PostgreSQL at `port`; who asks in plain text is refused."""

    def __init__(self, certificate: Path, *, port: int) -> None:
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._context.load_cert_chain(certificate)
        self._port = port
        self._tasks: set[asyncio.Task[None]] = set()
        self.encrypted = 0
        self.port = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        behind: asyncio.StreamWriter | None = None
        try:
            if await reader.readexactly(8) != _SSL_REQUEST:
                return
            writer.write(b"S")
            await writer.drain()
            await writer.start_tls(self._context)
            self.encrypted += 1
            answers, behind = await asyncio.open_connection("127.0.0.1", self._port)
            await asyncio.gather(_pipe(reader, behind), _pipe(answers, writer))
        except (OSError, asyncio.IncompleteReadError):  # an SSLError is an OSError
            return
        finally:
            for one in (writer, behind):
                if one is not None:
                    one.close()


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


@pytest.fixture
async def front(postgres: EmbeddedPostgres, tmp_path: Path) -> AsyncIterator[tuple[TlsFront, str, Path]]:
    """(the front, the URL of a database behind it, the folder of the authority)."""
    url = await postgres.create_database("behind_tls")
    port = int(url.rpartition(":")[2].partition("/")[0])
    KafkaSecurity(tmp_path / "pki")  # an authority, and a certificate for 127.0.0.1
    async with TlsFront(tmp_path / "pki" / "broker.pem", port=port) as front:
        yield front, url.replace(f":{port}/", f":{front.port}/"), tmp_path / "pki"
    await postgres.drop_database("behind_tls")


async def _asked(url: str) -> int:
    async with database_errors():
        connection = await connect(url)
        try:
            answer: int = await connection.fetchval("SELECT 1")
        finally:
            await connection.close()
        return answer


async def test_the_url_says_whom_to_trust(front: tuple[TlsFront, str, Path]) -> None:
    """sslmode and sslrootcert count for migrations, pools and single connections alike."""
    tls, url, pki = front
    url += f"?sslmode=verify-full&sslrootcert={pki / 'ca.crt'}"
    await migrate(url)
    assert await _asked(url) == 1
    pool = await open_pool(url, size=1, application="test")
    assert await pool.fetchval("SELECT count(*) FROM identity.contacts") == 0
    await close_pool(pool)
    assert tls.encrypted == 3


async def test_the_variables_of_postgresql_count_where_the_url_is_silent(
    front: tuple[TlsFront, str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As k8s/base/settings.env gives them beside a URL that somebody else made."""
    tls, url, pki = front
    monkeypatch.setenv("PGSSLMODE", "verify-full")
    monkeypatch.setenv("PGSSLROOTCERT", str(pki / "ca.crt"))
    assert await _asked(url) == 1
    assert tls.encrypted == 1


async def test_a_server_that_somebody_else_vouches_for_is_not_spoken_to(
    front: tuple[TlsFront, str, Path], tmp_path: Path
) -> None:
    """The reason and the setting are told."""
    _, url, _ = front
    KafkaSecurity(tmp_path / "other")
    with pytest.raises(Transient, match=r"certificate verify failed.*sslrootcert"):
        await _asked(f"{url}?sslmode=verify-full&sslrootcert={tmp_path / 'other' / 'ca.crt'}")


async def test_a_file_that_is_not_there_is_told(front: tuple[TlsFront, str, Path], tmp_path: Path) -> None:
    """PostgreSQL's client library does not say which: the advice says where to look."""
    _, url, _ = front
    with pytest.raises(Transient, match="check the files that CONNECTOR_DATABASE__URL or PGSSLROOTCERT name"):
        await _asked(f"{url}?sslmode=verify-full&sslrootcert={tmp_path / 'absent.crt'}")
