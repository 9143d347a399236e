"""Records that a command puts on the log: said to be there only when the broker has them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from connector.settings import Settings
    from connector.streams.codec import EncodedRecord

ORIGIN = "cli"
_AT_ONCE = 500
_TIMEOUT = 30.0


async def publish(settings: Settings, records: Sequence[EncodedRecord]) -> None:
    """Return when the broker has every record. Raises `Transient` that says how many it has for certain."""
    from connector.errors import Transient
    from connector.streams.producer import DurableProducer

    producer = DurableProducer(settings.kafka, client="connector-cli")
    try:
        for start in range(0, len(records), _AT_ONCE):
            try:
                await producer.send_all(records[start : start + _AT_ONCE], timeout=_TIMEOUT)
            except Transient as error:
                raise Transient(
                    f"{error.message} {start:,} of {len(records):,} records are on the log for certain.",
                    advice=f"{error.advice}; then run the same again: what is there already is recognised",
                ) from error
    finally:
        await producer.stop()
