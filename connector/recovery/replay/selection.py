"""What a replay is about: sinks, a part of a topic, people, kinds of events. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, get_args
from uuid import UUID

from connector.errors import Rejected
from connector.events import ConversationEvent
from connector.topics import CONVERSATION_EVENTS, WHATSAPP_UPDATES, Topic

TOPICS: Mapping[str, Topic] = {topic.name: topic for topic in (CONVERSATION_EVENTS, WHATSAPP_UPDATES)}
"""Where a replay reads: events as they were made, or updates of WhatsApp that today's code makes events of again."""

EVENT_TYPES = tuple(
    sorted(model.model_fields["type"].default for model in get_args(get_args(ConversationEvent)[0]))
)
"""Types of events that a selection may name."""

_AGO = re.compile(r"(\d{1,5})\s*([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_OFFSETS = re.compile(r"\d+:\d+(,\d+:\d+)*")
_VALID = (
    "a time (2026-03-01T12:00, UTC unless it says otherwise), an age (90m, 6h, 3d), or PARTITION:OFFSET[,…]"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """A place on the log: a time, or an offset in each named partition."""

    at: datetime | None = None
    offsets: Mapping[int, int] | None = None

    def __str__(self) -> str:
        if self.at is not None:
            return f"{self.at:%Y-%m-%dT%H:%M:%SZ}"
        return ",".join(f"{partition}:{offset}" for partition, offset in sorted((self.offsets or {}).items()))


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """`topic`: a name of TOPICS, or "": no log is read, only what the tables know. `contacts`: None: everybody.

    `verify`: compare with the CRM's own records, too. `restore`: make anew what people deleted in the CRM;
    `surveyed`: what the CRM lists is in `replay.listed`, and is looked at for records that the tables lost.
    `restore_known`: also what the tables know of as deleted, not only what they take to be there.
    """

    sinks: tuple[str, ...]
    topic: str = CONVERSATION_EVENTS.name
    begin: Point | None = None
    end: Point | None = None
    contacts: frozenset[UUID] | None = None
    event_types: frozenset[str] = frozenset()
    verify: bool = False
    restore: bool = False
    restore_known: bool = True
    surveyed: bool = False

    @property
    def whole(self) -> bool:
        """Whether what the tables know is compared as well, not only what the records of a slice are about."""
        return self.begin is None and self.end is None and not self.event_types

    def described(self) -> dict[str, Any]:
        """As it is kept with the plan."""
        return {
            "sinks": list(self.sinks),
            "topic": self.topic,
            "from": str(self.begin) if self.begin else "",
            "to": str(self.end) if self.end else "",
            "contacts": sorted(map(str, self.contacts)) if self.contacts is not None else [],
            "event_types": sorted(self.event_types),
            "verify": self.verify,
            "restore": self.restore,
            "restore_known": self.restore_known,
        }


def read_point(text: str, *, option: str, now: datetime) -> Point | None:
    """What `--from` and `--to` name; None for nothing. Raises `Rejected` (cause `impossible_range`)."""
    text = text.strip()
    if not text:
        return None
    if _OFFSETS.fullmatch(text):
        pairs = [pair.split(":") for pair in text.split(",")]
        return Point(offsets={int(partition): int(offset) for partition, offset in pairs})
    if ago := _AGO.fullmatch(text):
        return Point(at=now - timedelta(**{_UNITS[ago[2]]: int(ago[1])}))
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise impossible(f"{option} {text} is no place on the log", advice=f"give {_VALID}") from None
    return Point(at=at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC))


def impossible(what: str, *, advice: str) -> Rejected:
    """A range that holds nothing."""
    return Rejected(f"{what}. Nothing was planned.", cause="impossible_range", advice=advice)
