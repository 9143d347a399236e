"""Kafka's jars: locked by coordinates and sha256, fetched once by PyPI `jgo`, then used from Maven's cache.

The cache is the one that Maven and jgo share (`M2_REPO`, jgo's `repo_cache`, else `~/.m2/repository`), so a
machine that has the jars downloads nothing. Mirrors and proxies are jgo's and requests' business: jgo's
configuration file (`[repositories]`) and `HTTPS_PROXY`.
"""

from __future__ import annotations

import contextlib
import hashlib
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from connector.embedded.directory import require_space
from connector.embedded.errors import OWN_KAFKA, DownloadFailed, EngineError

LOCK_FILE = Path(__file__).with_name("kafka.lock.toml")
_ATTEMPTS = 3
_PARALLEL = 4
_TIMEOUT = 20
"""Seconds without a byte until an attempt is given up."""


@dataclass(frozen=True, kw_only=True)
class Jar:
    """One locked jar."""

    group: str
    name: str
    version: str
    bytes: int
    sha256: str

    @property
    def path(self) -> Path:
        """Its place in a Maven repository."""
        return Path(*self.group.split("."), self.name, self.version, f"{self.name}-{self.version}.jar")

    def __str__(self) -> str:
        return f"{self.group}:{self.name}:{self.version}"


@dataclass(frozen=True, kw_only=True)
class KafkaLock:
    """The Kafka version and every jar that it runs on."""

    kafka: str
    jars: tuple[Jar, ...]


@dataclass(frozen=True, kw_only=True)
class _Fetch:
    remotes: Mapping[str, str]
    pause: float


def read_lock(file: Path = LOCK_FILE) -> KafkaLock:
    """The committed lock."""
    content = tomllib.loads(file.read_text())
    return KafkaLock(kafka=content["kafka"], jars=tuple(Jar(**jar) for jar in content["jars"]))


