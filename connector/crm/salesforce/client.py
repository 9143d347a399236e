"""The one seam to Salesforce: simple-salesforce's `restful` on a session of ours, in threads.

Its traps, met here once: no timeouts, `https://` hard-coded, headers dropped at a retry, and a session refresh
that logs in without end (simple-salesforce#804) and once a thread. So it gets a ready session id, never logs in
itself, and one lock here opens a new session at most once a call. Every call goes through the org's quota.
"""

from __future__ import annotations

import copy
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import requests
import urllib3

from connector.crm.call_threads import CallThreads
from connector.crm.port import NOW, Terms
from connector.crm.quota import News, Quota, Slot, Unlimited
from connector.crm.salesforce.failures import call_failure
from connector.crm.salesforce.login import Grant, Login
from connector.crm.salesforce.quota import NO_BUCKET, read_news
from connector.crm.salesforce.sdk import Salesforce, SalesforceError, SalesforceExpiredSession
from connector.crm.salesforce.transport import CONNECT_TIMEOUT, open_session
from connector.errors import Terminal, Transient, Uncertain
from connector.settings import SalesforceSettings

_THREAD_GRACE = 2.0  # a peer that trickles bytes outlives the read timeout; the caller must not


@dataclass(frozen=True, kw_only=True, slots=True)
class _Request:
    method: str
    path: str
    body: Mapping[str, Any] | None
    params: Mapping[str, str] | None
    writes: bool
    deadline: float
    slot: Slot


@dataclass(frozen=True, kw_only=True, slots=True)
class _Open:
    api: Any
    grant: Grant


@dataclass(slots=True)
class _CurrentSession:
    """The open session, shared by a client and its copies."""

    opened: _Open | None = None


class SalesforceClient:
    """Calls Salesforce. Failures are the connector's errors or `SalesforceRefusal`."""

    def __init__(self, settings: SalesforceSettings, *, quota: Quota | None = None) -> None:
        self._quota = quota or Unlimited()
        self._terms = NOW
        self._login = Login(settings)
        self._version = settings.api_version
        self._timeout = settings.request_timeout
        self._session, self._transport = open_session(settings)
        self._threads = CallThreads("Salesforce")
        self._lock = threading.Lock()
        self._current = _CurrentSession()

    @property
    def user_id(self) -> str:
        """The user that we work as; "" before the first call."""
        opened = self._current.opened
        return "" if opened is None else opened.grant.user_id

    def under(self, terms: Terms) -> SalesforceClient:
        """The same client, whose calls go out under these terms."""
        client = copy.copy(self)
        client._terms = terms  # noqa: SLF001 - its own kind
        return client

    async def close(self) -> None:
        """Let the connections go; a call under way ends by its own timeout."""
        self._threads.close()
        self._session.close()

    async def call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        params: Mapping[str, str] | None = None,
        writes: bool,
    ) -> Any:
        """One call when it is its turn, logging in included, within the request timeout.

        `path`: after /services/data/vXX.X/. `writes`: a lost answer means that something may have been written.
        """

        async def send(slot: Slot) -> tuple[Any, News]:
            request = _Request(
                method=method,
                path=path,
                body=body,
                params=params,
                writes=writes,
                deadline=time.monotonic() + self._timeout,
                slot=slot,
            )
            try:
                return await self._threads.run(
                    lambda: self._call(request), timeout=self._timeout + _THREAD_GRACE
                )
            except TimeoutError:
                raise _lost(
                    request, f"Salesforce did not finish answering within {self._timeout:g} s."
                ) from None

        return await self._quota.run(send, bucket=NO_BUCKET, terms=self._terms)

    def _call(self, request: _Request) -> tuple[Any, News]:
        request.slot.must_be_fresh()
        current = self._connect(stale=None, request=request)
        try:
            return self._send(current, request)
        except SalesforceExpiredSession:
            current = self._connect(stale=current, request=request)
        try:
            return self._send(current, request)
        except SalesforceExpiredSession as error:
            raise Terminal(
                "Salesforce refuses a session that it opened a moment ago. Nothing was written.",
                advice="check that the user's sessions are not locked to other IP addresses",
            ) from error

    def _connect(self, *, stale: _Open | None, request: _Request) -> _Open:
        """The open session, or a new one when there is none or `stale` is it. One thread logs in, the rest wait."""
        if not self._lock.acquire(timeout=max(0.0, request.deadline - time.monotonic())):
            raise Transient("Salesforce's login does not finish answering. Nothing was sent.")
        try:
            if self._current.opened is None or self._current.opened is stale:
                self._current.opened = None
                grant = self._login.open(self._session, timeout=_time_left(request))
                api = Salesforce(
                    session_id=grant.token,
                    instance_url=grant.instance_url,
                    version=self._version,
                    session=self._session,
                )
                api.headers.pop("X-PrettyPrint", None)
                self._current.opened = _Open(api=api, grant=grant)
            return self._current.opened
        finally:
            self._lock.release()

    def _send(self, current: _Open, request: _Request) -> tuple[Any, News]:
        options: dict[str, Any] = {} if request.body is None else {"json": request.body}
        try:
            answer = current.api.restful(
                request.path,
                params=request.params,
                method=request.method,
                timeout=_time_left(request),
                allow_redirects=False,
                **options,
            )
            return answer, read_news(self._transport.headers)
        except SalesforceExpiredSession:
            raise
        except SalesforceError as error:
            raise call_failure(
                error.status, error.content, self._transport.headers, writes=request.writes
            ) from error
        except requests.exceptions.JSONDecodeError as error:
            raise _lost(request, "Salesforce's answer is not JSON.") from error
        except requests.exceptions.RequestException as error:
            raise _transport_failure(request, error) from error
        except ValueError as error:
            raise _lost(request, "Salesforce's answer is not JSON.") from error


def _time_left(request: _Request) -> tuple[float, float]:
    """Timeouts to connect and to wait. A call whose time is over must not begin: its caller has given it up."""
    left = request.deadline - time.monotonic()
    if left <= 0:
        raise Transient("The time for a call to Salesforce was over before it could be sent.")
    return min(CONNECT_TIMEOUT, left), left


def _transport_failure(request: _Request, error: requests.exceptions.RequestException) -> Exception:
    cause = error.args[0] if error.args else error
    reason = getattr(cause, "reason", None) or cause
    if isinstance(error, requests.exceptions.ConnectTimeout | requests.exceptions.SSLError) or isinstance(
        reason, urllib3.exceptions.NewConnectionError
    ):
        return Transient(f"Salesforce cannot be reached: {type(reason).__name__}.")
    return _lost(request, f"The connection to Salesforce broke before its answer: {type(reason).__name__}.")


def _lost(request: _Request, message: str) -> Exception:
    return Uncertain(message) if request.writes else Transient(message)
