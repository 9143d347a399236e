"""The ingress's way to the broker: many POSTs at once, each with its own deadline, within a bound of memory.

Not the stages' `DurableProducer`: that one drops its connection when one call times out, which is right for one
batch at a time. Here one slow partition must not fail the other POSTs, the memory of what was given up must be
counted until the broker answers, and while the broker is away a POST is refused at once, not after its deadline.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Sequence
from typing import Any, Protocol

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, KafkaTimeoutError, UnknownTopicOrPartitionError

from connector.errors import RateLimited, Transient
from connector.ingress.inflight import Hold, InflightBytes
from connector.settings import KafkaSettings
from connector.streams.backoff import backoff
from connector.streams.codec import EncodedRecord
from connector.streams.connection import client_arguments
from connector.streams.reachability import no_answer
from connector.telemetry.health import StageHealth
from connector.telemetry.metrics import INGRESS_BROKER_SECONDS, INGRESS_PRODUCERS_REPLACED
from connector.topics import CRM_TRIGGERS, DEAD_LETTERS, WHATSAPP_HISTORY, WHATSAPP_UPDATES

_WRITTEN = (WHATSAPP_UPDATES, WHATSAPP_HISTORY, CRM_TRIGGERS, DEAD_LETTERS)
_RECORD_OVERHEAD = 512
"""Bytes of headers, futures and bookkeeping a record in flight, measured roughly."""
_SENDS_BETWEEN_YIELDS = 64
"""A large POST lets others run this often; the producer's sender starts on its first records meanwhile."""
_REQUEST_TIMEOUT = 5.0
"""Seconds until an unanswered request to one broker is repeated, perhaps to the new leader."""
_CONNECT_TIMEOUT = 10.0
_CLOSE_TIMEOUT = 3.0
_FLUSH_BROKEN = 2.0
"""Seconds that a broken producer gets to finish partitions that are not concerned."""
_LONGEST_PAUSE = 1.0
"""Seconds between attempts to connect, at most: a returning broker is used within about a second."""
_STUCK = "stuck"

_log = structlog.get_logger(__name__)


class Publisher(Protocol):
    """Where the endpoints hand over records."""

    inflight: InflightBytes

    async def publish(self, records: Sequence[EncodedRecord], *, timeout: float) -> None:
        """Return when the broker has every record; after `timeout` seconds, or when it cannot, raise `Transient`.

        Then none, some or all of the records may be, or come to be, on the log: the caller asks for redelivery and
        readers drop what they have seen. `RateLimited` when there is no memory left for them.
        """
        ...


class KafkaPublisher:
    """Idempotent, acks=all, lz4, partition by the key's murmur2 hash. Connects, and connects again, by itself."""

    def __init__(
        self,
        kafka: KafkaSettings,
        *,
        inflight: InflightBytes,
        health: StageHealth,
        stuck_after: float,
    ) -> None:
        """`stuck_after`: seconds without an answer for a record after which a new producer is tried.

        Longer than any caller waits: then the records of the old one were refused long ago, and dropping them
        frees the memory and loses nothing that anybody was promised.
        """
        self.inflight = inflight
        self._kafka = kafka
        self._health = health
        self._stuck_after = stuck_after
        self._session: _Session | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._closing: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Begin to connect; `health` tells when it is done. Never fails because of the broker."""
        self._keeper = asyncio.create_task(self._keep_connected(), name="ingress publisher")

    async def stop(self, *, timeout: float) -> None:
        """Wait up to `timeout` seconds for what is in flight, then close."""
        if self._keeper is not None:
            self._keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._keeper
        session, self._session = self._session, None
        if session is not None:
            await session.close(flush_for=timeout)
        if self._closing:
            await asyncio.wait(self._closing)

    async def publish(self, records: Sequence[EncodedRecord], *, timeout: float) -> None:
        session = self._session
        if session is None:
            raise Transient(
                "Kafka is not connected. Nothing of this request was kept.",
                advice="check the brokers; GET /readyz says what is wrong",
                retry_after=1.0,
            )
        size = sum(len(record.key) + len(record.value) + _RECORD_OVERHEAD for record in records)
        hold = self.inflight.hold(size)
        if hold is None:
            raise RateLimited(
                f"{self.inflight.used} bytes wait for the broker; there is no room for {size} more.",
                advice="check the brokers; CONNECTOR_INGRESS__MAX_INFLIGHT_BYTES sets the bound",
                retry_after=1.0,
            )
        batch = _Batch(hold, session)
        try:
            async with asyncio.timeout(timeout):
                for number, record in enumerate(records, start=1):
                    batch.sent(await session.send(record, prefix=self._kafka.topic_prefix))
                    if number % _SENDS_BETWEEN_YIELDS == 0:
                        await asyncio.sleep(0)
                batch.complete()
                await batch.answered.wait()
        except TimeoutError:
            raise Transient(
                f"Kafka did not confirm {len(records)} records within {timeout:.1f} s.",
                advice="check the brokers and min.insync.replicas; sending it again is safe",
                retry_after=1.0,
            ) from None
        except KafkaError as error:
            session.fail(error)
            raise _refused(error) from error
        finally:
            batch.complete()
        if batch.error is not None:
            raise _refused(batch.error) from batch.error
        INGRESS_BROKER_SECONDS.observe(time.monotonic() - batch.started)

    async def _keep_connected(self) -> None:
        attempt = 0
        while True:
            try:
                session = await self._connect()
            except Exception as error:  # noqa: BLE001 - whatever it is, without this task every POST is 503 forever
                attempt += 1
                if not isinstance(error, KafkaError | OSError | TimeoutError):
                    _log.exception("connecting failed for a reason that was not foreseen")
                told = await self._told(error)
                self._health.waiting("kafka", reason=told.message, advice=told.advice)
                await asyncio.sleep(backoff(attempt, random=random.random, longest=_LONGEST_PAUSE))
                continue
            attempt = 0
            self._session = session
            self._health.running()
            self._health.recovered("kafka")
            reason = await session.until_broken(stuck_after=self._stuck_after)
            self._session = None
            INGRESS_PRODUCERS_REPLACED.labels(reason).inc()
            _log.warning("producer replaced", reason=reason)
            self._health.waiting("kafka", reason=f"The producer is being replaced: {reason}.")
            closing = asyncio.create_task(session.close(flush_for=0.0 if reason == _STUCK else _FLUSH_BROKEN))
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)

    async def _connect(self) -> _Session:
        producer = _kafka_producer(self._kafka)
        try:
            async with asyncio.timeout(_CONNECT_TIMEOUT):
                await producer.start()
                for topic in _WRITTEN:
                    await producer.partitions_for(topic.full_name(self._kafka.topic_prefix))
        except BaseException:
            await _close_unflushed(producer)
            raise
        return _Session(producer)

    async def _told(self, error: BaseException) -> Transient:
        if isinstance(error, UnknownTopicOrPartitionError):
            names = [topic.full_name(self._kafka.topic_prefix) for topic in _WRITTEN]
            return Transient(f"A topic of {' and '.join(names)} does not exist.", advice=_advice(error))
        return await no_answer(self._kafka, error)


class _Session:
    """One producer from connecting to closing, with the batches that wait for its broker's answer."""

    def __init__(self, producer: AIOKafkaProducer) -> None:
        self._producer = producer
        self._broken: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.waiting: dict[_Batch, None] = {}  # oldest first

    async def send(self, record: EncodedRecord, *, prefix: str) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = await self._producer.send(
            record.topic.full_name(prefix), value=record.value, key=record.key, headers=list(record.headers)
        )
        return future

    def fail(self, error: BaseException) -> None:
        """Any lost batch leaves a hole in the sequence numbers, after which the broker refuses all that follows.

        aiokafka neither raises the epoch nor renumbers (the Java client does), so the producer is done for.
        """
        if not isinstance(error, KafkaTimeoutError) and not self._broken.done():
            self._broken.set_result(type(error).__name__)

    async def until_broken(self, *, stuck_after: float) -> str:
        """Wait until this producer is of no more use; say why."""
        while True:
            done, _ = await asyncio.wait({self._broken}, timeout=stuck_after / 10)
            if done:
                return self._broken.result()
            oldest = next(iter(self.waiting), None)
            if oldest is not None and time.monotonic() - oldest.started > stuck_after:
                return _STUCK

    async def close(self, *, flush_for: float) -> None:
        if flush_for:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(flush_for):
                    await self._producer.flush()
        await _close_unflushed(self._producer)
        for batch in list(self.waiting):
            batch.abandon()


