"""The fetcher: gets the files that are noted, each on its own, until WhatsApp forgets them.

A message was acknowledged long before: what fails here is repeated here, and holds up nobody. One attempt: claim
(a lease) → URL → download to local disk → compare → publish in the store → settle. A kill at any point leaves a
lease that runs out; the next attempt begins anew and publishes the same name.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime

import asyncpg
import structlog

from connector.errors import ConnectorError, RateLimited, Rejected, Terminal, Transient
from connector.media import tables
from connector.media.files import URL_LIFE
from connector.media.graph import FileInfo, GraphFiles, NoAnswer, UrlRanOut
from connector.media.removal import remove_blobs
from connector.media.store import BlobStore, Receiving, StoreAway
from connector.media.tables import ClaimedFile
from connector.settings import MediaSettings
from connector.state.database import transaction
from connector.streams.backoff import backoff
from connector.telemetry import metrics
from connector.telemetry.health import StageHealth

_IDLE_POLL = 1.0  # seconds; what another replica notes is seen at the next look
_TEND_EVERY = 2.0  # seconds between looks for what is to be given up, removed and counted
_STOPPED_PAUSE = 10.0  # seconds between looks at a WhatsApp that refuses our token
_LEASE_MARGIN = 30.0  # seconds: publishing after the last byte, and settling
_MISMATCH_PAUSE = 3600.0  # seconds longer from the second download on that is not what WhatsApp said
_LONGEST_MISMATCH_PAUSE = 6 * _MISMATCH_PAUSE

_log = structlog.get_logger(__name__)


class Fetcher:
    """Fetches until `stop`, in any number of processes. `wake` is set when files were noted."""

    def __init__(
        self,
        *,
        pool: asyncpg.Pool,
        graph: GraphFiles,
        store: BlobStore,
        settings: MediaSettings,
        health: StageHealth,
        stop: asyncio.Event,
        wake: asyncio.Event,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        lease_margin: float = _LEASE_MARGIN,
    ) -> None:
        self._pool = pool
        self._graph = graph
        self._store = store
        self._settings = settings
        self._health = health
        self._stop = stop
        self._wake = wake
        self._now = now
        self._lease = settings.download_timeout + lease_margin
        self._turn = 0
        self._failures = 0
        self._paused_until = 0.0

    async def run(self) -> None:
        """Fetch until `stop`; what WhatsApp, the store or the database do is waited for and shown, never raised."""
        self._health.running()
        async with asyncio.TaskGroup() as group:
            for number in range(self._settings.downloads_in_flight):
                group.create_task(
                    self._forever(self._fetch_next, idle=_IDLE_POLL, wake=self._wake),
                    name=f"media-fetch-{number}",
                )
            group.create_task(self._forever(self._tend, idle=_TEND_EVERY), name="media-tend")

    async def fetch_one(self) -> bool:
        """Claim one file and make one attempt. False when none is due."""
        self._turn += 1
        async with transaction(self._pool) as connection:
            # Half of them newest first: a backlog delays nobody who writes now, and loses as little as can be.
            file = await tables.claim(connection, lease=self._lease, newest_first=self._turn % 2 == 0)
        if file is None:
            return False
        self._wake.set()  # there may be work for another task beside this one
        attempt = asyncio.create_task(self._attempt(file))
        stopping = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait({attempt, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not attempt.done():
                attempt.cancel()
                await asyncio.wait({attempt})
                await self._give_back(file)
            else:
                attempt.result()
        finally:
            stopping.cancel()
            attempt.cancel()
        return True

    async def _attempt(self, file: ClaimedFile) -> None:
        began = time.monotonic()
        try:
            async with asyncio.timeout(self._settings.download_timeout), self._store.receiving() as receiving:
                await self._fetch(file, receiving)
        except TimeoutError:
            seconds = self._settings.download_timeout
            await self._later(file, Transient(f"The file did not come within {seconds:g} s."))
        except Terminal as error:
            await self._give_back(file)
            self._pause(_STOPPED_PAUSE)
            self._health.line_stopped(reason=error.message, advice=error.advice)
        except Rejected as error:
            async with transaction(self._pool) as connection:
                await tables.settle_unavailable(connection, file, reason=error.message)
            metrics.MEDIA_FILES.labels("unavailable").inc()
            self._answered()
        except Transient as error:
            await self._later(file, error)
        else:
            metrics.MEDIA_SECONDS.observe(time.monotonic() - began)
            self._health.recovered("store")
            self._answered()

    async def _fetch(self, file: ClaimedFile, receiving: Receiving) -> None:
        """Raises whatever kept the file away; returns once it is settled."""
        info, sent_type = await self._download(file, receiving)
        got = await receiving.sha256()
        differs = _difference(file, info, sha256=got, size=receiving.size)
        if differs:
            # Never kept: somebody would open it as what the customer sent.
            metrics.MEDIA_MISMATCHES.inc()
            pause = min(file.mismatches * _MISMATCH_PAUSE, _LONGEST_MISMATCH_PAUSE)
            raise _Mismatch(f"What came is not what WhatsApp said: {differs}.", retry_after=pause)
        await receiving.publish(file.blob)
        async with transaction(self._pool) as connection:
            stored = await tables.settle_stored(
                connection,
                file,
                sha256=got,
                size=receiving.size,
                mime_type=file.mime_type or (info.mime_type if info else "") or sent_type,
            )
        metrics.MEDIA_FILES.labels("stored" if stored else "overtaken").inc()
        metrics.MEDIA_BYTES.inc(receiving.size)

    async def _download(self, file: ClaimedFile, receiving: Receiving) -> tuple[FileInfo | None, str]:
        """The webhook's URL while it is young, else one that Graph gives; one that ran out is replaced, once."""
        is_young = self._now() - file.received_at < URL_LIFE
        if file.url and is_young and file.attempt == 1:
            # It came from outside, so it may be anything: whatever is wrong with it, Graph has another.
            with suppress(UrlRanOut, Transient):
                return None, await self._graph.download(file.url, receiving, said_type=file.mime_type)
            await receiving.restart()
        for _ in range(2):
            info = await self._graph.look_up(file.media_id, phone_number_id=file.phone_number_id)
            try:
                said_type = file.mime_type or info.mime_type
                return info, await self._graph.download(info.url, receiving, said_type=said_type)
            except UrlRanOut as error:
                problem = str(error)
                await receiving.restart()
        raise Transient(f"{problem}, twice, with a URL that was new.")

    async def _later(self, file: ClaimedFile, error: Transient) -> None:
        """The attempt failed; it is repeated, whatever becomes of the message."""
        settings = self._settings
        wait = backoff(
            file.attempt, random=random.random, first=settings.first_retry, longest=settings.longest_retry
        )
        reason = f"{error.message} {error.advice}".strip()
        async with transaction(self._pool) as connection:
            await tables.settle_later(
                connection,
                file,
                reason=reason,
                retry_in=max(wait, error.retry_after or 0.0),
                differs=error.message if isinstance(error, _Mismatch) else "",
            )
        metrics.MEDIA_FILES.labels("later").inc()
        _log.info("a file is tried again", key=file.key, attempt=file.attempt, reason=error.message)
        if dependency := _dependency(error):
            # Shared by all tasks: an outage is not met once a file. A file's own trouble holds up no other.
            self._failures += 1
            self._pause(max(backoff(self._failures, random=random.random), error.retry_after or 0.0))
            self._health.waiting(dependency, reason=error.message, advice=error.advice)

    def _answered(self) -> None:
        """WhatsApp does its part, or nothing waits for it."""
        self._failures = 0
        self._health.recovered("whatsapp")
        self._health.line_resumed()

    def _pause(self, seconds: float) -> None:
        self._paused_until = max(self._paused_until, time.monotonic() + seconds)

    async def _give_back(self, file: ClaimedFile) -> None:
        """Let anybody make the attempt. Unless the database is away: then the lease runs out."""
        with suppress(ConnectorError):
            async with transaction(self._pool) as connection:
                await tables.give_back(connection, file)

    async def _fetch_next(self) -> bool:
        if (pause := self._paused_until - time.monotonic()) > 0:
            await self._sleep(pause)
            return True
        return await self.fetch_one()

    async def _tend(self) -> bool:
        """Give up what WhatsApp forgot, remove what must not be kept, count what waits."""
        async with transaction(self._pool) as connection:
            expired = await tables.expire(connection)
            waiting, first_end = await tables.waiting(connection)
        if expired:
            metrics.MEDIA_FILES.labels("unavailable").inc(expired)
            _log.warning("files were not fetched in time", files=expired)
        metrics.MEDIA_WAITING.set(waiting)
        left = (first_end - self._now()).total_seconds() if first_end else 0.0
        metrics.MEDIA_SECONDS_LEFT.set(max(0.0, left))
        if not waiting:
            self._answered()
        removed = await remove_blobs(self._pool, self._store)
        if removed:
            self._health.recovered("store")
        return removed > 0

    async def _forever(
        self, work: Callable[[], Awaitable[bool]], *, idle: float, wake: asyncio.Event | None = None
    ) -> None:
        """Work while there is some; look again after `idle` seconds, or on `wake`."""
        while not self._stop.is_set():
            if wake is not None:
                wake.clear()
            try:
                if await work():
                    continue
                self._health.recovered("database")
            except ConnectorError as error:
                self._health.waiting(
                    _dependency(error) or "database", reason=error.message, advice=error.advice
                )
            except Exception:  # noqa: BLE001 - one bug must not end the others' work
                _log.exception("the fetcher failed; its leases run out and the files are tried again")
            await self._sleep(idle, wake)

    async def _sleep(self, seconds: float, wake: asyncio.Event | None = None) -> None:
        events = [asyncio.create_task(event.wait()) for event in (self._stop, wake) if event is not None]
        try:
            await asyncio.wait(events, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for event in events:
                event.cancel()


class _Mismatch(Transient):
    """What came is not what WhatsApp said."""


def _difference(file: ClaimedFile, info: FileInfo | None, *, sha256: str, size: int) -> str:
    """How a download differs from what the webhook and Graph said; "" when it is what either said, or neither did.

    Which bytes the SHA-256 of the webhook is of is not documented, so Graph's may be another.
    """
    hashes = {said for said in (file.sha256, info.sha256 if info else "") if said}
    if hashes and sha256 not in hashes:
        return f"its SHA-256 is {sha256}, WhatsApp said {' and '.join(sorted(hashes))}"
    sizes = {said for said in (file.size, info.size if info else None) if said is not None}
    if not hashes and sizes and size not in sizes:
        return f"it has {size} bytes, WhatsApp said {' and '.join(map(str, sorted(sizes)))}"
    return ""


def _dependency(error: ConnectorError) -> str:
    """What an error says is away; "" when it is about one file only."""
    if isinstance(error, NoAnswer | RateLimited):
        return "whatsapp"
    return "store" if isinstance(error, StoreAway) else ""
