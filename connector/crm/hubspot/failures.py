"""HubSpot's failures → the connector's errors, in one table.

https://developers.hubspot.com/docs/api-reference/error-handling. The HTTP status decides for a whole call; for
one item of a batch the category does. 5xx on a write says nothing about whether it was done: `Uncertain`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from connector.crm.personal_data import readable
from connector.crm.port import Gone, Later, Refused, WriteResult
from connector.crm.quota import LimitReached
from connector.crm.retry_after import read_retry_after
from connector.errors import ConnectorError, Terminal, Transient, Uncertain

_DAY = 86_400.0
_SCOPES_PAGE = "add the scope to the service key or private app, then: connector setup hubspot"

# Policy of a 429 → seconds to hold back when HubSpot names no time (its window; a day's turn is looked for), and the
# longest time that a Retry-After can mean.
_POLICIES = {"TEN_SECONDLY_ROLLING": (10.0, 60.0), "SECONDLY": (1.0, 10.0), "DAILY": (300.0, _DAY)}
_NO_POLICY = (10.0, 600.0)

_MIGRATION_STATUS = 477  # the portal moves between data centres; Retry-After in seconds, up to 24 h
_LOCKED_STATUS = 423  # "wait at least two seconds"
_UNREACHABLE = {408, 500, 502, 503, 504, 520, 521, 522, 523, 524, 530}
_ENDED = {500, 503}
"""HubSpot's own words that a request failed. The others are a gateway's, which may have given up on one that goes on."""
_NOT_IMPLEMENTED = 501  # no answer of HubSpot's own: whoever answers has no such endpoint, and did nothing

# What a batch endpoint answers when something is wrong with the inputs. Any other 4xx is about the endpoint itself.
_ABOUT_CONTENT = frozenset({400, 409, 413, 414, 422})
_NO_ENDPOINT = frozenset({404, 405, 410, 501})
_TOO_LARGE = frozenset({413, 414})

_NOT_FOUND = "OBJECT_NOT_FOUND"
"""Of one record, also as the status 404 of a whole call; a path that is not there answers 404 without it."""

_ABSENT_PROPERTY = re.compile(r'Property \\*"(\w+)\\*" does not exist')
_NOT_UNIQUE = re.compile(r"Unable to perform \S+ by non-unique \S+ property (\w+)")
_HOLDER = re.compile(r"Existing ID: (\d+)|(\d+) already has that value")


class MissingScope(Terminal):
    """The token is accepted, and may not do this."""


@dataclass(kw_only=True, eq=False)  # not frozen: Python writes tracebacks on exceptions
class HubSpotRefusal(Exception):
    """The whole call was refused for its content (400, 404, 409, 413, 414 …): nothing was written."""

    status: int
    category: str
    message: str
    context: Mapping[str, Any]
    correlation_id: str

    @property
    def is_conflict(self) -> bool:
        """A unique value is taken. Documented as 409 CONFLICT, observed as 400 "already has that value"."""
        return says_already_there(category=self.category, message=self.message)

    @property
    def is_about_content(self) -> bool:
        """Whether a batch was refused for its inputs, so that one without the bad input may pass."""
        return self.status in _ABOUT_CONTENT or (self.status == 404 and self.category == _NOT_FOUND)

    @property
    def has_no_endpoint(self) -> bool:
        """Whether the account has no such endpoint, whatever the inputs say."""
        return self.status in _NO_ENDPOINT and self.category != _NOT_FOUND

    @property
    def is_size(self) -> bool:
        """Whether the batch was too large for the endpoint or a proxy before it, whatever its inputs say."""
        return self.status in _TOO_LARGE

    def result(self) -> WriteResult:
        """The same as one item's result."""
        return Gone(reason=self.message) if self.category == _NOT_FOUND else self.refused()

    def refused(self) -> Refused:
        """The same as one item's refusal."""
        return Refused(
            cause=f"hubspot_{self.category.lower()}",
            reason=self.message,
            correlation_id=self.correlation_id,
        )


def says_already_there(*, category: str, message: str) -> bool:
    """Whether an error means that a unique value is taken already."""
    return category == "CONFLICT" or "already has that value" in message or "already exist" in message


def is_conflict(result: WriteResult) -> bool:
    """Whether one item was refused because a unique value is taken already."""
    return isinstance(result, Refused) and (
        result.cause == "hubspot_conflict" or says_already_there(category="", message=result.reason)
    )


def conflict_holder(message: str) -> str | None:
    """The record that a conflict names as the holder of the value; None when it names none."""
    found = _HOLDER.search(message)
    return None if found is None else found[1] or found[2]


