"""What is known of a CRM's properties before anybody asks the CRM: our own, and those that every account has."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from connector.crm.hubspot import schema as hubspot
from connector.crm.properties import Kind
from connector.crm.salesforce import schema as salesforce
from connector.sync.core.mapping import RESERVED_FACTS

_HUBSPOT_KINDS = {"string": Kind.TEXT, "datetime": Kind.DATETIME, "enumeration": Kind.CHOICE}
_SALESFORCE_KINDS = {
    salesforce.FieldType.TEXT: Kind.TEXT,
    salesforce.FieldType.PHONE: Kind.PHONE,
    salesforce.FieldType.DATE_TIME: Kind.DATETIME,
    salesforce.FieldType.PICKLIST: Kind.CHOICE,
}
_KEY = "contact_key"


@dataclass(frozen=True, kw_only=True, slots=True)
class Targets:
    """The contact properties of one CRM.

    `kinds`: property (as `canonical` writes it) → kind, of those that are known. `own`: of those that are ours →
    the one fact that each may hold. `name`: what a name looks like. `required`: the CRM makes no record without.
    `unique`: no two records have the same. `spelling`: the name as the CRM writes it.
    """

    crm: str
    kinds: Mapping[str, Kind]
    own: Mapping[str, str]
    name: re.Pattern[str]
    required: str = ""
    unique: frozenset[str] = frozenset()
    spelling: Mapping[str, str] = field(default_factory=dict)

    def canonical(self, name: str) -> str:
        """One spelling a property: Salesforce does not tell upper from lower case."""
        return name.lower()

    @property
    def ledger(self) -> dict[str, str]:
        """Property, as the CRM spells it → the fact of the consent ledger that it holds."""
        return {
            self.spelling.get(name, name): fact for name, fact in self.own.items() if fact in RESERVED_FACTS
        }

    def reserved(self, name: str) -> str:
        """Why no mapping may write this property, "" when one may."""
        fact = self.own.get(self.canonical(name), "")
        if fact == _KEY:
            return "it holds the connector's own key of the person"
        if fact in RESERVED_FACTS:
            return "it is written from the consent ledger alone"
        return ""


HUBSPOT = Targets(
    crm="hubspot",
    kinds={item.name: _HUBSPOT_KINDS[item.kind] for item in hubspot.CONTACT_PROPERTIES}
    | dict.fromkeys(("firstname", "lastname", "company", "jobtitle", "email", "city", "country"), Kind.TEXT)
    | dict.fromkeys(("phone", "mobilephone"), Kind.PHONE)
    | dict.fromkeys(("lifecyclestage", "hs_lead_status"), Kind.CHOICE),
    own={item.name: item.name.removeprefix("whatsapp_") for item in hubspot.CONTACT_PROPERTIES},
    name=re.compile(r"[a-z][a-z0-9_]{0,99}"),
    unique=frozenset({"email"}),
)
"""https://developers.hubspot.com/docs/api-reference/crm-properties-v3/guide: names are lower case."""

_FIELDS = (
    {item.name: _SALESFORCE_KINDS[item.kind] for item in salesforce.PERSON_FIELDS}
    | dict.fromkeys(("LastName", "FirstName", "Title", "Description", "Email", "Company"), Kind.TEXT)
    | dict.fromkeys(("Phone", "MobilePhone", "HomePhone"), Kind.PHONE)
    | {"LeadSource": Kind.CHOICE}
)

SALESFORCE = Targets(
    crm="salesforce",
    kinds={name.lower(): kind for name, kind in _FIELDS.items()},
    spelling={name.lower(): name for name in _FIELDS},
    own={
        item.name.lower(): item.name.lower().removeprefix("wa_").removesuffix("__c")
        for item in salesforce.PERSON_FIELDS
    },
    name=re.compile(r"[A-Za-z][A-Za-z0-9_]{0,79}"),
    required="LastName",
)
"""https://developer.salesforce.com/docs → Object Reference: Contact, Lead."""

TARGETS: Mapping[str, Targets] = {item.crm: item for item in (HUBSPOT, SALESFORCE)}
