"""Faust's consumer with its known faults taken out, and a check that this Faust is the one they were found in.

faust-streaming 0.15.3, by issue:

- #606: a commit may pass a record that is still being worked on (a fresh group has no guard at all, later
  ones miss a hole of one). Here nothing is ever committed at or above the lowest open offset of a partition.
- #316: `_committed_offset` advances although the broker refused the commit. Here a refused commit changes nothing.
- Gaps: Faust lists every missing offset (three seconds of blocked loop for ten million). A partition's
  records reach the stream in order, so everything below the lowest open offset is settled and no list is needed.
- Draining: `wait_first` costs four tasks a record, half of Faust's time. Where the callback cannot suspend it
  is awaited directly.
- A full buffer makes the drain sleep for a second; here it looks again after 20 ms. So the buffer can be small,
  and it is bounded in bytes too: updates are usually 1 KB, but a history chunk is megabytes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Set as AbstractSet
from importlib.metadata import version
from typing import Any, cast

from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Consumer, Transport
from faust.types import TP, Message
from mode.threads import WorkerThread
from mode.utils.futures import notify

from connector.errors import Terminal
from connector.telemetry import metrics

FAUST_VERSION = "0.15.3"
_BUFFER_FULL_PAUSE = 0.02  # seconds
_BUFFER_BYTES = 64 * 1024 * 1024  # values waiting for the stage; one more fetch may come on top
_FEW = 32  # records whose bytes are not worth counting: 8 MB each is the most the ingress takes
_YIELD_EVERY = 100  # records handed over without letting other tasks run

_log = logging.getLogger(__name__)


def check_faust() -> None:
    """Refuse a Faust this file was not written for. Raises `Terminal`."""
    installed = version("faust-streaming")
    if installed != FAUST_VERSION:
        raise Terminal(
            f"faust-streaming {installed} is installed; the stream stages are built on {FAUST_VERSION}.",
            advice=f"pip install faust-streaming=={FAUST_VERSION}",
        )


class _DaemonWorker(WorkerThread):
    """A consumer thread that hangs must not keep a stopped process alive."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.daemon = True


