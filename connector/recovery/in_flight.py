"""Received but not processed: records about a message or a person that lie before a stage, and letters about them.

A stage has read what lies below its group's offset. Looked for are texts that stand in every record about them: a wamid, a
send's id, a BSUID, a phone, a contact id. Nothing is decoded, so what cannot be decoded is found, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from aiokafka import TopicPartition

from connector.recovery.letters.reading import letter_log, read_letters
from connector.recovery.log_stages import STAGES, role_of
from connector.settings import KafkaSettings
from connector.state.database import Connection
from connector.streams.codec import HEADER_SCHEMA
from connector.streams.lag import BrokerView, broker_view
from connector.streams.redriven import HEADER_STAGE, is_for
from connector.topics import Topic

MOST = 20_000
"""Records of a topic that are looked at, from where its slowest stage is."""

_LETTERS = 5_000  # of each partition, the last ones
_SHOWN = 20
_SHORTEST = 6
_TELLING = 30  # characters that no other id contains
_POLL_MS = 500


@dataclass(frozen=True, kw_only=True, slots=True)
class Unread:
    """A record that a stage has not handled. `ahead`: records on its partition that are handled before it."""

    stage: str
    place: str
    schema: str
    written_at: datetime
    ahead: int
    workers: int
    redriven: bool

    def explain(self) -> str:
        """Where it waits, and what helps when nobody works there."""
        work = (
            f"{self.workers} at work"
            if self.workers
            else f"nobody works there: connector run {role_of(self.stage)}"
        )
        return f"not read by {self.stage} yet: {self.place}, {self.ahead:,} records before it, {work}"


@dataclass(frozen=True, kw_only=True, slots=True)
class LetterAbout:
    """A dead letter about it."""

    letter_id: str
    stage: str
    cause: str
    reason: str
    at: datetime
    state: str


@dataclass(frozen=True, kw_only=True, slots=True)
class InFlight:
    """`complete`: False when more records waited than were looked at."""

    unread: Sequence[Unread]
    letters: Sequence[LetterAbout]
    complete: bool


class Marks:
    """The texts by which records about something are known: a long one anywhere, a short one as a whole JSON string.

    What is shorter than six characters (a CRM's id in a test account) says nothing.
    """

    def __init__(self, names: Iterable[str]) -> None:
        texts = [name.encode("utf-8", "replace") for name in names if len(name) >= _SHORTEST]
        self._keys = frozenset(texts)
        self._within = tuple(
            text if len(text) >= _TELLING else b'"%s"' % text for text in dict.fromkeys(texts)
        )

    def __bool__(self) -> bool:
        return bool(self._within)

    def in_record(self, key: bytes | None, value: bytes | None) -> bool:
        """Whether the record is about it."""
        return (key is not None and key in self._keys) or any(text in (value or b"") for text in self._within)


async def in_flight(
    settings: KafkaSettings, marks: Marks, *, states: Mapping[str, str], timeout: float = 20.0
) -> InFlight:
    """What the broker holds of it. `states`: what was done about letters, by id. Raises `Transient` without a broker."""
    unread: list[Unread] = []
    complete = True
    async with broker_view(settings, timeout=timeout) as view:
        for topic in dict.fromkeys(topic for _, topic in STAGES):
            found, whole = await _unread(view, topic, marks)
            unread += found
            complete = complete and whole
        letters = await _letters(view, marks, states)
    return InFlight(unread=unread, letters=letters, complete=complete)


async def _unread(view: BrokerView, topic: Topic, marks: Marks) -> tuple[list[Unread], bool]:
    places = await view.places(topic)
    if not places:
        return [], True
    committed = {stage: at for stage, its in STAGES if its is topic and (at := await view.committed(stage))}
    workers = {stage: await view.workers(stage) for stage in committed}
    begins = await view.consumer.beginning_offsets(places)
    ends = await view.consumer.end_offsets(places)
    starts = {
        place: max(begins[place], min((at.get(place, 0) for at in committed.values()), default=ends[place]))
        for place in places
    }
    lying = {place: start for place, start in starts.items() if start < ends[place]}
    found: list[Unread] = []
    left = MOST
    async for record in _records(view, lying, ends, most=MOST):
        left -= 1
        if not marks.in_record(record.key, record.value):
            continue
        place, headers = TopicPartition(record.topic, record.partition), dict(record.headers)
        for stage, at in committed.items():
            reached = max(at.get(place, 0), begins[place])
            if reached <= record.offset and is_for(stage, headers):
                found.append(
                    Unread(
                        stage=stage,
                        place=f"{record.topic}/{record.partition}/{record.offset}",
                        schema=headers.get(HEADER_SCHEMA, b"").decode("utf-8", "replace"),
                        written_at=datetime.fromtimestamp(record.timestamp / 1000, UTC),
                        ahead=record.offset - reached,
                        workers=workers[stage],
                        redriven=HEADER_STAGE in headers,
                    )
                )
    return found[:_SHOWN], left > 0 or sum(ends[place] - start for place, start in lying.items()) <= MOST


async def _records(
    view: BrokerView, starts: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int], *, most: int
) -> Any:
    consumer = view.consumer
    consumer.assign(list(starts))
    for place, start in starts.items():
        consumer.seek(place, start)
    left = list(starts)
    while left and most > 0:
        for records in (
            await consumer.getmany(*left, timeout_ms=_POLL_MS, max_records=min(most, 500))
        ).values():
            for record in records:
                most -= 1
                yield record
        left = [place for place in left if await consumer.position(place) < ends[place]]


async def _letters(view: BrokerView, marks: Marks, states: Mapping[str, str]) -> list[LetterAbout]:
    found: dict[str, LetterAbout] = {}
    async with aclosing(read_letters(view, await letter_log(view, most=_LETTERS))) as letters:
        async for kept in letters:
            letter = kept.letter
            if marks.in_record(letter.key, letter.original):
                found[letter.event_id] = LetterAbout(
                    letter_id=letter.event_id,
                    stage=letter.stage,
                    cause=letter.cause,
                    reason=letter.reason,
                    at=letter.at,
                    state=states.get(letter.event_id, "open"),
                )
    return sorted(found.values(), key=lambda letter: letter.at)[-_SHOWN:]


@dataclass(frozen=True, kw_only=True, slots=True)
class Queued:
    """Records that follow from something and have not left `shared.outgoing`."""

    stage: str
    topic: str
    count: int


async def queued_about(connection: Connection, names: Iterable[str]) -> list[Queued]:
    """What the relays have still to send about it."""
    rows = await connection.fetch(
        "SELECT stage, topic, count(*) AS count FROM shared.outgoing "
        "WHERE EXISTS (SELECT FROM unnest($1::text[]) AS n (name) WHERE position(convert_to(name, 'UTF8') IN value) > 0) "
        "GROUP BY stage, topic ORDER BY stage, topic",
        [name for name in names if name],
    )
    return [Queued(**row) for row in rows]