def read_body(body: Any) -> dict[str, Any]:
    """An error body as a dict; every field may be missing, and a proxy may answer HTML."""
    if isinstance(body, bytes):
        body = body.decode("utf-8", "replace")
    try:
        document = json.loads(body) if isinstance(body, str) else body
    except ValueError:
        return {"message": str(body)[:200]}
    return document if isinstance(document, dict) else {"message": str(document)[:200]}


def correlation_id(headers: Mapping[str, str]) -> str:
    """The id by which HubSpot's support finds a call: every answer has it in a header, not every body."""
    return next((value for name, value in headers.items() if name.lower() == "x-hubspot-correlation-id"), "")


def call_failure(status: int, body: Any, headers: Mapping[str, str], *, writes: bool) -> Exception:
    """The error of a call that was answered with a status outside 2xx."""
    document = read_body(body)
    said = str(document.get("message", "")) or f"status {status}"
    message = readable(said)
    category = str(document.get("category") or document.get("errorType") or "UNKNOWN")
    correlation = str(document.get("correlationId") or correlation_id(headers))
    if status == 429:
        policy = str(document.get("policyName", ""))
        window, longest = _POLICIES.get(policy, _NO_POLICY)
        return LimitReached(
            f"HubSpot's limit is used up ({policy or 'no policy named'}); nothing was written.",
            retry_after=read_retry_after(headers, longest=longest) or window,
            whole_day=policy == "DAILY",
        )
    if status == 401:
        return Terminal(
            f"HubSpot refuses our token: {message}. Nothing was written; what waits stays in the database.",
            advice="set CONNECTOR_HUBSPOT__ACCESS_TOKEN to a valid token and restart sync-hubspot",
        )
    if status == 403:
        return MissingScope(f"HubSpot refuses for a missing permission: {message}", advice=_SCOPES_PAGE)
    if status == _LOCKED_STATUS:
        return Transient(f"HubSpot has the records locked: {message}", retry_after=2.0)
    if status == _MIGRATION_STATUS:
        return Transient(
            "HubSpot moves this account to another data centre.",
            retry_after=read_retry_after(headers, longest=_DAY) or 60.0,
        )
    if status != _NOT_IMPLEMENTED and (status in _UNREACHABLE or status >= 500):
        text = f"HubSpot answered {status}: {message}"
        return Uncertain(text, under_way=status not in _ENDED) if writes else Transient(text)
    if (absent := absent_property(said)) is not None:
        return absent
    return HubSpotRefusal(
        status=status,
        category=category,
        message=said,
        context=document.get("context") or {},
        correlation_id=correlation,
    )


def absent_property(message: str) -> Terminal | None:
    """The error of a portal that lacks a property of ours: every record would be refused, and none is at fault."""
    if (key := _NOT_UNIQUE.search(message)) is not None:
        return Terminal(
            f"HubSpot's property {key[1]} is not unique any more. Nothing was written; what waits stays in the database.",
            advice="let nobody replace our properties, then: connector setup hubspot, and restart sync-hubspot",
        )
    names = sorted(set(_ABSENT_PROPERTY.findall(message)))
    if not names:
        return None
    return Terminal(
        f"HubSpot has no property {', '.join(names)}. Nothing was written; what waits stays in the database.",
        advice="ours are made by: connector setup hubspot; another one has to be made in HubSpot's settings",
    )


def item_failure(error: Mapping[str, Any], *, correlation_id: str = "") -> WriteResult:
    """What one entry of a batch answer's `errors` means for its item."""
    category = str(error.get("category", "UNKNOWN"))
    message = str(error.get("message", "")) or category
    if category in {"RATE_LIMITS", "RATE_LIMIT"}:
        return Later(reason=message)
    if category in {"INTERNAL_ERROR", "SERVICE_UNAVAILABLE"}:
        return Later(reason=message)
    if category == _NOT_FOUND:
        return Gone(reason=message)
    if absent_property(message) is not None:
        return Later(reason=message)
    return Refused(
        cause=f"hubspot_{category.lower()}",
        reason=message,
        correlation_id=correlation_id or str(error.get("correlationId", "")),
    )


def as_connector_error(error: Exception) -> ConnectorError:
    """A refusal of a call that has no items to blame (setup, associations)."""
    if isinstance(error, ConnectorError):
        return error
    if isinstance(error, HubSpotRefusal):
        return Terminal(
            f"HubSpot refuses with status {error.status}: {readable(error.message)} ({error.category}, "
            f"{error.correlation_id}).",
            advice="check CONNECTOR_HUBSPOT__BASE_URL, CONNECTOR_HUBSPOT__API_VERSION and what HubSpot names",
        )
    raise error
