"""When everything of a line is held up by one cause, it stops and tries one send at a time until one passes."""

from __future__ import annotations

from collections.abc import Callable

from connector.streams.backoff import backoff
from connector.telemetry.health import StageHealth
from connector.whatsapp.send_answers import Refused, SendAnswer, Taken, Unsent
from connector.whatsapp.send_errors import ErrorClass

_LONGEST_REST = 30.0


class Brake:
    """The state of one line. `stopped_retry`: seconds between tries while a person has to act."""

    def __init__(
        self,
        *,
        health: StageHealth,
        name: str,
        stopped_retry: float,
        clock: Callable[[], float],
        random: Callable[[], float],
    ) -> None:
        self._health = health
        self._name = name
        self._stopped_retry = stopped_retry
        self._clock = clock
        self._random = random
        self._until = 0.0
        self._failures = 0
        self._closed = False

    def allows(self, most: int) -> int:
        """How many sends may be claimed now: all, one to try, or none."""
        if not self._closed:
            return most
        return 1 if self._clock() >= self._until else 0

    @property
    def seconds(self) -> float:
        """Until the next try; 0 when there is nothing to wait for."""
        return max(0.0, self._until - self._clock()) if self._closed else 0.0

    def trying(self) -> None:
        """A try leaves: nothing else does until it has come back, or its time is over."""
        if self._closed:
            self._until = self._clock() + self._stopped_retry

    def heard(self, answer: SendAnswer) -> None:
        """An answer came."""
        if isinstance(answer, Refused) and answer.rule.error_class is ErrorClass.STOP:
            self._close(self._stopped_retry)
            self._health.line_stopped(
                reason=f"{answer.rule.says}: {answer.error.sentence}. The sends wait.",
                advice=answer.rule.advice,
                by=self._name,
            )
        elif isinstance(answer, Unsent):
            self._failures += 1
            if self._failures > 2:
                self._close(backoff(self._failures, random=self._random, longest=_LONGEST_REST))
                self._health.waiting("whatsapp", reason=f"{answer.reason}; the sends wait")
        elif isinstance(answer, Taken | Refused):
            self._failures = 0
            self._closed = False
            self._health.recovered("whatsapp")
            self._health.line_resumed(by=self._name)

    def stop(self, *, reason: str, advice: str) -> None:
        """Nothing can leave: a setting is missing."""
        self._close(self._stopped_retry)
        self._health.line_stopped(reason=reason, advice=advice, by=self._name)

    def _close(self, seconds: float) -> None:
        self._closed = True
        self._until = self._clock() + seconds
