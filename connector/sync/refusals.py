"""An item the CRM refused, as a dead letter: what it was, why, and what to do."""

from __future__ import annotations

import base64
from datetime import UTC, datetime

import orjson

from connector.crm.port import Refused
from connector.events import DeadLetter
from connector.streams.codec import EncodedRecord, encode
from connector.topics import DEAD_LETTERS


def refusal_letter(stage: str, *, subject: str, version: int, result: Refused) -> EncodedRecord:
    """The record for `dead.letters`. The desired state stays in the sink's table; a redrive writes it again."""
    letter = DeadLetter(
        event_id=f"refused:{stage}:{subject}:{version}",
        stage=stage,
        cause=result.cause,
        reason=result.reason,
        advice=result.advice or f"correct the cause, then: connector dlq redrive --stage {stage}",
        at=datetime.now(UTC),
        headers={"crm-correlation-id": result.correlation_id} if result.correlation_id else {},
        original=_base64({"subject": subject, "version": version}),
    )
    return encode(DEAD_LETTERS, key=stage, value=letter, origin=stage)


def _base64(value: dict[str, object]) -> bytes:
    return base64.b64encode(orjson.dumps(value))
