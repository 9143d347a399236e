r"""Is this POST from Meta? HMAC-SHA256 over the exact bytes received, as `X-Hub-Signature-256`.

https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/create-webhook-endpoint
The body arrives with `\uXXXX` and `\/` escapes, so a body that was decoded and serialised again no longer
fits its signature; nothing in front of this check may touch it.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Sequence
from enum import StrEnum

SIGNATURE_HEADER = "x-hub-signature-256"

_SHAPE = re.compile(r"sha256=[0-9a-f]{64}", re.ASCII)


class SignatureVerdict(StrEnum):
    """What the signature says. Only `VALID` may be processed; the others are counted by name."""

    VALID = "valid"
    MISSING = "missing"
    MALFORMED = "malformed"
    WRONG = "wrong"


def signature_of(body: bytes, *, secret: bytes) -> str:
    """The header value that Meta sends with `body`."""
    return "sha256=" + hmac.new(secret, body, hashlib.sha256).hexdigest()


def shape_verdict(header: str | None) -> SignatureVerdict | None:
    """`MISSING` or `MALFORMED`, or None when the header is worth comparing: known before the body is read."""
    if not header:
        return SignatureVerdict.MISSING
    return None if _SHAPE.fullmatch(header) else SignatureVerdict.MALFORMED


def signature_verdict(body: bytes, header: str | None, *, secrets: Sequence[bytes]) -> SignatureVerdict:
    """Judge the header against every app secret (several while one is rotated).

    The shape is checked first; every comparison is constant-time and all secrets are tried, so that the
    answer's time tells neither the digits that fit nor which secret did.
    """
    shape = shape_verdict(header)
    if shape is not None or header is None:
        return shape or SignatureVerdict.MISSING
    matches = [hmac.compare_digest(header, signature_of(body, secret=secret)) for secret in secrets]
    return SignatureVerdict.VALID if any(matches) else SignatureVerdict.WRONG
