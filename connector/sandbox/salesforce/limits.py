"""The two limits that answer 403 REQUEST_LIMIT_EXCEEDED, told apart by Sforce-Limit-Info.

https://developer.salesforce.com/docs/platform/salesforce-app-limits-cheatsheet/guide/salesforce-app-limits-platform-api.html:
calls per rolling 24 h, and requests of 20 s and longer at once. Shorter requests have no limit of their own.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from connector.sandbox.salesforce.config import SalesforceConfig
from connector.sandbox.salesforce.errors import RequestError

DAY_SECONDS = 86_400.0


class ApiLimits:
    """Counts calls. `clock` gives Unix seconds."""

    def __init__(self, config: SalesforceConfig, *, clock: Callable[[], float]) -> None:
        self._config = config
        self._clock = clock
        self._calls: deque[float] = deque()

    def change(self, config: SalesforceConfig) -> None:
        """Count on by other limits."""
        self._config = config

    @property
    def used(self) -> int:
        """Calls in the last 24 h."""
        oldest = self._clock() - DAY_SECONDS
        while self._calls and self._calls[0] <= oldest:
            self._calls.popleft()
        return len(self._calls)

    def admit(self, *, in_flight: int) -> None:
        """Count a call. `in_flight`: requests that are long ones by now.

        Raises:
            RequestError: a limit is reached.

        """
        if self.used >= self._config.daily_limit:
            raise _exceeded("TotalRequests Limit exceeded.")
        if in_flight >= self._config.concurrent_limit:
            raise _exceeded("ConcurrentRequests (Concurrent API Requests) Limit exceeded.")
        self._calls.append(self._clock())

    def header(self) -> dict[str, str]:
        """The header of every answer."""
        return {"Sforce-Limit-Info": f"api-usage={self.used}/{self._config.daily_limit}; api-bursts=1/750"}


def _exceeded(message: str) -> RequestError:
    return RequestError(status=403, code="REQUEST_LIMIT_EXCEEDED", message=message)
