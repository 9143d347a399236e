"""The identity tables, set-wise, inside one transaction of the caller's.

Order of locks, everywhere: aliases by (kind, value), contacts by id, recorded messages by wamid, parked statuses
by event id. Two batches about the same people wait for each other; one that meets a merge in between may be asked
to repeat (`Transient`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import asyncpg

from connector.errors import Transient
from connector.identity.directory import Alias, AliasState, ContactState, Directory
from connector.identity.parked import ParkedStatus, park
from connector.identity.rules import Conflict, Inquiry, to_lock
from connector.state.database import Connection

_ALIAS_COLUMNS = (
    "a.kind, a.value, a.contact_id, a.since, a.seen_at, a.previous_contact_id, a.released_at, a.contacts_made"
)
_CONTACT_COLUMNS = "contact_id, first_seen_at, has_bsuid, redirect_to, redirected_at, reason"

# A row per alias, so that a person nobody has met can be locked too. contact_id stays NULL until it is decided.
_RESERVE = """
INSERT INTO identity.aliases (kind, value, since, seen_at)
SELECT kind, value, '-infinity', '-infinity' FROM unnest($1::text[], $2::text[]) AS wanted (kind, value)
ON CONFLICT (kind, value) DO NOTHING
"""
_READ_ALIASES = f"""
SELECT {_ALIAS_COLUMNS} FROM identity.aliases AS a
JOIN unnest($1::text[], $2::text[]) AS wanted (kind, value) ON a.kind = wanted.kind AND a.value = wanted.value
"""  # noqa: S608 - columns are ours
_LOCK_ALIASES = f"{_READ_ALIASES} ORDER BY a.kind, a.value FOR UPDATE OF a"
_UNRESERVE = """
DELETE FROM identity.aliases AS a USING unnest($1::text[], $2::text[]) AS unused (kind, value)
WHERE a.kind = unused.kind AND a.value = unused.value AND a.contact_id IS NULL
"""
_READ_CONTACTS = f"SELECT {_CONTACT_COLUMNS} FROM identity.contacts WHERE contact_id = ANY($1::uuid[])"  # noqa: S608
_LOCK_CONTACTS = f"{_READ_CONTACTS} ORDER BY contact_id FOR UPDATE"
_READ_MESSAGES = "SELECT wamid, contact_id FROM identity.messages WHERE wamid = ANY($1::text[])"
_SAVE_ALIASES = """
UPDATE identity.aliases AS a
SET contact_id = d.contact_id, since = d.since, seen_at = d.seen_at, previous_contact_id = d.previous_contact_id,
    released_at = d.released_at, contacts_made = d.contacts_made
FROM unnest($1::text[], $2::text[], $3::uuid[], $4::timestamptz[], $5::timestamptz[], $6::uuid[], $7::timestamptz[],
            $8::int[])
    AS d (kind, value, contact_id, since, seen_at, previous_contact_id, released_at, contacts_made)
WHERE a.kind = d.kind AND a.value = d.value
"""
_SAVE_CONTACTS = f"""
INSERT INTO identity.contacts ({_CONTACT_COLUMNS})
SELECT * FROM unnest($1::uuid[], $2::timestamptz[], $3::boolean[], $4::uuid[], $5::timestamptz[], $6::text[])
ON CONFLICT (contact_id) DO UPDATE
SET first_seen_at = excluded.first_seen_at, has_bsuid = excluded.has_bsuid, redirect_to = excluded.redirect_to,
    redirected_at = excluded.redirected_at, reason = excluded.reason
"""  # noqa: S608
_RECORD_MESSAGES = """
INSERT INTO identity.messages (wamid, contact_id, first_event_id, received_at, topic, partition, "offset")
SELECT * FROM unnest($1::text[], $2::uuid[], $3::text[], $4::timestamptz[], $5::text[], $6::int[], $7::bigint[])
ON CONFLICT (wamid) DO NOTHING RETURNING wamid
"""
# Whoever records one of these messages meanwhile waits for the end of this transaction, and is waited for.
_RESERVE_MESSAGES = """
INSERT INTO identity.messages (wamid, contact_id, first_event_id, received_at, topic, partition, "offset")
SELECT wamid, '00000000-0000-0000-0000-000000000000', '', '-infinity', '', 0, 0 FROM unnest($1::text[]) AS w (wamid)
ON CONFLICT (wamid) DO NOTHING RETURNING wamid
"""
_UNRESERVE_MESSAGES = "DELETE FROM identity.messages WHERE wamid = ANY($1::text[])"
_RELEASE_PHONES = """
UPDATE identity.aliases AS a SET released_at = c.at
FROM unnest($1::uuid[], $2::text[], $3::timestamptz[]) AS c (contact_id, phone, at)
WHERE a.contact_id = c.contact_id AND a.kind = 'phone' AND a.value <> c.phone AND a.seen_at <= c.at AND a.since <= c.at
  AND a.released_at IS NULL
