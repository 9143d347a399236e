"""The writer's tables: which items wait, who may write them now, and what became of them.

A claim is a lease on a contact that outlasts the CRM's request timeout, so that two requests never write one
contact at once, whatever the replicas. The database's clock is the only one that decides.

| step            | transaction commits                                     | a crash right after leaves                      |
|-----------------|---------------------------------------------------------|-------------------------------------------------|
| claim           | lease on the contacts whose items were claimed          | a lease that runs out; nothing was sent         |
| contacts written| record ids and versions; intents of the creates         | creates in doubt, looked up before any repeat   |
| settle          | record ids and versions of activities; leases released  | nothing: both sides agree                       |

A crash between a CRM's answer and the commit behind it leaves the state of the line above: an upsert by our
key is repeated without harm, a create is looked up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from connector.crm.personal_data import readable
from connector.crm.port import Gone, Homeless, Later, Priority, Refused, Unknown, WriteResult, Written
from connector.errors import Transient
from connector.state.database import Connection
from connector.sync.core.activities import ActivityFacts
from connector.sync.core.contacts import ContactFacts
from connector.sync.holds import copy_holds
from connector.sync.locks import lock_contacts
from connector.sync.losses import lose_records
from connector.sync.records import WrittenContact, owners_among, store_written

LONGEST_RETRY = 3600.0
"""Seconds that an item waits at most until it is tried again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ClaimedContact:
    """A leased person. `ahead`: the CRM does not yet say what it should."""

    contact_id: UUID
    facts: ContactFacts
    version: int
    ahead: bool
    record_id: str | None
    shared: bool
    written_digest: str | None
    attempts: int
    priority: Priority = Priority.LIVE


@dataclass(frozen=True, kw_only=True, slots=True)
class ClaimedActivity:
    """A waiting message of a leased person. `in_doubt`: a create was begun and its answer never seen."""

    wamid: str
    contact_id: UUID
    facts: ActivityFacts
    version: int
    record_id: str | None
    on_record_id: str | None
    written_digest: str | None
    in_doubt: bool
    lookups: int
    attempts: int
    priority: Priority = Priority.LIVE


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """What one drain may write. `leased_until`: what its contacts' rows say, which tells its lease from a later one."""

    contacts: Sequence[ClaimedContact]
    activities: Sequence[ClaimedActivity]
    leased_until: datetime | None = None

    def __bool__(self) -> bool:
        return bool(self.contacts)


@dataclass(frozen=True, kw_only=True, slots=True)
class ContactOutcome:
    """What the CRM made of a person at `version`. `retry_in`: seconds, for `Later` and `Unknown`."""

    contact_id: UUID
    version: int
    result: WriteResult
    digest: str
    retry_in: float = 0.0

    @property
    def setback(self) -> str:
        """Why it did not pass, for operators."""
        return _setback(self.result)


@dataclass(frozen=True, kw_only=True, slots=True)
class ActivityOutcome:
    """What the CRM made of a message at `version`. `found_in_doubt`: a lost create turned out to be there.

    `Unknown` means: looked up in vain. A create whose answer is lost has no outcome; its intent stands.
    `in_doubt`: with `Later`, the look-up itself failed: the intent stands and so does what was looked up in vain.
    """

    wamid: str
    version: int
    result: WriteResult
    digest: str
    on_record_id: str
    retry_in: float = 0.0
    found_in_doubt: bool = False
    in_doubt: bool = False

    @property
    def setback(self) -> str:
        """Why it did not pass, for operators."""
        return _setback(self.result)


@dataclass(frozen=True, kw_only=True, slots=True)
class LeaseEnds:
    """What becomes of a drain's leases, which its rows show as `leased_until`, when it ends.

    `release`: given back. `linger`: kept for `seconds`, as the CRM may still be writing these people.
    """

    release: Sequence[UUID]
    leased_until: datetime
    linger: Sequence[UUID] = ()
    seconds: float = 0.0

    @property
    def all(self) -> Sequence[UUID]:
        """Everybody who was leased."""
        return [*self.release, *self.linger]


