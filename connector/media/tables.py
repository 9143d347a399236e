"""The media tables: what is noted, claimed, settled and removed. Every statement of the role is here.

A claim holds a file until `not_before`, its lease; `attempts` names who holds it, so that a fetcher whose lease
ran out settles nothing. Where the file will be stored is written down *before* the fetch: whatever becomes of
the attempt, a removal finds what it may have left.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from connector.media.files import NotedFile
from connector.state.database import Connection
from connector.state.offsets import HasPosition, store_offsets

SCHEMA = "media"
_DELETIONS_LOCK = 7_261_400_002
WITHDRAWN = "the author deleted the message"
TOO_LATE = "WhatsApp keeps a file for 7 days, and they had passed"


@dataclass(frozen=True, kw_only=True, slots=True)
class ClaimedFile:
    """A file to fetch, held by attempt number `attempt` until the lease ends."""

    key: str
    attempt: int
    media_id: str
    phone_number_id: str
    mime_type: str
    sha256: str
    size: int | None
    url: str
    received_at: datetime
    mismatches: int
    blob: str


@dataclass(frozen=True, kw_only=True, slots=True)
class FileRow:
    """A file as those who ask see it."""

    key: str
    wamid: str
    media_id: str
    kind: str
    mime_type: str
    filename: str
    state: str
    reason: str
    attempts: int
    not_before: datetime
    fetch_until: datetime
    at: datetime
    blob: str | None
    size: int | None
    differs: str


async def note(
    connection: Connection,
    files: Iterable[NotedFile],
    *,
    withdrawn: Mapping[str, datetime],
    offsets: Iterable[HasPosition],
) -> None:
    """Note files and deletions (wamid → when), in the caller's transaction.

    Commutative and idempotent: a file that comes after its message's deletion is withdrawn at once.
    """
    newest: dict[str, NotedFile] = {}
    for file in files:
        before = newest.get(file.key)
        newest[file.key] = (
            file if before is None else max(before, file, key=lambda one: (one.received_at, one.url))
        )
    rows = [newest[key] for key in sorted(newest)]
    # A file and its message's deletion, noted by two replicas at once, must not miss each other.
    if withdrawn:
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _DELETIONS_LOCK)
    elif rows:
        await connection.execute("SELECT pg_advisory_xact_lock_shared($1)", _DELETIONS_LOCK)
    if withdrawn:
        wamids = sorted(withdrawn)
        await connection.execute(
            "INSERT INTO media.withdrawals AS w (wamid, at) SELECT * FROM unnest($1::text[], $2::timestamptz[]) "
            "ON CONFLICT (wamid) DO UPDATE SET at = least(w.at, excluded.at)",
            wamids,
            [withdrawn[wamid] for wamid in wamids],
        )
    if rows:
        await connection.execute(
            # A later webhook of the same file brings a younger URL, and says that the id lives on.
            "INSERT INTO media.files AS f (key, wamid, contact_id, media_id, phone_number_id, kind, mime_type, "
            "filename, sha256, size, url, received_at, at, fetch_until, state, reason) "
            "SELECT n.*, CASE WHEN until > now() THEN 'waiting' ELSE 'unavailable' END, "
            "CASE WHEN until > now() THEN '' ELSE $15 END "
            "FROM unnest($1::text[], $2::text[], $3::uuid[], $4::text[], $5::text[], $6::text[], $7::text[], "
            "$8::text[], $9::text[], $10::bigint[], $11::text[], $12::timestamptz[], $13::timestamptz[], "
            "$14::timestamptz[]) AS n (key, wamid, contact_id, media_id, phone_number_id, kind, mime_type, filename, "
            "sha256, size, url, received_at, at, until) ON CONFLICT (key) DO UPDATE SET url = excluded.url, "
            "received_at = excluded.received_at, fetch_until = excluded.fetch_until "
            "WHERE f.state = 'waiting' AND excluded.received_at > f.received_at",
            *_columns(rows),
            TOO_LATE,
        )
    touched = sorted({*withdrawn, *(file.wamid for file in rows)})
    if touched:
        await connection.execute(
            "WITH gone AS (SELECT f.key FROM media.files f JOIN media.withdrawals w USING (wamid) "
            "WHERE f.wamid = ANY($1::text[]) AND f.state <> 'withdrawn' ORDER BY f.key FOR UPDATE OF f) "
            "UPDATE media.files f SET state = 'withdrawn', reason = $2 FROM gone WHERE f.key = gone.key",
            touched,
            WITHDRAWN,
        )
    await store_offsets(connection, schema=SCHEMA, offsets=offsets)


async def claim(connection: Connection, *, lease: float, newest_first: bool) -> ClaimedFile | None:
    """Take the file that is due, nearest its end or newest first; None when none is. `lease`: seconds."""
    order = "DESC" if newest_first else "ASC"
    row = await connection.fetchrow(
        "UPDATE media.files SET attempts = attempts + 1, not_before = now() + make_interval(secs => $1), "  # noqa: S608
        "blob = to_char(at AT TIME ZONE 'UTC', 'YYYY/MM/DD/') || key "
        "WHERE key = (SELECT key FROM media.files WHERE state = 'waiting' AND not_before <= now() "
        f"AND fetch_until > now() ORDER BY fetch_until {order} LIMIT 1 FOR UPDATE SKIP LOCKED) RETURNING *",
        lease,
    )
    return None if row is None else _claimed(row)


async def settle_stored(
    connection: Connection, file: ClaimedFile, *, sha256: str, size: int, mime_type: str
) -> bool:
    """The file is in the store. False when it was withdrawn, or taken over by another attempt, meanwhile."""
    status: str = await connection.execute(
        "UPDATE media.files SET state = 'stored', reason = '', stored_sha256 = $3, stored_size = $4, "
        "stored_mime = $5, differs = '', stored_at = now(), not_before = '-infinity' "
        "WHERE key = $1 AND attempts = $2 AND state = 'waiting'",
        file.key,
        file.attempt,
        sha256,
        size,
        mime_type,
    )
    if status == "UPDATE 1":
        return True
    await _release(connection, file)
    return False


async def settle_later(
    connection: Connection, file: ClaimedFile, *, reason: str, retry_in: float, differs: str
) -> None:
    """The attempt failed and is repeated after `retry_in` seconds, or when WhatsApp forgets the file if that is sooner.

    `differs`: how what came is not what WhatsApp said; it is remembered until a download is.
    """
    await connection.execute(
        "UPDATE media.files SET reason = $3, mismatches = mismatches + ($5 <> '')::int, "
        "differs = CASE WHEN $5 <> '' THEN $5 ELSE differs END, "
        "not_before = least(now() + make_interval(secs => $4), greatest(fetch_until, now())) "
        "WHERE key = $1 AND attempts = $2 AND state = 'waiting'",
        file.key,
        file.attempt,
        reason,
        retry_in,
        differs,
    )
    await _release(connection, file)


async def settle_unavailable(connection: Connection, file: ClaimedFile, *, reason: str) -> None:
    """The file will never be there."""
    await connection.execute(
        "UPDATE media.files SET state = 'unavailable', reason = $3, not_before = '-infinity' "
        "WHERE key = $1 AND attempts = $2 AND state = 'waiting'",
        file.key,
        file.attempt,
        reason,
    )
    await _release(connection, file)


async def expire(connection: Connection) -> int:
    """Give up the files that WhatsApp has forgotten; how many. Each keeps what its last attempt met."""
    status: str = await connection.execute(
        "UPDATE media.files SET state = 'unavailable', not_before = '-infinity', "
        "reason = $1 || CASE WHEN reason = '' THEN '' ELSE '; the last attempt: ' || reason END "
        "WHERE state = 'waiting' AND fetch_until <= now() AND not_before <= now()",
        TOO_LATE,
    )
    return int(status.rpartition(" ")[2])


async def give_back(connection: Connection, file: ClaimedFile) -> None:
    """The attempt was not made, or broken off: anybody may make it now."""
    await connection.execute(
        "UPDATE media.files SET not_before = '-infinity', attempts = attempts - 1 WHERE key = $1 AND attempts = $2",
        file.key,
        file.attempt,
    )


async def _release(connection: Connection, file: ClaimedFile) -> None:
    """End the lease on a file that was withdrawn or purged during the attempt, so that it is removed at once."""
    await connection.execute(
        "UPDATE media.files SET not_before = '-infinity' WHERE key = $1 AND attempts = $2 "
        "AND state IN ('withdrawn', 'purged')",
        file.key,
        file.attempt,
    )


async def blobs_to_remove(connection: Connection, *, limit: int) -> Sequence[tuple[str, str]]:
    """(key, blob) of files that must not be in the store any more; nobody is fetching them."""
    rows = await connection.fetch(
        "SELECT key, blob FROM media.files WHERE blob IS NOT NULL AND state NOT IN ('waiting', 'stored') "
        "AND not_before <= now() ORDER BY not_before LIMIT $1",
        limit,
    )
    return [(row["key"], row["blob"]) for row in rows]


async def removed(connection: Connection, keys: Sequence[str]) -> None:
    """Their blobs are gone."""
    await connection.execute(
        "UPDATE media.files SET blob = NULL WHERE key = ANY($1::text[]) AND state NOT IN ('waiting', 'stored')",
        list(keys),
    )


async def purge(connection: Connection, *, before: datetime, reason: str, limit: int) -> int:
    """Mark files of messages older than `before`, at most `limit`; how many were marked. Their blobs go next."""
    status: str = await connection.execute(
        "UPDATE media.files SET state = 'purged', reason = $2 WHERE key IN (SELECT key FROM media.files "
        "WHERE at < $1 AND state NOT IN ('withdrawn', 'purged') ORDER BY at LIMIT $3 FOR UPDATE SKIP LOCKED)",
        before,
        reason,
        limit,
    )
    return int(status.rpartition(" ")[2])


async def count_older(connection: Connection, *, before: datetime) -> tuple[int, int]:
    """(files, bytes) that `purge` would remove."""
    row = await connection.fetchrow(
        "SELECT count(*) AS files, coalesce(sum(stored_size), 0)::bigint AS bytes FROM media.files "
        "WHERE at < $1 AND state NOT IN ('withdrawn', 'purged')",
        before,
    )
    assert row is not None
    return row["files"], row["bytes"]


async def find(connection: Connection, key: str) -> FileRow | None:
    """One file."""
    row = await connection.fetchrow("SELECT * FROM media.files WHERE key = $1", key)
    return None if row is None else _shown(row)


async def files_of(connection: Connection, wamid: str) -> Sequence[FileRow]:
    """The files of one message."""
    rows = await connection.fetch("SELECT * FROM media.files WHERE wamid = $1 ORDER BY at, key", wamid)
    return [_shown(row) for row in rows]


async def waiting(connection: Connection) -> tuple[int, datetime | None]:
    """(files waiting, end of the one that WhatsApp forgets first)."""
    row = await connection.fetchrow(
        "SELECT count(*) AS files, min(fetch_until) AS first_end FROM media.files WHERE state = 'waiting'"
    )
    assert row is not None
    return row["files"], row["first_end"]


async def summary(connection: Connection) -> Sequence[tuple[str, str, int, int]]:
    """(state, reason, files, bytes), most first: what is there, and why the rest is not."""
    rows = await connection.fetch(
        "SELECT state, reason, count(*) AS files, coalesce(sum(stored_size), 0)::bigint AS bytes FROM media.files "
        "GROUP BY state, reason ORDER BY count(*) DESC, state, reason LIMIT 50"
    )
    return [(row["state"], row["reason"], row["files"], row["bytes"]) for row in rows]


def _columns(files: Sequence[NotedFile]) -> tuple[list[Any], ...]:
    return (
        [file.key for file in files],
        [file.wamid for file in files],
        [file.contact_id for file in files],
        [file.media_id for file in files],
        [file.phone_number_id for file in files],
        [file.kind for file in files],
        [file.mime_type for file in files],
        [file.filename for file in files],
        [file.sha256 for file in files],
        [file.size for file in files],
        [file.url for file in files],
        [file.received_at for file in files],
        [file.at for file in files],
        [file.fetch_until for file in files],
    )


def _claimed(row: Any) -> ClaimedFile:
    return ClaimedFile(
        key=row["key"],
        attempt=row["attempts"],
        media_id=row["media_id"],
        phone_number_id=row["phone_number_id"],
        mime_type=row["mime_type"],
        sha256=row["sha256"],
        size=row["size"],
        url=row["url"],
        received_at=row["received_at"],
        mismatches=row["mismatches"],
        blob=row["blob"],
    )


def _shown(row: Any) -> FileRow:
    return FileRow(
        key=row["key"],
        wamid=row["wamid"],
        media_id=row["media_id"],
        kind=row["kind"],
        mime_type=row["stored_mime"] or row["mime_type"],
        filename=row["filename"],
        state=row["state"],
        reason=row["reason"],
        attempts=row["attempts"],
        not_before=row["not_before"],
        fetch_until=row["fetch_until"],
        at=row["at"],
        blob=row["blob"],
        size=row["stored_size"],
        differs=row["differs"],
    )
