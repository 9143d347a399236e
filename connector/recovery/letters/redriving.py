"""What a letter becomes when it is put back, and why it may not be. Pure: the same checks for a trial and for a redrive.

A record goes to the topic that it lay on, by its key, with headers that only its stage honours. A POST that the ingress
could not take apart goes through its door again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from connector.errors import Rejected
from connector.events import DeadLetter, Origin, SendRequested
from connector.identity.introductions import STAGE as INTRODUCTIONS
from connector.identity.reading import read_update
from connector.outbound.admission import AUTHENTICATION_LIFETIME, LIFETIME, expiry
from connector.streams.codec import EncodedRecord, decode
from connector.streams.redriven import MOST_ATTEMPTS, Redriven, how_redriven
from connector.topics import (
    ALL_TOPICS,
    CRM_TRIGGERS,
    DEAD_LETTERS,
    WHATSAPP_HISTORY,
    WHATSAPP_UPDATES,
    Topic,
)
from connector.whatsapp.history import past_updates

Door = Callable[[DeadLetter, bytes], Sequence[EncodedRecord]]
"""What never was on a topic goes through the code that refused it: letter and bytes → the records that come of them now.

Raises `Rejected`, whose cause is `would_die_again` or `asked_anew`.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Back:
    """The records that a letter is put back as. `stage`: who reads them; "" for all readers of their topics."""

    records: Sequence[EncodedRecord]
    stage: str


def put_back(
    letter: DeadLetter,
    *,
    fix: bytes | None,
    prefix: str,
    doors: Mapping[str, Door],
    allow_sends: bool,
    now: datetime,
) -> Back:
    """The records to send. `fix`: the value instead of the letter's own; `prefix`: of the topics' names; `doors`: by stage.

    Raises `Rejected` when it would die again or must not go back. Its cause says which: `would_die_again`, `too_often`,
    `sends`, `expired`, `asked_anew`, `not_on_a_topic`.
    """
    value = letter.original if fix is None else fix
    door = doors.get(letter.stage)
    if door is not None:
        return Back(records=door(letter, value), stage="")
    topic = _topic(letter, prefix)
    before = how_redriven(letter.headers)
    attempt = before.attempt + 1 if before else 1
    if attempt > MOST_ATTEMPTS:
        raise Rejected(
            f"It was redriven {MOST_ATTEMPTS} times, and {letter.stage} refused it each time.",
            cause="too_often",
            advice=f"connector dlq drop {letter.event_id} --reason …",
        )
    since = before.since if before and before.since else letter.at
    _check(letter, topic, value)
    if topic is CRM_TRIGGERS and letter.stage != INTRODUCTIONS:
        _check_send(letter, value, since=since, allow_sends=allow_sends, now=now)
    how = Redriven(stage=letter.stage, letter=letter.event_id, attempt=attempt, since=since)
    headers = {**letter.headers, **how.headers}
    record = EncodedRecord(
        topic=topic,
        key=letter.key or b"",
        value=value,
        headers=[(name, text.encode()) for name, text in headers.items()],
    )
    return Back(records=[record], stage=letter.stage)


def _topic(letter: DeadLetter, prefix: str) -> Topic:
    for topic in ALL_TOPICS:
        if letter.topic == topic.full_name(prefix) and topic is not DEAD_LETTERS:
            return topic
    where = f"lay on {letter.topic}, no topic of this version's" if letter.topic else "never was on a topic"
    raise Rejected(
        f"What it holds {where}, so it cannot be put back.",
        cause="not_on_a_topic",
        advice="check CONNECTOR_KAFKA__TOPIC_PREFIX, or drop it with a reason",
    )


def _check(letter: DeadLetter, topic: Topic, value: bytes) -> None:
    """Read it as its stage begins to. Raises `Rejected` (cause `would_die_again`)."""
    try:
        content = decode(topic, value)
        if topic in (WHATSAPP_UPDATES, WHATSAPP_HISTORY):
            place = Origin(
                topic=letter.topic,
                partition=letter.partition,
                offset=letter.offset,
                received_at=content.received_at,
            )
            for update in past_updates(content) if topic is WHATSAPP_HISTORY else [content]:
                read_update(update, place)
    except Rejected as error:
        raise _would_die(error.message) from None


def _check_send(
    letter: DeadLetter, value: bytes, *, since: datetime, allow_sends: bool, now: datetime
) -> None:
    event = decode(CRM_TRIGGERS, value)
    if not isinstance(event, SendRequested):
        return
    until, latest = expiry(event)[0], _asked_until(letter.original, since=since)
    if until > latest:
        raise Rejected(
            f"The fix would let it be sent until {until:%Y-%m-%d %H:%M:%S} UTC, and it was asked for until {latest:%Y-%m-%d %H:%M:%S}.",
            cause="expired",
            advice='keep the expiry: set "/expires_at" to that time or an earlier one',
        )
    if until <= now:
        raise Rejected(
            f"It was wanted until {until:%Y-%m-%d %H:%M:%S} UTC and is never sent later.",
            cause="expired",
            advice="drop it with a reason; whoever still wants it asks anew",
        )
    if not allow_sends:
        raise Rejected(
            "It asks for a message to be sent.",
            cause="sends",
            advice="repeat it with --allow-sends; consent, limits and expiry are judged as for any other",
        )


def _asked_until(original: bytes, *, since: datetime) -> datetime:
    """Until when it was asked for, as far as the bytes tell, whatever else is wrong with them; else a day from its death."""
    try:
        document = json.loads(original)
    except (ValueError, RecursionError):
        document = None
    given: Mapping[str, Any] = document if isinstance(document, dict) else {}
    stated = _moment(given.get("expires_at"))
    if stated is not None:
        return stated
    lifetime = AUTHENTICATION_LIFETIME if given.get("purpose") == "authentication" else LIFETIME
    return (_moment(given.get("received_at")) or since) + lifetime


def _moment(value: Any) -> datetime | None:
    try:
        found = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return None
    return found if found.tzinfo else None


def _would_die(reason: str) -> Rejected:
    return Rejected(
        f"It would die again: {reason}",
        cause="would_die_again",
        advice="upgrade, or mend it: connector dlq fix",
    )
