"""The CRMs: credential, scopes, our properties, what callbacks need, and what is left of the day's calls.

https://developers.hubspot.com/docs/apps/legacy-apps/private-apps/overview (access-token-info).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import httpx

from connector.crm.quota import AccountQuota, read_quotas
from connector.errors import ConnectorError
from connector.recovery.doctor.clocks import http_date, judged_clock
from connector.recovery.doctor.finding import Finding, fail, not_asked, ok, warn
from connector.recovery.overview import Dependency, check_crms
from connector.settings import HubSpotSettings, SalesforceSettings, Settings
from connector.state.database import connect, database_errors
from connector.whatsapp.lenient import as_list, as_object

_TIMEOUT = 15.0
_NEEDED = (
    "crm.objects.contacts.read",
    "crm.objects.contacts.write",
    "crm.schemas.contacts.read",
    "crm.schemas.contacts.write",
)
_FOR_WORKFLOWS = "automation"
_LITTLE = 0.1  # of the day's calls


async def examine_crms(
    settings: Settings, *, transport: httpx.AsyncBaseTransport | None = None
) -> list[Finding]:
    """Look at each enabled CRM; a few calls each."""
    found = [_dependency(item) for item in await check_crms(settings)]
    if settings.hubspot.enabled:
        found += judged_hubspot_settings(settings)
        found += await _hubspot_token(settings.hubspot, transport=transport)
    if settings.salesforce.enabled:
        found += judged_salesforce_settings(settings.salesforce)
    quotas: Sequence[AccountQuota] = ()
    try:
        async with database_errors():
            connection = await connect(settings.database.url.get_secret_value())
            try:
                quotas = await read_quotas(connection)
            finally:
                await connection.close()
    except ConnectorError:
        return found  # the database's own lines say it
    return [*found, *(judged_quota(quota) for quota in quotas)]


def _dependency(item: Dependency) -> Finding:
    if item.works is None:
        return not_asked(item.name, "credential and fields", item.said)
    if item.works:
        return ok(item.name, "credential and fields", item.said)
    advice = item.advice or f"connector setup {item.name}"
    return fail(item.name, "credential and fields", item.said, mend=advice)


def judged_hubspot_settings(settings: Settings) -> Iterator[Finding]:
    """What HubSpot's calls to us need."""
    lacking = [
        name
        for name, value in (
            ("CONNECTOR_HUBSPOT__CLIENT_SECRET", settings.hubspot.client_secret.get_secret_value()),
            ("CONNECTOR_INGRESS__PUBLIC_URL", settings.ingress.public_url),
        )
        if not value
    ]
    if lacking:
        yield warn(
            "hubspot",
            "callbacks",
            f"{' and '.join(lacking)} not set: workflow actions and webhooks are refused",
            mend="docs/crm/hubspot; without workflows and webhooks nothing is needed",
        )
    else:
        yield ok("hubspot", "callbacks", "signatures can be checked")


def judged_salesforce_settings(salesforce: SalesforceSettings) -> Iterator[Finding]:
    """What Salesforce's calls to us need."""
    if salesforce.organization_id and salesforce.outbound_token.get_secret_value():
        yield ok("salesforce", "outbound messages", "can be told from forged ones")
    else:
        yield warn(
            "salesforce",
            "outbound messages",
            "are refused: CONNECTOR_SALESFORCE__ORGANIZATION_ID or CONNECTOR_SALESFORCE__OUTBOUND_TOKEN is not set",
            mend="docs/crm/salesforce; without flows that send nothing is needed",
        )


async def _hubspot_token(
    hubspot: HubSpotSettings, *, transport: httpx.AsyncBaseTransport | None
) -> list[Finding]:
    token = hubspot.access_token.get_secret_value()
    if not token:
        return []  # the credential's line says it
    url = f"{hubspot.base_url}/oauth/v2/private-apps/get/access-token-info"
    sent = datetime.now(UTC)
    try:
        async with httpx.AsyncClient(timeout=_TIMEOUT, transport=transport) as client:
            answer = await client.post(
                url, json={"tokenKey": token}, headers={"Authorization": f"Bearer {token}"}
            )
            document = as_object(answer.json())
    except (httpx.HTTPError, ValueError) as error:
        return [not_asked("hubspot", "scopes", f"HubSpot does not tell them: {type(error).__name__}")]
    clock = judged_clock(
        "HubSpot", http_date(answer.headers.get("date")), sent=sent, received=datetime.now(UTC)
    )
    return [clock, judged_scopes(document)]


def judged_scopes(document: Mapping[str, Any]) -> Finding:
    """What `access-token-info` says; service keys may not be told about."""
    scopes = [scope for scope in as_list(document.get("scopes")) if isinstance(scope, str)]
    if not scopes:
        return not_asked(
            "hubspot", "scopes", "HubSpot tells none of this token; a missing one shows with the first call"
        )
    missing = [scope for scope in _NEEDED if scope not in scopes]
    if missing:
        return fail(
            "hubspot",
            "scopes",
            f"the token lacks {', '.join(missing)}",
            mend="add them in HubSpot's settings of the private app or service key",
        )
    if _FOR_WORKFLOWS not in scopes:
        return warn(
            "hubspot",
            "scopes",
            "the token lacks automation: waiting workflows cannot be told what became of a send",
            mend="add it in HubSpot's settings, if workflows send templates",
        )
    return ok("hubspot", "scopes", "all that are needed")


def judged_quota(quota: AccountQuota) -> Finding:
    """What is left of the day, as the roles learned it."""
    if quota.day_calls is None or quota.day_left is None:
        return not_asked(quota.crm, "quota", "no answer has told it yet")
    says = f"{quota.day_left:,} of {quota.day_calls:,} calls are left today"
    if quota.day_left <= 0:
        return fail(
            quota.crm,
            "quota",
            says,
            mend="nothing is lost; lower what else calls the account, or buy more calls",
        )
    if quota.day_left < _LITTLE * quota.day_calls:
        return warn(
            quota.crm, "quota", says, mend="lower what else calls the account: connector status shows it live"
        )
    return ok(quota.crm, "quota", says)
