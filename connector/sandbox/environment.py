"""What a deployment must be told to use the simulators: its CONNECTOR_* variables."""

from __future__ import annotations

import json
from collections.abc import Mapping

from connector.sandbox.hubspot.config import HubSpotConfig
from connector.sandbox.salesforce.config import SalesforceConfig
from connector.sandbox.whatsapp.config import VERIFY_TOKEN, WhatsAppConfig

MEDIA_SECRET = "sandbox-media-secret"  # noqa: S105 - of no deployment but a simulated one
TRIGGER_CLIENT = {"name": "sandbox", "secret": "sandbox-trigger-secret", "scopes": ["send", "consent"]}


def sandbox_environment(
    *,
    hubspot_url: str,
    salesforce_url: str,
    whatsapp_url: str,
    hubspot: HubSpotConfig,
    salesforce: SalesforceConfig,
    whatsapp: WhatsAppConfig,
) -> Mapping[str, str]:
    """Return the variables, in the order to show them. URLs are scheme, host and port.

    A configuration without an app or a token gives the variables that its own refusals can be tried with: empty.
    """
    token = hubspot.tokens[0].token if hubspot.tokens else ""
    app = salesforce.apps[0] if salesforce.apps else None
    accounts = list(dict.fromkeys(number.waba_id for number in whatsapp.numbers))
    return {
        "CONNECTOR_WHATSAPP__APP_SECRETS": json.dumps([whatsapp.app_secret]),
        "CONNECTOR_WHATSAPP__VERIFY_TOKEN": VERIFY_TOKEN,
        "CONNECTOR_WHATSAPP__ACCESS_TOKEN": next(iter(whatsapp.access_tokens), ""),
        "CONNECTOR_WHATSAPP__BASE_URL": whatsapp_url,
        "CONNECTOR_WHATSAPP__API_VERSION": whatsapp.api_version,
        "CONNECTOR_WHATSAPP__BUSINESS_ACCOUNT_IDS": json.dumps(accounts),
        "CONNECTOR_WHATSAPP__DEFAULT_PHONE_NUMBER_ID": whatsapp.numbers[0].id,
        "CONNECTOR_MEDIA__SIGNING_SECRET": MEDIA_SECRET,
        "CONNECTOR_HUBSPOT__ENABLED": "true",
        "CONNECTOR_HUBSPOT__ACCESS_TOKEN": token,
        "CONNECTOR_HUBSPOT__CLIENT_SECRET": hubspot.client_secret,
        "CONNECTOR_HUBSPOT__BASE_URL": hubspot_url,
        "CONNECTOR_HUBSPOT__API_VERSION": hubspot.api_version,
        # A portal without a limit does not tell one either: 0 keeps none.
        "CONNECTOR_HUBSPOT__BURST_CALLS": str(hubspot.burst_limit or 0),
        "CONNECTOR_HUBSPOT__ASSOCIATION_CALLS": str(hubspot.association_limit or 0),
        "CONNECTOR_HUBSPOT__SEARCH_CALLS": str(hubspot.search_limit or 0),
        "CONNECTOR_HUBSPOT__DAILY_CALLS": str(hubspot.daily_limit or 0),
        "CONNECTOR_SALESFORCE__ENABLED": "true",
        "CONNECTOR_SALESFORCE__CONSUMER_KEY": app.consumer_key if app else "",
        "CONNECTOR_SALESFORCE__CONSUMER_SECRET": app.consumer_secret if app else "",
        "CONNECTOR_SALESFORCE__BASE_URL": salesforce_url,
        "CONNECTOR_SALESFORCE__API_VERSION": salesforce.api_version,
        "CONNECTOR_SALESFORCE__DAILY_CALLS": str(salesforce.daily_limit),
        "CONNECTOR_SALESFORCE__CALLS_AT_ONCE": str(min(20, salesforce.concurrent_limit)),
        "CONNECTOR_SALESFORCE__ORGANIZATION_ID": salesforce.organization_id,
        "CONNECTOR_SALESFORCE__OUTBOUND_TOKEN": salesforce.outbound_token,
        "CONNECTOR_TRIGGERS__CLIENTS": json.dumps([TRIGGER_CLIENT]),
    }
