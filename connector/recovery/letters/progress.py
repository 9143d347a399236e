"""Whether a stage has handled what was put back for it, and what of it died again: read from the broker."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Mapping
from contextlib import aclosing
from dataclasses import dataclass

from aiokafka import TopicPartition

from connector.recovery.letters.reading import LetterLog, letter_log, read_letters
from connector.streams.lag import BrokerView
from connector.streams.redriven import how_redriven
from connector.topics import Topic

_LOOK_EVERY = 0.2  # seconds


@dataclass(frozen=True, kw_only=True, slots=True)
class Handled:
    """`done`: the stage has committed beyond it all. `died`: letters of ours that came back, as new letters."""

    done: bool
    died: frozenset[str]


class Follower:
    """Follows what is sent to one topic for one stage, from before it is sent."""

    def __init__(
        self, view: BrokerView, *, topic: Topic, ends: Mapping[TopicPartition, int], letters: LetterLog
    ) -> None:
        self._view = view
        self._topic = topic
        self._ends = ends
        self._letters = letters

    @classmethod
    async def started(cls, view: BrokerView, topic: Topic) -> Follower:
        """Note where the topic and the dead letters end now."""
        return cls(view, topic=topic, ends=await _ends(view, topic), letters=await letter_log(view, most=0))

    async def handled(self, *, stage: str, letters: Collection[str], patience: float) -> Handled:
        """Wait until the stage's group is beyond what was sent since, for at most `patience` seconds."""
        ends = await _ends(self._view, self._topic)
        targets = {place: end for place, end in ends.items() if end > self._ends.get(place, 0)}
        deadline = time.monotonic() + patience
        while not (done := await self._beyond(stage, targets)) and time.monotonic() < deadline:  # noqa: ASYNC110 - the broker sets no event
            await asyncio.sleep(_LOOK_EVERY)
        return Handled(done=done, died=await self._died(frozenset(letters)))

    async def _beyond(self, stage: str, targets: Mapping[TopicPartition, int]) -> bool:
        committed = await self._view.committed(stage)
        return all(committed.get(place, 0) >= end for place, end in targets.items())

    async def _died(self, letters: frozenset[str]) -> frozenset[str]:
        now = await letter_log(self._view)
        begins = {place: self._letters.ends.get(place, 0) for place in now.ends}
        died = set()
        async with aclosing(
            read_letters(self._view, LetterLog(begins=begins, ends=now.ends, complete=True))
        ) as found:
            async for kept in found:
                how = how_redriven(kept.letter.headers)
                if how is not None and how.letter in letters:
                    died.add(how.letter)
        return frozenset(died)


async def _ends(view: BrokerView, topic: Topic) -> dict[TopicPartition, int]:
    places = await view.places(topic)
    return dict(await view.consumer.end_offsets(places)) if places else {}
