"""Which CRM record is whose: (CRM, record id) belongs to one contact.

A person may merge the records of two contacts of ours by hand. Whoever is written next finds the other's record as
their own: they share it from then on, which means that their messages hang on it and their facts are not said. The
owner's facts and key are said anew, because the write that found out has said the sharer's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import asyncpg

from connector.errors import Transient
from connector.state.database import Connection


@dataclass(frozen=True, kw_only=True, slots=True)
class WrittenContact:
    """A person who is in `record_id` as of `version`."""

    contact_id: UUID
    record_id: str
    version: int
    digest: str


def owners_among(rows: Iterable[Any]) -> dict[str, UUID]:
    """Record id → the contact that it belongs to, of locked rows with contact_id, record_id, redirect_to, shared."""
    return {
        row["record_id"]: row["contact_id"]
        for row in rows
        if row["record_id"] is not None and row["redirect_to"] is None and not row["shared"]
    }


async def store_written(
    connection: Connection, schema: str, written: Sequence[WrittenContact], *, owners: Mapping[str, UUID]
) -> None:
    """Store record ids and versions. The caller has the rows of these contacts and of `owners` locked.

    A record found under our key is ours also when the answer to its creation was lost: nobody else makes such keys,
    and a record that was adopted is known before it is written.
    """
    if not written:
        return
    holders = dict(owners)
    for item in sorted(written, key=lambda item: item.contact_id):
        holders.setdefault(item.record_id, item.contact_id)
    shared = [holders[item.record_id] != item.contact_id for item in written]
    try:
        rows = await connection.fetch(
            f"WITH before AS (SELECT contact_id, shared FROM {schema}.contacts WHERE contact_id = ANY($1::uuid[])) "  # noqa: S608
            f"UPDATE {schema}.contacts AS t SET record_id = n.record_id, "
            # Who stops sharing a record has not been written yet.
            "written_version = CASE WHEN t.shared AND NOT n.shared THEN t.written_version ELSE n.version END, "
            "written_digest = CASE WHEN t.shared AND NOT n.shared THEN NULL ELSE n.digest END, "
            "shared = n.shared AND t.redirect_to IS NULL, written_at = now(), "
            "created_by_us = t.created_by_us OR t.record_id IS NULL, intent = false, "
            "attempts = 0, not_before = '-infinity', waiting_since = CASE WHEN t.desired_version > n.version "
            "THEN t.waiting_since END "
            "FROM unnest($1::uuid[], $2::text[], $3::bigint[], $4::text[], $5::boolean[]) "
            "AS n (contact_id, record_id, version, digest, shared) JOIN before b USING (contact_id) "
            "WHERE t.contact_id = n.contact_id RETURNING t.record_id, t.shared AND NOT b.shared AS overwrote",
            [item.contact_id for item in written],
            [item.record_id for item in written],
            [item.version for item in written],
            [item.digest for item in written],
            shared,
        )
    except asyncpg.UniqueViolationError as error:
        raise Transient("Another writer found the same record at the same time.", retry_after=0.05) from error
    overwritten = sorted({holders[row["record_id"]] for row in rows if row["overwrote"]})
    if overwritten:
        await connection.execute(
            f"UPDATE {schema}.contacts SET desired_version = desired_version + 1, written_digest = NULL, "  # noqa: S608
            "waiting_since = coalesce(waiting_since, now()) WHERE contact_id = ANY($1::uuid[])",
            overwritten,
        )
