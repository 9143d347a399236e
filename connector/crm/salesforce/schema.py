"""Our fields in Salesforce: names that reports, flows and layouts of the org rely on. Keep them stable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

CONTACT_KEY = "WA_Contact_Key__c"
MESSAGE_ID = "WA_Message_Id__c"
STATUS = "WA_Status__c"
DIRECTION = "WA_Direction__c"
SENT_AT = "WA_Sent_At__c"

TEXT_LIMIT = 255
TEXT_LIMITS: Mapping[str, int] = {
    "LastName": 80,
    "FirstName": 40,
    "Title": 128,
    "Company": 255,
    "Description": 32_000,
    **dict.fromkeys(("Phone", "MobilePhone", "HomePhone", "WA_Phone__c"), 40),
}
"""Fields of a person → most characters; TEXT_LIMIT where the org has not said otherwise."""

SUBJECT_LIMIT = 255
DESCRIPTION_LIMIT = 32_000
MESSAGE_ID_LIMIT = 255
"""Characters; https://developer.salesforce.com/docs → Object Reference: Contact, Lead, Task."""


class FieldType(StrEnum):
    """Types as the Metadata API names them."""

    TEXT = "Text"
    PHONE = "Phone"
    DATE_TIME = "DateTime"
    PICKLIST = "Picklist"
    LONG_TEXT = "LongTextArea"


@dataclass(frozen=True, kw_only=True, slots=True)
class CustomField:
    """One custom field. `key`: an external id, unique and case-sensitive. `length`: characters of a text."""

    name: str
    label: str
    kind: FieldType = FieldType.TEXT
    length: int = 255
    key: bool = False
    values: Sequence[str] = ()
    description: str = ""


def _choice(name: str, label: str, *values: str) -> CustomField:
    return CustomField(name=name, label=label, kind=FieldType.PICKLIST, values=values)


def _time(name: str, label: str, description: str = "") -> CustomField:
    return CustomField(name=name, label=label, kind=FieldType.DATE_TIME, description=description)


PERSON_FIELDS = (
    CustomField(
        name=CONTACT_KEY,
        label="WhatsApp contact key",
        length=36,
        key=True,
        description="The connector's own key of this person. Nobody else writes it.",
    ),
    CustomField(name="WA_BSUID__c", label="WhatsApp user id"),
    CustomField(name="WA_Phone__c", label="WhatsApp phone", kind=FieldType.PHONE),
    CustomField(name="WA_Username__c", label="WhatsApp username"),
    _choice("WA_Marketing_Consent__c", "WhatsApp marketing consent", "granted", "denied", "unknown"),
    _choice("WA_Utility_Consent__c", "WhatsApp utility consent", "granted", "denied", "unknown"),
    _time("WA_Consent_Changed_At__c", "WhatsApp consent changed at"),
    _time("WA_Last_Inbound_At__c", "WhatsApp last inbound message at"),
    _time("WA_Window_Open_Until__c", "WhatsApp window open until"),
    CustomField(name="WA_Ad_Source__c", label="WhatsApp ad source"),
)
"""On Contact and on Lead, whichever is written: a converted Lead goes on as a Contact."""

TASK_FIELDS = (
    CustomField(
        name=MESSAGE_ID,
        label="WhatsApp message id",
        length=MESSAGE_ID_LIMIT,
        key=True,
        description="WhatsApp's id of the message; one longer than the field by its SHA-256.",
    ),
    _choice(
        STATUS, "WhatsApp status", "received", "accepted", "sent", "delivered", "read", "played", "failed"
    ),
    _choice(DIRECTION, "WhatsApp direction", "inbound", "outbound"),
    _time(SENT_AT, "WhatsApp sent at", "When the message was sent; the due date of a task is only a date."),
)
"""Defined on Activity, which Task and Event share."""

FIELDS: Mapping[str, Sequence[CustomField]] = {
    "Contact": PERSON_FIELDS,
    "Lead": PERSON_FIELDS,
    "Task": TASK_FIELDS,
}
"""SObject → our fields on it."""

REQUESTED_AT = "WA_Send_Requested_At__c"
REQUEST_FIELDS = (
    CustomField(
        name="WA_Template__c",
        label="WhatsApp template to send",
        description="Name of an approved template, e.g. order_update.",
    ),
    CustomField(
        name="WA_Language__c",
        label="WhatsApp template language",
        length=10,
        description="e.g. en_US; empty: the person's own.",
    ),
    CustomField(
        name="WA_Parameters__c",
        label="WhatsApp template parameters",
        kind=FieldType.LONG_TEXT,
        length=4000,
        description="A JSON object, or lines of name=value.",
    ),
    CustomField(
        name="WA_From__c",
        label="WhatsApp sender",
        length=40,
        description="Phone number id or number; empty: the default.",
    ),
    _choice("WA_Purpose__c", "WhatsApp purpose", "marketing", "utility", "authentication"),
    _time(REQUESTED_AT, "WhatsApp send requested at", "Set to now, it sends the template of this record."),
)
"""On Contact and Lead, where flows send templates. The connector itself neither reads nor writes them."""
MESSAGE_FIELDS = (
    "Id",
    *(field.name for field in REQUEST_FIELDS if field.name != REQUESTED_AT),
    "WA_BSUID__c",
    "WA_Phone__c",
    "MobilePhone",
    "Phone",
)
"""What the outbound message carries. By the last four a person is found whom WhatsApp does not know yet."""
