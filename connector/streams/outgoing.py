"""`shared.outgoing`: what follows from a state change, queued in the transaction that makes the change.

The relay (connector/streams/relay.py) sends the rows of its stage in order, at least once.
"""

from __future__ import annotations

from collections.abc import Sequence

from connector.state.database import Connection
from connector.streams.codec import EncodedRecord


async def queue_outgoing(connection: Connection, *, stage: str, records: Sequence[EncodedRecord]) -> None:
    """Queue records behind the caller's transaction: sent if and only if it commits."""
    if not records:
        return
    await connection.execute(
        "INSERT INTO shared.outgoing (stage, topic, key, value, headers) "
        "SELECT $1, * FROM unnest($2::text[], $3::bytea[], $4::bytea[], $5::jsonb[])",
        stage,
        [record.topic.name for record in records],
        [record.key for record in records],
        [record.value for record in records],
        # jsonb holds no NUL, and a header may carry an id that somebody made up.
        [
            {name: value.decode("utf-8", "replace").replace("\0", "\ufffd") for name, value in record.headers}
            for record in records
        ],
    )
