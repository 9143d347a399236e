"""Looks for the people of sends and acts that nobody knows yet: asks the CRM whose record it is, has them introduced.

Nothing is held in memory: what is looked for is claimed in the database for half a minute, so a crash in between only
means that the next look comes a little later. What is asked of a CRM is asked outside of any transaction.

A person's waiting acts are applied before their sends get a contact: an opt-out must not come second.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import asyncpg
import structlog

from connector.crm.port import ContactReads, Later, Priority, Terms
from connector.errors import ConnectorError, Terminal
from connector.events import Origin, Recipient
from connector.identity.directory import Alias
from connector.outbound.announcements import STAGE, person_introduced, send_failed
from connector.outbound.applying import apply_acts
from connector.outbound.consent.ledger import Act
from connector.outbound.due import announce_due
from connector.outbound.facts import Obstacle
from connector.outbound.numbers import sending_number
from connector.outbound.recipients import CrmName, CrmRecord, RecordPerson, names_of, person_on, sought
from connector.outbound.store.numbers import load_numbers
from connector.outbound.store.people import lock_people
from connector.outbound.store.recipients import UNKNOWN, Found, look_up, look_up_people
from connector.outbound.store.unresolved import (
    Settlement,
    claim_acts,
    claim_sends,
    fail_sends,
    forget_acts,
    put_off_acts,
    settle_sends,
)
from connector.outbound.store.waiting import waited_for, waiting_act
from connector.state.database import Connection, transaction
from connector.streams.backoff import backoff
from connector.streams.outgoing import queue_outgoing
from connector.telemetry.health import StageHealth

_BATCH = 500
_LOOK_EVERY = 0.25  # seconds between looks while somebody is looked for
_REST = 1.0  # seconds between looks when nobody is
_LONGEST_WAIT = 60.0
_INTRODUCE_AGAIN = 6  # looks in vain after which an introduction is taken for lost
_TERMS = Terms(priority=Priority.LIVE)
_NO_NUMBER = "no business number is known that it could leave from"

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Search:
    """Somebody to look for. `tries`: this one included."""

    recipient: Recipient
    tries: int


@dataclass(frozen=True, kw_only=True, slots=True)
class _Answer:
    """What a look brought. `introduce`: nobody knows them, and this is what they are called by."""

    found: Found
    phone: str = ""
    introduce: Alias | None = None


class Resolver:
    """One loop; other replicas may run theirs."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        *,
        crms: Mapping[CrmName, ContactReads],
        default_number: str,
        region: str,
        accounts: Sequence[str],
        health: StageHealth,
        on_due: Callable[[], None],
        on_queued: Callable[[], None],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        random: Callable[[], float] = random.random,
    ) -> None:
        """`accounts`: whose numbers are read from Meta. `on_due`: sends may be due; `on_queued`: the relay has work."""
        self._pool = pool
        self._crms = crms
        self._default_number = default_number
        self._region = region
        self._accounts = accounts
        self._health = health
        self._on_due = on_due
        self._on_queued = on_queued
        self._now = now
        self._random = random

    async def run(self, *, wake: asyncio.Event, stop: asyncio.Event) -> None:
        """Look until `stop`, woken by `wake`. What database and CRMs do is waited for, and the health says it."""
        while not stop.is_set():
            wake.clear()
            rest = _REST
            try:
                if await self.look():
                    rest = _LOOK_EVERY
                self._health.recovered("resolver")
                self._health.line_resumed()
                self._health.running()
            except Terminal as error:
                self._health.line_stopped(reason=error.message, advice=error.advice)
            except ConnectorError as error:
                self._health.waiting("resolver", reason=error.message, advice=error.advice)
            waiting = [asyncio.create_task(event.wait()) for event in (wake, stop)]
            await asyncio.wait(waiting, timeout=rest, return_when=asyncio.FIRST_COMPLETED)
            for task in waiting:
                task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait(waiting)

    async def look(self) -> int:
        """One look for whoever is due; how many sends and acts were looked at."""
        async with transaction(self._pool) as connection:
            acts = await claim_acts(connection, limit=_BATCH)
        if acts:
            await self._hear(acts)
        async with transaction(self._pool) as connection:
            sends = await claim_sends(connection, limit=_BATCH)
        if sends:
            await self._address(sends)
        return len(acts) + len(sends)

    async def _hear(self, rows: Sequence[Any]) -> None:
        """Apply the acts of people who are known by now."""
        waiting = [waiting_act(row) for row in rows]
        answers = await self._find(
            [_Search(recipient=one.recipient, tries=one.resolutions) for one in waiting]
        )
        known: list[tuple[UUID, Act]] = []
        over: list[str] = []
        put_off: list[tuple[str, float]] = []
        for one, answer in zip(waiting, answers, strict=True):
            act_id = one.act.act_id
            if answer.found.contact_id is not None:
                known.append((answer.found.contact_id, one.act))
                over.append(act_id)
            elif answer.found.obstacle:
                _log.warning("an act of consent is nobody's", act=act_id, obstacle=answer.found.obstacle)
                over.append(act_id)
            else:
                put_off.append((act_id, self._wait(one.resolutions)))
        origins = {
            one.act.act_id: Origin(topic="", partition=0, offset=0, received_at=one.received_at)
            for one in waiting
        }
        async with transaction(self._pool) as connection:
            members = await lock_people(connection, {contact_id for contact_id, _ in known})
            await apply_acts(
                connection,
                known,
                members=members,
                origins=origins,
                otherwise=next(iter(origins.values())),
            )
            await forget_acts(connection, over)
            await put_off_acts(connection, put_off)
            await self._introduce(connection, answers, [one.resolutions for one in waiting])
        self._on_queued()

    async def _address(self, rows: Sequence[Any]) -> None:
        """Give sends their contact and their number."""
        open_rows = [row for row in rows if row["contact_id"] is None and not row["obstacle"]]
        recipients = {row["send_id"]: Recipient.model_validate(row["recipient"]) for row in open_rows}
        found = await self._find(
            [_Search(recipient=recipients[row["send_id"]], tries=row["resolutions"]) for row in open_rows]
        )
        answers = dict(zip([row["send_id"] for row in open_rows], found, strict=True))
        async with transaction(self._pool) as connection:
            names = {name for recipient in recipients.values() for name in names_of(recipient)}
            waited = await waited_for(connection, names)
            numbers = await load_numbers(connection)
            certain = await self._numbers_are_known(connection)
            settlements: list[Settlement] = []
            homeless: list[tuple[str, str, str]] = []
            for row in rows:
                number = row["phone_number_id"] or sending_number(
                    row["from_number"], numbers=numbers, default=self._default_number
                )
                if not number and (certain or row["expires_at"] <= self._now()):
                    asked = f" ({row['from_number']} was asked for)" if row["from_number"] else ""
                    homeless.append((row["send_id"], "unknown_number", _NO_NUMBER + asked))
                    continue
                recipient = recipients.get(row["send_id"])
                blocked = recipient is not None and any(name in waited for name in names_of(recipient))
                settlements.append(self._settle(row, answers.get(row["send_id"]), number, waits=blocked))
            await settle_sends(connection, settlements)
            await announce_due(connection)
            failed = await fail_sends(connection, homeless)
            records = [
                record
                for row in failed
                for record in send_failed(
                    row, cause="unknown_number", reason=row["problem"]["reason"], at=self._now()
                )
            ]
            await queue_outgoing(connection, stage=STAGE, records=records)
            await self._introduce(
                connection, list(answers.values()), [row["resolutions"] for row in open_rows]
            )
        self._on_queued()
        self._on_due()

    def _settle(self, row: Any, answer: _Answer | None, number: str, *, waits: bool) -> Settlement:
        """What this look came to. `waits`: something that the person said is not applied yet."""
        wait = 0.0 if number else self._wait(row["resolutions"])
        if answer is None:
            return Settlement(send_id=row["send_id"], number=number, wait=wait)
        found = answer.found
        if found.contact_id is not None and not waits:
            return Settlement(
                send_id=row["send_id"],
                contact_id=found.contact_id,
                phone=answer.phone,
                number=number,
                wait=wait,
            )
        obstacle: Obstacle = found.obstacle
        if not obstacle and row["expires_at"] <= self._now():
            obstacle = "not_found"  # nobody waits for them any more: the gate says what else it knows
        if obstacle:
            return Settlement(send_id=row["send_id"], obstacle=obstacle, number=number, wait=wait)
        return Settlement(
            send_id=row["send_id"], phone=answer.phone, number=number, wait=self._wait(row["resolutions"])
        )

    async def _numbers_are_known(self, connection: Connection) -> bool:
        """Whether every account's numbers have been read: what is not among them is not the business's."""
        read = await connection.fetchval(
            "SELECT count(*) FROM outbound.account_syncs WHERE waba_id = ANY($1::text[]) AND asked_at IS NOT NULL",
            list(self._accounts),
        )
        return bool(read == len(self._accounts))

    async def _find(self, searches: Sequence[_Search]) -> list[_Answer]:
        """Who they are, by what all roles know, then by what the CRM says of its record."""
        wanted = [sought(search.recipient) for search in searches]
        async with transaction(self._pool) as connection:
            found = await look_up(connection, wanted, at=self._now())
        records = {
            one.record
            for one, who in zip(wanted, found, strict=True)
            if one.record is not None and who == UNKNOWN
        }
        on_records = await self._ask(records)
        answers: list[_Answer] = []
        for one, who in zip(wanted, found, strict=True):
            if who != UNKNOWN:
                answers.append(_Answer(found=who))
            elif one.record is not None:
                answers.append(on_records.get(one.record, _Answer(found=UNKNOWN)))
            else:
                answers.append(_Answer(found=UNKNOWN, introduce=one.alias))
        return answers

    async def _ask(self, records: set[CrmRecord]) -> dict[CrmRecord, _Answer]:
        """What the CRMs say of these records; of a CRM that is away, nothing."""
        answers: dict[CrmRecord, _Answer] = {}
        people: dict[CrmRecord, RecordPerson] = {}
        for name in sorted({record.crm for record in records}):
            asked = sorted(record.record_id for record in records if record.crm == name)
            crm = self._crms.get(name)
            if crm is None:
                answers |= {CrmRecord(name, one): _Answer(found=Found(obstacle="not_found")) for one in asked}
                continue
            try:
                told = await crm.fetch_contacts(asked, _TERMS)
            except ConnectorError as error:
                self._health.waiting(name, reason=error.message, advice=error.advice)
                continue
            self._health.recovered(name)
            for record_id, record in zip(asked, told, strict=True):
                if record is None:
                    answers[CrmRecord(name, record_id)] = _Answer(found=Found(obstacle="not_found"))
                elif not isinstance(record, Later):
                    people[CrmRecord(name, record_id)] = person_on(record, region=self._region)
        if people:
            async with transaction(self._pool) as connection:
                found = await look_up_people(connection, list(people.values()), at=self._now())
            for place, (who, phone) in zip(people, found, strict=True):
                alias = Alias("phone", phone) if who == UNKNOWN else None
                answers[place] = _Answer(found=who, phone=f"+{phone}" if phone else "", introduce=alias)
        return answers

    async def _introduce(
        self, connection: Connection, answers: Sequence[_Answer], tries: Sequence[int]
    ) -> None:
        """Have whoever is new made a contact; once, and again when nothing came of it."""
        new = {
            answer.introduce
            for answer, count in zip(answers, tries, strict=True)
            if answer.introduce is not None and count % _INTRODUCE_AGAIN == 1
        }
        records = [person_introduced(alias, at=self._now()) for alias in sorted(new)]
        await queue_outgoing(connection, stage=STAGE, records=records)

    def _wait(self, tries: int) -> float:
        return backoff(tries, random=self._random, longest=_LONGEST_WAIT)
