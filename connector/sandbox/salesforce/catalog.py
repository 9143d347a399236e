"""The org's objects and their fields, and what describe says of them.

https://developer.salesforce.com/docs → Object Reference. Only the fields that a messaging integration may meet.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

SYSTEM_FIELDS = (
    "CreatedById",
    "CreatedDate",
    "IsDeleted",
    "LastModifiedById",
    "LastModifiedDate",
    "SystemModstamp",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Field:
    """One field. `type` as describe names it; `length` in characters, 0 where it does not apply."""

    name: str
    label: str = ""
    type: str = "string"
    length: int = 0
    createable: bool = True
    updateable: bool = True
    required: bool = False
    unique: bool = False
    external_id: bool = False
    case_sensitive: bool = False
    refers_to: tuple[str, ...] = ()
    values: tuple[str, ...] = ()
    default: str | None = None
    """Of a picklist: what a new record has."""

    @property
    def custom(self) -> bool:
        """Whether it was added to the object."""
        return self.name.endswith("__c")

    def describe(self) -> dict[str, Any]:
        """The entry in describe's `fields`."""
        return {
            "name": self.name,
            "label": self.label or self.name,
            "type": self.type,
            "length": self.length,
            "custom": self.custom,
            "createable": self.createable,
            "updateable": self.updateable,
            "nillable": not self.required,
            "unique": self.unique,
            "externalId": self.external_id,
            "idLookup": self.external_id or self.name == "Id",
            "caseSensitive": self.case_sensitive,
            "referenceTo": list(self.refers_to),
            "picklistValues": [
                {"active": True, "defaultValue": value == self.default, "label": value, "value": value}
                for value in self.values
            ],
        }


@dataclass(kw_only=True)
class SObject:
    """One object. `children`: relationship name → (child object, its field)."""

    name: str
    prefix: str
    fields: dict[str, Field]
    children: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    def find(self, name: str) -> Field | None:
        """A field by its name; case does not matter."""
        known = self.fields.get(name)
        if known is not None:
            return known
        wanted = name.lower()
        return next((item for item in self.fields.values() if item.name.lower() == wanted), None)

    def describe(self) -> dict[str, Any]:
        """What `/describe` answers."""
        return {
            "name": self.name,
            "label": self.name,
            "keyPrefix": self.prefix,
            "createable": True,
            "updateable": True,
            "deletable": True,
            "queryable": True,
            "custom": False,
            "childRelationships": [
                {"relationshipName": name, "childSObject": child, "field": on}
                for name, (child, on) in self.children.items()
            ],
            "fields": [item.describe() for item in self.fields.values()],
        }

    def hide(self, names: Iterable[str]) -> None:
        """Take fields away from the user who looks."""
        for name in names:
            self.fields.pop(name, None)

    def make_read_only(self, names: Iterable[str]) -> None:
        """Let the user only read these fields."""
        for name in names:
            self.fields[name] = replace(self.fields[name], createable=False, updateable=False)


def _fixed(name: str, kind: str, *, length: int = 0, refers_to: tuple[str, ...] = ()) -> Field:
    """A field that Salesforce alone sets."""
    return Field(name=name, type=kind, length=length, refers_to=refers_to, createable=False, updateable=False)


def _system(*, mergeable: bool = False) -> list[Field]:
    fields = [
        _fixed("Id", "id", length=18),
        _fixed("IsDeleted", "boolean"),
        Field(name="OwnerId", type="reference", length=18, refers_to=("User",)),
        _fixed("CreatedDate", "datetime"),
        _fixed("CreatedById", "reference", length=18, refers_to=("User",)),
        _fixed("LastModifiedDate", "datetime"),
        _fixed("LastModifiedById", "reference", length=18, refers_to=("User",)),
        _fixed("SystemModstamp", "datetime"),
    ]
    if mergeable:
        fields.append(_fixed("MasterRecordId", "reference", length=18))
    return fields


