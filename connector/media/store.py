"""Where files are kept: a folder, or anything fsspec knows (s3://, gs://, az://, …).

A file is received on local disk, then published under its name in one step: nobody ever reads half a file, and
an attempt that dies leaves nothing under a name. fsspec blocks, and an object store may hang: everything runs in
threads of this store's own.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from fsspec.core import url_to_fs

from connector.errors import SettingsError, Transient

_THREADS = 8
_CHUNK = 256 * 1024
_SPOOL = ".incoming"
_LEFT_OVER_AFTER = 6 * 3600.0  # seconds: longer than any attempt

Result = TypeVar("Result")


class StoreAway(Transient):
    """The store does not take or give files."""


class StoredBlob:
    """A stored file, opened. `size`: bytes. Read it to its end, or close it."""

    def __init__(self, store: BlobStore, file: Any, *, size: int) -> None:
        self.size = size
        self._store = store
        self._file = file

    async def chunks(self) -> AsyncIterator[bytes]:
        """Its content; closed after the last chunk, or when nobody reads on."""
        try:
            while chunk := await self._store.run(self._file.read, _CHUNK):
                yield chunk
        finally:
            self.close()

    def close(self) -> None:
        """Let go of it. Returns at once; repeating is harmless."""
        self._store.submit(self._file.close)


class Receiving:
    """A file on its way into the store. `size`: bytes written so far."""

    def __init__(self, store: BlobStore, path: Path, file: Any) -> None:
        self.size = 0
        self._hash = hashlib.sha256()
        self._store = store
        self._path = path
        self._file = file
        self._buffer = bytearray()

    async def sha256(self) -> str:
        """Of everything written, hex."""
        await self._flush()
        return self._hash.hexdigest()

    async def write(self, chunk: bytes) -> None:
        """Append."""
        self.size += len(chunk)
        self._buffer += chunk
        if len(self._buffer) >= _CHUNK:
            await self._flush()

    async def restart(self) -> None:
        """Forget what was written: the next download begins from its first byte."""
        self._buffer.clear()
        self.size = 0
        self._hash = hashlib.sha256()
        await self._store.run(self._rewind)

    async def publish(self, name: str) -> None:
        """Make it the store's file of this name, whole, in place of any other."""
        await self._flush()
        await self._store.run(self._complete)
        await self._store.publish(self._path, name)

    async def _flush(self) -> None:
        taken, self._buffer = bytes(self._buffer), bytearray()
        await self._store.run(self._append, taken)

    def _append(self, chunk: bytes) -> None:
        self._hash.update(chunk)
        self._file.write(chunk)

    def _complete(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())  # it is called stored from now on, also after a loss of power
        self._file.close()

    def _rewind(self) -> None:
        self._file.seek(0)
        self._file.truncate()


class BlobStore:
    """One store. Raises `SettingsError` when the URL is none that can be used here."""

    def __init__(self, url: str) -> None:
        try:
            self._fs, root = url_to_fs(url)
        except (ImportError, ValueError) as error:
            raise SettingsError(
                f"CONNECTOR_MEDIA__STORE is {url}: {error}.",
                advice="use a folder, or install the fsspec back-end of that URL (s3fs for s3://, gcsfs for gs://)",
            ) from error
        self._root = str(root).rstrip("/")
        self._is_local = "file" in _protocols(self._fs)
        # A rename is atomic within one file system only, so a folder receives within itself.
        self._spool = Path(self._root) / _SPOOL if self._is_local else Path(tempfile.gettempdir())
        self._threads = ThreadPoolExecutor(max_workers=_THREADS, thread_name_prefix="media-store")

    async def run(self, work: Callable[..., Result], *arguments: Any) -> Result:
        """Run blocking work in a thread of the store. Raises `StoreAway` for whatever the back-end raises."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, partial(work, *arguments))
        except Exception as error:  # each back-end raises its own
            raise StoreAway(
                f"The media store does not take or give a file: {type(error).__name__}: {error}.",
                advice="check CONNECTOR_MEDIA__STORE, its credentials and its free space",
            ) from error

    async def acquire(self, work: Callable[[], Result], release: Callable[[Result], None]) -> Result:
        """As `run`, for work that opens something: what a cancelled caller does not get is released."""
        opening = asyncio.ensure_future(self.run(work))
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(partial(self._release, release))
            raise

    def submit(self, work: Callable[..., None], *arguments: Any) -> None:
        """Run blocking work some time soon, unheard."""
        try:
            self._threads.submit(work, *arguments)
        except RuntimeError:  # the store was closed meanwhile
            work(*arguments)

    @asynccontextmanager
    async def receiving(self) -> AsyncIterator[Receiving]:
        """Receive a file; unless it is published, nothing remains of it."""
        path, file = await self.acquire(self._open_spool, lambda spool: _discard(*spool))
        try:
            yield Receiving(self, path, file)
        finally:
            self.submit(_discard, path, file)  # not awaited: the body may have been cancelled

    async def publish(self, path: Path, name: str) -> None:
        """Put a received file under its name."""
        await self.run(self._publish, path, name)

    async def open(self, name: str) -> StoredBlob | None:
        """Open a stored file; None when there is none of this name."""
        opened = await self.acquire(partial(self._open, name), _close_found)
        return None if opened is None else StoredBlob(self, opened[0], size=opened[1])

    async def delete(self, name: str) -> None:
        """Remove a stored file; one that is not there is as good as removed."""
        await self.run(self._delete, name)

    async def clear_leftovers(self) -> None:
        """Remove what attempts that were killed left on the local disk."""
        await self.run(self._clear_spool)

    async def close(self) -> None:
        """Give the threads back; one that hangs in the back-end is not waited for."""
        self._threads.shutdown(wait=False, cancel_futures=False)

    def _release(self, release: Callable[[Result], None], opening: asyncio.Future[Result]) -> None:
        if not opening.cancelled() and opening.exception() is None:
            self.submit(release, opening.result())

    def _place(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _open(self, name: str) -> tuple[Any, int] | None:
        try:
            file = self._fs.open(self._place(name), "rb")
        except FileNotFoundError:
            return None
        size: int = file.seek(0, os.SEEK_END)
        file.seek(0)
        return file, size

    def _delete(self, name: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._fs.rm_file(self._place(name))

    def _open_spool(self) -> tuple[Path, Any]:
        self._spool.mkdir(parents=True, exist_ok=True)
        handle, path = tempfile.mkstemp(prefix="connector-media-", dir=self._spool)
        return Path(path), os.fdopen(handle, "wb")

    def _publish(self, path: Path, name: str) -> None:
        place = self._place(name)
        if self._is_local:
            Path(place).parent.mkdir(parents=True, exist_ok=True)
            path.replace(place)
        else:
            self._fs.put_file(str(path), place)

    def _clear_spool(self) -> None:
        for path in self._spool.glob("connector-media-*"):
            with contextlib.suppress(FileNotFoundError):  # its owner was faster
                if time.time() - path.stat().st_mtime > _LEFT_OVER_AFTER:
                    path.unlink()


def _protocols(fs: Any) -> tuple[str, ...]:
    return (fs.protocol,) if isinstance(fs.protocol, str) else tuple(fs.protocol)


def _close_found(found: tuple[Any, int] | None) -> None:
    if found is not None:
        found[0].close()


def _discard(path: Path, file: Any) -> None:
    file.close()
    path.unlink(missing_ok=True)
