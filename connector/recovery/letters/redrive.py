"""Putting letters back: marked in the database, sent, marked as sent; one first, then the others, watched as they go.

A crash between the two marks leaves letters `redriving`: the same command sends those again, and their stage takes them
for the repetition that they are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field

from connector.errors import Rejected
from connector.recovery.letters import acts
from connector.recovery.letters.acts import Act
from connector.recovery.letters.groups import Selection
from connector.recovery.letters.progress import Follower
from connector.recovery.letters.reading import KeptLetter, all_letters
from connector.recovery.letters.redriving import Back, Door, put_back
from connector.settings import KafkaSettings
from connector.state.database import Connection
from connector.streams.batch import RecordSender
from connector.streams.lag import BrokerView, broker_view

_AT_ONCE = 100
_BYTES_AT_ONCE = 16 * 1024 * 1024
_SEND_TIMEOUT = 30.0


@dataclass(slots=True)
class Redrive:
    """How far a redrive has come. `stopped`: why it ended before the last letter, "" when it did not."""

    sent: int = 0
    handled: int = 0
    died_again: int = 0
    already: int = 0
    """Letters that something was done about before."""
    refused: Counter[str] = field(default_factory=Counter)
    """Letters that must not go back, by cause."""
    refusals: dict[str, Rejected] = field(default_factory=dict)
    """Of each cause the first."""
    stopped: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class RedriveOptions:
    """`doors`: see `put_back`. `patience`: seconds that the stage has to handle what was sent; 0: it is not waited for. `most`: letters to send."""

    doors: Mapping[str, Door]
    allow_sends: bool
    patience: float
    most: int | None


async def redrive(
    settings: KafkaSettings,
    connection: Connection,
    selection: Selection,
    *,
    act: Act,
    options: RedriveOptions,
    sender: RecordSender,
    found: Redrive,
    progress: Callable[[], None],
) -> None:
    """Put back the letters of a selection that nothing was done about. Letters that die meanwhile are left for the next.

    The first one goes alone: when it dies again, the others stay. The connection must be `alone`. `found` says at any
    moment what was done; `progress` is called when it has changed. Raises `Transient` when broker or database are away.
    """
    async with (
        _watched(settings, wanted=options.patience > 0) as view,
        aclosing(_chunks(settings, selection)) as chunks,
    ):
        async for chunk in chunks:
            ready = await _ready(settings, connection, chunk, act=act, options=options, found=found)
            for batch in _batches(ready, first=found.sent == 0):
                few = batch if options.most is None else batch[: options.most - found.sent]
                if few:
                    await _send(view, connection, few, act=act, options=options, sender=sender, found=found)
                    progress()
                if found.stopped or len(few) < len(batch):
                    return


@asynccontextmanager
async def _watched(settings: KafkaSettings, *, wanted: bool) -> AsyncIterator[BrokerView | None]:
    if not wanted:
        yield None
        return
    async with broker_view(settings, timeout=None) as view:
        yield view


async def _chunks(settings: KafkaSettings, selection: Selection) -> AsyncGenerator[list[KeptLetter], None]:
    """The selection's letters, each once, as many at a time as memory should hold."""
    chunk: list[KeptLetter] = []
    seen: set[str] = set()
    size = 0
    async with aclosing(all_letters(settings)) as letters:
        async for kept in letters:
            letter_id = kept.letter.event_id
            if kept.refused_by_crm or letter_id in seen or not selection.takes(kept):
                continue
            seen.add(letter_id)
            chunk.append(kept)
            size += len(kept.letter.original)
            if len(chunk) >= _AT_ONCE or size >= _BYTES_AT_ONCE:
                yield chunk
                chunk, size = [], 0
    if chunk:
        yield chunk


async def _ready(
    settings: KafkaSettings,
    connection: Connection,
    chunk: Sequence[KeptLetter],
    *,
    act: Act,
    options: RedriveOptions,
    found: Redrive,
) -> list[tuple[str, Back]]:
    ids = [kept.letter.event_id for kept in chunk]
    states = await acts.states_of(connection, ids)
    fixes = await acts.fixes_of(connection, ids)
    ready = []
    for kept in chunk:
        letter = kept.letter
        if states.get(letter.event_id, acts.REDRIVING) != acts.REDRIVING:
            found.already += 1
            continue
        try:
            back = put_back(
                letter,
                fix=fixes.get(letter.event_id),
                prefix=settings.topic_prefix,
                doors=options.doors,
                allow_sends=options.allow_sends,
                now=act.at,
            )
        except Rejected as refusal:
            found.refused[refusal.cause] += 1
            found.refusals.setdefault(refusal.cause, refusal)
        else:
            ready.append((letter.event_id, back))
    return ready


def _batches(backs: Sequence[tuple[str, Back]], *, first: bool) -> list[Sequence[tuple[str, Back]]]:
    """Records of one stage and topic together; the very first letter alone."""
    rest = list(backs)
    batches: list[Sequence[tuple[str, Back]]] = []
    if first and rest:
        batches.append([rest.pop(0)])
    groups: dict[tuple[str, str], list[tuple[str, Back]]] = {}
    for item in rest:
        topic = item[1].records[0].topic.name if item[1].records else ""
        groups.setdefault((item[1].stage, topic), []).append(item)
    return [*batches, *groups.values()]


async def _send(
    view: BrokerView | None,
    connection: Connection,
    batch: Sequence[tuple[str, Back]],
    *,
    act: Act,
    options: RedriveOptions,
    sender: RecordSender,
    found: Redrive,
) -> None:
    marked = set(await acts.begin_redrive(connection, [letter_id for letter_id, _ in batch], act))
    batch = [item for item in batch if item[0] in marked]
    if not batch:
        return
    stage, records = batch[0][1].stage, [record for _, back in batch for record in back.records]
    follower = await Follower.started(view, records[0].topic) if view and stage else None
    await sender.send_all(records, timeout=_SEND_TIMEOUT)
    ids = [letter_id for letter_id, _ in batch]
    await acts.finish_redrive(connection, ids)
    found.sent += len(batch)
    if follower is None:
        return
    seen = await follower.handled(stage=stage, letters=ids, patience=options.patience)
    found.died_again += len(seen.died)
    if not seen.done:
        found.stopped = f"{stage} has not handled them within {options.patience:g} s"
    elif len(seen.died) == len(batch):
        found.stopped = f"{'it' if len(batch) == 1 else 'all of the last ones'} died in {stage} again"
    found.handled += len(batch) - len(seen.died) if seen.done else 0
