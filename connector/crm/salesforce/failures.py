"""Salesforce's error codes → the connector's errors, in one table.

https://developer.salesforce.com/docs/platform/api-rest/guide/errorcodes.html and, for the codes of one record,
https://developer.salesforce.com/docs/atlas.en-us.api.meta/api/sforce_api_calls_concepts_core_data_objects.htm.
Every write here is an upsert or an update, so that repeating it is always safe; what is lost is only time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from connector.crm.personal_data import readable
from connector.crm.port import Gone, Later, Refused, WriteResult
from connector.crm.quota import LOOK_EVERY, LimitReached
from connector.crm.retry_after import read_retry_after
from connector.crm.salesforce.package import DEPLOY_COMMAND
from connector.crm.salesforce.quota import read_news
from connector.errors import ConnectorError, Terminal, Transient, Uncertain

SETUP_ADVICE = (
    f"deploy docs/crm/salesforce ({DEPLOY_COMMAND}), assign the permission set WhatsApp_Connector to our user, "
    "then: connector setup salesforce"
)
_DAY = 86_400.0
_ENDED = {500, 503}
"""Salesforce's own words that a request failed. The others are a gateway's, which may have given up on one that goes
on."""
_LONGEST_CALL = 600.0  # seconds; Salesforce ends a call then
_LONG_CALLS_RETRY = 5.0


class Kind(StrEnum):
    """What a code means for the record, or for the whole line."""

    LATER = "later"
    """Somebody else holds the record, or the org is busy."""
    GONE = "gone"
    """The record, or the one it hangs on, was deleted or converted."""
    HIDDEN = "hidden"
    """A reference leads nowhere that we may see: deleted, never there, or not shared with us."""
    REFUSED = "refused"
    """The record will never pass as it is."""
    SETUP = "setup"
    """Our fields, objects or permissions are missing: every record would fail."""
    STOPPED = "stopped"
    """The org takes nothing until a person acts."""


_KINDS: Mapping[str, Kind] = {
    "UNABLE_TO_LOCK_ROW": Kind.LATER,
    "ENTITY_IS_LOCKED": Kind.REFUSED,  # an approval process: until a person decides
    "ALL_OR_NONE_OPERATION_ROLLED_BACK": Kind.LATER,
    "PROCESSING_HALTED": Kind.LATER,
    "UNKNOWN_EXCEPTION": Kind.LATER,
    "SERVER_UNAVAILABLE": Kind.LATER,
    "REQUEST_RUNNING_TOO_LONG": Kind.LATER,
    "QUERY_TIMEOUT": Kind.LATER,
    "TOO_MANY_APEX_REQUESTS": Kind.LATER,
    "LIMIT_EXCEEDED": Kind.LATER,
    "REQUEST_LIMIT_EXCEEDED": Kind.LATER,
    "ENTITY_IS_DELETED": Kind.GONE,
    "CANNOT_UPDATE_CONVERTED_LEAD": Kind.GONE,
    "INVALID_CROSS_REFERENCE_KEY": Kind.HIDDEN,
    "INSUFFICIENT_ACCESS_ON_CROSS_REFERENCE_ENTITY": Kind.HIDDEN,
    "INVALID_FIELD": Kind.SETUP,
    "INVALID_FIELD_FOR_INSERT_UPDATE": Kind.SETUP,
    "INVALID_TYPE": Kind.SETUP,
    "NOT_FOUND": Kind.SETUP,
    "API_CURRENTLY_DISABLED": Kind.STOPPED,
    "API_DISABLED_FOR_ORG": Kind.STOPPED,
    "STORAGE_LIMIT_EXCEEDED": Kind.STOPPED,
}
"""A code that is not here refuses its record."""

_DECIDES = (Kind.STOPPED, Kind.SETUP, Kind.GONE, Kind.HIDDEN, Kind.REFUSED, Kind.LATER)
"""Of several errors of one record: what the org lacks, then whether there is a record, then whether it ever passes."""

_ADVICE = {
    "DUPLICATES_DETECTED": "adopt the record it names, or exempt the connector's user from that duplicate rule",
    "DUPLICATE_VALUE": "another record holds this value; if our user cannot see it, give it View All on the object",
    "REQUIRED_FIELD_MISSING": "the org requires a field that WhatsApp does not know: give it a default value",
    "FIELD_CUSTOM_VALIDATION_EXCEPTION": "exempt the connector's user from that validation rule",
    "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY": "a trigger or flow of the org failed: its owner must mend it",
    "INSUFFICIENT_ACCESS_OR_READONLY": "share the record with the connector's user for editing",
    "ENTITY_IS_LOCKED": "an approval process holds the record; decide it",
}


@dataclass(kw_only=True, eq=False)  # not frozen: Python writes tracebacks on exceptions
class SalesforceRefusal(Exception):
    """The whole call was refused for its content: nothing was written."""

    status: int
    code: str
    message: str

    @property
    def kind(self) -> Kind:
        """What it means."""
        return kind_of(self.code)


class SetupLacking(Terminal):
    """Fields, objects or permissions of ours are missing. `said`: Salesforce's words, which may hold personal data."""

    def __init__(self, message: str, *, advice: str, said: str) -> None:
        super().__init__(message, advice=advice)
        self.said = said


@dataclass(frozen=True, kw_only=True, slots=True)
class RowFailure:
    """One record of a call was refused. `fields`: those Salesforce blames."""

    code: str
    message: str
    fields: Sequence[str] = ()

    @property
    def kind(self) -> Kind:
        """What it means."""
        return kind_of(self.code)


