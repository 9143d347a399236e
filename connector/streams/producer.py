"""The producer every stage shares: what it returned from is on the broker, on all in-sync replicas."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from typing import NoReturn

from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    AuthenticationFailedError,
    ClusterAuthorizationFailedError,
    KafkaError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
)

from connector.errors import Rejected, Terminal, Transient
from connector.settings import KafkaSettings
from connector.streams.codec import EncodedRecord
from connector.streams.connection import client_arguments
from connector.streams.reachability import no_answer

MAX_RECORD_BYTES = 24 * 1024 * 1024
"""The largest record sent: a dead letter of an 8 MB webhook is 11 MB of base64."""

_REFUSED = (AuthenticationFailedError, ClusterAuthorizationFailedError, TopicAuthorizationFailedError)

_log = logging.getLogger(__name__)


class DurableProducer:
    """Idempotent, acks=all, lz4. Connects when first used, replaces its connection when that is beyond repair.

    Any number of tasks may share one. An order is promised for the records of one call and one key, unless
    the call failed and is repeated.
    """

    def __init__(self, settings: KafkaSettings, *, client: str) -> None:
        """`client` names this producer to the broker."""
        self._settings = settings
        self._client = client
        self._producer: AIOKafkaProducer | None = None
        self._opening = asyncio.Lock()

    async def start(self) -> None:
        """Connect. Raises `Transient` when no broker answers; then it can be called again."""
        async with self._opening:
            if self._producer is not None:
                return
            producer = AIOKafkaProducer(
                **client_arguments(self._settings),
                client_id=self._client,
                acks="all",
                enable_idempotence=True,
                compression_type="lz4",
                linger_ms=0,  # sends of one call share a batch anyway; lingering was measured slower
                max_batch_size=256 * 1024,
                max_request_size=MAX_RECORD_BYTES,
                request_timeout_ms=20_000,
                metadata_max_age_ms=60_000,
            )
            try:
                await producer.start()
            except KafkaError as error:
                await _drop(producer)
                raise await no_answer(self._settings, error) from error
            except BaseException:
                await _drop(producer)
                raise
            self._producer = producer

    async def send_all(self, records: Sequence[EncodedRecord], *, timeout: float) -> None:
        """Return when the broker has confirmed every record. `timeout`: seconds for all of them.

        Raises `Transient` when any is not confirmed (some may be: repeating the call may double those) and
        `Rejected` (cause `record_too_large`) when one can never be sent; the others may have been.
        """
        if not records:
            return
        pending: list[asyncio.Future[object]] = []
        try:
            async with asyncio.timeout(timeout):
                await self.start()
                producer = self._producer
                assert producer is not None
                for record in records:
                    sent = await producer.send(
                        record.topic.full_name(self._settings.topic_prefix),
                        value=record.value,
                        key=record.key,
                        headers=list(record.headers),
                    )
                    pending.append(sent)
                # Not gather(): a timeout must not cancel what the broker may be writing this moment.
                await asyncio.wait(pending)
        except TimeoutError:
            _forget(pending)
            # An idempotent producer never gives up by itself: kept, it would send every repetition one day.
            await self._abort()
            raise Transient(
                f"Kafka did not confirm {len(records)} records within {timeout:g} s.",
                advice="check the brokers, min.insync.replicas, and that the topics exist: connector topics create",
            ) from None
        except KafkaError as error:
            _forget(pending)
            await self._give_up(error)
        except BaseException:
            _forget(pending)
            raise
        failures = [failure for future in pending if (failure := future.exception()) is not None]
        if failures:
            await self._give_up(failures[0])

    async def _give_up(self, error: BaseException) -> NoReturn:
        if isinstance(error, MessageSizeTooLargeError | RecordListTooLargeError):
            raise Rejected(
                f"A record is larger than the broker takes: {error}.",
                cause="record_too_large",
                advice="compare max.message.bytes of the topic with its declaration: connector topics create",
            ) from error
        if isinstance(error, UnknownTopicOrPartitionError):
            raise Transient(
                "A topic is missing on the broker.", advice="run: connector topics create"
            ) from error
        if isinstance(error, _REFUSED):
            await self._abort()
            raise Terminal(
                f"Kafka refuses us: {error!r}. Nothing was written.",
                advice="check the credentials and the ACLs: write on the topics, idempotent write on the cluster",
            ) from error
        if not isinstance(error, KafkaError):
            raise error
        if not error.retriable:
            # Out of sequence, fenced, closed: this idempotent session cannot go on, a new one can.
            _log.warning("The producer %s is replaced after %r.", self._client, error)
            await self._abort()
        raise Transient(f"Kafka did not take the records: {error!r}.", advice="check the brokers") from error

    async def stop(self) -> None:
        """Flush, for 5 s at most, and close. A later send connects again."""
        producer, self._producer = self._producer, None
        if producer is None:
            return
        try:
            async with asyncio.timeout(5):
                await producer.stop()
        except (KafkaError, TimeoutError):
            await _drop(producer)

    async def _abort(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            await _drop(producer)


async def _drop(producer: AIOKafkaProducer) -> None:
    """Close without flushing: `stop()` waits for the broker, which may be away for hours."""
    producer._closed = True  # noqa: SLF001 - aiokafka offers no close without a flush
    with contextlib.suppress(KafkaError, TimeoutError):
        async with asyncio.timeout(5):
            if producer._sender.sender_task is not None:  # noqa: SLF001
                await producer._sender.close()  # noqa: SLF001
            await producer.client.close()


def _forget(futures: Sequence[asyncio.Future[object]]) -> None:
    for future in futures:
        future.add_done_callback(lambda done: done.cancelled() or done.exception())
