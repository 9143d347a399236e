"""How HubSpot signs what it sends, written from its documentation and not from our check of it.

developers.hubspot.com/docs/apps/legacy-apps/authentication/validating-requests: v1 over secret and body, v2 over
secret, method, URI and body, both SHA-256 in hexadecimal; v3 an HMAC over method, URI, body and timestamp in base64.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping


def v1_headers(body: bytes, *, secret: str) -> Mapping[str, str]:
    """What webhooks carry beside v3."""
    digest = hashlib.sha256(secret.encode("utf-8") + body)
    return {"X-HubSpot-Signature": digest.hexdigest(), "X-HubSpot-Signature-Version": "v1"}


def v2_headers(body: bytes, *, uri: str, secret: str) -> Mapping[str, str]:
    """What custom workflow actions carry (custom action guide)."""
    digest = hashlib.sha256(f"{secret}POST{uri}".encode() + body)
    return {"X-HubSpot-Signature": digest.hexdigest(), "X-HubSpot-Signature-Version": "v2"}


def v3_headers(body: bytes, *, uri: str, secret: str, at: float) -> Mapping[str, str]:
    """`at`: Unix seconds."""
    timestamp = str(round(at * 1000))
    mac = hmac.new(secret.encode("utf-8"), digestmod=hashlib.sha256)
    for part in (b"POST", uri.encode("utf-8"), body, timestamp.encode("ascii")):
        mac.update(part)
    return {
        "X-HubSpot-Request-Timestamp": timestamp,
        "X-HubSpot-Signature-v3": base64.b64encode(mac.digest()).decode("ascii"),
    }
