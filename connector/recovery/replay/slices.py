"""From a selection's range to offsets, and what the log no longer has of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from aiokafka import AIOKafkaConsumer, TopicPartition

from connector.recovery.replay.selection import TOPICS, Point, Selection, impossible
from connector.settings import KafkaSettings
from connector.state.offsets import Place
from connector.state.standing import LogSpan
from connector.streams.log_view import log_reader, offsets_since, read_spans

_FIRST_TIMEOUT_MS = 5_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Slice:
    """Offsets to read, by partition. `reaches_back_to`: when the log's first record was written, where it was cut."""

    spans: Mapping[Place, LogSpan]
    reaches_back_to: datetime | None = None

    @property
    def records(self) -> int:
        """How many offsets it holds."""
        return sum(span.end - span.begin for span in self.spans.values())


async def find_slice(settings: KafkaSettings, selection: Selection, *, now: datetime) -> Slice:
    """Where the selection's records lie.

    Raises `Rejected` (cause `impossible_range`, `retention_gap`) for a range that the log does not have, and
    `Transient` when the broker does not answer.
    """
    if not selection.topic:
        return Slice(spans={})
    topic = TOPICS[selection.topic].full_name(settings.topic_prefix)
    whole = await read_spans(settings, {topic: None})
    cut = await _reaches_back_to(settings, whole)
    begin, end = selection.begin, selection.end
    if begin is not None and begin.at is not None:
        if begin.at >= now:
            raise impossible(f"--from {begin} is in the future", advice="give an earlier time")
        if cut is not None and begin.at < cut:
            raise _gap(f"--from {begin}", cut)
    begins = await _offsets(settings, topic, whole, begin, option="--from", cut=cut)
    ends = await _offsets(settings, topic, whole, end, option="--to", cut=cut)
    spans: dict[Place, LogSpan] = {}
    for place, span in whole.items():
        first = span.begin if begin is None else begins.get(place)
        last = span.end if end is None else ends.get(place)
        if first is not None and last is not None and first < last:
            spans[place] = LogSpan(begin=first, end=last)
    if not spans and not (begin is None and end is None):
        raise impossible(
            f"{selection.topic} has no record from {begin or 'its beginning'} to {end or 'its end'}",
            advice="give --to after --from; connector listen shows what passes",
        )
    return Slice(spans=spans, reaches_back_to=cut)


async def _offsets(
    settings: KafkaSettings,
    topic: str,
    whole: Mapping[Place, LogSpan],
    point: Point | None,
    *,
    option: str,
    cut: datetime | None,
) -> dict[Place, int]:
    """The offset of a point in each partition that it names."""
    if point is None:
        return {}
    if point.at is not None:
        found = await offsets_since(settings, topic=topic, since=point.at)
        return {place: span.begin for place, span in found.items()}
    named: dict[Place, int] = {}
    for partition, offset in (point.offsets or {}).items():
        place = Place(topic, partition)
        span = whole.get(place)
        if span is None:
            raise impossible(
                f"{option} {point}: {topic} has no partition {partition}",
                advice=f"it has 0 to {max(place.partition for place in whole)}",
            )
        if offset < span.begin:
            raise _gap(f"{option} {partition}:{offset}", cut, first=f"{partition}:{span.begin}")
        if offset > span.end:
            raise impossible(
                f"{option} {partition}:{offset}: partition {partition} ends at {span.end}",
                advice=f"give an offset up to {span.end}",
            )
        named[place] = offset
    return named


def _gap(what: str, cut: datetime | None, *, first: str = "") -> Exception:
    when = f"{cut:%Y-%m-%d %H:%M:%S} UTC" if cut else "a later time"
    error = impossible(
        f"The log begins at {when}{f' ({first})' if first else ''}: {what} is older than what retention has left",
        advice=f"give --from {first or f'{cut:%Y-%m-%dT%H:%M:%SZ}'}; or leave --from and --to out: then all that is on "
        "the log is read, and what the tables still know of older messages is compared as well",
    )
    error.cause = "retention_gap"
    return error


async def _reaches_back_to(settings: KafkaSettings, whole: Mapping[Place, LogSpan]) -> datetime | None:
    """When the oldest record of those partitions was written that have lost some; None when none has."""
    cut = [place for place, span in whole.items() if span.begin > 0 and span.end > span.begin]
    if not cut:
        return None
    async with log_reader(settings, group=None, client="connector-replay-begin") as consumer:
        times = [await _time_of(consumer, place, whole[place].begin) for place in cut]
    # Before the latest of these, some partition may have lost records.
    return max((time for time in times if time is not None), default=None)


async def _time_of(consumer: AIOKafkaConsumer, place: Place, offset: int) -> datetime | None:
    partition = TopicPartition(place.topic, place.partition)
    consumer.assign([partition])
    consumer.seek(partition, offset)
    found = await consumer.getmany(partition, timeout_ms=_FIRST_TIMEOUT_MS, max_records=1)
    records = found.get(partition, [])
    return datetime.fromtimestamp(records[0].timestamp / 1000, UTC) if records else None
