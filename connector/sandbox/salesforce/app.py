"""Salesforce's HTTP side: login, sessions, versions, limits, statuses. What the calls mean is in `org`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from urllib.parse import urlencode

from connector.sandbox.faults import contended, poison
from connector.sandbox.gateway import Answer, Exchange
from connector.sandbox.journal import Effect
from connector.sandbox.salesforce.config import PERSON_TOKEN, PERSON_USER_ID, ConnectedApp
from connector.sandbox.salesforce.endpoints import collections, queries, rows
from connector.sandbox.salesforce.errors import RequestError, RowError, not_found
from connector.sandbox.salesforce.limits import ApiLimits
from connector.sandbox.salesforce.locks import RowLocks
from connector.sandbox.salesforce.org import Org
from connector.sandbox.salesforce.routing import Asked, Route, method_not_allowed
from connector.sandbox.salesforce.tokens import Tokens
from connector.sandbox.salesforce.touches import keys_made, locks_wanted, people_written, rows_written
from connector.sandbox.salesforce.transactions import Transaction

ROUTES = (*collections.ROUTES, *rows.ROUTES, *queries.ROUTES)

_DATA = re.compile(r"/services/data/v(?P<version>\d+\.\d)/(?P<rest>.*)")
_OLDEST_VERSION = 31.0
_LONGEST_URI = 16_384
"""Bytes of a request's URI, and of all headers together."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Arrival:
    at: float
    new_keys: frozenset[tuple[str, str, str]]