"""
_RECORD_CONFLICTS = """
INSERT INTO identity.conflicts (event_id, kind, value, at, kept_contact, other_contact, decision)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[], $5::uuid[], $6::uuid[], $7::text[])
ON CONFLICT DO NOTHING
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class RecordedMessage:
    """Whose message it is, from now on, and where it came from first."""

    wamid: str
    contact_id: UUID
    first_event_id: str
    received_at: datetime
    topic: str
    partition: int
    offset: int


@dataclass(frozen=True, kw_only=True, slots=True)
class RecordedConflict:
    """A conflict with the event that brought it up."""

    event_id: str
    at: datetime
    conflict: Conflict


async def load_directory(
    connection: Connection,
    *,
    shown: Collection[Alias],
    wamids: Collection[str],
    inquiries: Sequence[Inquiry],
    contacts: Collection[UUID] = (),
) -> Directory:
    """What is known of the aliases and ids of a batch's messages (`shown`, `wamids`) and of its statuses.

    Locked are the aliases that messages show, and those of statuses that nobody may own. A status whose person
    is known locks nothing. `contacts`: more people, named by their ids.
    """
    read, messages = await _look_up(connection, inquiries)
    locked = to_lock(inquiries, aliases=read, messages=messages.keys(), locked=shown)
    aliases = await _lock_aliases(connection, sorted(locked))
    known = await _load_contacts(
        connection, _LOCK_CONTACTS, _contact_ids(aliases.values()).union(contacts), {}
    )
    only_read = {alias: state for alias, state in read.items() if alias not in locked}
    known = await _load_contacts(connection, _READ_CONTACTS, _contact_ids(only_read.values()), known)
    # After the locks: another batch with the same message has shown the same alias, and is through by now.
    open_wamids = {inquiry.wamid for inquiry in inquiries if not locked.isdisjoint(inquiry.aliases)}
    messages |= await _read_messages(connection, open_wamids.union(wamids) - messages.keys())
    return Directory(aliases=aliases | only_read, contacts=known, messages=messages, locked=frozenset(locked))


async def save_directory(
    connection: Connection,
    directory: Directory,
    *,
    messages: Sequence[RecordedMessage],
    parked: Sequence[ParkedStatus],
    conflicts: Sequence[RecordedConflict],
) -> None:
    """Write back what the rules touched.

    Raises `Transient` when another batch recorded one of the messages, or the message of a parked status.
    """
    await _save_contacts(connection, directory)
    await _save_aliases(connection, directory)
    unused = sorted(directory.locked - directory.aliases.keys())
    if unused:
        await connection.execute(_UNRESERVE, *_columns(unused))
    await _record_messages(connection, messages)
    await _park(connection, parked)
    if conflicts:
        await connection.execute(
            _RECORD_CONFLICTS,
            [item.event_id for item in conflicts],
            [item.conflict.alias.kind for item in conflicts],
            [item.conflict.alias.value for item in conflicts],
            [item.at for item in conflicts],
            [item.conflict.kept_contact for item in conflicts],
            [item.conflict.other_contact for item in conflicts],
            [item.conflict.decision for item in conflicts],
        )


async def release_phones(connection: Connection, changes: Sequence[tuple[UUID, Alias, datetime]]) -> None:
    """People (contact, new phone, when) gave up the phones that they had before, unless they showed them since."""
    await connection.execute(
        _RELEASE_PHONES,
        [contact_id for contact_id, _, _ in changes],
        [phone.value for _, phone, _ in changes],
        [at for _, _, at in changes],
    )


async def _look_up(
    connection: Connection, inquiries: Sequence[Inquiry]
) -> tuple[dict[Alias, AliasState], dict[str, UUID]]:
    """Aliases and recorded messages that statuses ask for, without locks."""
    if not inquiries:
        return {}, {}
    wanted = sorted({alias for inquiry in inquiries for alias in inquiry.aliases})
    aliases = _states(await connection.fetch(_READ_ALIASES, *_columns(wanted)))
    return aliases, await _read_messages(connection, {inquiry.wamid for inquiry in inquiries})


