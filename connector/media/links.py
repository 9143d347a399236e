"""Signed, expiring links to files. Pure: the same message always gives the same link, before and after the fetch.

A link ends a fixed time after its *message*, not after it was made: an activity that is written again, by a
replay or a repair, says the same and so needs no call to the CRM.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlencode

from connector.settings import Settings

PATH = "/media"
"""Of the ingress; the key follows."""

_KEY = re.compile(r"[0-9a-f]{32}")
_DIGITS = re.compile(r"[0-9]{1,12}")
_DAY = 86_400


def media_key(wamid: str, media_id: str) -> str:
    """Names a file for ever. It tells nothing about message or person; the signature is what guards it."""
    return hashlib.sha256(f"{wamid}\n{media_id}".encode("utf-8", "replace")).hexdigest()[:32]


@dataclass(frozen=True, kw_only=True, slots=True)
class MediaLinks:
    """Makes links. `base_url`: the ingress as the world calls it; `lifetime`: seconds from the message's time."""

    base_url: str
    secret: str
    lifetime: int

    def link(self, *, wamid: str, media_id: str, at: int) -> str:
        """The link to one file of a message. `at`: the message's time, milliseconds since the epoch."""
        key = media_key(wamid, media_id)
        expires = at // 1000 + self.lifetime
        query = urlencode({"expires": expires, "signature": _signature(key, expires, self.secret)})
        return f"{self.base_url}{PATH}/{key}?{query}"


def media_links(settings: Settings) -> MediaLinks | None:
    """As the settings say; None when links are not set up: no secret, or no public URL."""
    secret, base_url = settings.media.signing_secret.get_secret_value(), settings.ingress.public_url
    if not secret or not base_url:
        return None
    return MediaLinks(base_url=base_url, secret=secret, lifetime=settings.media.link_days * _DAY)


def signing_secrets(settings: Settings) -> list[str]:
    """All secrets whose links are honoured, newest first."""
    secrets = [settings.media.signing_secret, *settings.media.former_signing_secrets]
    return [text for secret in secrets if (text := secret.get_secret_value())]


def is_genuine(key: str, *, expires: str, signature: str, secrets: Iterable[str]) -> bool:
    """Whether one of our secrets signed exactly this key and this end, in constant time. Looks at no clock."""
    if not _KEY.fullmatch(key) or not _DIGITS.fullmatch(expires):
        return False
    given = signature.encode("utf-8", "replace")
    found = [hmac.compare_digest(_signature(key, int(expires), secret).encode(), given) for secret in secrets]
    return any(found)


def _signature(key: str, expires: int, secret: str) -> str:
    # The first word keeps this use of the secret apart from any other that may come.
    mac = hmac.new(secret.encode(), f"media\n{key}\n{expires}".encode(), hashlib.sha256)
    return base64.urlsafe_b64encode(mac.digest()).decode().rstrip("=")
