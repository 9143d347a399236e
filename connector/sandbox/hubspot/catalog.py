"""The properties that every portal has, as far as a messaging client meets them.

developers.hubspot.com/docs/api-reference/crm-communications-v3/guide and the contact properties page.
"""

from __future__ import annotations

from collections.abc import Callable

from connector.sandbox.hubspot.properties import Property, PropertyCatalog

TYPE_IDS = {"contacts": "0-1", "communications": "0-18"}
"""Served object types and their objectTypeId."""
LEGACY_TYPES = {"contacts": "CONTACT", "communications": "COMMUNICATION"}
"""Names inside HubSpot's "Cannot set PropertyValueCoordinates" message."""
OTHER_TYPES = frozenset(
    {
        *("companies", "deals", "tickets", "leads", "quotes", "orders", "carts", "invoices", "subscriptions"),
        *("commerce_payments", "feedback_submissions", "appointments", "courses", "listings", "services"),
        *("notes", "tasks", "calls", "emails", "meetings", "postal_mail"),
    }
)
"""Types whose records may hang on a contact, and which are served only as far as that
(developers.hubspot.com/docs/guides/api/crm/understanding-the-crm, object types)."""
SINGULAR = {"contacts": "contact", "communications": "communication"}

DEFAULT_PROPERTIES = {
    "contacts": ("createdate", "email", "firstname", "hs_object_id", "lastmodifieddate", "lastname"),
    "communications": ("hs_createdate", "hs_lastmodifieddate", "hs_object_id"),
}
"""What a read without `properties` returns (documented per object)."""

CREATED = {"contacts": "createdate", "communications": "hs_createdate"}
MODIFIED = {"contacts": "lastmodifieddate", "communications": "hs_lastmodifieddate"}

PHONE_SEARCH = {
    "hs_searchable_calculated_phone_number": "phone",
    "hs_searchable_calculated_mobile_number": "mobilephone",
}
"""Calculated properties that search uses for phones: the number without its country code."""


def _built_in(
    name: str,
    *,
    group: str,
    type: str = "string",  # noqa: A002 - HubSpot's own word
    field_type: str | None = None,
    options: tuple[str, ...] = (),
    unique: bool = False,
    read_only: bool = False,
) -> Property:
    fields = {"string": "text", "datetime": "date", "enumeration": "select", "number": "number"}
    return Property(
        name=name,
        label=name.removeprefix("hs_").replace("_", " ").capitalize(),
        type=type,
        field_type=field_type or fields[type],
        group=group,
        options=options,
        unique=unique,
        read_only=read_only,
        defined_by_hubspot=True,
    )


def _shared(group: str, object_type: str) -> list[Property]:
    return [
        _built_in("hs_object_id", group=group, type="number", read_only=True),
        _built_in("hs_object_source", group=group, read_only=True),
        _built_in("hs_object_source_id", group=group, read_only=True),
        _built_in("hs_merged_object_ids", group=group, read_only=True),
        _built_in(CREATED[object_type], group=group, type="datetime", read_only=True),
        _built_in(MODIFIED[object_type], group=group, type="datetime", read_only=True),
        _built_in("hubspot_owner_id", group=group),
    ]


def contacts() -> PropertyCatalog:
    """Return the contact properties of a new portal."""
    group = "contactinformation"
    stages = ("subscriber", "lead", "marketingqualifiedlead", "salesqualifiedlead", "opportunity", "customer")
    built_in = [
        *_shared(group, "contacts"),
        _built_in("email", group=group, unique=True),
        *(_built_in(name, group=group) for name in ("firstname", "lastname", "company", "city", "country")),
        *(_built_in(name, group=group, field_type="phonenumber") for name in ("phone", "mobilephone")),
        _built_in("hs_whatsapp_phone_number", group=group, field_type="phonenumber"),
        _built_in("lifecyclestage", group=group, type="enumeration", options=stages),
        *(_built_in(name, group=group, read_only=True) for name in PHONE_SEARCH),
    ]
    return PropertyCatalog(
        object_type="contacts",
        may_be_unique=lambda: True,
        properties={item.name: item for item in built_in},
        groups={group: "Contact information"},
    )


def communications(may_be_unique: Callable[[], bool]) -> PropertyCatalog:
    """Return the communication properties of a new portal."""
    group = "communicationinformation"
    channels = ("WHATS_APP", "SMS", "LINKEDIN_MESSAGE")
    built_in = [
        *_shared(group, "communications"),
        _built_in("hs_communication_channel_type", group=group, type="enumeration", options=channels),
        _built_in("hs_communication_logged_from", group=group, type="enumeration", options=("CRM",)),
        _built_in("hs_communication_body", group=group, field_type="html"),
        _built_in("hs_timestamp", group=group, type="datetime"),
        _built_in("hs_body_preview", group=group, read_only=True),
    ]
    return PropertyCatalog(
        object_type="communications",
        may_be_unique=may_be_unique,
        properties={item.name: item for item in built_in},
        groups={group: "Communication information"},
    )
