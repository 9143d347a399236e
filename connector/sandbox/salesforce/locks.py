"""Row locks between requests in flight.

A request takes the locks it needs when it arrives, as far as they are free, and holds them to its end, also when
its client has left: the transaction goes on. A row whose lock another request holds when it is written fails
with UNABLE_TO_LOCK_ROW. (Live orgs wait up to 10 s first; here the wait is over at once.)
"""

from __future__ import annotations

from collections.abc import Iterable


class RowLocks:
    """Record id → the request that holds it. A request is any number."""

    def __init__(self) -> None:
        self._holders: dict[str, int] = {}

    def arrive(self, request: int, wanted: Iterable[str]) -> None:
        """Take those locks that are free."""
        for record_id in wanted:
            self._holders.setdefault(record_id, request)

    def acquire(self, request: int, wanted: Iterable[str]) -> bool:
        """Take the locks of one row; False when another request holds one of them."""
        wanted = list(wanted)
        if any(self._holders.get(record_id, request) != request for record_id in wanted):
            return False
        self.arrive(request, wanted)
        return True

    def release(self, request: int) -> None:
        """Give back all locks of a request."""
        self._holders = {name: holder for name, holder in self._holders.items() if holder != request}
