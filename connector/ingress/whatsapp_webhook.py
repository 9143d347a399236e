"""`GET|POST /webhooks/whatsapp`: where Meta calls. A 200 means that the broker has every update of the POST.

https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/create-webhook-endpoint
Anything but 200 makes Meta send the whole POST again, for up to 7 days; so only what may go better next time, or
what is not from Meta, gets anything else.
"""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import Callable
from datetime import datetime

import structlog
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from connector.ingress.answers import Refusal
from connector.ingress.body import bounded_body, check_announced_size
from connector.ingress.intake import Intake, take_in
from connector.ingress.publisher import Publisher
from connector.ingress.reception import hand_over, refuse_encoded, utc_now
from connector.ingress.signatures import SIGNATURE_HEADER, SignatureVerdict, shape_verdict, signature_verdict
from connector.settings import IngressSettings, WhatsAppSettings
from connector.streams.codec import HEADER_TRACE
from connector.streams.traced import trace_received
from connector.telemetry import tracing
from connector.telemetry.metrics import (
    INGRESS_BAD_SIGNATURES,
    INGRESS_DEAD_LETTERS,
    INGRESS_POST_SECONDS,
    INGRESS_POSTS,
    INGRESS_UPDATES,
)

_DOOR = "whatsapp"
_LARGE = 256 * 1024
"""Bytes above which a body is checked and split in a thread: 3 MB take 50 ms, which others need not wait for."""
_LARGE_AT_ONCE = 2
"""Parsed JSON takes several times its bytes; this many large bodies are parsed at the same time."""

UNARMED = "No app secret is configured; every POST is refused."
UNARMED_ADVICE = "set CONNECTOR_WHATSAPP__APP_SECRETS to a JSON list with the Meta app's secret"

_log = structlog.get_logger(__name__)


class WhatsAppWebhook:
    """The endpoint's two methods. Stateless: all it keeps is on the broker before it answers."""

    def __init__(
        self,
        *,
        ingress: IngressSettings,
        whatsapp: WhatsAppSettings,
        publisher: Publisher,
        read_timeout: float,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        """`read_timeout`: seconds a body may take to arrive."""
        self._ingress = ingress
        self._secrets = [
            secret.get_secret_value().encode() for secret in whatsapp.app_secrets if secret.get_secret_value()
        ]
        self._verify_token = whatsapp.verify_token.get_secret_value().encode()
        self._publisher = publisher
        self._read_timeout = read_timeout
        self._now = now
        self._large = asyncio.Semaphore(_LARGE_AT_ONCE)

    async def endpoint(self, request: Request) -> Response:
        """Both methods; the route lets no other through."""
        return await (self.receive(request) if request.method == "POST" else self.verify(request))

    async def verify(self, request: Request) -> Response:
        """Meta's question when the URL is typed into its form: answer the challenge, if the token is ours."""
        query = request.query_params
        missing = [name for name in ("hub.mode", "hub.verify_token", "hub.challenge") if name not in query]
        if missing or query["hub.mode"] != "subscribe":
            return Refusal(
                "bad_verification",
                status=400,
                error=f"Not a subscription: {', '.join(missing) or 'hub.mode'} is missing or not valid.",
                advice="this URL is to be typed into the Meta app's webhook form",
            ).response()
        if not self._verify_token:
            return Refusal(
                "not_configured",
                status=503,
                error="No verify token is configured.",
                advice="set CONNECTOR_WHATSAPP__VERIFY_TOKEN to the token typed into Meta's form",
            ).response()
        given = query["hub.verify_token"].encode("utf-8", "replace")
        if not hmac.compare_digest(given, self._verify_token):
            _log.warning("webhook verification with a wrong token")
            return Refusal(
                "wrong_token",
                status=403,
                error="The verify token is not ours.",
                advice="type the value of CONNECTOR_WHATSAPP__VERIFY_TOKEN into Meta's form",
            ).response()
        return PlainTextResponse(query["hub.challenge"], headers={"X-Content-Type-Options": "nosniff"})

    async def receive(self, request: Request) -> Response:
        """One POST, all or nothing: 200 when every update is durable."""
        started = time.monotonic()
        try:
            intake = await self._keep(request)
        except Refusal as refusal:
            INGRESS_POSTS.labels(refusal.outcome).inc()
            return refusal.response()
        except Exception:
            INGRESS_POSTS.labels("error").inc()
            raise
        finally:
            INGRESS_POST_SECONDS.observe(time.monotonic() - started)
        if (traces := tracing.active()) is not None:
            trace_received(
                traces,
                _DOOR,
                intake.records,
                began=traces.now() - int((time.monotonic() - started) * 1e9),
                caller=request.headers.get(HEADER_TRACE),
            )
        INGRESS_POSTS.labels("kept").inc()
        for kind, count in intake.kinds.items():
            INGRESS_UPDATES.labels(kind).inc(count)
        for cause, count in intake.dead.items():
            INGRESS_DEAD_LETTERS.labels(cause).inc(count)
            _log.warning("kept as a dead letter", cause=cause, post_id=intake.post_id)
        return JSONResponse({"kept": len(intake.records), "post_id": intake.post_id})

    async def _keep(self, request: Request) -> Intake:
        self._check_headers(request)
        signature = request.headers.get(SIGNATURE_HEADER)
        async with bounded_body(
            request,
            max_bytes=self._ingress.max_body_bytes,
            inflight=self._publisher.inflight,
            timeout=self._read_timeout,
        ) as body:
            deadline = time.monotonic() + self._ingress.ack_timeout
            if len(body) > _LARGE:
                intake = await self._take_in_large(body, signature)
            else:
                intake = self._take_in(body, signature)
            await hand_over(self._publisher, intake.records, deadline=deadline)
            return intake

    def _check_headers(self, request: Request) -> None:
        """All that can be refused before the body is read."""
        check_announced_size(request, max_bytes=self._ingress.max_body_bytes)
        if not self._secrets:
            raise Refusal("not_configured", status=503, error=UNARMED, advice=UNARMED_ADVICE)
        refuse_encoded(request)
        shape = shape_verdict(request.headers.get(SIGNATURE_HEADER))
        if shape is not None:
            raise _not_signed(shape)

    async def _take_in_large(self, body: bytes, signature: str | None) -> Intake:
        async with self._large:
            return await asyncio.to_thread(self._take_in, body, signature)

    def _take_in(self, body: bytes, signature: str | None) -> Intake:
        verdict = signature_verdict(body, signature, secrets=self._secrets)
        if verdict is not SignatureVerdict.VALID:
            raise _not_signed(verdict)
        return take_in(body, received_at=self._now())


def _not_signed(verdict: SignatureVerdict) -> Refusal:
    INGRESS_BAD_SIGNATURES.labels(verdict).inc()
    return Refusal(
        "bad_signature",
        status=403,
        error=f"The X-Hub-Signature-256 header is {verdict}.",
        advice="compare CONNECTOR_WHATSAPP__APP_SECRETS with the Meta app; let no proxy change the body",
    )
