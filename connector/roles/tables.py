"""Whose tables are whose: each role's schema, what it folds into it, and what a rebuild empties."""

from __future__ import annotations

from connector.identity.history_stage import STAGE as ROUTE_HISTORY
from connector.identity.introductions import STAGE as INTRODUCTIONS
from connector.identity.routing import STAGE as ROUTE
from connector.streams.completeness import RoleTables
from connector.topics import (
    ACCOUNT_EVENTS,
    CONVERSATION_EVENTS,
    CRM_TRIGGERS,
    WHATSAPP_HISTORY,
    WHATSAPP_UPDATES,
)

IDENTITY = RoleTables(
    role="route",
    schema="identity",
    sources={ROUTE: WHATSAPP_UPDATES, ROUTE_HISTORY: WHATSAPP_HISTORY, INTRODUCTIONS: CRM_TRIGGERS},
    told_by=CONVERSATION_EVENTS,
    emptied=("contacts", "aliases", "messages", "parked_statuses", "conflicts", "offsets"),
)
MEDIA = RoleTables(
    role="media",
    schema="media",
    sources={"media": CONVERSATION_EVENTS},
    # A file that is in the store cannot be fetched again after a week, so what is known of files is kept.
    emptied=("offsets",),
)
OUTBOUND = RoleTables(
    role="outbound",
    schema="outbound",
    sources={
        "outbound": CONVERSATION_EVENTS,
        "outbound-admission": CRM_TRIGGERS,
        "outbound-account": ACCOUNT_EVENTS,
    },
    # Every fold is idempotent, and what people said or what was sent may be older than the log.
    emptied=("offsets",),
)


def sink_tables(sink: str) -> RoleTables:
    """The tables of `sync-hubspot` or `sync-salesforce`."""
    return RoleTables(
        role=f"sync-{sink}",
        schema=sink,
        sources={f"sync-{sink}": CONVERSATION_EVENTS},
        # People whose record was erased for good are not made anew, and only these tables know them.
        emptied=("activities", "retirements", "adoptions", "offsets"),
        kept=(
            "DELETE FROM {schema}.contacts WHERE NOT erased",
            (
                "UPDATE {schema}.contacts SET facts = '{{}}', desired_version = 0, written_version = 0, "
                "written_digest = NULL, record_id = NULL, created_by_us = false, shared = false, held = 'erased', "
                "redirect_to = NULL, problem = NULL, looked_up_phone = NULL, looked_up_at = NULL, phone = NULL, "
                "waiting_since = NULL, attempts = 0, not_before = '-infinity', lease_until = '-infinity'"
            ),
        ),
    )


ALL_TABLES = (IDENTITY, sink_tables("hubspot"), sink_tables("salesforce"), MEDIA, OUTBOUND)
