"""The embedded server: it keeps what it committed, starts again after anything, and says what is wrong."""

import asyncio
import json
import os
import re
import socket
import sys
from pathlib import Path

import asyncpg
import pytest

from connector.embedded.errors import DataDirectoryInUse, EngineError, EngineFailed, PortTaken
from connector.embedded.postgres import EmbeddedPostgres
from connector.embedded.process import identity


def leave(folder: Path, name: str, content: str) -> None:
    """Leave a file, as a former run would have."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(content)


OWNER = """
import asyncio, pathlib, sys
from connector.embedded.postgres import EmbeddedPostgres
async def main():
    postgres = EmbeddedPostgres(pathlib.Path(sys.argv[1]))
    await postgres.start()
    print(postgres.pid, flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""


async def run(dsn: str, *statements: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


async def value(dsn: str, query: str) -> object:
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


def modes(*paths: Path) -> list[int]:
    return [path.stat().st_mode & 0o777 for path in paths]


async def test_commits_of_one_run_are_read_by_the_next(private_dir: Path) -> None:
    """What was committed is there after a stop, and after a `kill -9` with a session open, on the same address."""
    postgres = EmbeddedPostgres(private_dir)
    await postgres.start()
    try:
        dsn = await postgres.create_database('a "name"')
        await run(dsn, "CREATE TABLE kept (n int)", "INSERT INTO kept VALUES (1)")
        await postgres.stop()

        await postgres.start()
        session = await asyncpg.connect(dsn)
        await session.execute("INSERT INTO kept VALUES (2)")
        postgres.kill()
        assert postgres.pid is None
        await postgres.start()
        session.terminate()

        assert postgres.dsn('a "name"') == dsn
        assert await value(dsn, "SELECT array_agg(n ORDER BY n) FROM kept") == [1, 2]
    finally:
        await postgres.stop()
    assert not (private_dir / "postgres.pid").exists()


async def test_the_settings_that_crash_safety_rests_on_are_on(postgres: EmbeddedPostgres) -> None:
    """Commits are durable as in production, and text sorts and folds the same on every machine."""
    dsn = postgres.dsn()
    for setting in ("fsync", "synchronous_commit", "full_page_writes", "data_checksums"):
        assert await value(dsn, f"SHOW {setting}") == "on", setting
    assert await value(dsn, "SELECT lower('ÄÉ')") == "äé"
    assert await value(dsn, "SHOW timezone") == "UTC"


async def test_a_password_is_asked_for_and_kept_private(postgres: EmbeddedPostgres) -> None:
    """Another user of this machine gets in neither without the password nor by reading it."""
    password = postgres.log_file.with_name("password")
    assert modes(password, password.parent / "pgdata") == [0o600, 0o700]
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(re.sub(r":\w+@", ":wrong@", postgres.dsn()))


async def test_permissions_of_other_folders_are_left_alone(tmp_path: Path) -> None:
    """A private parent stays private: nobody else needs to pass through it, also when we are root."""
    parent = tmp_path / "private"
    parent.mkdir(mode=0o700)
    async with EmbeddedPostgres(parent / "engine"):
        pass
    assert modes(parent, parent / "engine") == [0o700, 0o700]
    assert parent.stat().st_uid == os.geteuid()


async def test_a_copy_of_a_template_is_a_database_of_its_own(postgres: EmbeddedPostgres) -> None:
    """What is written to a copy is not in the template; dropping it ends its sessions."""
    template = await postgres.create_database("template_of_ours")
    await run(template, "CREATE TABLE t (n int)")
    copy = await postgres.create_database("copy_of_it", template="template_of_ours")
    await run(copy, "INSERT INTO t VALUES (1)")
    assert await value(template, "SELECT count(*) FROM t") == 0
    session = await asyncpg.connect(copy)
    await postgres.drop_database("copy_of_it")
    await postgres.drop_database("copy_of_it")
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError)):
        await session.execute("SELECT 1")
    session.terminate()
    await postgres.drop_database("template_of_ours")


async def test_another_port_is_chosen_when_the_remembered_one_is_taken(private_dir: Path) -> None:
    """A remembered port that another program took does not keep the server from starting."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        leave(private_dir, "ports.json", json.dumps({"postgres": taken}))
        async with EmbeddedPostgres(private_dir) as postgres:
            assert f":{taken}/" not in postgres.dsn()
            assert await value(postgres.dsn(), "SELECT 1") == 1


async def test_a_taken_port_that_was_asked_for_is_an_error(private_dir: Path) -> None:
    """A fixed port in use is named, and the directory is free again."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(PortTaken, match=str(port)):
            await EmbeddedPostgres(private_dir, port=port).start()
    async with EmbeddedPostgres(private_dir, port=port) as postgres:
        assert f":{port}/" in postgres.dsn()


