"""What every endpoint gets, and how paths find it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from connector.sandbox.gateway import Answer, Exchange
from connector.sandbox.salesforce.errors import RequestError, malformed
from connector.sandbox.salesforce.org import Org
from connector.sandbox.salesforce.transactions import Transaction


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A request that found its endpoint and was let in."""

    org: Org
    exchange: Exchange
    params: Mapping[str, str]
    version: str
    transaction: Transaction

    def first(self, name: str) -> str | None:
        """Return a query parameter."""
        values = self.exchange.query.get(name)
        return values[0] if values else None

    def body(self) -> dict[str, Any]:
        """The body, which must be a JSON object."""
        try:
            document = self.exchange.document
        except ValueError:
            raise malformed("Unexpected character or end of input") from None
        if not isinstance(document, dict):
            raise malformed("The HTTP entity body is required to be a JSON object")
        return document


@dataclass(frozen=True, kw_only=True)
class Route:
    """One endpoint: where it is and what answers."""

    method: str
    pattern: re.Pattern[str]
    handle: Callable[[Asked], Answer]


def route(method: str, pattern: str, handle: Callable[[Asked], Answer]) -> Route:
    """Return an endpoint; `pattern` is what follows /services/data/vXX.X/."""
    return Route(method=method, pattern=re.compile(pattern), handle=handle)


def method_not_allowed() -> RequestError:
    """The resource is there, but not for this method."""
    return RequestError(status=405, code="METHOD_NOT_ALLOWED", message="HTTP Method not allowed")
