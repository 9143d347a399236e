"""What a door could not make into a record of its own: kept with the exact bytes, the cause and what to do."""

from __future__ import annotations

import base64
from datetime import datetime

from connector.errors import Rejected
from connector.events.dead_letters import DeadLetter
from connector.streams.codec import EncodedRecord, encode
from connector.topics import DEAD_LETTERS

STAGE = "ingress"
ROOM_FOR_HEADERS = 128 * 1024
LARGEST_KEPT_BODY = (DEAD_LETTERS.max_message_bytes - ROOM_FOR_HEADERS) // 4 * 3
"""The largest body that fits a dead letter, where it is base64. No larger body may be accepted."""


def dead_letter(
    original: bytes, rejection: Rejected, *, subject: str, received_at: datetime
) -> EncodedRecord:
    """The record. `subject` names what was refused, the same when it comes again."""
    letter = DeadLetter(
        event_id=f"dead:{STAGE}:{rejection.cause}:{subject}",
        stage=STAGE,
        cause=rejection.cause,
        reason=rejection.message,
        advice=rejection.advice,
        at=received_at,
        original=base64.b64encode(original),
    )
    return encode(DEAD_LETTERS, key=STAGE, value=letter, origin=STAGE)
