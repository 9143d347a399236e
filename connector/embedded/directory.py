"""A data directory: private, owned by one process at a time, with room to write."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import IO

from connector.embedded.errors import DataDirectoryInUse, DiskFull

try:
    import fcntl
except ImportError:  # Windows: no advisory locks of this kind; the port and pid files still tell
    fcntl = None  # type: ignore[assignment]

MINIMUM_FREE = 500_000_000
"""Bytes that must be free before an engine starts: Kafka's first segments and PostgreSQL's WAL."""


class DirectoryLock:
    """An exclusive lock on a directory, which the kernel gives back however its holder dies.

    Creates the directory for its owner only (mode 700) when it is missing; never changes the mode of one
    that exists, nor of a parent.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._file: IO[str] | None = None

    def acquire(self) -> None:
        """Raise `DataDirectoryInUse` when another holds it. To hold it already is fine."""
        if self._file is not None:
            return
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = (self._directory / "lock").open("a+")
        if fcntl is not None:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                file.seek(0)
                owner = file.read().strip()
                file.close()
                if error.errno not in {errno.EAGAIN, errno.EACCES}:
                    raise
                raise DataDirectoryInUse(
                    directory=self._directory, pid=int(owner) if owner.isdigit() else None
                ) from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        self._file = file

    def release(self) -> None:
        """Give it back. The file stays: removing it would let two processes lock two files of one name."""
        if self._file is not None:
            self._file.truncate(0)
            self._file.close()
            self._file = None


def require_space(directory: Path, *, minimum: int = MINIMUM_FREE) -> None:
    """Raise `DiskFull` when fewer than `minimum` bytes are free at the directory."""
    free = shutil.disk_usage(directory).free
    if free < minimum:
        raise DiskFull(directory=directory, free_bytes=free)


def write_atomically(path: Path, content: str) -> None:
    """Replace a small file as a whole, so that a crash leaves the old one or the new one."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(content)
    draft.replace(path)
