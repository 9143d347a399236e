"""Forgetting rows that nothing asks for any more: what, how old, and why that is safe (docs/architecture.md).

A walk along each table's key in short transactions: a few thousand keys are looked at, what is old and at rest is
deleted, rows that somebody holds are passed over until the next walk. So nothing waits for it, and it locks nothing
for long; no index serves it alone. Off by default (`CONNECTOR_DATABASE__KEEP_DAYS`).

What people said about consent is never forgotten here, nor a send that has no end yet. One that has is kept for as long
as the log may bring its request again: until then its row is what keeps it from being sent twice.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import asyncpg
import structlog

from connector.errors import ConnectorError
from connector.state.database import transaction
from connector.topics import CONVERSATION_EVENTS

log = structlog.get_logger(__name__)

_DAY_MS = 86_400_000
_KEYS = 5_000  # looked at in one transaction
_EVERY = 6 * 3600.0  # seconds between walks
_BREATH = 0.5  # seconds between transactions of a walk in a role
_FIRST = {"text": "", "uuid": "00000000-0000-0000-0000-000000000000"}

LOG_DAYS = CONVERSATION_EVENTS.retention_ms // _DAY_MS
"""Days that the log holds an event by default: what is younger can be folded again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PruneRule:
    """Rows of one table that may go. `key`: first column of its primary key. `old`: SQL, `{cutoff}` the age's end.

    `at_least`: days that they are kept whatever the setting says. `remember`: what of the rows goes to `forgotten`.
    """

    schema: str
    table: str
    key: str
    key_type: str
    old: str
    at_least: int = 0
    remember: str = ""

    @property
    def name(self) -> str:
        """`schema.table`."""
        return f"{self.schema}.{self.table}"


def rules_of(schema: str) -> tuple[PruneRule, ...]:
    """The rules of one role's schema; none for a schema without any."""
    if schema == "identity":
        return (
            PruneRule(
                schema=schema, table="messages", key="wamid", key_type="text", old="received_at < {cutoff}"
            ),
            PruneRule(schema=schema, table="conflicts", key="event_id", key_type="text", old="at < {cutoff}"),
        )
    if schema == "media":
        return (
            PruneRule(
                schema=schema,
                table="files",
                key="key",
                key_type="text",
                old="greatest(at, received_at) < {cutoff} AND blob IS NULL "
                "AND state IN ('unavailable', 'withdrawn', 'purged')",
                at_least=LOG_DAYS,
            ),
            PruneRule(
                schema=schema,
                table="withdrawals",
                key="wamid",
                key_type="text",
                old="at < {cutoff}",
                at_least=LOG_DAYS,
            ),
        )
    if schema in ("hubspot", "salesforce"):
        return (
            # At rest, or a status whose message never came. A `read` may come after years, and a replay brings
            # everything again: of a written one a number is kept, so that it is neither made twice nor emptied.
            PruneRule(
                schema=schema,
                table="activities",
                key="wamid",
                key_type="text",
                old="fresh_at < {cutoff} AND intent_at IS NULL AND problem IS NULL AND (contact_id IS NULL "
                "OR desired_version <= written_version AND record_id IS NOT NULL)",
                at_least=LOG_DAYS,
                remember="SELECT hashtextextended(wamid, 0) FROM gone WHERE record_id IS NOT NULL",
            ),
            PruneRule(
                schema=schema,
                table="retirements",
                key="contact_id",
                key_type="uuid",
                old="settled_at < {cutoff}",
            ),
            PruneRule(
                schema=schema, table="adoptions", key="contact_id", key_type="uuid", old="at < {cutoff}"
            ),
        )
    if schema == "outbound":
        return (
            # A verdict is part of its send. What a workflow or the log is still to be told of stays.
            PruneRule(
                schema=schema,
                table="sends",
                key="send_id",
                key_type="text",
                old="greatest(created_at, attempted_at, settled_at) < {cutoff} "
                "AND state IN ('delivered', 'read', 'failed', 'blocked', 'expired') "
                "AND (outcome_due_at IS NULL OR outcome_told_at IS NOT NULL) AND (wamid IS NULL OR message_told)",
                at_least=LOG_DAYS,
            ),
            PruneRule(
                schema=schema,
                table="triggers",
                key="trigger_id",
                key_type="text",
                old="received_at < {cutoff} AND NOT EXISTS (SELECT 1 FROM outbound.sends s "
                "WHERE s.trigger_id = triggers.trigger_id)",
                at_least=LOG_DAYS,
            ),
            PruneRule(
                schema=schema,
                table="rejections",
                key="event_id",
                key_type="text",
                old="at < {cutoff}",
                at_least=LOG_DAYS,
            ),
        )
    return ()


def kept_days(rule: PruneRule, days: int) -> int:
    """Days that the rule's rows are kept."""
    return max(days, rule.at_least)


async def prune(
    pool: asyncpg.Pool, rules: Sequence[PruneRule], *, days: int, dry_run: bool = False, breath: float = 0.0
) -> Mapping[str, int]:
    """Walk the tables once; rows forgotten (or, with `dry_run`, that would be) by `schema.table`.

    `breath`: seconds to rest between transactions. Raises the database's errors; what was committed stays so.
    """
    gone: dict[str, int] = {}
    for rule in rules:
        gone[rule.name] = 0
        after: object = _FIRST[rule.key_type]
        while after is not None:
            async with transaction(pool) as connection:
                row = await connection.fetchrow(
                    _statement(rule, dry_run=dry_run), after, _KEYS, kept_days(rule, days)
                )
            assert row is not None
            gone[rule.name] += row["gone"]
            after = row["last"]
            if after is not None and breath:
                await asyncio.sleep(breath)
    return gone


def _statement(rule: PruneRule, *, dry_run: bool) -> str:
    old = rule.old.format(cutoff="now() - make_interval(days => $3)")
    part = (
        f"SELECT DISTINCT {rule.key} FROM {rule.name} WHERE {rule.key} > $1::{rule.key_type} "  # noqa: S608 - names are ours
        f"ORDER BY {rule.key} LIMIT $2"
    )
    steps = [f"part AS ({part})"]
    some = f"SELECT ctid FROM {rule.name} WHERE {rule.key} IN (SELECT {rule.key} FROM part) AND {old}"  # noqa: S608
    if dry_run:
        steps.append(f"gone AS ({some})")
    else:
        locked = f"ARRAY({some} ORDER BY {rule.key} FOR UPDATE SKIP LOCKED)"
        steps.append(f"gone AS (DELETE FROM {rule.name} WHERE ctid = ANY({locked}) RETURNING *)")  # noqa: S608
        if rule.remember:
            steps.append(
                f"remembered AS (INSERT INTO {rule.schema}.forgotten {rule.remember} ON CONFLICT DO NOTHING)"
            )
    return (
        f"WITH {', '.join(steps)} SELECT (SELECT count(*) FROM gone) AS gone, "  # noqa: S608
        f"(SELECT {rule.key} FROM part ORDER BY {rule.key} DESC LIMIT 1) AS last"
    )


async def tend_pruning(pool: asyncpg.Pool, *, schema: str, days: int, stop: asyncio.Event) -> None:
    """Walk a role's own tables four times a day until `stop`; nothing with `days` 0.

    A database that is away is the stages' to tell. Two replicas may walk at once: each passes over the other's rows.
    """
    while not stop.is_set():
        if days:
            with contextlib.suppress(ConnectorError):
                gone = await prune(pool, rules_of(schema), days=days, breath=_BREATH)
                if any(gone.values()):
                    log.info("old rows were forgotten", rows=dict(gone), keep_days=days)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), _EVERY)