def kind_of(code: str) -> Kind:
    """What a code means."""
    return _KINDS.get(code, Kind.REFUSED)


def call_failure(status: int, content: Any, headers: Mapping[str, str], *, writes: bool) -> Exception:
    """The error of a call that was answered with a status outside 2xx, other than an expired session."""
    code, said = _first(content)
    said = said or f"status {status}"
    message = readable(said)
    if code == "REQUEST_LIMIT_EXCEEDED" or status == 429:
        return _limit(message, headers)
    if status >= 500 or status == 420:
        text = f"Salesforce answered {status}: {message}"
        return Uncertain(text, under_way=status not in _ENDED) if writes else Transient(text)
    kind = kind_of(code)
    if kind is Kind.LATER:
        return Transient(f"Salesforce is busy ({code}): {message}")
    if kind in (Kind.SETUP, Kind.STOPPED) or status == 403:
        return _terminal(kind, code or str(status), said)
    return SalesforceRefusal(status=status, code=code or f"status_{status}", message=said)


def row_failure(errors: Any) -> RowFailure | None:
    """The failure of one result of a Collections answer; None when it says nothing. Of several, what decides most."""
    told = errors if isinstance(errors, list) else [errors]
    failures = [_failure(error) for error in told if error and isinstance(error, dict)]
    return min(failures, key=lambda failure: _DECIDES.index(failure.kind), default=None)


def _failure(error: Mapping[str, Any]) -> RowFailure:
    code = str(error.get("statusCode") or error.get("errorCode") or "UNKNOWN_EXCEPTION")
    message = str(error.get("message", "")) or code
    details = error.get("duplicateResut") or error.get("duplicateResult")  # both spellings are out there
    if isinstance(details, dict):
        message = f"{message} (rule {details.get('duplicateRule', '')}: {', '.join(_matches(details))})"
    fields = error.get("fields")
    return RowFailure(
        code=code, message=message, fields=tuple(map(str, fields)) if isinstance(fields, list) else ()
    )


def row_result(failure: RowFailure, *, keys: Sequence[str] = ()) -> WriteResult:
    """What a failure means for its item. `keys`: our external ids, for which a duplicate is a race."""
    if failure.code == "DUPLICATE_VALUE" and _is_race(failure, keys):
        return Later(reason=failure.message)
    if failure.kind in (Kind.LATER, Kind.SETUP, Kind.STOPPED):
        return Later(reason=f"{failure.code}: {failure.message}")
    if failure.kind is Kind.GONE:
        return Gone(reason=failure.message)
    return refused(failure)


def refused(failure: RowFailure) -> Refused:
    """A record that never passes as it is."""
    return Refused(
        cause=f"salesforce_{failure.code.lower()}",
        reason=failure.message,
        advice=_ADVICE.get(failure.code, ""),
    )


def refuse_all(failure: RowFailure) -> Terminal:
    """What every record of a call was refused for, when the org's set-up is to blame."""
    return _terminal(failure.kind, failure.code, failure.message)


def as_connector_error(error: Exception) -> ConnectorError:
    """A refusal of a call that has no items to blame."""
    if isinstance(error, ConnectorError):
        return error
    if isinstance(error, SalesforceRefusal):
        return Terminal(f"Salesforce refuses: {readable(error.message)} ({error.code}). Nothing was written.")
    raise error


def _is_race(failure: RowFailure, keys: Sequence[str]) -> bool:
    """Another request made the same new key a moment ago: the next upsert updates. `<unknown>` stands for a
    record that our user may not see, which no repetition changes.
    """
    return "<unknown>" not in failure.message and any(
        name in failure.fields or name in failure.message for name in keys
    )


def _terminal(kind: Kind, code: str, said: str) -> Terminal:
    message = f"Salesforce refuses ({code}): {readable(said)}. What waits stays in the database."
    ask = "ask the org's admin; the writer tries again by itself"
    if kind is Kind.STOPPED:
        return Terminal(message, advice=ask)
    return SetupLacking(message, advice=SETUP_ADVICE if kind is Kind.SETUP else ask, said=said)


def _limit(message: str, headers: Mapping[str, str]) -> LimitReached:
    """Both limits have one code; the usage tells them apart. Salesforce sends no Retry-After, proxies may."""
    day = read_news(headers).day
    if day is not None and day.left == 0:
        return LimitReached(
            f"The org's {day.calls:,} calls of the last 24 h are used up; nothing was written.",
            retry_after=read_retry_after(headers, longest=_DAY) or LOOK_EVERY,
            whole_day=True,
            advice="lower other integrations' use, or buy more API calls",
        )
    return LimitReached(
        f"Too many long calls at once in the org ({message}); nothing was written.",
        retry_after=read_retry_after(headers, longest=_LONGEST_CALL) or _LONG_CALLS_RETRY,
    )


def _first(content: Any) -> tuple[str, str]:
    error = content[0] if isinstance(content, list) and content else content
    if isinstance(error, dict):
        return str(error.get("errorCode") or error.get("statusCode") or ""), str(error.get("message", ""))
    return "", str(error)[:200]


def _matches(details: Mapping[str, Any]) -> list[str]:
    return [
        str((record.get("record") or {}).get("Id"))
        for result in details.get("matchResults") or ()
        for record in result.get("matchRecords") or ()
    ]
