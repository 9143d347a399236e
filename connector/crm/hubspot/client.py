"""The one seam to HubSpot: hubspot-api-client's auth, pool and transport, on dated paths, in threads.

Why not its typed APIs: version 12 knows no dated paths, and its models cost some 25 times the CPU of the call.
Its traps, met here once: an API object is cached (each attribute access opens a new pool), every call has a
timeout (there is none by default), retries are ours (its own sleep inside the call and never cover POST).
Every call goes through the account's quota.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import hubspot
import orjson
import urllib3

from connector.crm.call_threads import CallThreads
from connector.crm.hubspot.failures import call_failure, correlation_id
from connector.crm.hubspot.quota import bucket_of, read_news
from connector.crm.port import NOW, Terms
from connector.crm.quota import News, Quota, Slot, Unlimited
from connector.errors import Terminal, Transient, Uncertain
from connector.settings import HubSpotSettings

_CONNECT_TIMEOUT = 5.0
_THREAD_GRACE = 2.0  # a peer that trickles bytes outlives urllib3's timeout; the caller must not
_ANY_JSON = dict.fromkeys((200, 201, 202, 207), "object")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Request:
    method: str
    path: str
    body: Mapping[str, Any] | None
    writes: bool
    deadline: float


class HubSpotClient:
    """Calls HubSpot. Answers `(status, document)`; failures are the connector's errors or `HubSpotRefusal`."""

    def __init__(self, settings: HubSpotSettings, *, quota: Quota | None = None) -> None:
        if not settings.access_token.get_secret_value():
            raise Terminal(
                "No HubSpot token is set; nothing can be written.",
                advice="set CONNECTOR_HUBSPOT__ACCESS_TOKEN to a service key or private-app token",
            )
        self._quota = quota or Unlimited()
        self._terms = NOW
        self.version = settings.api_version
        self._timeout = settings.request_timeout
        self._threads = CallThreads("HubSpot")
        sdk = hubspot.HubSpot(
            access_token=settings.access_token.get_secret_value(),
            host=settings.base_url,
            retry=urllib3.Retry(total=0, redirect=0),
            connection_pool_maxsize=settings.calls_in_flight + 2,
        )
        self._api = sdk.crm.contacts.batch_api.api_client
        self._api.rest_client.pool_manager = _AsWritten(self._api.rest_client.pool_manager)

    def under(self, terms: Terms) -> HubSpotClient:
        """The same client, whose calls go out under these terms."""
        client = copy.copy(self)
        client._terms = terms  # noqa: SLF001 - its own kind
        return client

    async def close(self) -> None:
        """Let the connections go; a call under way ends by its own timeout."""
        self._threads.close()
        self._api.rest_client.pool_manager.clear()

    def path(self, family: str, rest: str) -> str:
        """`/crm/<family>/<version>/<rest>`: the version stands in one place."""
        return f"/crm/{family}/{self.version}/{rest}"

    async def call(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, *, writes: bool
    ) -> tuple[int, dict[str, Any]]:
        """One call, when it is its turn. `writes`: a lost answer means that something may have been written."""

        async def send(slot: Slot) -> tuple[tuple[int, dict[str, Any]], News]:
            deadline = time.monotonic() + self._timeout
            request = _Request(method=method, path=path, body=body, writes=writes, deadline=deadline)
            status, document, news = await self._send(request, slot)
            return (status, document), news

        return await self._quota.run(send, bucket=bucket_of(path), terms=self._terms)

    async def _send(self, request: _Request, slot: Slot) -> tuple[int, dict[str, Any], News]:
        try:
            return await self._threads.run(
                lambda: self._call(request, slot), timeout=self._timeout + _THREAD_GRACE
            )
        except TimeoutError:
            raise _lost(
                f"HubSpot did not finish answering within {self._timeout:g} s.", writes=request.writes
            ) from None

    def _call(self, request: _Request, slot: Slot) -> tuple[int, dict[str, Any], News]:
        slot.must_be_fresh()
        left = request.deadline - time.monotonic()
        if (
            left <= 0
        ):  # the process was frozen: its caller has given the call up, and its lease may be another's
            raise Transient("The time for a call to HubSpot was over before it could be sent.")
        writes = request.writes
        try:
            document, status, headers = self._api.call_api(
                request.path,
                request.method,
                {},
                [],
                {"Accept": "application/json", "Content-Type": "application/json"},
                body=None if request.body is None else orjson.dumps(request.body).decode(),
                response_types_map=_ANY_JSON,
                auth_settings=["oauth2"],
                _request_timeout=(min(_CONNECT_TIMEOUT, left), left),
            )
        except urllib3.exceptions.HTTPError as error:
            raise _transport_failure(error, writes=writes) from error
        except UnicodeDecodeError as error:
            raise _lost("HubSpot's answer is not text.", writes=writes) from error
        except Exception as error:
            # Each sub-package of the SDK has its own ApiException, without a shared base.
            answered = getattr(error, "status", None)
            if answered is None:
                raise
            if not answered:
                raise Transient(f"No TLS connection to HubSpot: {error}") from error
            headers = getattr(error, "headers", None) or {}
            raise call_failure(answered, getattr(error, "body", ""), headers, writes=writes) from error
        news = read_news(headers)
        if document is None:
            return status, {}, news
        if not isinstance(document, dict):
            raise _lost("HubSpot's answer is not JSON.", writes=writes)
        if document.get("errors"):  # of a batch that failed in part; its body does not tell
            document.setdefault("correlationId", correlation_id(headers))
        return status, document, news


class _AsWritten:
    """The SDK's pool of connections, which gets a body as we wrote it: without blanks, which count in a search.

    The SDK walks every body in Python and then encodes it; as text it passes the walk, and is decoded again here.
    """

    def __init__(self, pool: urllib3.PoolManager) -> None:
        self._pool = pool

    def request(self, method: str, url: str, *, body: str | None = None, **options: Any) -> Any:
        """Send; what the SDK calls."""
        text = None if body is None else orjson.loads(body).encode()
        return self._pool.request(method, url, body=text, **options)

    def clear(self) -> None:
        """Close the connections."""
        self._pool.clear()


def _transport_failure(error: urllib3.exceptions.HTTPError, *, writes: bool) -> Exception:
    cause = error.reason if isinstance(error, urllib3.exceptions.MaxRetryError) and error.reason else error
    if isinstance(cause, urllib3.exceptions.NewConnectionError | urllib3.exceptions.ConnectTimeoutError):
        return Transient(f"HubSpot cannot be reached: {cause}")
    return _lost(f"The connection to HubSpot broke before its answer: {type(cause).__name__}.", writes=writes)


def _lost(message: str, *, writes: bool) -> Exception:
    return Uncertain(message) if writes else Transient(message)
