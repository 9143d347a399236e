"""One Apache Kafka node (KRaft, broker and controller in one process) on loopback."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import shutil
import subprocess
import time
import uuid
from pathlib import Path
from types import TracebackType
from typing import Self

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from connector.embedded.directory import DirectoryLock, require_space, write_atomically
from connector.embedded.errors import OWN_KAFKA, DiskFull, EngineFailed, PortTaken
from connector.embedded.java import Java, bundled_home, find_java
from connector.embedded.kafka_jars import kafka_class_path
from connector.embedded.kafka_security import KafkaSecurity
from connector.embedded.ports import HOST, RememberedPorts
from connector.embedded.process import EngineProcess, ProcessPlan, stop_leftover
from connector.settings import KafkaSettings
from connector.streams.connection import client_arguments

_LOG4J = Path(__file__).with_name("log4j2.properties")
_BIND_ATTEMPTS = 4
_PORT_LOST = ("Address already in use", "BindException")
_NO_SPACE = "No space left on device"


class EmbeddedKafka:
    """A broker whose log is kept in `data_dir` between runs.

    `port`: a fixed loopback port; None chooses a free one and remembers it. `heap`: the JVM's -Xmx. `secure`: TLS, SCRAM
    and ACLs, from the first start on this directory on.
    Topics are never created by themselves (`auto.create.topics.enable=false`). An acknowledged record is
    in the page cache: it survives `kill -9` of the broker, as with any Kafka, not the loss of power.
    """

    def __init__(
        self, data_dir: Path, *, port: int | None = None, heap: str = "512m", secure: bool = False
    ) -> None:
        self._dir = data_dir.absolute()
        self._secure = secure
        self.security: KafkaSecurity | None = None
        """Who may connect, and how; None: everybody, plainly. Known once it was started."""
        self._port = port
        self._heap = heap
        self._lock = DirectoryLock(self._dir)
        self._ports = RememberedPorts(self._dir / "ports.json", ("broker", "controller"))
        self._process: EngineProcess | None = None
        self._bootstrap = ""

    @property
    def bootstrap_servers(self) -> str:
        """`host:port` of the running broker."""
        return self._bootstrap

    @property
    def log_file(self) -> Path:
        """What the broker says."""
        return self._dir / "kafka.log"

    @property
    def pid(self) -> int | None:
        """The broker's pid while it runs."""
        return self._process.pid if self._process else None

    async def start(self, *, timeout: float = 60.0) -> None:
        """Start, and return when it answers metadata and has a group coordinator.

        `timeout`: seconds, without a first download of the jars. Raises a subclass of `EngineError`; then
        nothing runs and the data is kept.
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

    async def stop(self, *, timeout: float = 20.0) -> None:
        """End it cleanly; after `timeout` seconds kill it. The next start finds every record."""
        if self._process is not None:
            await self._process.stop(timeout=timeout)
        self._lock.release()

    def kill(self) -> None:
        """`kill -9`, as a crash would. `start` brings it back; `stop` gives the directory free."""
        if self._process is not None:
            self._process.kill()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def _start(self, *, timeout: float) -> None:
        require_space(self._dir)
        java = find_java(bundled=bundled_home(), env=os.environ)
        jars = await asyncio.to_thread(kafka_class_path)
        command = _java_command(java, jars, heap=self._heap, scratch=self._dir / "tmp")
        await stop_leftover(self._plan(command))
        self._clear_scratch()
        if self._secure:
            self.security = await asyncio.to_thread(KafkaSecurity, self._dir / "security")
        for attempt in range(1, _BIND_ATTEMPTS + 1):
            ports = self._ports.choose(engine="Kafka", fixed=self._port)
            self._write_configuration(broker=ports["broker"], controller=ports["controller"])
            await asyncio.to_thread(self._format, command)
            self._process = EngineProcess(self._plan(command))
            self._process.start()
            self._bootstrap = f"{HOST}:{ports['broker']}"
            if await self._ready(self._process, deadline=time.monotonic() + timeout):
                if self.security is not None:
                    await self.security.allow(self._bootstrap)
                return
            self._process.kill()
            log = self._process.log_since_start()
            if any(sign in log for sign in _PORT_LOST):
                # Someone took a port between our look and Kafka's bind.
                if self._port is not None and f":{self._port}" in log:
                    raise PortTaken(engine="Kafka", port=self._port)
                self._ports.forget()
                if attempt < _BIND_ATTEMPTS:
                    continue
            raise self._failure(self._process, log, timeout=timeout)

    def _plan(self, command: list[str]) -> ProcessPlan:
        configuration = str(self._dir / "server.properties")
        return ProcessPlan(
            name="kafka",
            argv=[*command, "kafka.Kafka", configuration],
            cwd=self._dir,
            log_file=self.log_file,
            pid_file=self._dir / "kafka.pid",
            env=_environment(),
        )

    def _clear_scratch(self) -> None:
        """Native libraries are unpacked there at each start, and a killed JVM leaves them."""
        shutil.rmtree(self._dir / "tmp", ignore_errors=True)
        (self._dir / "tmp").mkdir(mode=0o700)

    def _write_configuration(self, *, broker: int, controller: int) -> None:
        listener, security = "PLAINTEXT", ""
        if self.security is not None:
            listener, security = "SASL_SSL", self.security.broker_properties()
        # log.dirs is relative to the working directory: an absolute path with a comma would be two folders,
        # and a properties file is Latin-1.
        write_atomically(
            self._dir / "server.properties",
            f"""process.roles=broker,controller
