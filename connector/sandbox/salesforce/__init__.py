"""A simulated Salesforce org: token endpoint, Collections, single records, SOQL, describe, limits, locks."""

from connector.sandbox.salesforce.config import (
    API_VERSION,
    PERSON_TOKEN,
    ConnectedApp,
    DuplicateRule,
    SalesforceConfig,
)
from connector.sandbox.salesforce.sandbox import SalesforceSandbox

__all__ = [
    "API_VERSION",
    "PERSON_TOKEN",
    "ConnectedApp",
    "DuplicateRule",
    "SalesforceConfig",
    "SalesforceSandbox",
]
