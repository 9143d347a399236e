"""Simulators of Meta and the CRMs, with faults and a journal. They ship to users, for trials and tests."""

from connector.sandbox.faults import Fault, FaultKind, FaultPlan
from connector.sandbox.hubspot import HubSpotConfig, HubSpotSandbox
from connector.sandbox.journal import Call, Effect, Journal, Violation
from connector.sandbox.salesforce import SalesforceConfig, SalesforceSandbox
from connector.sandbox.server import SandboxServer

__all__ = [
    "Call",
    "Effect",
    "Fault",
    "FaultKind",
    "FaultPlan",
    "HubSpotConfig",
    "HubSpotSandbox",
    "Journal",
    "SalesforceConfig",
    "SalesforceSandbox",
    "SandboxServer",
    "Violation",
]
