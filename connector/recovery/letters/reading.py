"""The topic `dead.letters`, read from wherever one likes, in constant memory."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from aiokafka import TopicPartition

from connector.errors import Rejected
from connector.events import DeadLetter
from connector.settings import KafkaSettings
from connector.state.offsets import Place
from connector.streams.codec import decode
from connector.streams.lag import BrokerView, broker_view
from connector.topics import DEAD_LETTERS

REFUSED = "refused:"
"""Ids of letters of items that a CRM refused begin so; the sink's tables say which still stand refused."""

_POLL_MS = 500
_AT_ONCE = 500


@dataclass(frozen=True, kw_only=True, slots=True)
class KeptLetter:
    """A dead letter where it lies. `at`: when the broker took it."""

    letter: DeadLetter
    at: datetime
    place: Place
    offset: int

    @property
    def refused_by_crm(self) -> bool:
        """It records an item of a sink's tables, and holds no record that could be put back."""
        return self.letter.event_id.startswith(REFUSED)


@dataclass(frozen=True, kw_only=True, slots=True)
class LetterLog:
    """What there is to read now. `complete`: False when older letters are left out."""

    begins: Mapping[Place, int]
    ends: Mapping[Place, int]
    complete: bool


async def letter_log(view: BrokerView, *, most: int | None = None) -> LetterLog:
    """The partitions as they are now. `most`: of each only the last so many; None: all."""
    places = await view.places(DEAD_LETTERS)
    begins = await view.consumer.beginning_offsets(places) if places else {}
    ends = await view.consumer.end_offsets(places) if places else {}
    starts = {
        place: begins[place] if most is None else max(begins[place], ends[place] - most) for place in places
    }
    return LetterLog(
        begins={Place(*place): start for place, start in starts.items()},
        ends={Place(*place): ends[place] for place in places},
        complete=starts == begins,
    )


async def read_letters(view: BrokerView, log: LetterLog) -> AsyncGenerator[KeptLetter, None]:
    """Each letter of `log` as often as it lies there, partition by partition in no order.

    What is no dead letter is passed over. Raises as the view does.
    """
    consumer = view.consumer
    places = [TopicPartition(*place) for place, begin in log.begins.items() if log.ends[place] > begin]
    consumer.assign(places)
    for place in places:
        consumer.seek(place, log.begins[Place(*place)])
    left = list(places)
    while left:
        for place, records in (
            await consumer.getmany(*left, timeout_ms=_POLL_MS, max_records=_AT_ONCE)
        ).items():
            for record in records:
                if record.offset < log.ends[Place(*place)] and (found := _kept(record)) is not None:
                    yield found
        left = [place for place in left if await consumer.position(place) < log.ends[Place(*place)]]


async def all_letters(settings: KafkaSettings) -> AsyncGenerator[KeptLetter, None]:
    """Every letter that lies there now. Raises `Transient` when no broker answers."""
    async with (
        broker_view(settings, timeout=None) as view,
        aclosing(read_letters(view, await letter_log(view))) as letters,
    ):
        async for found in letters:
            yield found


def _kept(record: Any) -> KeptLetter | None:
    try:
        letter: DeadLetter = decode(DEAD_LETTERS, record.value)
    except Rejected:
        return None
    return KeptLetter(
        letter=letter,
        at=datetime.fromtimestamp(record.timestamp / 1000, UTC),
        place=Place(record.topic, record.partition),
        offset=record.offset,
    )
