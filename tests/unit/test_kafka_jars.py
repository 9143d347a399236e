"""The broker's jars: fetched once, verified always, never left half-written in a cache that others trust."""

import dataclasses
import functools
import gc
import hashlib
import http.server
import io
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from connector.embedded.errors import DownloadFailed
from connector.embedded.kafka_jars import Jar, KafkaLock, kafka_class_path, read_lock

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

CONTENT = b"the jar" * 1000
JAR = Jar(
    group="org.example",
    name="thing",
    version="1.0",
    bytes=len(CONTENT),
    sha256=hashlib.sha256(CONTENT).hexdigest(),
)
LOCK = KafkaLock(kafka="9.9", jars=(JAR,))


class Mirror(http.server.SimpleHTTPRequestHandler):
    """A Maven repository on loopback that answers the first `refusals` requests for a jar with 404."""

    refusals = 0
    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        if self.path.endswith(".jar") and type(self).refusals > 0:
            type(self).refusals -= 1
            self.send_error(404)
        else:
            super().do_GET()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Say nothing."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Served:
    folder: Path
    remotes: dict[str, str]
    handler: type[Mirror]


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[Served]:
    """The mirror, which has the jar."""
    folder = tmp_path / "mirror"
    (folder / JAR.path).parent.mkdir(parents=True)
    (folder / JAR.path).write_bytes(CONTENT)
    handler = type("OwnMirror", (Mirror,), {"asked": [], "refusals": 0})
    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(handler, directory=str(folder))
    ) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield Served(
            folder=folder, remotes={"here": f"http://127.0.0.1:{server.server_port}"}, handler=handler
        )
        server.shutdown()
        thread.join()
    gc.collect()  # jgo leaves the socket of a refused request to it: here, where that warning is expected


def fetch(mirror: Served, repository: Path, out: io.StringIO | None = None) -> tuple[Path, ...]:
    return kafka_class_path(
        lock=LOCK,
        repository=repository,
        remotes=mirror.remotes,
        progress=out or io.StringIO(),
        pause=0.01,
    )


def test_a_jar_is_fetched_once_and_then_used_offline(tmp_path: Path, mirror: Served) -> None:
    """The second start asks nobody; the first one says what it does in plain lines where there is no terminal."""
    said = io.StringIO()
    repository = tmp_path / "m2"
    (path,) = fetch(mirror, repository, said)
    assert path.read_bytes() == CONTENT
    assert said.getvalue().splitlines()[0] == "Fetching Apache Kafka 9.9 once: 1 jars, 0 MB ..."
    assert [entry.name for entry in repository.iterdir()] == ["org"]

    mirror.handler.asked.clear()
    assert fetch(mirror, repository) == (path,)
    assert mirror.handler.asked == []


def test_a_damaged_jar_in_the_cache_is_fetched_anew(tmp_path: Path, mirror: Served) -> None:
    """A jar that another tool left half-written is replaced by the locked one."""
    broken = tmp_path / "m2" / JAR.path
    broken.parent.mkdir(parents=True)
    broken.write_bytes(CONTENT[:-1])
    (path,) = fetch(mirror, tmp_path / "m2")
    assert path == broken
    assert path.read_bytes() == CONTENT


def test_another_file_under_the_same_name_is_refused(tmp_path: Path, mirror: Served) -> None:
    """What a mirror answers must be the locked file; anything else never reaches the cache."""
    (mirror.folder / JAR.path).write_bytes(CONTENT.upper())
    with pytest.raises(DownloadFailed, match="not the locked file"):
        fetch(mirror, tmp_path / "m2")
    assert not (tmp_path / "m2" / JAR.path).exists()


def test_a_failed_attempt_is_made_again(tmp_path: Path, mirror: Served) -> None:
    """Two refusals are no reason to give up."""
    mirror.handler.refusals = 2
    (path,) = fetch(mirror, tmp_path / "m2")
    assert path.read_bytes() == CONTENT


def test_a_jar_that_cannot_be_fetched_says_what_to_do(tmp_path: Path, mirror: Served) -> None:
    """After the last attempt the error names the jar and the ways out."""
    mirror.handler.refusals = 1000
    with pytest.raises(DownloadFailed, match=r"org\.example:thing:1\.0 could not be fetched") as failed:
        fetch(mirror, tmp_path / "m2")
    for way in ("retry", "HTTPS_PROXY", "[repositories]", "CONNECTOR_KAFKA__BOOTSTRAP_SERVERS"):
        assert way in failed.value.advice


def test_a_cache_that_cannot_be_written_names_the_variable(tmp_path: Path, mirror: Served) -> None:
    """A repository path that is no folder is an error that says which variable moves it."""
    (tmp_path / "file").write_text("")
    with pytest.raises(DownloadFailed) as failed:
        fetch(mirror, tmp_path / "file" / "m2")
    assert "M2_REPO" in failed.value.advice


def test_the_lock_holds_the_broker_and_a_logging_binding() -> None:
    """The committed lock is complete enough to run: one Kafka version throughout, and its log is not lost."""
    lock = read_lock()
    names = {jar.name for jar in lock.jars}
    assert {"kafka_2.13", "kafka-clients", "kafka-server", "log4j-core", "log4j-slf4j-impl"} <= names
    assert {jar.version for jar in lock.jars if jar.group == "org.apache.kafka"} == {lock.kafka}
    assert all(len(jar.sha256) == 64 and jar.bytes > 0 for jar in lock.jars)
    assert len(names) == len(lock.jars)
