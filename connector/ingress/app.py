"""The ingress as an ASGI application: its endpoints, and every error as JSON."""

from __future__ import annotations

import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from connector.ingress.answers import error_response
from connector.ingress.media import MediaDownloads
from connector.ingress.publisher import Publisher
from connector.ingress.whatsapp_webhook import UNARMED, UNARMED_ADVICE, WhatsAppWebhook
from connector.media.links import PATH as MEDIA_PATH
from connector.settings import Settings
from connector.telemetry.health import StageHealth, create_health_app

READ_TIMEOUT = 10.0
"""Seconds a body may take to arrive: 8 MB at 7 Mbit/s. A sender that is slower on purpose gets 408."""

_ADVICE = {
    404: "the endpoints are /webhooks/whatsapp, /media/…, /healthz, /readyz and /metrics",
    405: "see the Allow header",
}

_log = structlog.get_logger(__name__)


def create_app(
    settings: Settings,
    publisher: Publisher,
    health: StageHealth,
    *,
    media: MediaDownloads | None = None,
    read_timeout: float = READ_TIMEOUT,
) -> Starlette:
    """All endpoints; without `media` none for files.

    Without an app secret the webhook refuses every POST, and `health` says so.
    """
    if not any(secret.get_secret_value() for secret in settings.whatsapp.app_secrets):
        health.line_stopped(reason=UNARMED, advice=UNARMED_ADVICE)
    webhook = WhatsAppWebhook(
        ingress=settings.ingress,
        whatsapp=settings.whatsapp,
        publisher=publisher,
        read_timeout=read_timeout,
    )
    route = Route("/webhooks/whatsapp", webhook.endpoint, methods=["GET", "POST"])
    route.methods = {"GET", "POST"}  # Starlette adds HEAD, which would be answered as a verification
    files = [] if media is None else [Route(f"{MEDIA_PATH}/{{key}}", media.endpoint)]
    app = Starlette(
        routes=[route, *files, *create_health_app([health]).routes],
        exception_handlers={HTTPException: _http_error, Exception: _unexpected},
    )
    app.router.redirect_slashes = False  # Meta follows no redirect
    return app


async def _http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    headers = dict(error.headers or {})
    return error_response(
        error.status_code, error=error.detail, advice=_ADVICE.get(error.status_code, ""), headers=headers
    )


async def _unexpected(_: Request, error: Exception) -> Response:
    _log.error("a request failed", error=type(error).__name__)  # the traceback is the server's to log
    return error_response(
        500,
        error="The request failed for a reason that was not foreseen.",
        advice="the log of the ingress has the traceback; send the request again",
    )
