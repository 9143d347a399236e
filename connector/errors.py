"""Every error the connector raises on purpose, and what each one means for the data.

    ConnectorError
    ├── Transient            retry with back-off; nothing is lost, nothing was decided
    │   ├── RateLimited      … not before `retry_after` seconds
    │   ├── TablesBehind     the tables lack records that were folded before: those are read again first
    │   └── Paused           an operator said stop; it goes on when they say so
    ├── Uncertain            the other side may have acted: look, never repeat blindly
    ├── Rejected             this one item will never pass: dead letter, with advice
    └── Terminal             credential or configuration: stop the line, a person must act
        ├── SettingsError    a setting is missing or wrong
        └── TablesLost       the tables are gone, or lack more than the log can tell again

Retryability is the type, never an `if status == …` in a handler. Every message says what happened and
what state the data is in; `advice` is the next thing to do or the command to run.
"""

from __future__ import annotations


class ConnectorError(Exception):
    """Base of all. `advice` is one sentence or command that a person can act on."""

    def __init__(self, message: str, *, advice: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.advice = advice

    def __str__(self) -> str:
        return f"{self.message} → {self.advice}" if self.advice else self.message


class Transient(ConnectorError):
    """The call did nothing and may succeed later. `retry_after`: seconds, None when the peer did not say."""

    def __init__(self, message: str, *, advice: str = "", retry_after: float | None = None) -> None:
        super().__init__(message, advice=advice)
        self.retry_after = retry_after


class RateLimited(Transient):
    """The peer refused for quota. Nothing was done."""


class TablesBehind(Transient):
    """The database is older than what its reader has folded (a restored backup). Nothing was written."""


class Paused(Transient):
    """An operator paused this. Nothing was done; what waits, waits."""


class Uncertain(ConnectorError):
    """The answer was lost: the peer may or may not have acted. Settle by looking up, never by repeating.

    `under_way`: it may still act. False when the peer itself has ended the request with an error.
    """

    def __init__(self, message: str, *, advice: str = "", under_way: bool = True) -> None:
        super().__init__(message, advice=advice)
        self.under_way = under_way


class Rejected(ConnectorError):
    """This item is refused for what it is; repeating it cannot help. `cause` is a stable, countable name."""

    def __init__(self, message: str, *, cause: str, advice: str = "", correlation_id: str = "") -> None:
        super().__init__(message, advice=advice)
        self.cause = cause
        self.correlation_id = correlation_id


class Terminal(ConnectorError):
    """Nothing will pass until a person acts; the line stops and the log keeps what waits."""


class SettingsError(Terminal):
    """A setting is missing or wrong. Names the variable, where its value came from and what is valid."""


class TablesLost(Terminal):
    """The group of a role has folded what its tables do not hold, and the log alone cannot close the gap."""
