"""The HTTP session that simple-salesforce is given: timeouts, pool, headers, and where requests really go.

simple-salesforce has no timeout and keeps no response headers; `https://` is hard-coded in it. All of that is
mended in one mounted adapter. Headers of our own stand on the session, because its retries drop a call's.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import requests
from requests.adapters import HTTPAdapter

from connector.settings import SalesforceSettings

CONNECT_TIMEOUT = 5.0
"""Seconds."""

_HEADERS = {
    # An alert of a duplicate rule is for people; a blocking rule still blocks.
    "Sforce-Duplicate-Rule-Header": "allowSave=true; includeRecordDetails=false; runAsCurrentUser=true",
    # Assignment rules would reassign a Lead at every update.
    "Sforce-Auto-Assign": "FALSE",
    # Shown as changeOrigin in change events, so that our own writes can be told.
    "Sforce-Call-Options": "client=whatsapp-crm-connector",
}


class Transport(HTTPAdapter):
    """Sends with a timeout, to `base_url` instead of Salesforce's hosts when one is set."""

    def __init__(self, *, base_url: str, timeout: float, pool_size: int) -> None:
        super().__init__(pool_connections=4, pool_maxsize=pool_size, max_retries=0)
        self._base = urlsplit(base_url) if base_url else None
        self._timeout = (min(CONNECT_TIMEOUT, timeout), timeout)
        self._answered = threading.local()

    @property
    def headers(self) -> Mapping[str, str]:
        """Of the last answer that this thread got."""
        return getattr(self._answered, "headers", {})

    def send(self, request: requests.PreparedRequest, *args: Any, **options: Any) -> requests.Response:
        """Send a request."""
        self._answered.headers = {}
        if self._base is not None:
            asked = urlsplit(str(request.url))
            request.url = urlunsplit((self._base.scheme, self._base.netloc, asked.path, asked.query, ""))
        if options.get("timeout") is None:
            options["timeout"] = self._timeout
        response = super().send(request, *args, **options)
        self._answered.headers = response.headers
        return response


def open_session(settings: SalesforceSettings) -> tuple[requests.Session, Transport]:
    """A session whose every request goes through the transport."""
    transport = Transport(
        base_url=settings.base_url,
        timeout=settings.request_timeout,
        pool_size=settings.calls_in_flight + 2,
    )
    session = requests.Session()
    session.mount("https://", transport)
    session.mount("http://", transport)
    session.headers.update(_HEADERS)
    # A base URL says exactly where to go: proxies and certificates of the environment are for the real hosts.
    session.trust_env = not settings.base_url
    return session, transport
