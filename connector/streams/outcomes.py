"""What a stage is given and what it says about each record. Plain values: a stage knows no Faust."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from connector.streams.codec import EncodedRecord
from connector.topics import Topic


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """One record as it lies on the topic: raw bytes, nothing parsed. `timestamp`: seconds since the epoch.

    `follows`: where its reader was before it. What lies between was never there; what lies below was handled.
    """

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Mapping[str, bytes] = field(default_factory=dict)
    timestamp: float = 0.0
    follows: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Done:
    """The record's effect is durable, or is just what `produce` says: awaited before the record is acknowledged."""

    produce: tuple[EncodedRecord, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Dead:
    """The record can never be applied: the harness keeps its bytes in `dead.letters` before acknowledging it.

    `source` names what it came with, "" if nothing does: one bad delivery of many records is one fault, not many.
    `foretold`: the record says itself that it has no known form, so that its end says nothing about this stage.
    """

    cause: str
    reason: str
    advice: str = ""
    source: str = ""
    foretold: bool = False


Outcome = Done | Dead


class Stage(Protocol):
    """One role's work on one topic.

    `handle` gets records of one batch in topic order (several partitions may be mixed) and answers one outcome
    a record, in the same order. It may be called again with records it has seen. It raises `Transient` to wait
    and be called again with the same batch, `Terminal` to stop the line; nothing is acknowledged meanwhile.
    """

    name: str
    topic: Topic
    batch_size: int

    async def handle(self, records: Sequence[Record]) -> Sequence[Outcome]: ...
