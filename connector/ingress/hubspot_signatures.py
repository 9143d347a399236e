"""Is this request from HubSpot? Its signatures v3 and v2, over the URI that HubSpot called and the exact body.

https://developers.hubspot.com/docs/apps/legacy-apps/authentication/validating-requests
The URI is the configured public one: what a proxy forwards may be anything. The client library's own check takes
timestamps from the future, fails silently on bytes and does not decode the URI, so it is not used.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping
from datetime import datetime

from connector.ingress.answers import Refusal
from connector.telemetry.metrics import INGRESS_BAD_SIGNATURES

V3_HEADER = "x-hubspot-signature-v3"
TIMESTAMP_HEADER = "x-hubspot-request-timestamp"
V2_HEADER = "x-hubspot-signature"
VERSION_HEADER = "x-hubspot-signature-version"

OLDEST_MS = 300_000
"""Milliseconds after which HubSpot's documentation has a request refused."""
FUTURE_MS = 60_000
"""Milliseconds that HubSpot's clock may be ahead of ours."""

# The page's table of characters that are decoded, and no others; the query's own "?" is one already.
_DECODED = re.compile(r"%(3A|2F|3F|40|21|24|27|28|29|2A|2C|3B)", re.IGNORECASE)
_TIMESTAMP = re.compile(r"[0-9]{1,15}", re.ASCII)
_V2 = re.compile(r"[0-9a-f]{64}", re.ASCII)
_ADVICE = (
    "compare CONNECTOR_HUBSPOT__CLIENT_SECRET with the app's, and CONNECTOR_INGRESS__PUBLIC_URL with the URL that the "
    "app calls; let no proxy change the body"
)


def v3_signature(*, method: str, uri: str, body: bytes, timestamp: str, secret: str) -> str:
    """X-HubSpot-Signature-v3. `timestamp`: Unix milliseconds as the header has them."""
    plain = _DECODED.sub(lambda found: chr(int(found[1], 16)), uri)
    source = method.encode() + plain.encode() + body + timestamp.encode()
    return base64.b64encode(hmac.new(secret.encode(), source, hashlib.sha256).digest()).decode()


def v2_signature(*, method: str, uri: str, body: bytes, secret: str) -> str:
    """X-HubSpot-Signature of version v2: hexadecimal, and good for ever."""
    return hashlib.sha256(secret.encode() + method.encode() + uri.encode() + body).hexdigest()


def check_headers(headers: Mapping[str, str], *, now: datetime, takes_v2: bool) -> None:
    """Raise `Refusal` 403 for what the headers alone tell. A v3 signature, when there is one, is the one that counts."""
    if V3_HEADER in headers:
        timestamp = headers.get(TIMESTAMP_HEADER, "")
        if not _TIMESTAMP.fullmatch(timestamp):
            raise _not_signed("malformed", "X-HubSpot-Request-Timestamp is missing or not in milliseconds.")
        age = now.timestamp() * 1000 - int(timestamp)
        if age > OLDEST_MS:
            raise _not_signed(
                "expired",
                f"The request was signed {age / 1000:.0f} s ago; a signature is good for {OLDEST_MS // 1000} s.",
                outcome="expired",
                advice="compare this machine's clock with the time; an honest sender signs a repeated request anew",
            )
        if age < -FUTURE_MS:
            raise _not_signed(
                "future",
                f"The request was signed {-age / 1000:.0f} s ahead of our clock.",
                outcome="from_the_future",
                advice="compare this machine's clock with the time",
            )
        return
    if takes_v2 and _V2.fullmatch(headers.get(V2_HEADER, "")) and headers.get(VERSION_HEADER, "v2") == "v2":
        return
    wanted = "X-HubSpot-Signature-v3" + (" or X-HubSpot-Signature of version v2" if takes_v2 else "")
    raise _not_signed("missing", f"The request has no {wanted}.")


def check_signature(headers: Mapping[str, str], *, method: str, uri: str, body: bytes, secret: str) -> None:
    """Raise `Refusal` 403 unless HubSpot signed exactly this. After `check_headers`."""
    given = headers.get(V3_HEADER)
    if given is not None:
        wanted = v3_signature(
            method=method, uri=uri, body=body, timestamp=headers[TIMESTAMP_HEADER], secret=secret
        )
    else:
        given = headers[V2_HEADER]
        wanted = v2_signature(method=method, uri=uri, body=body, secret=secret)
    if not hmac.compare_digest(given.encode(), wanted.encode()):
        raise _not_signed("wrong", "The signature does not fit the method, the URI, the body and our secret.")


def _not_signed(reason: str, error: str, *, outcome: str = "bad_signature", advice: str = _ADVICE) -> Refusal:
    INGRESS_BAD_SIGNATURES.labels(reason).inc()
    return Refusal(outcome, status=403, error=error, advice=advice)
