"""The token endpoint: JWT bearer and client credentials, and the sessions they open.

https://help.salesforce.com/s/articleView?id=sf.remoteaccess_oauth_jwt_flow.htm,
https://help.salesforce.com/s/articleView?id=sf.remoteaccess_oauth_client_credentials_flow.htm.
"""

from __future__ import annotations

import base64
import binascii
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt

from connector.sandbox.gateway import Answer, Exchange
from connector.sandbox.salesforce.config import ConnectedApp, SalesforceConfig

_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_LOGIN_HOSTS = ("login.salesforce.com", "test.salesforce.com")
_LONGEST_ASSERTION = 300.0
"""Seconds that a JWT's `exp` may lie ahead."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Session:
    """A token in use."""

    app: ConnectedApp
    opened_at: float


class Tokens:
    """Opens and checks sessions. `clock` gives Unix seconds."""

    def __init__(self, config: SalesforceConfig, *, clock: Callable[[], float]) -> None:
        self._config = config
        self._clock = clock
        self._sessions: dict[str, Session] = {}
        self.logins = 0
        """Tokens issued since the start."""

    def session(self, token: str) -> Session | None:
        """The session of a token; None when it is unknown or its life is over."""
        session = self._sessions.get(token)
        if session is None or self._clock() - session.opened_at >= self._config.token_life:
            return None
        return session

    def expire_all(self) -> None:
        """End every session, as an admin or a policy does."""
        self._sessions.clear()

    def grant(self, exchange: Exchange) -> Answer:
        """Answer a request for a token."""
        form = {
            name: values[0] for name, values in parse_qs(exchange.body.decode("utf-8", "replace")).items()
        }
        grant = form.get("grant_type", "")
        host = exchange.headers.get("host", "")
        if grant == _BEARER:
            found = self._bearer(form.get("assertion", ""), host)
        elif grant == "client_credentials":
            found = self._credentials(exchange, form, host)
        else:
            # The username-password flow is blocked in new orgs: it is an unknown grant here.
            found = _refusal(400, "unsupported_grant_type", "grant type not supported")
        if isinstance(found, Answer):
            return found
        token = f"{self._config.organization_id[:15]}!{secrets.token_urlsafe(48)}"
        self._sessions[token] = Session(app=found, opened_at=self._clock())
        self.logins += 1
        return Answer(
            status=200,
            document={
                "access_token": token,
                "scope": "api",
                "instance_url": f"http://{host}",
                "id": f"https://login.salesforce.com/id/{self._config.organization_id}/{found.user_id}",
                "token_type": "Bearer",
            },
        )

    def _bearer(self, assertion: str, host: str) -> ConnectedApp | Answer:
        try:
            claims: dict[str, Any] = jwt.decode(assertion, options={"verify_signature": False})
        except jwt.InvalidTokenError:
            return _refusal(400, "invalid_grant", "invalid assertion")
        app = self._app(str(claims.get("iss", "")))
        if app is None:
            return _refusal(400, "invalid_client_id", "client identifier invalid")
        options: Any = {"verify_aud": False, "verify_exp": False, "verify_sub": False}
        try:
            jwt.decode(assertion, app.public_key or "", algorithms=["RS256"], options=options)
        except (jwt.InvalidTokenError, ValueError):
            return _refusal(400, "invalid_grant", "invalid assertion")
        audience = urlsplit(str(claims.get("aud", "")))
        if audience.scheme not in ("http", "https") or audience.netloc not in (*_LOGIN_HOSTS, host):
            return _refusal(400, "invalid_grant", "audience is invalid")
        if not self._timely(claims.get("exp")):
            return _refusal(400, "invalid_grant", "assertion is expired or lives too long")
        if claims.get("sub") != app.username:
            return _refusal(400, "invalid_grant", "user hasn't approved this consumer")
        return app

    def _timely(self, expires: Any) -> bool:
        try:
            left = float(expires) - self._clock()
        except (TypeError, ValueError):
            return False
        return 0 < left <= _LONGEST_ASSERTION

    def _credentials(self, exchange: Exchange, form: dict[str, str], host: str) -> ConnectedApp | Answer:
        if not self._is_my_domain(host):
            return _refusal(400, "invalid_grant", "request not supported on this domain")
        key, secret = form.get("client_id", ""), form.get("client_secret", "")
        scheme, _, encoded = exchange.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "basic":
            try:
                key, _, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
            except (binascii.Error, UnicodeDecodeError):
                return _refusal(401, "invalid_client", "invalid client credentials")
        app = self._app(key)
        if app is None:
            return _refusal(400, "invalid_client_id", "client identifier invalid")
        if not secrets.compare_digest(secret.encode(), app.consumer_secret.encode()):
            return _refusal(401, "invalid_client", "invalid client credentials")
        return app

    def _app(self, key: str) -> ConnectedApp | None:
        return next((app for app in self._config.apps if app.consumer_key == key), None)

    def _is_my_domain(self, host: str) -> bool:
        name = host.partition(":")[0]
        if name in _LOGIN_HOSTS:
            return False
        return name.endswith(".my.salesforce.com") or self._config.host == "my_domain"


def _refusal(status: int, error: str, description: str) -> Answer:
    return Answer(status=status, document={"error": error, "error_description": description})
