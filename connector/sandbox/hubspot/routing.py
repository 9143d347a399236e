"""What every endpoint gets and what it answers with."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from connector.sandbox.gateway import Answer, Exchange
from connector.sandbox.hubspot.batches import Outcome
from connector.sandbox.hubspot.catalog import SINGULAR, TYPE_IDS
from connector.sandbox.hubspot.portal import Portal
from connector.sandbox.hubspot.records import Caller

WHEN = "2026-01-01T00:00:00Z"
"""Stands for times that no client may rely on."""

TYPE_NAMES = {alias: name for name, type_id in TYPE_IDS.items() for alias in (name, SINGULAR[name], type_id)}
"""Paths take the plural, the singular and the objectTypeId."""

READ, WRITE = "crm.objects.contacts.read", "crm.objects.contacts.write"
"""Communications need the scopes of contacts (communications guide)."""
CUSTOM_READ = "crm.schemas.custom.read"
SCHEMA_READ, SCHEMA_WRITE = "crm.schemas.contacts.read", "crm.schemas.contacts.write"


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A request that found its endpoint and was let in."""

    portal: Portal
    exchange: Exchange
    params: Mapping[str, str]
    caller: Caller

    def first(self, name: str) -> str | None:
        """Return a query parameter."""
        values = self.exchange.query.get(name)
        return values[0] if values else None

    def listed(self, name: str) -> list[str]:
        """Return a query parameter that lists names, repeated or with commas."""
        return [part for value in self.exchange.query.get(name, []) for part in value.split(",") if part]

    def batch(self, outcome: Outcome) -> Answer:
        """Return the answer of a batch, also of one that failed in part."""
        document: dict[str, Any] = {
            "status": "COMPLETE",
            "results": outcome.results,
            "startedAt": WHEN,
            "completedAt": WHEN,
        }
        status = outcome.success_status
        if outcome.errors:
            document |= {"numErrors": len(outcome.errors), "errors": outcome.errors}
            if self.portal.config.partial_status == "multi_status":
                status = 207
        return Answer(status=status, document=document)


@dataclass(frozen=True, kw_only=True)
class Route:
    """One endpoint: where it is, which scope it needs, which rate limit counts it."""

    method: str
    pattern: re.Pattern[str]
    handle: Callable[[Asked], Answer]
    scope: str
    family: str


def route(
    method: str,
    pattern: str,
    handle: Callable[[Asked], Answer],
    scope: str,
    family: str = "objects",
) -> Route:
    """Return an endpoint; `pattern` has the groups version, and type, to_type, id, name where it has them."""
    return Route(method=method, pattern=re.compile(pattern), handle=handle, scope=scope, family=family)
