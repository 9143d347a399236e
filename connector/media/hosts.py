"""Where a file may be fetched from. Pure.

URLs come from outside, and the request carries our token: only Meta's hosts are asked, over https, and the
configured Graph host as it is (a simulator or a proxy). The form is so narrow that no two URL parsers read it
differently.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

META_HOSTS = ("lookaside.fbsbx.com", "graph.facebook.com", "*.fbcdn.net", "*.whatsapp.net")
"""Hosts of media URLs: lookaside.fbsbx.com in webhooks and Graph's answers, the others after redirects."""

_URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?)(?::(?P<port>[0-9]{1,5}))?"
    r"(?:[/?][\x21-\x5b\x5d-\x7e]*)?"
)
_LONGEST = 8_192


def why_refused(url: str, *, base_url: str, extra_hosts: Sequence[str] = ()) -> str:
    """Why a URL must not be asked; "" when it may. `base_url`: scheme, host and port of the Graph API as configured.

    `extra_hosts`: further hosts, `*.` for any name below one.
    """
    parsed = _URL.fullmatch(url) if len(url) <= _LONGEST else None
    if parsed is None:
        return "its URL is not of the usual form"
    if _origin(parsed) == _origin(_URL.fullmatch(base_url)):
        return ""
    host = parsed["host"].lower()
    if parsed["scheme"] != "https":
        return f"its URL is not https (host {host})"
    if parsed["port"] not in (None, "443"):
        return f"its URL names port {parsed['port']} of {host}"
    if not any(_covers(pattern.lower(), host) for pattern in (*META_HOSTS, *extra_hosts)):
        return f"its URL is on {host}, which is no host of WhatsApp's"
    return ""


def _covers(pattern: str, host: str) -> bool:
    return host.endswith(pattern[1:]) if pattern.startswith("*.") else host == pattern


def _origin(parsed: re.Match[str] | None) -> tuple[str, str, int] | None:
    if parsed is None:
        return None
    port = parsed["port"] or {"http": "80", "https": "443"}[parsed["scheme"]]
    return parsed["scheme"], parsed["host"].lower(), int(port)
