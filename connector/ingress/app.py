"""The ingress as an ASGI application: its endpoints, and every error as JSON."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from connector.ingress import hubspot_action, hubspot_webhooks, salesforce_messages
from connector.ingress.answers import error_response
from connector.ingress.hubspot_action import HubSpotAction
from connector.ingress.hubspot_door import HubSpotDoor
from connector.ingress.hubspot_webhooks import HubSpotWebhooks
from connector.ingress.media import MediaDownloads
from connector.ingress.publisher import Publisher
from connector.ingress.reception import Reception, utc_now
from connector.ingress.salesforce_messages import SalesforceMessages
from connector.ingress.trigger_api import TriggerApi
from connector.ingress.trigger_fates import TriggerFates
from connector.ingress.whatsapp_webhook import UNARMED, UNARMED_ADVICE, WhatsAppWebhook
from connector.media.links import PATH as MEDIA_PATH
from connector.settings import Settings
from connector.telemetry.health import StageHealth, create_health_app

READ_TIMEOUT = 10.0
"""Seconds a body may take to arrive: 8 MB at 7 Mbit/s. A sender that is slower on purpose gets 408."""

_ADVICE = {
    404: "the endpoints are /webhooks/whatsapp, /triggers/…, /hubspot/…, /salesforce/…, /media/…, /healthz, /readyz and "
    "/metrics",
    405: "see the Allow header",
}

_log = structlog.get_logger(__name__)


def create_app(
    settings: Settings,
    publisher: Publisher,
    health: StageHealth,
    *,
    media: MediaDownloads | None = None,
    fates: TriggerFates | None = None,
    read_timeout: float = READ_TIMEOUT,
    now: Callable[[], datetime] = utc_now,
) -> Starlette:
    """All endpoints; without `media` none for files, without `fates` no answer to what became of a trigger.

    Without an app secret the webhook refuses every POST, and `health` says so.
    """
    if not any(secret.get_secret_value() for secret in settings.whatsapp.app_secrets):
        health.line_stopped(reason=UNARMED, advice=UNARMED_ADVICE)
    webhook = WhatsAppWebhook(
        ingress=settings.ingress,
        whatsapp=settings.whatsapp,
        publisher=publisher,
        read_timeout=read_timeout,
        now=now,
    )
    route = Route("/webhooks/whatsapp", webhook.endpoint, methods=["GET", "POST"])
    route.methods = {"GET", "POST"}  # Starlette adds HEAD, which would be answered as a verification
    files = [] if media is None else [Route(f"{MEDIA_PATH}/{{key}}", media.endpoint)]
    app = Starlette(
        routes=[
            route,
            *_crm_routes(settings, publisher, fates=fates, read_timeout=read_timeout, now=now),
            *files,
            *create_health_app([health]).routes,
        ],
        exception_handlers={HTTPException: _http_error, Exception: _unexpected},
    )
    app.router.redirect_slashes = False  # Meta follows no redirect
    return app


def _crm_routes(
    settings: Settings,
    publisher: Publisher,
    *,
    fates: TriggerFates | None,
    read_timeout: float,
    now: Callable[[], datetime],
) -> list[Route]:
    reception = Reception(ingress=settings.ingress, publisher=publisher, read_timeout=read_timeout)
    hubspot = HubSpotDoor(
        secret=settings.hubspot.client_secret.get_secret_value(),
        public_url=settings.ingress.public_url,
        now=now,
    )
    action = HubSpotAction(door=hubspot, reception=reception, region=settings.default_region, now=now)
    webhooks = HubSpotWebhooks(door=hubspot, reception=reception, now=now)
    messages = SalesforceMessages(
        salesforce=settings.salesforce, reception=reception, region=settings.default_region, now=now
    )
    return [
        *TriggerApi(triggers=settings.triggers, reception=reception, fates=fates, now=now).routes(),
        Route(hubspot_action.PATH, action.endpoint, methods=["POST"]),
        Route(hubspot_webhooks.PATH, webhooks.endpoint, methods=["POST"]),
        Route(salesforce_messages.PATH, messages.endpoint, methods=["POST"]),
    ]


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