async def _read_messages(connection: Connection, wamids: Collection[str]) -> dict[str, UUID]:
    if not wamids:
        return {}
    rows = await connection.fetch(_READ_MESSAGES, sorted(wamids))
    return {row["wamid"]: row["contact_id"] for row in rows}


async def _lock_aliases(connection: Connection, wanted: Sequence[Alias]) -> dict[Alias, AliasState]:
    if not wanted:
        return {}
    await connection.execute(_RESERVE, *_columns(wanted))
    return _states(await connection.fetch(_LOCK_ALIASES, *_columns(wanted)))


def _states(rows: Iterable[asyncpg.Record]) -> dict[Alias, AliasState]:
    return {
        Alias(row["kind"], row["value"]): AliasState(
            contact_id=row["contact_id"],
            since=row["since"],
            seen_at=row["seen_at"],
            previous_contact_id=row["previous_contact_id"],
            released_at=row["released_at"],
            contacts_made=row["contacts_made"],
        )
        for row in rows
        if row["contact_id"] is not None
    }


def _contact_ids(states: Iterable[AliasState]) -> set[UUID]:
    ids: set[UUID] = set()
    for state in states:
        ids.add(state.contact_id)
        if state.previous_contact_id is not None:
            ids.add(state.previous_contact_id)
    return ids


async def _load_contacts(
    connection: Connection, query: str, wanted: set[UUID], known: dict[UUID, ContactState]
) -> dict[UUID, ContactState]:
    """These contacts and those that they redirect to, added to what is known."""
    contacts = dict(known)
    missing = wanted - contacts.keys()
    while missing:
        rows = await connection.fetch(query, sorted(missing))
        for row in rows:
            contacts[row["contact_id"]] = ContactState(**dict(row))
        missing = {row["redirect_to"] for row in rows if row["redirect_to"] is not None} - contacts.keys()
    return contacts


async def _save_contacts(connection: Connection, directory: Directory) -> None:
    touched = [directory.contacts[contact_id] for contact_id in sorted(directory.touched_contacts)]
    if not touched:
        return
    await connection.execute(
        _SAVE_CONTACTS,
        [contact.contact_id for contact in touched],
        [contact.first_seen_at for contact in touched],
        [contact.has_bsuid for contact in touched],
        [contact.redirect_to for contact in touched],
        [contact.redirected_at for contact in touched],
        [contact.reason for contact in touched],
    )


async def _save_aliases(connection: Connection, directory: Directory) -> None:
    touched = sorted(directory.touched_aliases)
    if not touched:
        return
    states = [directory.aliases[alias] for alias in touched]
    await connection.execute(
        _SAVE_ALIASES,
        *_columns(touched),
        [state.contact_id for state in states],
        [state.since for state in states],
        [state.seen_at for state in states],
        [state.previous_contact_id for state in states],
        [state.released_at for state in states],
        [state.contacts_made for state in states],
    )


async def _record_messages(connection: Connection, messages: Sequence[RecordedMessage]) -> None:
    if not messages:
        return
    ordered = sorted(messages, key=lambda message: message.wamid)
    recorded = await connection.fetch(
        _RECORD_MESSAGES,
        [message.wamid for message in ordered],
        [message.contact_id for message in ordered],
        [message.first_event_id for message in ordered],
        [message.received_at for message in ordered],
        [message.topic for message in ordered],
        [message.partition for message in ordered],
        [message.offset for message in ordered],
    )
    if len(recorded) != len(ordered):
        raise Transient(
            "Another batch recorded a message of this one meanwhile; nothing was written.", retry_after=0.05
        )


async def _park(connection: Connection, parked: Sequence[ParkedStatus]) -> None:
    if not parked:
        return
    wamids = sorted({status.wamid for status in parked})
    reserved = await connection.fetch(_RESERVE_MESSAGES, wamids)
    if len(reserved) != len(wamids):
        raise Transient(
            "Another batch recorded the message of a status meanwhile; nothing was written.", retry_after=0.05
        )
    await connection.execute(_UNRESERVE_MESSAGES, wamids)
    await park(connection, parked)


def _columns(aliases: Sequence[Alias]) -> tuple[list[str], list[str]]:
    return [alias.kind for alias in aliases], [alias.value for alias in aliases]