def _person() -> list[Field]:
    return [
        Field(name="LastName", label="Last Name", length=80, required=True),
        Field(name="FirstName", label="First Name", length=40),
        Field(name="Title", length=128),
        Field(name="Email", type="email", length=80),
        Field(name="Phone", type="phone", length=40),
        Field(name="MobilePhone", label="Mobile Phone", type="phone", length=40),
        Field(name="Fax", type="phone", length=40),
        _fixed("Name", "string", length=121),
        Field(name="Description", type="textarea", length=32_000),
        Field(name="LeadSource", type="picklist", length=255),
    ]


def _reference(name: str, *targets: str) -> Field:
    return Field(name=name, type="reference", length=18, refers_to=targets)


def custom_object(name: str, prefix: str, *fields: Field) -> SObject:
    """An object that an org has made for itself."""
    return _object(name, prefix, list(fields))


def standard_objects() -> dict[str, SObject]:
    """The objects of a new org, without custom fields."""
    task = [
        Field(name="Subject", type="combobox", length=255),
        Field(name="Description", label="Description", type="textarea", length=32_000),
        Field(
            name="Status",
            type="picklist",
            length=255,
            values=("Not Started", "In Progress", "Completed", "Waiting on someone else", "Deferred"),
        ),
        Field(name="Priority", type="picklist", length=255, values=("High", "Normal", "Low")),
        Field(name="ActivityDate", type="date"),
        Field(name="Type", type="picklist", length=255),
        _fixed("IsClosed", "boolean"),
        _fixed("AccountId", "reference", length=18, refers_to=("Account",)),
        _reference("WhoId", "Contact", "Lead"),
        _reference("WhatId", "Account", "Opportunity", "Case"),
    ]
    activities = {"Tasks": ("Task", "WhoId"), "Events": ("Event", "WhoId")}
    objects = [
        _object("Account", "001", [Field(name="Name", length=255, required=True)], mergeable=True),
        _object(
            "Contact",
            "003",
            [
                *_person(),
                *(
                    Field(name=name, type="phone", length=40)
                    for name in ("HomePhone", "OtherPhone", "AssistantPhone")
                ),
                _reference("AccountId", "Account"),
            ],
            mergeable=True,
            children={
                **activities,
                "Cases": ("Case", "ContactId"),
                "OpportunityContactRoles": ("OpportunityContactRole", "ContactId"),
                "CampaignMembers": ("CampaignMember", "ContactId"),
            },
        ),
        _object(
            "Lead",
            "00Q",
            [
                *_person(),
                Field(name="Company", length=255, required=True),
                Field(
                    name="Status",
                    type="picklist",
                    length=255,
                    values=("Open - Not Contacted",),
                    default="Open - Not Contacted",
                ),
                _fixed("IsConverted", "boolean"),
                _fixed("ConvertedContactId", "reference", length=18),
            ],
            mergeable=True,
            children={**activities, "CampaignMembers": ("CampaignMember", "LeadId")},
        ),
        _object("Task", "00T", task),
        _object("Event", "00U", [Field(name="Subject", length=255), _reference("WhoId", "Contact", "Lead")]),
        _object("Case", "500", [Field(name="Subject", length=255), _reference("ContactId", "Contact")]),
        _object("Opportunity", "006", [Field(name="Name", length=120, required=True)]),
        _object(
            "OpportunityContactRole",
            "00K",
            [_reference("ContactId", "Contact"), _reference("OpportunityId", "Opportunity")],
        ),
        _object(
            "CampaignMember",
            "00v",
            [_reference("ContactId", "Contact"), _reference("LeadId", "Lead")],
        ),
    ]
    return {item.name: item for item in objects}


def _object(
    name: str,
    prefix: str,
    fields: list[Field],
    *,
    mergeable: bool = False,
    children: Mapping[str, tuple[str, str]] | None = None,
) -> SObject:
    return SObject(
        name=name,
        prefix=prefix,
        fields={item.name: item for item in (*_system(mergeable=mergeable), *fields)},
        children=children or {},
    )
