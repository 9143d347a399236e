"""The parts of simple-salesforce that we use, imported without its Metadata API client.

`simple_salesforce` imports that client with itself, and with it zeep and lxml: 5 MB in each process that writes to
Salesforce and never deploys anything.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType

_METADATA = "simple_salesforce.metadata"

if "simple_salesforce" not in sys.modules:
    stand_in = ModuleType(_METADATA)
    stand_in.__dict__["SfdcMetadataApi"] = None
    sys.modules[_METADATA] = stand_in
    try:
        import_module("simple_salesforce")
    finally:
        del sys.modules[_METADATA]  # whoever wants the real one gets it

from simple_salesforce import Salesforce  # noqa: E402 - behind the stand-in
from simple_salesforce.exceptions import SalesforceError, SalesforceExpiredSession  # noqa: E402 - behind the stand-in
from simple_salesforce.format import format_soql  # noqa: E402 - behind the stand-in

__all__ = ["Salesforce", "SalesforceError", "SalesforceExpiredSession", "format_soql"]
