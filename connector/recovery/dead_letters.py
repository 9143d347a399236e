"""What lies in `dead.letters`, counted from the topic itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import orjson

from connector.settings import KafkaSettings
from connector.streams.lag import broker_view
from connector.topics import DEAD_LETTERS


@dataclass(frozen=True, kw_only=True, slots=True)
class DeadLetterCount:
    """Dead letters of one stage and cause. `example`: the reason and advice of the last one."""

    stage: str
    cause: str
    count: int
    last: datetime
    reason: str
    advice: str
    refused_by_crm: bool
    """The item is in the sink's table, which says whether it still stands refused."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DeadLetterCounts:
    """`since`: the first that was counted. `complete`: False when older ones were left out."""

    since: datetime | None
    complete: bool
    counts: tuple[DeadLetterCount, ...]


async def count_dead_letters(
    settings: KafkaSettings, *, most: int = 2000, timeout: float = 15.0
) -> DeadLetterCounts:
    """Count the last `most` dead letters of each partition by stage and cause; a letter sent twice counts once.

    Raises `Transient` when no broker answers.
    """
    seen: dict[str, tuple[datetime, Mapping[str, str]]] = {}
    complete = True
    async with broker_view(settings, timeout=timeout) as view:
        consumer = view.consumer
        places = await view.places(DEAD_LETTERS)
        ends = await consumer.end_offsets(places) if places else {}
        begins = await consumer.beginning_offsets(places) if places else {}
        consumer.assign(places)
        for place in places:
            start = max(begins[place], ends[place] - most)
            complete = complete and start == begins[place]
            consumer.seek(place, start)
        left = [place for place in places if ends[place] > begins[place]]
        while left:
            for records in (await consumer.getmany(*left, timeout_ms=500)).values():
                for record in records:
                    at = datetime.fromtimestamp(record.timestamp / 1000, UTC)
                    letter = orjson.loads(record.value)
                    seen[letter["event_id"]] = (at, letter)
            left = [place for place in left if await consumer.position(place) < ends[place]]
    return DeadLetterCounts(
        since=min((at for at, _ in seen.values()), default=None), complete=complete, counts=_counts(seen)
    )


def _counts(seen: Mapping[str, tuple[datetime, Mapping[str, str]]]) -> tuple[DeadLetterCount, ...]:
    numbers: Counter[tuple[str, str]] = Counter()
    last: dict[tuple[str, str], tuple[datetime, Mapping[str, str]]] = {}
    for at, letter in seen.values():
        key = (letter["stage"], letter["cause"])
        numbers[key] += 1
        if key not in last or at >= last[key][0]:
            last[key] = (at, letter)
    return tuple(
        DeadLetterCount(
            stage=stage,
            cause=cause,
            count=number,
            last=last[stage, cause][0],
            reason=last[stage, cause][1]["reason"],
            advice=last[stage, cause][1].get("advice", ""),
            refused_by_crm=last[stage, cause][1]["event_id"].startswith("refused:"),
        )
        for (stage, cause), number in sorted(numbers.items())
    )