class SalesforceApp:
    """An org as a simulator for the gateway. `clock` gives Unix seconds."""

    def __init__(self, org: Org, *, clock: Callable[[], float]) -> None:
        self.org = org
        self.tokens = Tokens(org.config, clock=clock)
        self.limits = ApiLimits(org.config, clock=clock)
        self._clock = clock
        self._locks = RowLocks()
        self._arrivals: dict[int, _Arrival] = {}
        self._random = Random(org.config.seed)

    def caller(self, exchange: Exchange) -> str:
        """Name who asks: `app KEY`, `person`, or `nobody`."""
        if self.is_exempt(exchange):
            return "person"
        app = self._app(exchange)
        return "nobody" if app is None else f"app {app.consumer_key}"

    def is_exempt(self, exchange: Exchange) -> bool:
        """Whether a person asks, whom faults and limits pass by."""
        return _bearer(exchange) == PERSON_TOKEN

    def touches(self, exchange: Exchange) -> set[str]:
        """Return the people that an app's request would write; its locks are taken when it arrives."""
        written = rows_written(self.org, exchange)
        if id(exchange) not in self._arrivals:
            self._arrivals[id(exchange)] = _Arrival(at=self._clock(), new_keys=frozenset(keys_made(written)))
            wanted = locks_wanted(self.org, written, deletes=exchange.method == "DELETE")
            self._locks.arrive(id(exchange), wanted)
        return set() if self.is_exempt(exchange) else people_written(written)

    def finished(self, exchange: Exchange) -> None:
        """Release what a request held."""
        self._arrivals.pop(id(exchange), None)
        self._locks.release(id(exchange))

    def drain_effects(self) -> list[Effect]:
        """Return what was changed since the last drain."""
        return self.org.drain_effects()

    def handle(self, exchange: Exchange) -> Answer:
        """Authenticate, count, and do what is asked."""
        if exchange.path == "/services/oauth2/token" and exchange.method == "POST":
            return self.tokens.grant(exchange)
        if len(exchange.path) + len(urlencode(exchange.query, doseq=True)) > _LONGEST_URI:
            return Answer(status=414, raw=b"<html><body><h1>URI Too Long</h1></body></html>")
        match = _DATA.fullmatch(exchange.path)
        if match is None or not self._serves(match["version"]):
            return _refused(not_found())
        if self.is_exempt(exchange):
            return self._run(exchange, match, Transaction(user_id=PERSON_USER_ID, allow_save=True))
        app = self._app(exchange)
        if app is None:
            return self.error_answer(401, retry_after=None)
        try:
            self.limits.admit(in_flight=self._long_requests(exchange))
        except RequestError as error:
            return _refused(error, headers=self.limits.header())
        answer = self._run(exchange, match, self._transaction(exchange, app))
        return Answer(
            status=answer.status, document=answer.document, headers=self.limits.header(), raw=answer.raw
        )

    def error_answer(self, status: int, *, retry_after: str | None) -> Answer:
        """Return Salesforce's answer with this error status."""
        headers = {} if retry_after is None else {"Retry-After": retry_after}
        if status == 401:
            error = RequestError(status=401, code="INVALID_SESSION_ID", message="Session expired or invalid")
        elif status == 403:
            error = RequestError(
                status=403,
                code="REQUEST_LIMIT_EXCEEDED",
                message="ConcurrentRequests (Concurrent API Requests) Limit exceeded.",
            )
            headers |= self.limits.header()
        elif status in (502, 504):
            return Answer(status=status, raw=b"<html><body>Bad Gateway</body></html>", headers=headers)
        elif status == 503:
            error = RequestError(
                status=503, code="SERVER_UNAVAILABLE", message="Server temporarily unavailable"
            )
        else:
            error = RequestError(
                status=status,
                code="UNKNOWN_EXCEPTION",
                message="An unexpected error occurred. Please include this ErrorId if you contact support",
            )
        return _refused(error, headers=headers)

    def _run(self, exchange: Exchange, match: re.Match[str], transaction: Transaction) -> Answer:
        try:
            found, params = self._route(exchange, match["rest"])
            asked = Asked(
                org=self.org,
                exchange=exchange,
                params={**params, "used": str(self.limits.used)},
                version=match["version"],
                transaction=transaction,
            )
            answer = found.handle(asked)
        except RequestError as error:
            transaction.roll_back()
            return _refused(error)
        except RowError as error:
            transaction.roll_back()
            return Answer(status=error.status, document=error.document())
        self.org.commit(transaction)
        return answer

    def _transaction(self, exchange: Exchange, app: ConnectedApp) -> Transaction:
        arrival = self._arrivals.get(id(exchange))
        new_keys = arrival.new_keys if arrival else frozenset()
        rule = exchange.headers.get("sforce-duplicate-rule-header", "")
        return Transaction(
            user_id=app.user_id,
            allow_save="allowsave=true" in rule.lower().replace(" ", ""),
            acquire=lambda wanted: self._locks.acquire(id(exchange), wanted),
            poisoned=poison(exchange.faults),
            contended=contended(exchange.faults, chance=self._random.random),
            overtaken=lambda *key: key in new_keys,
        )

    def _route(self, exchange: Exchange, rest: str) -> tuple[Route, Mapping[str, str]]:
        there = False
        for candidate in ROUTES:
            match = candidate.pattern.fullmatch(rest)
            if match is None:
                continue
            if candidate.method == exchange.method:
                return candidate, match.groupdict()
            there = True
        raise method_not_allowed() if there else not_found()

    def _long_requests(self, exchange: Exchange) -> int:
        begun = self._clock() - self.org.config.long_request
        return sum(
            1
            for request, arrival in self._arrivals.items()
            if request != id(exchange) and arrival.at <= begun
        )

    def _serves(self, version: str) -> bool:
        return _OLDEST_VERSION <= float(version) <= float(self.org.config.api_version)

    def _app(self, exchange: Exchange) -> ConnectedApp | None:
        session = self.tokens.session(_bearer(exchange))
        return None if session is None else session.app


def _bearer(exchange: Exchange) -> str:
    scheme, _, token = exchange.headers.get("authorization", "").partition(" ")
    return token if scheme.lower() in ("bearer", "oauth") else ""


def _refused(error: RequestError, *, headers: Mapping[str, str] | None = None) -> Answer:
    return Answer(status=error.status, document=error.document(), headers=headers or {})
