"""Looking people up in the CRM before they are first written, so that somebody who is there already is adopted.

One loop a process beside the drains: searches are slow, few (HubSpot: 5 a second) and set-wise, and whoever is known
does not wait for them. People wait for theirs as held (`lookup`); a look-up ends with one commit, before anything is
written:

| step    | transaction commits                                            | a crash right after leaves                   |
|---------|----------------------------------------------------------------|----------------------------------------------|
| claim   | lease on the contacts                                          | a lease that runs out; nothing was changed   |
| adopt   | the record id, or that there is none; the hold ends; adoptions | a record id that is written by any later run |

So a record that was chosen stays chosen, and who was not found is upserted by our key without another search. Two
people of ours who match one record: the first who wrote has it, the other one is told apart in `adoptions`.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
import structlog

from connector.crm.port import CandidateContact, ContactHits, ContactQuery, Crm, Later, Priority, Terms
from connector.crm.quota import QuotaHeld
from connector.errors import ConnectorError, Terminal, Transient
from connector.state.database import Connection, transaction
from connector.state.whole import Wholeness
from connector.streams.backoff import backoff
from connector.sync.calls import LONGEST_PAUSE
from connector.sync.claims import Claims, due
from connector.sync.core.adoption import AdoptionRule, Choice, Outcome, choose, duplicates, phones_of
from connector.sync.core.holding import Hold
from connector.sync.holds import copy_holds, look_again
from connector.sync.leases import HeldLease, held, lease_seconds
from connector.sync.locks import lock_contacts
from connector.sync.records import owners_among
from connector.sync.rest import rest
from connector.sync.wake import Wake
from connector.telemetry import metrics
from connector.telemetry.health import StageHealth

log = structlog.get_logger(__name__)

_POLL = 0.5  # seconds; new people of other replicas, and a wake that came between looking and resting
_LOOK_AGAIN_EVERY = 60.0  # seconds
_HELD_RETRY = 5.0  # seconds
_LONGEST_WAIT = 300.0  # seconds between look-ups of somebody of whom the CRM does not tell
_ASKED_IN_VAIN = (
    10  # look-ups of somebody of whom the CRM did not tell, until they are made without an answer
)
_OLDEST_SHARE = 5  # every so many look-ups starts at the oldest, so that nobody waits for ever
_UNREPORTED = (Outcome.NONE, Outcome.OURS)


@dataclass(frozen=True, kw_only=True, slots=True)
class LookupRules:
    """What the settings say. `region`: of numbers that people typed without a country code (ISO 3166)."""

    rule: AdoptionRule
    create_contacts: bool
    region: str


@dataclass(frozen=True, kw_only=True, slots=True)
class _Person:
    contact_id: UUID
    phone: str
    record_id: str | None
    first_at: int
    priority: Priority
    attempts: int

    @property
    def query(self) -> ContactQuery:
        return ContactQuery(key=str(self.contact_id), phones=phones_of(self.phone))


class Lookups:
    """The look-ups of one sink."""

    def __init__(
        self,
        *,
        crm: Crm,
        pool: asyncpg.Pool,
        rules: LookupRules,
        health: StageHealth,
        stopped_retry: float,
        tables: Wholeness,
        claims: Claims,
    ) -> None:
        self._crm = crm
        self._schema = crm.name
        self._pool = pool
        self._tables = tables
        self._claims = claims
        self._rules = rules
        self._health = health
        self._stopped_retry = stopped_retry
        self._lease = lease_seconds(crm.request_timeout)
        self._turn = 0
        self._failures = 0
        self._paused_until = 0.0

    @property
    def pause(self) -> float:
        """Seconds until the next search may be tried; ≤ 0 when it may be now."""
        return self._paused_until - time.monotonic()

    async def run(self, *, stop: asyncio.Event, wake: Wake) -> None:
        """Look people up until `stop`, and once a day again those whom the CRM did not have.

        The drains are woken when people may be written.
        """
        again = 0.0
        while not stop.is_set():
            if self.pause > 0:
                await rest(self.pause, stop)
                continue
            wake.people.clear()
            try:
                if time.monotonic() >= again:
                    again = time.monotonic() + _LOOK_AGAIN_EVERY
                    async with transaction(self._pool) as connection:
                        await look_again(connection, self._schema)
                        await self._claims.cut_leases(connection, await self._leased_too_long(connection))
                done = await self.look()
            except ConnectorError as error:
                log.debug("a look-up is tried again", sink=self._crm.name, reason=error.message)
                await rest(_POLL, stop)
                continue
            except Exception:
                log.exception(
                    "a look-up failed; its leases run out and it is tried again", sink=self._crm.name
                )
                await rest(_POLL, stop)
                continue
            if done:
                wake.items.set()
            else:
                await rest(_POLL, stop, wake.people)

    async def look(self) -> int:
        """Look one batch of people up; how many were settled."""
        self._turn += 1
        asked = time.monotonic()
        async with transaction(self._pool) as connection:
            token = await self._tables.must_be_whole(connection)
            people, leased_until = await self._claim(connection)
        if leased_until is None:
            return 0
        holding = [person.contact_id for person in people]
        async with held(
            self._pool,
            self._claims,
            holding,
            until=asked + self._lease,
            leased_until=leased_until,
            seconds=self._lease,
        ) as lease:
            found = await self._search(people, lease)
            async with lease.lock, transaction(self._pool) as connection:
                await self._tables.must_be_whole(connection, since=token)
                if found is None:
                    await self._claims.give_back(connection, lease.ends(holding))
                    return 0
                told = [
                    (person, hits)
                    for person, hits in zip(people, found, strict=True)
                    if isinstance(hits, ContactHits)
                ]
                await self._settle(connection, told, leased_until=lease.leased_until)
            settled = {person.contact_id for person, _ in told}
            await self._try_later([person for person in people if person.contact_id not in settled], lease)
        return len(told)

    async def _try_later(self, people: Sequence[_Person], lease: HeldLease) -> None:
        """The CRM did not tell of these people: they wait, each for longer from time to time, and hold up nobody."""
        if not people:
            return
        ids = [person.contact_id for person in people]
        waits = [
            backoff(person.attempts + 1, random=random.random, longest=_LONGEST_WAIT) for person in people
        ]
        async with lease.lock, transaction(self._pool) as connection:
            await lock_contacts(connection, self._schema, ids)
            await connection.execute(
                f"UPDATE {self._schema}.contacts AS t SET attempts = t.attempts + 1, "  # noqa: S608 - schema is ours
                "not_before = now() + make_interval(secs => n.secs) "
                "FROM unnest($1::uuid[], $2::float8[]) AS n (contact_id, secs) WHERE t.contact_id = n.contact_id",
                ids,
                waits,
            )
            await self._claims.release(connection, ids, leased_until=lease.leased_until)
        metrics.LOOKUPS.labels(self._crm.name, "not_told").inc(len(people))
        log.warning(
            "the CRM did not tell of people who were looked up; they are looked up again later",
            sink=self._crm.name,
            people=len(people),
            contact_id=str(people[0].contact_id),
            attempts=max(person.attempts for person in people) + 1,
        )

    async def _search(
        self, people: Sequence[_Person], lease: HeldLease
    ) -> Sequence[ContactHits | Later] | None:
        """The candidates of each; None when the search failed: it is paused, and shown, and nobody is given up."""
        try:
            terms = Terms(
                priority=min(person.priority for person in people),
                check=lambda: lease.must_outlast(self._crm.request_timeout),
            )
            found = await self._asked(people, terms)
        except ConnectorError as error:
            metrics.CRM_CALLS.labels(self._crm.name, type(error).__name__).inc()
            self._failures += 1
            seconds = backoff(self._failures, random=random.random, longest=LONGEST_PAUSE)
            if isinstance(error, Terminal):
                seconds = self._stopped_retry
                self._health.line_stopped(reason=error.message, advice=error.advice)
            elif isinstance(error, Transient) and error.retry_after is not None:
                seconds = max(error.retry_after, 0.05)
            if isinstance(error, QuotaHeld) and error.priority is not Priority.LIVE:
                seconds = min(seconds, _HELD_RETRY)  # others, of a better class, may come meanwhile
            self._paused_until = time.monotonic() + seconds
            # A name of its own: writes that pass say nothing about searches.
            self._health.waiting(f"{self._crm.name} search", reason=error.message, advice=error.advice)
            return None
        metrics.CRM_CALLS.labels(self._crm.name, "ok").inc()
        self._failures = 0
        self._health.recovered(f"{self._crm.name} search")
        self._health.line_resumed()
        return found

    async def _asked(self, people: Sequence[_Person], terms: Terms) -> Sequence[ContactHits | Later]:
        """What the CRM answers; of those of whom it never tells, that they may be there. They are made then.

        Raises the connector's errors; an answer that no adapter has met is a failure like any other, and shown.
        """
        try:
            found = await self._crm.find_contacts([person.query for person in people], terms)
            if len(found) != len(people):
                raise AssertionError(f"{len(found)} results for {len(people)} people")
        except ConnectorError:
            raise
        except Exception as error:
            log.exception("an answer of the CRM is not understood", sink=self._crm.name)
            raise Transient(
                f"{self._crm.name} answered a search with what is not understood ({type(error).__name__}).",
                advice="look at the log for the place, and report it",
            ) from error
        return [
            ContactHits(candidates=(), complete=False)
            if isinstance(hits, Later) and person.attempts >= _ASKED_IN_VAIN
            else hits
            for person, hits in zip(people, found, strict=True)
        ]

    async def _leased_too_long(self, connection: Connection) -> list[UUID]:
        """Who waits for a look-up under a lease from before the clock was set back; their rows are locked."""
        rows = await connection.fetch(
            f"""
            SELECT contact_id FROM {self._schema}.contacts WHERE contact_id IN (
                SELECT contact_id FROM {self._schema}.contacts WHERE held = 'lookup' AND redirect_to IS NULL
                   AND lease_until > now() + make_interval(secs => $1)
                UNION ALL
                SELECT contact_id FROM {self._schema}.contacts
                 WHERE record_id IS NOT NULL AND held IS NULL AND redirect_to IS NULL AND phone IS NOT NULL
                   AND phone IS DISTINCT FROM looked_up_phone AND lease_until > now() + make_interval(secs => $1))
             ORDER BY contact_id FOR UPDATE SKIP LOCKED
            """,  # noqa: S608 - schema is ours
            self._claims.longest_lease,
        )
        return [row["contact_id"] for row in rows]

    async def _claim(self, connection: Connection) -> tuple[list[_Person], datetime | None]:
        """Lease people whose number was not searched for: first who waits for it, then who is written already."""
        order = "ASC" if self._turn % _OLDEST_SHARE == 0 else "DESC"
        schema = self._schema
        rows = await connection.fetch(
            f"""
            WITH due AS (
                (SELECT contact_id, 0 AS turn, priority, fresh_at FROM {schema}.contacts
                  WHERE held = 'lookup' AND redirect_to IS NULL AND lease_until <= now() AND {due("not_before")}
                  ORDER BY priority, fresh_at {order} LIMIT $1)
                UNION ALL
                (SELECT contact_id, 1 AS turn, priority, fresh_at FROM {schema}.contacts
                  WHERE record_id IS NOT NULL AND held IS NULL AND redirect_to IS NULL AND phone IS NOT NULL
                    AND phone IS DISTINCT FROM looked_up_phone AND lease_until <= now() AND {due("not_before")}
                  ORDER BY fresh_at LIMIT $1)
            ), chosen AS (
                SELECT contact_id FROM due ORDER BY turn, priority, fresh_at {order} LIMIT $1
            )
            UPDATE {schema}.contacts SET lease_until = now() + make_interval(secs => $2)
             WHERE contact_id IN (SELECT c.contact_id FROM {schema}.contacts c JOIN chosen USING (contact_id)
                                   WHERE c.lease_until <= now() AND c.phone IS NOT NULL
                                   ORDER BY c.contact_id FOR UPDATE OF c SKIP LOCKED)
            RETURNING contact_id, phone, record_id, coalesce((facts->>'first_at')::bigint, 0) AS first_at,
                      priority, attempts, lease_until
            """,  # noqa: S608 - schema and order are ours
            self._crm.lookups_per_call,
            self._lease,
        )
        leased_until = rows[0]["lease_until"] if rows else None
        values = [{name: row[name] for name in dict(row) if name != "lease_until"} for row in rows]
        people = [_Person(**{**row, "priority": Priority(row["priority"])}) for row in values]
        return sorted(people, key=lambda person: (person.first_at, person.contact_id)), leased_until

    async def _settle(
        self,
        connection: Connection,
        found: Sequence[tuple[_Person, ContactHits]],
        *,
        leased_until: datetime,
    ) -> None:
        """Adopt, or note that there is nothing to adopt. Whose number or record changed meanwhile is looked up anew."""
        rows = await lock_contacts(
            connection,
            self._schema,
            [person.contact_id for person, _ in found],
            record_ids={item.record_id for _, hits in found for item in hits.candidates},
            columns="contact_id, phone, record_id, redirect_to, shared, held, erased",
        )
        now = {row["contact_id"]: row for row in rows if row["redirect_to"] is None}
        owners = owners_among(rows)
        settled: list[tuple[_Person, Choice, Hold | None]] = []
        for person, hits in found:
            row = now.get(person.contact_id)
            if row is None or row["phone"] != person.phone or row["record_id"] != person.record_id:
                continue
            if person.record_id is None and row["held"] != Hold.LOOKUP:
                continue
            choice = self._choice(person, hits, owners)
            if choice.record_id is not None:
                owners[choice.record_id] = person.contact_id
            settled.append((person, choice, self._hold_after(choice, erased=row["erased"])))
        await self._store(connection, settled)
        await self._report(connection, [(person, choice) for person, choice, _ in settled])
        await self._claims.release(
            connection, [person.contact_id for person, _ in found], leased_until=leased_until
        )
        for _, choice, _ in settled:
            metrics.LOOKUPS.labels(self._crm.name, choice.outcome).inc()

    def _choice(self, person: _Person, hits: ContactHits, owners: dict[str, UUID]) -> Choice:
        query = person.query
        if person.record_id is not None:
            return duplicates(
                hits.candidates, record_id=person.record_id, phones=query.phones, region=self._rules.region
            )
        return choose(
            hits.candidates,
            complete=hits.complete,
            key=query.key,
            phones=query.phones,
            region=self._rules.region,
            rule=self._rules.rule,
            taken={name for name, owner in owners.items() if owner != person.contact_id},
        )

    def _hold_after(self, choice: Choice, *, erased: bool) -> Hold | None:
        if choice.record_id is not None:
            return None
        if erased:
            return Hold.ERASED
        return None if self._rules.create_contacts else Hold.UNKNOWN

    async def _store(
        self, connection: Connection, settled: Sequence[tuple[_Person, Choice, Hold | None]]
    ) -> None:
        try:
            await connection.execute(
                f"UPDATE {self._schema}.contacts AS t SET record_id = coalesce(t.record_id, n.record_id), "  # noqa: S608
                "held = CASE WHEN t.held = 'lookup' THEN n.held ELSE t.held END, erased = t.erased AND n.record_id IS NULL, "
                "looked_up_phone = t.phone, looked_up_at = now(), "
                "attempts = CASE WHEN t.held = 'lookup' THEN 0 ELSE t.attempts END "
                "FROM unnest($1::uuid[], $2::text[], $3::text[]) AS n (contact_id, record_id, held) "
                "WHERE t.contact_id = n.contact_id",
                [person.contact_id for person, _, _ in settled],
                [choice.record_id for _, choice, _ in settled],
                [after for _, _, after in settled],
            )
        except asyncpg.UniqueViolationError as error:
            raise Transient(
                "Another writer took the same record at the same time.", retry_after=0.05
            ) from error
        await copy_holds(connection, self._schema, [person.contact_id for person, _, _ in settled])

    async def _report(self, connection: Connection, settled: Sequence[tuple[_Person, Choice]]) -> None:
        """Record what was adopted and what a person should look at; `connector trace --contact` shows it."""
        told = [(person, choice) for person, choice in settled if choice.outcome not in _UNREPORTED]
        if not told:
            return
        await connection.execute(
            f"INSERT INTO {self._schema}.adoptions AS a (contact_id, phone, outcome, chosen, rule, candidates) "  # noqa: S608
            "SELECT n.contact_id, n.phone, n.outcome, n.chosen, $6, n.candidates::jsonb "
            "FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[]) "
            "AS n (contact_id, phone, outcome, chosen, candidates) "
            "ON CONFLICT (contact_id, phone, outcome) DO UPDATE SET chosen = excluded.chosen, rule = excluded.rule, "
            "candidates = excluded.candidates, at = now()",
            [person.contact_id for person, _ in told],
            [person.phone for person, _ in told],
            [choice.outcome for _, choice in told],
            [choice.record_id for _, choice in told],
            # As text: a list of lists would be an array of two dimensions.
            [json.dumps([_shown(candidate) for candidate in choice.candidates]) for _, choice in told],
            self._rules.rule,
        )
        for person, choice in told:
            log.info(
                "record looked up",
                sink=self._crm.name,
                contact_id=str(person.contact_id),
                outcome=str(choice.outcome),
                record_id=choice.record_id,
                candidates=len(choice.candidates),
            )


def _shown(candidate: CandidateContact) -> dict[str, Any]:
    return {
        "record_id": candidate.record_id,
        "name": candidate.name,
        "phones": list(candidate.phones),
        "created_at": candidate.created_at and candidate.created_at.isoformat(),
        "updated_at": candidate.updated_at and candidate.updated_at.isoformat(),
    }
