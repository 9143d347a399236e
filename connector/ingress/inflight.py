"""How much of the memory is taken by what has arrived and is not durable yet."""

from __future__ import annotations

from connector.telemetry.metrics import INGRESS_INFLIGHT_BYTES


class InflightBytes:
    """One bound for all POSTs of a process: bodies until they are answered, records until the broker has answered.

    A record whose POST was given up (503) still lies in the producer and still counts: with the broker away the
    bound is reached and further POSTs are refused before they are read.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0

    def has_room_for(self, size: int) -> bool:
        """Whether `size` more bytes would fit now. Takes nothing."""
        return self.used + size <= self.limit

    def hold(self, size: int) -> Hold | None:
        """Take `size` bytes, or None when they do not fit. The holder releases them."""
        if not self.has_room_for(size):
            return None
        hold = Hold(self)
        hold._take(size)  # noqa: SLF001 - the two are one
        return hold


class Hold:
    """Bytes taken; to be released once, later calls do nothing."""

    def __init__(self, inflight: InflightBytes) -> None:
        self._inflight = inflight
        self._size = 0
        self._released = False

    def grow(self, size: int) -> bool:
        """Take `size` more; False, and nothing taken, when they do not fit."""
        if not self._inflight.has_room_for(size):
            return False
        self._take(size)
        return True

    def release(self) -> None:
        """Give everything back."""
        if not self._released:
            self._released = True
            self._count(-self._size)

    def _take(self, size: int) -> None:
        self._size += size
        self._count(size)

    def _count(self, change: int) -> None:
        self._inflight.used += change
        INGRESS_INFLIGHT_BYTES.set(self._inflight.used)
