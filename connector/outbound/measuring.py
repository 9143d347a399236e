"""What the role's tables say to whoever watches: sends that are not over, and how Meta sees templates and numbers.

Every replica measures the same tables, so that none has to be the one that does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

import asyncpg
import structlog
from prometheus_client import Gauge

from connector.errors import ConnectorError
from connector.state.database import Connection, transaction
from connector.state.switches import pressed
from connector.sync.rest import rest
from connector.telemetry import metrics

_EVERY = 15.0  # seconds: a large campaign is walked through each time

_log = structlog.get_logger(__name__)

SEND_STATES = ("queued", "held", "unresolved", "sending", "unknown")
SWITCH_SCOPES = ("all", "template", "number")
TEMPLATE_STATUSES = (
    *("approved", "pending", "rejected", "paused", "disabled", "in_appeal", "pending_deletion", "deleted"),
    *("limit_exceeded", "archived", "other"),
)
"""https://developers.facebook.com/documentation/business-messaging/whatsapp/templates/overview (template status)"""
NUMBER_STATUSES = (
    *("connected", "flagged", "rate_limited", "restricted", "banned", "disconnected", "offline", "pending"),
    *("deleted", "migrated", "unverified", "unknown", "other"),
)
"""https://developers.facebook.com/documentation/business-messaging/whatsapp/business-phone-numbers/phone-numbers"""
QUALITIES = ("green", "yellow", "red", "unknown")

# Each part goes by the partial index that its condition names.
_SENDS = """
SELECT state, count(*) AS sends,
       extract(epoch FROM clock_timestamp() - min(greatest(created_at, not_before))
               FILTER (WHERE not_before <= clock_timestamp()))::float8 AS overdue
  FROM outbound.sends WHERE state IN ('queued', 'held') AND (contact_id IS NOT NULL OR obstacle <> '') GROUP BY state
UNION ALL
SELECT 'unresolved', count(*), NULL FROM outbound.sends
 WHERE state IN ('queued', 'held') AND contact_id IS NULL AND obstacle = ''
UNION ALL SELECT 'sending', count(*), NULL FROM outbound.sends WHERE state = 'sending'
UNION ALL SELECT 'unknown', count(*), NULL FROM outbound.sends WHERE state = 'unknown'
"""
_TEMPLATES = (
    "SELECT lower(coalesce(status, '')) AS status, count(*) AS templates FROM outbound.templates GROUP BY 1"
)
_NUMBERS = """
SELECT lower(status) AS status, lower(quality) AS quality, count(*) AS numbers,
       count(*) FILTER (WHERE paused_until > clock_timestamp()) AS resting
  FROM outbound.numbers GROUP BY 1, 2
"""
_ACCOUNTS = """
SELECT count(*) FILTER (WHERE problem <> '') AS unread,
       coalesce(extract(epoch FROM clock_timestamp() - min(asked_at)), 0)::float8 AS age
  FROM outbound.account_syncs
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """One look. Every label that there can be has a value: a gauge that is never set to 0 alerts for ever."""

    sends: dict[tuple[str, ...], int]
    overdue: float
    """Seconds that the send which is due longest is overdue."""
    switches: dict[tuple[str, ...], int]
    templates: dict[tuple[str, ...], int]
    numbers: dict[tuple[str, ...], int]
    """By status and quality."""
    resting: int
    unread: int
    reading_age: float
    """Seconds."""


async def measure(connection: Connection) -> Measured:
    """Look at the tables once."""
    sends = await connection.fetch(_SENDS)
    templates = await connection.fetch(_TEMPLATES)
    numbers = await connection.fetch(_NUMBERS)
    accounts = await connection.fetchrow(_ACCOUNTS)
    assert accounts is not None
    return Measured(
        sends=_counted(((row["state"],), row["sends"]) for row in sends)
        | {(state,): 0 for state in SEND_STATES if state not in {row["state"] for row in sends}},
        overdue=max(0.0, *(row["overdue"] or 0.0 for row in sends)),
        switches={(scope,): 0 for scope in SWITCH_SCOPES}
        | _counted(((switch.scope,), 1) for switch in await pressed(connection)),
        templates={(status,): 0 for status in TEMPLATE_STATUSES}
        | _counted(((_known(row["status"], TEMPLATE_STATUSES),), row["templates"]) for row in templates),
        numbers={(status, quality): 0 for status in NUMBER_STATUSES for quality in QUALITIES}
        | _counted(
            (
                (
                    _known(row["status"], NUMBER_STATUSES),
                    row["quality"] if row["quality"] in QUALITIES else "unknown",
                ),
                row["numbers"],
            )
            for row in numbers
        ),
        resting=sum(row["resting"] for row in numbers),
        unread=accounts["unread"],
        reading_age=accounts["age"],
    )


def publish(measured: Measured) -> None:
    """Set the gauges."""
    gauges: tuple[tuple[Gauge, dict[tuple[str, ...], int]], ...] = (
        (metrics.SENDS_OPEN, measured.sends),
        (metrics.SEND_SWITCHES, measured.switches),
        (metrics.TEMPLATES, measured.templates),
        (metrics.NUMBERS, measured.numbers),
    )
    for gauge, values in gauges:
        for labels, value in values.items():
            gauge.labels(*labels).set(value)
    metrics.OLDEST_DUE_SEND_SECONDS.set(measured.overdue)
    metrics.NUMBERS_RESTING.set(measured.resting)
    metrics.ACCOUNTS_UNREAD.set(measured.unread)
    metrics.ACCOUNT_READING_SECONDS.set(measured.reading_age)


async def run_measuring(pool: asyncpg.Pool, *, stop: asyncio.Event) -> None:
    """Measure until `stop`. Never raises for a dependency: the parts that need the database say that it is away."""
    while not stop.is_set():
        try:
            async with transaction(pool) as connection:
                measured = await measure(connection)
        except ConnectorError:
            _log.debug("the sends could not be counted")
        else:
            publish(measured)
        await rest(_EVERY, stop)


def _known(word: str, words: tuple[str, ...]) -> str:
    return word if word in words else "other"


def _counted(rows: Iterable[tuple[tuple[str, ...], int]]) -> dict[tuple[str, ...], int]:
    sums: dict[tuple[str, ...], int] = {}
    for labels, value in rows:
        sums[labels] = sums.get(labels, 0) + value
    return sums
