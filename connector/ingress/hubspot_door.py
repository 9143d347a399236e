"""What HubSpot's two endpoints share: the app's secret, and the public URL that its signatures are over."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from starlette.requests import Request

from connector.ingress.answers import Refusal
from connector.ingress.hubspot_signatures import check_headers, check_signature
from connector.ingress.reception import utc_now


class HubSpotDoor:
    """Knows HubSpot's requests from others'. Without a secret and a public URL there is no telling, so none is taken."""

    def __init__(self, *, secret: str, public_url: str, now: Callable[[], datetime] = utc_now) -> None:
        self._secret = secret
        self._public_url = public_url
        self._now = now

    def check(self, request: Request, *, takes_v2: bool) -> None:
        """Raise `Refusal` for what the headers alone tell. `takes_v2`: for what HubSpot does not always sign by v3."""
        missing = [
            name
            for name, value in (
                ("CONNECTOR_HUBSPOT__CLIENT_SECRET", self._secret),
                ("CONNECTOR_INGRESS__PUBLIC_URL", self._public_url),
            )
            if not value
        ]
        if missing:
            raise Refusal(
                "not_configured",
                status=503,
                error="HubSpot's signatures cannot be checked; every request is refused.",
                advice=f"set {' and '.join(missing)}",
            )
        check_headers(request.headers, now=self._now(), takes_v2=takes_v2)

    def verify(self, request: Request, body: bytes) -> None:
        """Raise `Refusal` 403 unless HubSpot signed this request. After `check`."""
        path = request.scope.get("raw_path") or request.scope["path"].encode()
        query = request.scope.get("query_string", b"")
        uri = (
            self._public_url
            + path.decode("ascii", "replace")
            + (f"?{query.decode('latin-1')}" if query else "")
        )
        check_signature(request.headers, method=request.method, uri=uri, body=body, secret=self._secret)
