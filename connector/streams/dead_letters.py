"""A record that a stage can never apply becomes a dead letter that can be put back byte by byte."""

from __future__ import annotations

import base64
from datetime import datetime

from connector.events.base import content_hash
from connector.events.dead_letters import DeadLetter
from connector.streams.codec import EncodedRecord, encode
from connector.streams.outcomes import Dead, Record
from connector.topics import DEAD_LETTERS


def dead_letter_record(
    record: Record, verdict: Dead, *, stage: str, at: datetime, part: str = ""
) -> EncodedRecord:
    """The record for `dead.letters`. The same record dying in the same stage for the same cause has the same id.

    `part` names what of a record died when the rest of it lives on; the record's value is then that part's.

    Key and value are kept exactly (a tombstone becomes empty bytes); headers become text, for people, and may
    lose bytes that are not UTF-8.
    """
    place = [record.topic, record.partition, record.offset, verdict.cause, record.timestamp]
    event_id = f"dead:{stage}:" + content_hash([*place, part] if part else place)
    letter = DeadLetter(
        event_id=event_id,
        stage=stage,
        cause=verdict.cause,
        reason=verdict.reason,
        advice=verdict.advice,
        at=at,
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        key=None if record.key is None else base64.b64encode(record.key),
        headers={name: value.decode("utf-8", "replace") for name, value in record.headers.items()},
        original=base64.b64encode(record.value or b""),
    )
    return encode(DEAD_LETTERS, key=stage, value=letter, origin=stage)
