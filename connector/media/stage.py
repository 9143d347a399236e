"""The media stage: notes the files of messages, and their deletion, from `conversation.events`.

It fetches nothing: a slow download must not hold up a partition. One transaction a batch, acknowledged on commit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime

import asyncpg

from connector.errors import Rejected
from connector.events import ConversationEvent, MessageRevoked
from connector.media import tables
from connector.media.files import NotedFile, noted_file
from connector.state.database import transaction
from connector.streams.codec import decode
from connector.streams.outcomes import Dead, Done, Outcome, Record
from connector.topics import CONVERSATION_EVENTS


class MediaStage:
    """The half that listens. `wake` is set when files wait. `keep_deleted`: also of messages that were deleted."""

    name = "media"
    topic = CONVERSATION_EVENTS
    batch_size = 500

    def __init__(self, pool: asyncpg.Pool, *, wake: asyncio.Event, keep_deleted: bool) -> None:
        self._pool = pool
        self._wake = wake
        self._keep_deleted = keep_deleted

    async def handle(self, records: Sequence[Record]) -> Sequence[Outcome]:
        """Note one batch. Raises `Transient` while the database is away; nothing is kept then."""
        outcomes: list[Outcome] = []
        files: list[NotedFile] = []
        withdrawn: dict[str, datetime] = {}
        for record in records:
            try:
                event: ConversationEvent = decode(CONVERSATION_EVENTS, record.value)
            except Rejected as error:
                outcomes.append(Dead(cause=error.cause, reason=error.message, advice=error.advice))
                continue
            outcomes.append(Done())
            if (file := noted_file(event)) is not None:
                files.append(file)
            elif isinstance(event, MessageRevoked) and not self._keep_deleted:
                withdrawn[event.target] = min(event.at, withdrawn.get(event.target, event.at))
        async with transaction(self._pool) as connection:
            await tables.note(connection, files, withdrawn=withdrawn, offsets=records)
        if files or withdrawn:
            self._wake.set()
        return outcomes