@dataclass(frozen=True, kw_only=True, slots=True)
class Claims:
    """The claims on one sink's schema.

    `longest_lease`: seconds; a lease that ends later than that from now was taken before the database's clock was set
    back, and is cut to it when somebody would claim its person.
    """

    schema: str
    longest_lease: float = 600.0

    async def claim(
        self,
        connection: Connection,
        *,
        limit: int,
        lease: float,
        doubt_wait: float,
        oldest_first: bool,
        lowest: Priority = Priority.REPLAY,
    ) -> Claim:
        """Lease up to `limit` waiting items for `lease` seconds; newest conversations first, or oldest.

        Only people with something that waits in the class `lowest` or one before it.

        A create in doubt is left alone for `doubt_wait` seconds: its request may still be on the way.
        """
        # The turn of the oldest knows no classes: it is there so that nothing waits for ever behind a better class.
        # While a class may not be written it takes none, or it would wade through those to find the others.
        by_age = oldest_first and lowest is Priority.REPLAY
        order = "waiting_since" if by_age else "priority, fresh_at DESC"
        best = "min(waiting_since)" if by_age else "min(priority), max(fresh_at) DESC"
        schema = self.schema
        # Claims skip rows that others hold, so that a row is locked and looked at by today's values in one statement;
        # its messages are read by a later one, whose snapshot has what the row's last holder committed.
        rows = await connection.fetch(
            f"""
            WITH waiting AS (
                (SELECT contact_id, a.priority, a.fresh_at, a.waiting_since
                   FROM {schema}.activities a JOIN {schema}.contacts c USING (contact_id)
                  WHERE a.desired_version > a.written_version AND a.problem IS NULL AND a.contact_id IS NOT NULL
                    AND {due("a.not_before")}
                    AND {_doubt_is_due("a.intent_at", wait="$2")}
                    AND {due("c.lease_until", furthest="$4")} AND c.redirect_to IS NULL AND a.held IS NULL AND c.held IS NULL
                    AND a.priority <= $3
                    AND (c.record_id IS NOT NULL OR {due("c.not_before")})
                  ORDER BY {order} LIMIT $1)
                UNION ALL
                (SELECT contact_id, priority, fresh_at, waiting_since FROM {schema}.contacts
                  WHERE desired_version > written_version AND problem IS NULL AND redirect_to IS NULL
                    AND {due("not_before")} AND {due("lease_until", furthest="$4")} AND held IS NULL AND priority <= $3
                  ORDER BY {order} LIMIT $1)
            )
            SELECT contact_id, facts, desired_version, record_id, shared, written_digest, attempts, priority,
                   desired_version > written_version AND problem IS NULL AND {due("not_before")} AS ahead,
                   lease_until > now() AS too_long
              FROM {schema}.contacts
             WHERE contact_id = ANY(ARRAY(SELECT contact_id FROM waiting GROUP BY contact_id ORDER BY {best} LIMIT $1))
               AND {due("lease_until", furthest="$4")} AND redirect_to IS NULL AND held IS NULL
             ORDER BY contact_id FOR UPDATE SKIP LOCKED
            """,  # noqa: S608 - schema and order are ours
            limit,
            doubt_wait,
            lowest,
            self.longest_lease,
        )
        if not rows:
            return Claim(contacts=(), activities=())
        contacts = {row["contact_id"]: row for row in rows if not row["too_long"]}
        await self.cut_leases(connection, [row["contact_id"] for row in rows if row["too_long"]])
        # Lease only what is really claimed, or the others wait for a lease that nobody works under.
        claimed = await connection.fetch(
            f"""
            WITH waiting AS MATERIALIZED (
                SELECT wamid, contact_id, facts, desired_version, record_id, on_record_id, written_digest,
                       intent_at IS NOT NULL AND record_id IS NULL AS in_doubt, lookups, attempts, priority,
                       fresh_at, waiting_since
                  FROM {schema}.activities
                 WHERE contact_id = ANY($1::uuid[]) AND desired_version > written_version AND problem IS NULL
                   AND {due("not_before")}
                   AND {_doubt_is_due("intent_at", wait="$3")}
                 ORDER BY {order} LIMIT $2
            ), leased AS (
                UPDATE {schema}.contacts SET lease_until = now() + make_interval(secs => $4), intent = record_id IS NULL
                 WHERE contact_id = ANY($1::uuid[])
                   AND (contact_id = ANY($5::uuid[]) OR contact_id IN (SELECT contact_id FROM waiting))
                RETURNING contact_id, lease_until
            )
            SELECT * FROM leased LEFT JOIN waiting USING (contact_id) ORDER BY {order}
            """,  # noqa: S608
            list(contacts),
            limit,
            doubt_wait,
            lease,
            [name for name, row in contacts.items() if row["ahead"]],
        )
        leased = {row["contact_id"] for row in claimed}
        return Claim(
            contacts=[_claimed_contact(row) for name, row in contacts.items() if name in leased],
            activities=[_claimed_activity(row) for row in claimed if row["wamid"] is not None],
            leased_until=claimed[0]["lease_until"] if claimed else None,
        )

    async def cut_leases(self, connection: Connection, contacts: Sequence[UUID]) -> None:
        """End leases of a clock that was set back like new ones. The rows are locked.

        Not at once: their holders may be at work, and find out from this that they hold them no more.
        """
        if contacts:
            await connection.execute(
                f"UPDATE {self.schema}.contacts SET lease_until = now() + make_interval(secs => $2) "  # noqa: S608
                "WHERE contact_id = ANY($1::uuid[])",
                list(contacts),
                self.longest_lease,
            )

    async def settle_contacts(
        self, connection: Connection, outcomes: Sequence[ContactOutcome]
    ) -> Sequence[UUID]:
        """Store what became of contacts; first in its transaction. The caller holds their leases; they are kept.

        Returns those of them that were merged into somebody else meanwhile.
        """
        if not outcomes:
            return ()
        written = [(outcome, outcome.result) for outcome in outcomes if isinstance(outcome.result, Written)]
        locked = await lock_contacts(
            connection,
            self.schema,
            [outcome.contact_id for outcome in outcomes],
            record_ids={result.record_id for _, result in written},
            columns="contact_id, record_id, redirect_to, shared",
        )
        await store_written(
            connection,
            self.schema,
            [
                WrittenContact(
                    contact_id=outcome.contact_id,
                    record_id=result.record_id,
                    version=outcome.version,
                    digest=outcome.digest,
                )
                for outcome, result in written
            ],
            owners=owners_among(locked),
        )
        refused = [(outcome, outcome.result) for outcome in outcomes if isinstance(outcome.result, Refused)]
        if refused:
            # A newer version, folded during the call, has not been refused: it is tried.
            rows = await connection.fetch(
                f"UPDATE {self.schema}.contacts AS t SET problem = n.problem, attempts = 0, "  # noqa: S608
                "held = CASE WHEN t.record_id IS NULL AND t.held IS NULL THEN 'refused' ELSE t.held END "
                "FROM unnest($1::uuid[], $2::text[], $3::bigint[]) AS n (contact_id, problem, version) "
                "WHERE t.contact_id = n.contact_id AND t.desired_version = n.version RETURNING t.contact_id",
                [outcome.contact_id for outcome, _ in refused],
                [f"{result.cause}: {result.reason}" for _, result in refused],
                [outcome.version for outcome, _ in refused],
            )
            await copy_holds(connection, self.schema, [row["contact_id"] for row in rows])
        gone = [(item.contact_id, item.result) for item in outcomes if isinstance(item.result, Gone)]
        await lose_records(
            connection, self.schema, {contact_id: result.erased for contact_id, result in gone}
        )
        again = [outcome for outcome in outcomes if isinstance(outcome.result, Later | Unknown)]
        if again:
            await connection.execute(
                f"UPDATE {self.schema}.contacts AS t SET attempts = t.attempts + 1, setback = n.setback, "  # noqa: S608
                "not_before = now() + make_interval(secs => n.secs) FROM unnest($1::uuid[], $2::float8[], $3::text[]) "
                "AS n (contact_id, secs, setback) WHERE t.contact_id = n.contact_id",
                [outcome.contact_id for outcome in again],
                [outcome.retry_in for outcome in again],
                [outcome.setback for outcome in again],
            )
        settled = {outcome.contact_id for outcome in outcomes}
        return [row["contact_id"] for row in locked if row["redirect_to"] and row["contact_id"] in settled]

    async def begin_creates(
        self,
        connection: Connection,
        creates: Sequence[ClaimedActivity],
        *,
        records: Mapping[UUID, str],
        leased_until: datetime,
    ) -> set[str]:
        """Mark creates as begun; the wamids of those that may go out. `records`: contact id → record id.

        Committed before the request leaves: whatever happens afterwards, these items and no others are in doubt.
        A message that a merge has given to somebody else since the claim is left to that contact's lease, and so is
        everything whose lease is another by now.
        """
        if not creates:
            return set()
        rows = await connection.fetch(
            f"UPDATE {self.schema}.activities AS t SET intent_at = now(), lookups = 0, on_record_id = n.record_id "  # noqa: S608
            "FROM unnest($1::text[], $2::uuid[], $3::text[]) AS n (wamid, contact_id, record_id) "
            f"JOIN {self.schema}.contacts AS c ON c.contact_id = n.contact_id AND c.lease_until = $4 "
            "WHERE t.wamid = n.wamid AND t.contact_id = n.contact_id RETURNING t.wamid",
            [item.wamid for item in creates],
            [item.contact_id for item in creates],
            [records[item.contact_id] for item in creates],
            leased_until,
        )
        return {row["wamid"] for row in rows}

    async def begin_again(self, connection: Connection, wamids: Sequence[str]) -> None:
        """Count the doubt about begun creates from now, as their request leaves only now; a transaction of its own."""
        await lock_contacts(connection, self.schema, (), wamids=wamids)
        await self._doubt_from_now(connection, wamids)

    async def _doubt_from_now(self, connection: Connection, wamids: Sequence[str]) -> None:
        await connection.execute(
            f"UPDATE {self.schema}.activities SET intent_at = now() "  # noqa: S608
            "WHERE wamid = ANY($1::text[]) AND intent_at IS NOT NULL",
            list(wamids),
        )

    async def renew(
        self, connection: Connection, contacts: Sequence[UUID], *, lease: float, leased_until: datetime
    ) -> datetime | None:
        """Hold leases for longer; until when. None: they ran out, and others may hold them."""
        await lock_contacts(connection, self.schema, contacts)
        rows = await connection.fetch(
            f"UPDATE {self.schema}.contacts SET lease_until = now() + make_interval(secs => $2) "  # noqa: S608
            "WHERE contact_id = ANY($1::uuid[]) AND lease_until = $3 AND lease_until > now() "
            "RETURNING lease_until, redirect_to",
            list(contacts),
            lease,
            leased_until,
        )
        await self._keep_heirs_waiting(connection, rows)
        return rows[0]["lease_until"] if len(rows) == len(contacts) else None

    async def settle_activities(
        self,
        connection: Connection,
        outcomes: Sequence[ActivityOutcome],
        *,
        lost: Sequence[str],
        homeless: Mapping[UUID, str],
        ends: LeaseEnds,
    ) -> None:
        """Store what became of activities, and end the leases; first in its transaction.

        `lost`: creates whose answer was lost. `homeless`: contacts whose record their messages did not find.
        Raises `Transient` when others hold the leases by now: what they have begun is not ours to settle.
        """
        locked = await lock_contacts(
            connection,
            self.schema,
            ends.all,
            wamids=[*lost, *(outcome.wamid for outcome in outcomes)],
            record_ids=set(homeless.values()),
            columns="contact_id, lease_until",
        )
        leased = set(ends.all)
        if {row["lease_until"] for row in locked if row["contact_id"] in leased} != {ends.leased_until}:
            raise Transient("The lease on the claimed contacts ended; what was written is looked up again.")
        if lost:
            await self._doubt_from_now(connection, lost)
        written = [(outcome, outcome.result) for outcome in outcomes if isinstance(outcome.result, Written)]
        if written:
            # A create found after its answer was lost may say less than the desired version: it stays ahead.
            await connection.execute(
                f"UPDATE {self.schema}.activities AS t SET record_id = n.record_id, on_record_id = n.on_record, "  # noqa: S608
                "written_version = CASE WHEN n.found THEN t.written_version ELSE n.version END, "
                "written_digest = CASE WHEN n.found THEN NULL ELSE n.digest END, intent_at = NULL, lookups = 0, "
                "attempts = 0, not_before = '-infinity', waiting_since = CASE WHEN n.found OR t.desired_version > "
                "n.version THEN t.waiting_since END "
                "FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::text[], $6::boolean[]) "
                "AS n (wamid, record_id, on_record, version, digest, found) WHERE t.wamid = n.wamid",
                [outcome.wamid for outcome, _ in written],
                [result.record_id for _, result in written],
                [outcome.on_record_id for outcome, _ in written],
                [outcome.version for outcome, _ in written],
                [outcome.digest for outcome, _ in written],
                [outcome.found_in_doubt for outcome, _ in written],
            )
        refused = [(outcome, outcome.result) for outcome in outcomes if isinstance(outcome.result, Refused)]
        if refused:
            await connection.execute(
                f"UPDATE {self.schema}.activities AS t SET intent_at = NULL, attempts = 0, "  # noqa: S608
                "problem = CASE WHEN t.desired_version = n.version THEN n.problem END "
                "FROM unnest($1::text[], $2::text[], $3::bigint[]) AS n (wamid, problem, version) "
                "WHERE t.wamid = n.wamid",
                [outcome.wamid for outcome, _ in refused],
                [f"{result.cause}: {result.reason}" for _, result in refused],
                [outcome.version for outcome, _ in refused],
            )
        later = [outcome for outcome in outcomes if isinstance(outcome.result, Later | Gone | Homeless)]
        if later:
            await connection.execute(
                f"UPDATE {self.schema}.activities AS t SET attempts = t.attempts + 1, setback = n.setback, "  # noqa: S608
                "intent_at = CASE WHEN n.in_doubt THEN t.intent_at END, "
                "lookups = CASE WHEN n.in_doubt THEN t.lookups ELSE 0 END, "
                "not_before = now() + make_interval(secs => n.secs) "
                "FROM unnest($1::text[], $2::float8[], $3::boolean[], $4::text[]) "
                "AS n (wamid, secs, in_doubt, setback) WHERE t.wamid = n.wamid",
                [outcome.wamid for outcome in later],
                [outcome.retry_in for outcome in later],
                [outcome.in_doubt for outcome in later],
                [outcome.setback for outcome in later],
            )
        unknown = [outcome for outcome in outcomes if isinstance(outcome.result, Unknown)]
        if unknown:  # looked up in vain: still in doubt
            await connection.execute(
                f"UPDATE {self.schema}.activities AS t SET lookups = t.lookups + 1, "  # noqa: S608
                "not_before = now() + make_interval(secs => n.secs) "
                "FROM unnest($1::text[], $2::float8[]) AS n (wamid, secs) WHERE t.wamid = n.wamid",
                [outcome.wamid for outcome in unknown],
                [outcome.retry_in for outcome in unknown],
            )
        await self._end(connection, ends)
        if homeless:
            await self._doubt_records(connection, sorted(homeless))

    async def give_back(self, connection: Connection, ends: LeaseEnds) -> None:
        """End leases with nothing else to store; first in its transaction."""
        await lock_contacts(connection, self.schema, ends.all)
        await self._end(connection, ends)

    async def _end(self, connection: Connection, ends: LeaseEnds) -> None:
        if ends.release:
            await self.release(connection, ends.release, leased_until=ends.leased_until)
        if ends.linger:
            rows = await connection.fetch(
                f"UPDATE {self.schema}.contacts SET lease_until = now() + make_interval(secs => $3) "  # noqa: S608
                "WHERE contact_id = ANY($1::uuid[]) AND lease_until = $2 "
                "RETURNING lease_until, redirect_to",
                list(ends.linger),
                ends.leased_until,
                ends.seconds,
            )
            await self._keep_heirs_waiting(connection, rows)

    async def _keep_heirs_waiting(self, connection: Connection, rows: Sequence[Any]) -> None:
        """What a merge took from people while they were leased waits for their leases, however long these get."""
        heirs = {row["redirect_to"]: row["lease_until"] for row in rows if row["redirect_to"]}
        if heirs:
            await connection.execute(
                f"UPDATE {self.schema}.activities AS t SET not_before = greatest(t.not_before, n.until) "  # noqa: S608
                "FROM unnest($1::uuid[], $2::timestamptz[]) AS n (heir, until) WHERE t.contact_id = n.heir "
                "AND t.desired_version > t.written_version AND t.intent_at IS NULL AND t.attempts = 0 "
                "AND t.not_before > '-infinity'",
                list(heirs),
                list(heirs.values()),
            )

    async def release(
        self, connection: Connection, contacts: Sequence[UUID], *, leased_until: datetime
    ) -> None:
        """Give leases back before they run out, and with them what a merge made wait for them. The rows are locked.

        Those that others hold by now are left alone.
        """
        rows = await connection.fetch(
            f"UPDATE {self.schema}.contacts SET lease_until = '-infinity' WHERE contact_id = ANY($1::uuid[]) "  # noqa: S608
            "AND lease_until = $2 RETURNING redirect_to",
            list(contacts),
            leased_until,
        )
        heirs = {row["redirect_to"] for row in rows} - {None}
        if heirs:
            await connection.execute(
                f"UPDATE {self.schema}.activities SET not_before = '-infinity' WHERE contact_id = ANY($1::uuid[]) "  # noqa: S608
                "AND desired_version > written_version AND intent_at IS NULL AND attempts = 0",
                list(heirs),
            )

    async def _doubt_records(self, connection: Connection, contacts: Sequence[UUID]) -> None:
        """Have contacts written again, by the id we know: what is wrong with their record shows then.

        It was merged by a person, deleted or erased; the write finds out which, and the record that lives on.
        """
        # Of people who share a record by a merge in the CRM only its owner is written: the owner finds out.
        owners = await connection.fetch(
            f"SELECT o.contact_id FROM {self.schema}.contacts s JOIN {self.schema}.contacts o USING (record_id) "  # noqa: S608
            "WHERE s.contact_id = ANY($1::uuid[]) AND s.shared AND NOT o.shared AND o.redirect_to IS NULL",
            list(contacts),
        )
        doubted = sorted({*contacts, *(row["contact_id"] for row in owners)})
        await connection.execute(
            f"UPDATE {self.schema}.contacts SET desired_version = desired_version + 1, written_digest = NULL, "  # noqa: S608
            "problem = NULL, waiting_since = coalesce(waiting_since, now()) WHERE contact_id = ANY($1::uuid[])",
            doubted,
        )