node.id=1
listeners={listener}://{HOST}:{broker},CONTROLLER://{HOST}:{controller}
controller.listener.names=CONTROLLER
controller.quorum.voters=1@{HOST}:{controller}
log.dirs=data
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
# The broker may serve from its first heartbeat on: ask soon.
broker.heartbeat.interval.ms=200
# After kill -9 the node must wait for its own former session to expire (default 9 s) before it may register.
broker.session.timeout.ms=3000
metadata.max.idle.interval.ms=5000
num.network.threads=2
num.io.threads=4
log.cleaner.dedupe.buffer.size=16777216
{security}""",
        )

    def _format(self, command: list[str]) -> None:
        """Give the log directory its cluster id, once. A format cut short is begun again: no broker ran on it."""
        done = self._dir / "formatted"
        if done.exists():
            return
        shutil.rmtree(self._dir / "data", ignore_errors=True)
        (self._dir / "data").mkdir(mode=0o700)
        cluster = _cluster_id()
        users = self.security.format_options() if self.security is not None else []
        answer = subprocess.run(  # noqa: S603 - our own argv
            [*command, "kafka.tools.StorageTool", "format", "-t", cluster, "-c", "server.properties", *users],
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
                "Kafka's log directory could not be formatted",
                log_file=self.log_file,
                log_tail=output[-3000:],
            )
        write_atomically(done, f"{cluster}\n")

    async def _ready(self, process: EngineProcess, *, deadline: float) -> bool:
        """True when it serves groups; False when it ended or the deadline passed."""
        host, port = self._bootstrap.split(":")
        settings = KafkaSettings(bootstrap_servers=self._bootstrap)
        if self.security is not None:
            settings = self.security.settings(self._bootstrap)
        while process.pid is not None and time.monotonic() < deadline:
            # Quietly until the port is open: a Kafka client logs every refused connection.
            if await _listens(host, int(port)) and await _has_coordinator(settings):
                return True
            await asyncio.sleep(0.05)
        return False

    def _failure(self, process: EngineProcess, log: str, *, timeout: float) -> EngineFailed | DiskFull:
        if _NO_SPACE in log:
            return DiskFull(directory=self._dir, free_bytes=shutil.disk_usage(self._dir).free)
        ended = process.returncode is not None and process.returncode >= 0
        what = (
            f"Kafka ended with status {process.returncode} while it started"
            if ended
            else f"Kafka did not answer on {self._bootstrap} within {timeout:.0f} s and was stopped"
        )
        return EngineFailed(
            what,
            log_file=self.log_file,
            log_tail="\n".join(log.splitlines()[-12:]),
            advice=f"read {self.log_file}, then start again, or {OWN_KAFKA}",
        )


def _java_command(java: Java, jars: tuple[Path, ...], *, heap: str, scratch: Path) -> list[str]:
    newer = []
    if java.major >= 23:
        # Java 24 warns of what Kafka and its native codecs do (JEP 471, JEP 472).
        newer = ["--sun-misc-unsafe-memory-access=allow", "--enable-native-access=ALL-UNNAMED"]
    return [
        str(java.executable),
        f"-Xmx{heap}",
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",
        "-XX:-UsePerfData",
        "-XX:+ExitOnOutOfMemoryError",
        *newer,
        "-Djava.awt.headless=true",
        f"-Djava.io.tmpdir={scratch}",
        f"-Dlog4j2.configurationFile={_LOG4J.as_uri()}",
        "-cp",
        os.pathsep.join(map(str, jars)),
    ]


def _environment() -> dict[str, str]:
    """What a JVM needs of ours, and no JAVA_TOOL_OPTIONS that would change it."""
    kept = ("PATH", "HOME", "LANG", "SYSTEMROOT", "TMPDIR")
    return {name: os.environ[name] for name in kept if name in os.environ}


def _cluster_id() -> str:
    """Kafka's own kind of id. One that begins with `-` would be taken for an option by its tool."""
    while True:
        text = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        if not text.startswith("-"):
            return text


async def _listens(host: str, port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(host, port)
    except OSError:
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True


async def _has_coordinator(settings: KafkaSettings) -> bool:
    """The port answers about a second before group coordination does on a fresh broker."""
    admin = AIOKafkaAdminClient(**client_arguments(settings), request_timeout_ms=5000)
    try:
        await admin.start()
        await admin.find_coordinator("connector-readiness")
    except (TimeoutError, KafkaError, OSError):
        return False
    finally:
        await admin.close()
    return True
