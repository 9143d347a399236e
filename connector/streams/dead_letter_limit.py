"""Why a bad deploy cannot empty a topic into `dead.letters`."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence

from connector.errors import Terminal
from connector.streams.outcomes import Dead, Outcome

_WINDOW = 1000  # records

_LEFT = "Nothing of this batch was acknowledged."
_ADVICE = (
    "roll back or repair the deploy; if the data really is bad, raise CONNECTOR_STREAMS__DEAD_LETTER_RUN and "
    "CONNECTOR_STREAMS__DEAD_LETTER_SHARE and restart the role"
)


class DeadLetterLimit:
    """Counts dead letters among acknowledged records and refuses a batch that would pass a limit.

    A handful of bad records is normal and must not stop good ones; hundreds in a row mean that *we* are wrong
    (or all of the data is), and every further one makes the repair longer. So the line stops with nothing of
    the batch acknowledged, as Arroyo's dead-letter-queue limit does. Dead letters of one source count as one:
    a single webhook may hold a thousand elements that nobody can read, and says nothing about the next.
    Those that their record foretold count for the run only, as
    docs/decisions/what-the-dead-letter-share-counts.md tells.
    """

    def __init__(
        self, *, stage: str, run: int, share: float, left: str = _LEFT, advice: str = _ADVICE
    ) -> None:
        """`run`: dead letters in a row; `share`: of the last 1,000 records; `left`: the state the data is in then."""
        self._stage = stage
        self._left = left
        self._advice = advice
        self._run = run
        self._most = round(share * _WINDOW)
        self._recent: deque[bool] = deque(maxlen=_WINDOW)
        self._in_a_row = 0
        self._sources: dict[str, None] = {}

    def check(self, outcomes: Sequence[Outcome]) -> None:
        """Raise `Terminal` when these outcomes, after those recorded, pass a limit. Records nothing."""
        recent = deque(self._recent, maxlen=_WINDOW)
        in_a_row = self._in_a_row
        last: Dead | None = None
        for outcome in _once(outcomes, dict(self._sources)):
            dead = isinstance(outcome, Dead)
            if not _foretold(outcome):
                recent.append(dead)
            in_a_row = in_a_row + 1 if dead else 0
            last = outcome if isinstance(outcome, Dead) else last
            if in_a_row > self._run:
                raise self._stop(f"more than {self._run} records in a row", last)
        if sum(recent) > self._most:
            raise self._stop(f"more than {self._most} of the last {_WINDOW} records", last)

    def record(self, outcomes: Sequence[Outcome]) -> None:
        """Count outcomes whose records were acknowledged."""
        for outcome in _once(outcomes, self._sources):
            dead = isinstance(outcome, Dead)
            if not _foretold(outcome):
                self._recent.append(dead)
            self._in_a_row = self._in_a_row + 1 if dead else 0
        for source in list(self._sources)[:-_WINDOW]:
            del self._sources[source]

    def _stop(self, how_many: str, last: Dead | None) -> Terminal:
        example = f"; the last one: {last.cause}: {last.reason}" if last else ""
        return Terminal(
            f"{self._stage} would declare {how_many} dead{example}. {self._left}", advice=self._advice
        )


def _foretold(outcome: Outcome) -> bool:
    return isinstance(outcome, Dead) and outcome.foretold


def _once(outcomes: Sequence[Outcome], sources: dict[str, None]) -> Iterator[Outcome]:
    """The outcomes, but for dead letters of a source that had one before; `sources` learns those that are new."""
    for outcome in outcomes:
        if isinstance(outcome, Dead) and outcome.source:
            if outcome.source in sources:
                continue
            sources[outcome.source] = None
        yield outcome