def _setback(result: WriteResult) -> str:
    return "" if isinstance(result, Written) else readable(result.reason)


def due(column: str, *, furthest: str = str(2 * LONGEST_RETRY)) -> str:
    """SQL: the time is not ahead, or by more seconds than anybody waits, so that the clock was set back since."""
    return f"NOT ({column} > now() AND {column} <= now() + make_interval(secs => {furthest}))"


def _doubt_is_due(column: str, *, wait: str) -> str:
    """SQL: nothing was begun, or so long ago. What was begun in the future is looked up: the clock was set back."""
    return (
        f"({column} IS NULL OR NOT ({column} > now() - make_interval(secs => {wait}) "
        f"AND {column} <= now() + interval '1 minute'))"
    )


def _claimed_contact(row: Any) -> ClaimedContact:
    return ClaimedContact(
        contact_id=row["contact_id"],
        facts=row["facts"],
        version=row["desired_version"],
        ahead=row["ahead"],
        record_id=row["record_id"],
        shared=row["shared"],
        written_digest=row["written_digest"],
        attempts=row["attempts"],
        priority=Priority(row["priority"]),
    )


def _claimed_activity(row: Any) -> ClaimedActivity:
    return ClaimedActivity(
        wamid=row["wamid"],
        contact_id=row["contact_id"],
        facts=row["facts"],
        version=row["desired_version"],
        record_id=row["record_id"],
        on_record_id=row["on_record_id"],
        written_digest=row["written_digest"],
        in_doubt=row["in_doubt"],
        lookups=row["lookups"],
        attempts=row["attempts"],
        priority=Priority(row["priority"]),
    )
