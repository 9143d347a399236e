"""A simulator of the parts of HubSpot's CRM API that a messaging client uses."""

from connector.sandbox.hubspot.config import API_VERSION, PERSON_TOKEN, AppToken, HubSpotConfig
from connector.sandbox.hubspot.portal import Portal
from connector.sandbox.hubspot.records import PERSON, Caller
from connector.sandbox.hubspot.sandbox import HubSpotSandbox

__all__ = [
    "API_VERSION",
    "PERSON",
    "PERSON_TOKEN",
    "AppToken",
    "Caller",
    "HubSpotConfig",
    "HubSpotSandbox",
    "Portal",
]
