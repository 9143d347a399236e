"""Records that an operator put back on their topic for one stage; every other stage passes them over.

See docs/decisions/a-redriven-record-lies-on-its-topic.md. A record's letter keeps its headers, so that a record which
dies again carries on counting.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

HEADER_STAGE = "redrive-stage"
HEADER_LETTER = "redrive-letter"
HEADER_ATTEMPT = "redrive-attempt"
HEADER_SINCE = "redrive-since"

MOST_ATTEMPTS = 5
"""Times that one record is redriven. Its stage refused it each time: what is left is a person's to mend."""

SOURCE = "redriven"
"""Dead letters of one source count as one against the dead-letter limit: these were known to be bad before."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Redriven:
    """How a record came back. `letter`: the dead letter it was; `since`: when it died for the first time."""

    stage: str
    letter: str
    attempt: int
    since: datetime | None

    @property
    def headers(self) -> dict[str, str]:
        """As they lie on the record."""
        found = {
            HEADER_STAGE: self.stage,
            HEADER_LETTER: self.letter,
            HEADER_ATTEMPT: str(self.attempt),
        }
        return found if self.since is None else found | {HEADER_SINCE: self.since.isoformat()}


def how_redriven(headers: Mapping[str, bytes] | Mapping[str, str]) -> Redriven | None:
    """What the headers say; None for a record that came by itself. Headers that nobody of us wrote are read kindly."""
    texts = {
        name: value.decode("utf-8", "replace") if isinstance(value, bytes) else value
        for name, value in headers.items()
        if name.startswith("redrive-")
    }
    stage = texts.get(HEADER_STAGE)
    if stage is None:
        return None
    attempt = texts.get(HEADER_ATTEMPT, "")
    return Redriven(
        stage=stage,
        letter=texts.get(HEADER_LETTER, ""),
        attempt=int(attempt) if attempt.isascii() and attempt.isdecimal() else MOST_ATTEMPTS,
        since=_moment(texts.get(HEADER_SINCE, "")),
    )


def _moment(text: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo else None


def is_for(stage: str, headers: Mapping[str, bytes]) -> bool:
    """Whether the stage is to work on such a record."""
    named = headers.get(HEADER_STAGE)
    return named is None or named == stage.encode()


def is_for_any(stages: Collection[str], headers: Iterable[tuple[str, bytes]]) -> bool:
    """The same of several stages, for a reader of the log. `headers`: as aiokafka gives them."""
    return all(value.decode("utf-8", "replace") in stages for name, value in headers if name == HEADER_STAGE)
