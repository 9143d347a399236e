"""A signed body → the records that keep it. Pure: what cannot be kept as updates is kept as a dead letter."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime

import structlog

from connector.errors import Rejected
from connector.ingress.dead_letters import ROOM_FOR_HEADERS, STAGE, dead_letter
from connector.ingress.splitting import KeyedUpdate, post_id_of, split_updates
from connector.streams.codec import EncodedRecord, encode
from connector.topics import WHATSAPP_HISTORY, WHATSAPP_UPDATES

_BUG = "split_failed"
MAX_RECORD_BYTES = WHATSAPP_UPDATES.max_message_bytes - ROOM_FOR_HEADERS
"""Of key and value. Compression is not counted on: the broker's bound is on the compressed batch."""

_log = structlog.get_logger(__name__)


@dataclass(kw_only=True)
class Intake:
    """The records of one POST, with what they are, for the counters."""

    post_id: str
    records: list[EncodedRecord] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)
    dead: Counter[str] = field(default_factory=Counter)


def take_in(body: bytes, *, received_at: datetime) -> Intake:
    """Split and encode; never raises. At least one record, and none too large for its topic."""
    intake = Intake(post_id=post_id_of(body))
    refused: dict[str, Rejected] = {}
    try:
        for keyed in split_updates(body, received_at=received_at):
            try:
                record = _encoded(keyed)
            except Rejected as rejection:
                refused[rejection.cause] = rejection
            else:
                intake.records.append(record)
                intake.kinds[keyed[1].kind] += 1
    except Rejected as rejection:
        refused[rejection.cause] = rejection
    except Exception as error:  # noqa: BLE001 - answering 5xx would make Meta repeat our bug for 7 days, then drop it
        _log.exception("a signed POST could not be split", post_id=intake.post_id)
        refused[_BUG] = _bug(error)
    for cause, why in refused.items():
        intake.records.append(dead_letter(body, why, subject=intake.post_id, received_at=received_at))
        intake.dead[cause] += 1
    return intake


def _encoded(keyed: KeyedUpdate) -> EncodedRecord:
    key, update = keyed
    # An import of old chats must not stand in the way of what people write now.
    topic, key = (
        (WHATSAPP_HISTORY, update.waba_id or key) if update.kind == "history" else (WHATSAPP_UPDATES, key)
    )
    try:
        record = encode(topic, key=key, value=update, origin=STAGE)
    except (ValueError, RecursionError) as error:  # pydantic refuses more than about 250 levels
        raise Rejected(
            f"An update of a signed POST cannot be written: {error}.",
            cause="too_deep",
            advice="look at the original bytes, which are those of the whole POST; its other updates were kept",
        ) from error
    if len(record.key) + len(record.value) > MAX_RECORD_BYTES:
        raise Rejected(
            f"An update of a signed POST takes {len(record.value)} bytes, more than a record may have.",
            cause="update_too_large",
            advice="look at the original bytes, which are those of the whole POST; its other updates were kept",
        )
    return record


def _bug(error: Exception) -> Rejected:
    return Rejected(
        f"A signed POST could not be split: {type(error).__name__}.",
        cause=_BUG,
        advice="a bug of the connector: report it, redrive after an upgrade",
    )