class _Batch:
    """The records of one POST. Holds their bytes until each is answered, also when nobody waits any more."""

    def __init__(self, hold: Hold, session: _Session) -> None:
        self.started = time.monotonic()
        self.answered = asyncio.Event()
        self.error: BaseException | None = None
        self._hold = hold
        self._session = session
        self._unanswered = 0
        self._complete = False
        session.waiting[self] = None

    def sent(self, future: asyncio.Future[Any]) -> None:
        self._unanswered += 1
        future.add_done_callback(self._on_answer)

    def complete(self) -> None:
        """No further record will be sent."""
        self._complete = True
        self._finish_if_done()

    def abandon(self) -> None:
        """The producer is gone: no answer will come."""
        self._unanswered, self._complete = 0, True
        self.error = self.error or KafkaError("the producer was replaced before the broker answered")
        self._finish_if_done()

    def _on_answer(self, future: asyncio.Future[Any]) -> None:
        error = future.exception()
        if error is not None:
            self.error = error
            self._session.fail(error)
        self._unanswered -= 1
        self._finish_if_done()

    def _finish_if_done(self) -> None:
        if self._complete and self._unanswered <= 0:
            self._session.waiting.pop(self, None)
            self._hold.release()
            self.answered.set()


def _refused(error: BaseException) -> Transient:
    return Transient(f"Kafka did not take the records: {error!r}.", advice=_advice(error), retry_after=1.0)


def _advice(error: BaseException) -> str:
    if isinstance(error, UnknownTopicOrPartitionError):
        return "run: connector topics create"
    return "check CONNECTOR_KAFKA__BOOTSTRAP_SERVERS and the brokers; compare topic settings: connector topics create"


def _kafka_producer(kafka: KafkaSettings) -> AIOKafkaProducer:
    return AIOKafkaProducer(
        **client_arguments(kafka),
        client_id="connector-ingress",
        acks="all",
        enable_idempotence=True,
        compression_type="lz4",
        linger_ms=0,
        # Under the brokers' usual 1,048,588: only a record that is larger by itself makes a larger batch.
        max_batch_size=1_000_000,
        max_request_size=64 * 1024 * 1024,  # bounded by InflightBytes and by the topic
        request_timeout_ms=int(_REQUEST_TIMEOUT * 1000),
        metadata_max_age_ms=60_000,
        retry_backoff_ms=250,  # each attempt is three lines in the log while the broker is away
    )


async def _close_unflushed(producer: AIOKafkaProducer) -> None:
    """`stop()` waits until the broker has everything, which may be never; aiokafka has no other close."""
    producer._closed = True  # noqa: SLF001
    for close in (producer._sender.close, producer.client.close):  # noqa: SLF001
        with contextlib.suppress(KafkaError, TimeoutError):
            async with asyncio.timeout(_CLOSE_TIMEOUT):
                await close()