def digest(path: Path) -> str:
    """The sha256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def kafka_class_path(
    *,
    lock: KafkaLock | None = None,
    repository: Path | None = None,
    remotes: Mapping[str, str] | None = None,
    progress: TextIO | None = None,
    pause: float = 1.0,
) -> tuple[Path, ...]:
    """The verified jars, in the lock's order; those that are missing or damaged are fetched first.

    Blocks for as long as a download takes. `repository`, `remotes` (name: URL): jgo's by default; `progress`:
    where it is shown, by default standard error; `pause`: seconds before the second attempt at a jar.
    Raises `DownloadFailed`, and `DiskFull` when there is no room for the jars.
    """
    lock = lock or read_lock()
    repository = repository or _maven_repository()
    wanted = [jar for jar in lock.jars if not _is_intact(repository / jar.path, jar)]
    if wanted:
        fetch = _Fetch(remotes=remotes or _remotes(), pause=pause)
        _fetch_all(lock, wanted, repository, fetch, progress or sys.stderr)
    return tuple(repository / jar.path for jar in lock.jars)


def _is_intact(path: Path, jar: Jar) -> bool:
    try:
        return path.stat().st_size == jar.bytes and digest(path) == jar.sha256
    except OSError:
        return False


def _maven_repository() -> Path:
    return Path(_jgo_settings().repo_cache)


def _remotes() -> dict[str, str]:
    """Where jgo is configured to look, mirrors first."""
    mirrors = dict(_jgo_settings().repositories)
    from jgo.constants import MAVEN_CENTRAL_URL

    return {**mirrors, "central": mirrors.get("central", MAVEN_CENTRAL_URL)}


def _jgo_settings() -> Any:
    try:
        from jgo.config import GlobalSettings
    except ImportError:
        raise EngineError(
            "the embedded Kafka needs the package jgo, which is not installed",
            advice=f"pip install 'whatsapp-crm-connector[embedded]', or {OWN_KAFKA}",
        ) from None
    return GlobalSettings.load()


def _fetch_all(lock: KafkaLock, jars: Sequence[Jar], repository: Path, fetch: _Fetch, out: TextIO) -> None:
    try:
        repository.mkdir(parents=True, exist_ok=True)
        require_space(repository)
        # Beside the jars, so that each can be moved into place whole: jgo writes into the final file, and a
        # download cut short would otherwise stay in a cache that other tools trust.
        scratch = tempfile.TemporaryDirectory(prefix=".connector-", dir=repository)
    except OSError as error:
        raise DownloadFailed(
            f"the jar cache {repository} cannot be written: {error.strerror}; nothing was fetched",
            advice=f"set M2_REPO to a folder that you may write to, or {OWN_KAFKA}",
        ) from error
    with (
        scratch as folder,
        _shown(f"Apache Kafka {lock.kafka}", jars, out) as advance,
        ThreadPoolExecutor(_PARALLEL, thread_name_prefix="kafka-jars") as pool,
    ):
        running = {
            pool.submit(_fetch_one, fetch, jar, Path(folder), repository / jar.path, advance): jar
            for jar in jars
        }
        for done in as_completed(running):
            if done.exception() is not None:
                for other in running:
                    other.cancel()
                done.result()


def _fetch_one(fetch: _Fetch, jar: Jar, folder: Path, target: Path, advance: Callable[[int], None]) -> None:
    problem: Exception | None = None
    for attempt in range(_ATTEMPTS):
        if attempt:
            time.sleep(fetch.pause * attempt)  # in a thread of the download's own pool
        seen = 0

        def count(size: int) -> None:
            nonlocal seen
            seen += size
            advance(size)

        try:
            path = _download(jar, folder / str(attempt), fetch.remotes, count)
            if digest(path) != jar.sha256:
                raise DownloadFailed(
                    f"{jar} is not the locked file: its sha256 is {digest(path)}, not {jar.sha256}; "
                    "it was thrown away",
                    advice=f"a proxy or a mirror answered with something else: check it, then retry; or {OWN_KAFKA}",
                )
            target.parent.mkdir(parents=True, exist_ok=True)
            path.replace(target)
        except DownloadFailed:
            raise
        except Exception as error:  # noqa: BLE001 - jgo raises requests', urllib3's and its own
            advance(-seen)
            problem = error
        else:
            return
    raise DownloadFailed(
        f"{jar} could not be fetched after {_ATTEMPTS} attempts ({problem}); the jars fetched so far are kept",
        advice="check the network and retry, set HTTPS_PROXY if you need a proxy (and REQUESTS_CA_BUNDLE if it has "
        "a certificate authority of its own), name a mirror in jgo's "
        f"configuration file under [repositories], or {OWN_KAFKA}",
    ) from problem


def _download(jar: Jar, folder: Path, remotes: Mapping[str, str], count: Callable[[int], None]) -> Path:
    from jgo.maven import MavenContext, PythonResolver

    @contextlib.contextmanager
    def report(_filename: str, _size: int) -> Iterator[Callable[[int], None]]:
        yield count

    context = MavenContext(
        resolver=PythonResolver(progress_callback=report),
        repo_cache=folder,
        remote_repos=dict(remotes),
        timeout=_TIMEOUT,
    )
    artifact = context.project(jar.group, jar.name).at_version(jar.version).artifact()
    return Path(context.resolver.download(artifact))


@contextlib.contextmanager
def _shown(title: str, jars: Sequence[Jar], out: TextIO) -> Iterator[Callable[[int], None]]:
    """A bar on a terminal; two plain lines elsewhere."""
    total = sum(jar.bytes for jar in jars)
    if not out.isatty():
        out.write(f"Fetching {title} once: {len(jars)} jars, {total / 1e6:.0f} MB ...\n")
        out.flush()
        started = time.monotonic()
        yield lambda _size: None
        out.write(f"Fetched {title} in {time.monotonic() - started:.0f} s.\n")
        out.flush()
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(file=out)) as bar:
        task = bar.add_task(f"Fetching {title} once", total=total)
        yield lambda size: bar.advance(task, size)
