"""Who calls /triggers: a bearer secret, or a signature over time and body that proves the secret without showing it."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from connector.ingress.answers import Refusal
from connector.settings import TriggerClient

TIMESTAMP_HEADER = "x-connector-timestamp"
SIGNATURE_HEADER = "x-connector-signature"
OLDEST = 300
"""Seconds that a signature is good for."""
FUTURE = 60
"""Seconds that the caller's clock may be ahead of ours."""

_TIMESTAMP = re.compile(r"[0-9]{1,12}", re.ASCII)
_SIGNATURE = re.compile(r"sha256=[0-9a-f]{64}", re.ASCII)
_ADVICE = "see docs/triggers.md on how to authenticate"


def signature_of(body: bytes, *, timestamp: str, secret: str) -> str:
    """The value of X-Connector-Signature for a body sent at `timestamp` (Unix seconds)."""
    signed = timestamp.encode() + b"." + body
    return "sha256=" + hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()


class TriggerClients:
    """The configured callers. Every secret is compared, in constant time: the answer's time tells nothing."""

    def __init__(self, clients: Sequence[TriggerClient], *, now: Callable[[], datetime]) -> None:
        self._secrets = [
            (secret.get_secret_value(), client)
            for client in clients
            for secret in (client.secret, *client.former_secrets)
        ]
        self._now = now

    def check(self, headers: Mapping[str, str]) -> None:
        """Raise `Refusal` for whatever the headers alone tell: then no byte of the body is read."""
        if not self._secrets:
            raise Refusal(
                "not_configured",
                status=503,
                error="No trigger client is configured; every request is refused.",
                advice="set CONNECTOR_TRIGGERS__CLIENTS (docs/configuration.md)",
            )
        if SIGNATURE_HEADER in headers or TIMESTAMP_HEADER in headers:
            self._check_signed(headers)
        else:
            self._bearer(headers)

    def identify(self, headers: Mapping[str, str], body: bytes) -> TriggerClient:
        """The caller. Raises `Refusal` 401. With a signature the bearer token does not count."""
        self.check(headers)
        if SIGNATURE_HEADER not in headers:
            return self._bearer(headers)
        given, timestamp = headers[SIGNATURE_HEADER], headers[TIMESTAMP_HEADER]
        found = [
            client
            for secret, client in self._secrets
            if hmac.compare_digest(given, signature_of(body, timestamp=timestamp, secret=secret))
        ]
        if not found:
            raise _unknown(
                "bad_signature",
                "X-Connector-Signature does not fit the body, the timestamp and any client's secret.",
                "sign the exact bytes that are sent, with the timestamp of the header",
            )
        return found[0]

    def _check_signed(self, headers: Mapping[str, str]) -> None:
        timestamp = headers.get(TIMESTAMP_HEADER, "")
        if not _SIGNATURE.fullmatch(headers.get(SIGNATURE_HEADER, "")) or not _TIMESTAMP.fullmatch(timestamp):
            raise _unknown(
                "bad_signature",
                "A signed request needs X-Connector-Timestamp in Unix seconds and X-Connector-Signature as "
                "sha256= and 64 lower-case hexadecimal digits.",
                _ADVICE,
            )
        age = self._now().timestamp() - int(timestamp)
        if age > OLDEST:
            raise _unknown(
                "expired",
                f"The request was signed {age:.0f} s ago; a signature is good for {OLDEST} s.",
                "sign it anew with the present time and the same Idempotency-Key",
            )
        if age < -FUTURE:
            raise _unknown(
                "from_the_future",
                f"The request was signed {-age:.0f} s ahead of our clock; {FUTURE} s are allowed.",
                "correct the clock of the caller; the timestamp is Unix seconds, not milliseconds",
            )

    def _bearer(self, headers: Mapping[str, str]) -> TriggerClient:
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not given.strip():
            raise _unknown(
                "not_authenticated",
                "The request has neither a bearer secret nor a signature.",
                _ADVICE,
            )
        # Of equal length, so that the comparison does not tell how long a secret is.
        digest = _digest(given.strip())
        found = [client for secret, client in self._secrets if hmac.compare_digest(digest, _digest(secret))]
        if not found:
            raise _unknown(
                "not_authenticated", "The bearer secret is no client's.", "compare it with the connector's"
            )
        return found[0]


def require_scope(client: TriggerClient, scope: str) -> None:
    """Raise `Refusal` 403 when the client may not do that."""
    if scope not in client.scopes:
        raise Refusal(
            "wrong_scope",
            status=403,
            error=f"The client {client.name} has not the scope {scope}.",
            advice=f"add {scope} to its scopes in CONNECTOR_TRIGGERS__CLIENTS",
        )


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "replace")).digest()


def _unknown(outcome: str, error: str, advice: str) -> Refusal:
    return Refusal(outcome, status=401, error=error, advice=advice, headers={"WWW-Authenticate": "Bearer"})