class HardenedConsumer(Consumer):
    """See the file's head. One agent, concurrency 1, acknowledgements in topic order."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._abandoned: dict[TP, int] = {}
        self._n_acked: int = 0
        self._most_waiting = 0

    def _new_consumer_thread(self) -> AIOKafkaConsumerThread:
        return AIOKafkaConsumerThread(self, loop=self.loop, beacon=self.beacon, Worker=_DaemonWorker)

    def close_unstarted_thread(self) -> None:
        """Close the thread's loop when the app failed before the thread began: the thread itself never will."""
        if self._thread._thread is None and not self._thread.thread_loop.is_closed():  # noqa: SLF001
            self._thread.thread_loop.close()

    def track(self, message: Message) -> None:
        """Count a record as open until it is acknowledged or abandoned: nothing at or above it is committed."""
        message.tracked = True
        self._unacked_messages.add(message)

    def abandon(self, message: Message) -> None:
        """Let go of a record without acknowledging it: it is read again from the committed offset.

        Nothing at or above it is committed until the partitions are assigned anew. A record of an earlier
        assignment is being read again already, and must not hold up this one.
        """
        if message.generation_id == self.app.consumer_generation_id:
            floor = self._abandoned.get(message.tp, message.offset)
            self._abandoned[message.tp] = min(floor, message.offset)
        self._unacked_messages.discard(message)
        notify(self._waiting_for_ack)

    def committed_offset(self, tp: TP) -> int | None:
        """What the broker last confirmed for a partition of this assignment."""
        return cast("int | None", self._committed_offset.get(tp))

    async def set_back(self, offsets: Mapping[TP, int]) -> bool:
        """Have these partitions read again from there, by whoever is assigned them next; False if the broker refused.

        Nothing at or above is committed in this assignment any more: the app is to be built again.
        """
        for tp, offset in offsets.items():
            self._abandoned[tp] = min(self._abandoned.get(tp, offset), offset)
        return cast("bool", await self._commit(offsets))

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        # Faust forgets what is acknowledged and not committed at this point, and repeats it after the rebalance.
        await self.commit()
        await super().on_partitions_revoked(revoked)

    async def perform_seek(self) -> None:
        await super().perform_seek()
        self._abandoned.clear()

    def _lowest_open(self, tp: TP) -> int | None:
        open_offsets = [
            message.offset
            for message in list(self._unacked_messages)
            if message.tp == tp and not message.acked
        ]
        if tp in self._abandoned:
            open_offsets.append(self._abandoned[tp])
        return min(open_offsets, default=None)

    def _new_offset(self, tp: TP) -> int | None:
        acked = self._acked[tp]
        floor = self._lowest_open(tp)
        settled = acked if floor is None else [offset for offset in acked if offset < floor]
        if not settled:
            return None
        self._acked[tp] = [] if floor is None else [offset for offset in acked if offset > floor]
        self._acked_index[tp].difference_update(settled)
        return cast("int", max(settled)) + 1

    async def _commit_offsets(self, offsets: Mapping[TP, int], start_new_transaction: bool = True) -> bool:  # noqa: ARG002, FBT001, FBT002
        # Faust's own producer sends nothing in this app, so there is nothing to flush before a commit.
        assignment = self.assignment()
        offsets = {tp: offset for tp, offset in offsets.items() if tp in assignment}
        if not offsets:
            return False
        generation = self.app.consumer_generation_id
        committed: bool = await self._commit(offsets)
        if generation != self.app.consumer_generation_id:
            return committed
        if committed:
            self._committed_offset.update(offsets)
            self.app.monitor.on_tp_commit(offsets)
        else:
            for tp, offset in offsets.items():
                self._acked[tp].append(offset - 1)
                self._acked_index[tp].add(offset - 1)
        return committed

    async def verify_all_partitions_active(self) -> None:
        """Faust's own alarm cries wolf (#166, #503, #629); the watchdog asks the broker instead."""

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        # Retention that overtook a slow reader, or transaction markers. Told, never listed.
        missing = offset_to - offset_from
        metrics.STREAM_OFFSET_GAP.labels(tp.topic).inc(missing)
        _log.warning(
            "%s offsets of %s[%s] do not exist any more (%s to %s): deleted by retention, or transaction markers",
            *(missing, tp.topic, tp.partition, offset_from, offset_to - 1),
        )

    async def _wait_next_records(self, timeout: float) -> tuple[Any, AbstractSet[TP] | None]:
        if self.flow_active and (not self._get_active_partitions() or self._buffer_holds_enough()):
            await asyncio.sleep(_BUFFER_FULL_PAUSE)
            return {}, set()
        if self._buffered_partitions:
            # Records of a held-back partition wait in aiokafka and wake nobody when it is let go.
            timeout = _BUFFER_FULL_PAUSE
        return cast("tuple[Any, AbstractSet[TP] | None]", await super()._wait_next_records(timeout))

    def _buffer_holds_enough(self) -> bool:
        # At most so many bytes wait; they are counted anew only when that may be too many.
        if self._most_waiting <= _BUFFER_BYTES:
            return False
        queues = [channel.queue for channel in self.app.topics]
        if sum(queue.qsize() for queue in queues) <= _FEW:
            return False
        waiting = (event.message for queue in queues for event in queue._queue)  # noqa: SLF001
        self._most_waiting = sum(len(message.value or b"") for message in waiting)
        return self._most_waiting > _BUFFER_BYTES

    def _hands_over_at_once(self, tp: TP) -> bool:
        """Whether the conductor's callback can run without suspending: then no rebalance can be kept waiting."""
        app = self.app
        conductor = app.topics
        return (
            self.flow_active
            and app.flow_control.is_active()
            and not conductor._tp_to_callback_lock.locked()  # noqa: SLF001
            and not any(channel.queue.full() for channel in conductor._tp_index[tp])  # noqa: SLF001
        )

    async def _drain_messages(self, fetcher: Any) -> None:
        callback = self.callback
        read_offsets = self._read_offset
        since_yield = 0
        try:
            while not (self.should_stop or fetcher.should_stop):
                records = self.getmany(timeout=1.0)
                await asyncio.sleep(0)
                if self.should_stop:
                    continue
                async for tp, message in records:
                    since_yield += 1
                    if since_yield > _YIELD_EVERY:
                        since_yield = 0
                        await asyncio.sleep(0)
                    offset = message.offset
                    read = read_offsets[tp]
                    if read is not None and offset < read:
                        continue
                    if read and offset - read > 1:
                        await self._add_gap(tp, read + 1, offset)
                    if self._commit_every is not None and self._n_acked >= self._commit_every:
                        self._n_acked = 0
                        await self.commit()
                    if self._hands_over_at_once(tp):
                        await callback(message)
                    else:
                        await self.wait_first(callback(message), self.suspend_flow.wait())
                    read_offsets[tp] = offset
                    self._most_waiting += len(message.value or b"")
        except self.consumer_stopped_errors:
            if not self.app.should_stop:
                raise
        except asyncio.CancelledError:
            if not self.app.should_stop:
                raise
        except Exception:
            _log.exception("The consumer of %s stopped reading; it is started again.", self.app.conf.id)
            raise


class HardenedTransport(Transport):
    """The aiokafka transport with the consumer above."""

    Consumer = HardenedConsumer