async def test_a_data_directory_serves_one_owner(postgres: EmbeddedPostgres) -> None:
    """A second owner is refused with the pid of the first, and the first goes on."""
    with pytest.raises(DataDirectoryInUse) as refused:
        await EmbeddedPostgres(postgres.log_file.parent).start()
    assert refused.value.pid == os.getpid()
    assert await value(postgres.dsn(), "SELECT 1") == 1


async def test_a_leftover_server_is_stopped_by_the_next_start(private_dir: Path) -> None:
    """A server of ours that outlived its owner is stopped cleanly, and its commits are there."""
    first = EmbeddedPostgres(private_dir)
    await first.start()
    leftover = first.pid
    assert leftover is not None
    await run(first.dsn(), "CREATE TABLE kept AS SELECT 1 AS n")
    first._lock.release()  # as the kernel does for an owner that was killed

    async with EmbeddedPostgres(private_dir) as second:
        assert second.pid != leftover
        assert identity(leftover) is None
        assert await value(second.dsn(), "SELECT n FROM kept") == 1
    first.kill()


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's parent-death signal is Linux's")
async def test_the_server_ends_with_a_killed_owner(private_dir: Path) -> None:
    """`kill -9` of the process that started it shuts the server down, also from inside a user namespace."""
    owner = await asyncio.create_subprocess_exec(
        sys.executable, "-c", OWNER, str(private_dir), stdout=asyncio.subprocess.PIPE
    )
    assert owner.stdout is not None
    server = int(await owner.stdout.readline())
    assert identity(server) is not None
    owner.kill()
    await owner.wait()
    async with asyncio.timeout(20):
        while True:
            if identity(server) is None:
                break
            await asyncio.sleep(0.02)
    assert (private_dir / "postgres.log").read_text().rstrip().endswith("database system is shut down")


async def test_a_postmaster_pid_that_another_program_has_is_ignored(private_dir: Path) -> None:
    """After a crash the system may give the postmaster's pid to a stranger: no reason to refuse the start."""
    postgres = EmbeddedPostgres(private_dir)
    await postgres.start()
    try:
        pid_file = private_dir / "pgdata" / "postmaster.pid"
        _, _, rest = pid_file.read_text().partition("\n")
        postgres.kill()
        leave(private_dir / "pgdata", "postmaster.pid", f"{os.getpid()}\n{rest}")
        await postgres.start()
        assert await value(postgres.dsn(), "SELECT 1") == 1
    finally:
        await postgres.stop()


async def test_a_first_start_that_was_cut_short_is_begun_again(private_dir: Path) -> None:
    """A half-made cluster is thrown away: nobody ever wrote to it."""
    leave(private_dir / "pgdata.new", "PG_VERSION", "18\n")
    async with EmbeddedPostgres(private_dir) as postgres:
        assert await value(postgres.dsn(), "SELECT 1") == 1


async def test_data_of_another_major_version_is_left_alone(private_dir: Path) -> None:
    """The error names both versions."""
    leave(private_dir / "pgdata", "PG_VERSION", "17\n")
    with pytest.raises(EngineError, match=r"PostgreSQL 17.*PostgreSQL 18"):
        await EmbeddedPostgres(private_dir).start()
    assert (private_dir / "pgdata" / "PG_VERSION").read_text() == "17\n"


async def test_a_server_that_cannot_start_shows_its_own_words(private_dir: Path) -> None:
    """The error carries the server's last lines and where the rest is; the data stays."""
    async with EmbeddedPostgres(private_dir):
        pass
    leave(private_dir / "pgdata", "postgresql.auto.conf", "no_such_setting = 1\n")
    with pytest.raises(EngineFailed, match="no_such_setting") as failed:
        await EmbeddedPostgres(private_dir).start()
    assert str(private_dir / "postgres.log") in failed.value.advice
    leave(private_dir / "pgdata", "postgresql.auto.conf", "")
    async with EmbeddedPostgres(private_dir) as postgres:
        assert await value(postgres.dsn(), "SELECT 1") == 1


async def test_two_servers_start_at_once(tmp_path: Path) -> None:
    """Servers of different directories do not get in each other's way."""
    first, second = EmbeddedPostgres(tmp_path / "1"), EmbeddedPostgres(tmp_path / "2")
    await asyncio.gather(first.start(), second.start())
    try:
        assert first.dsn() != second.dsn()
    finally:
        await asyncio.gather(first.stop(), second.stop())
