"""Property definitions of one object type, and the validation of values against them.

Sources: developers.hubspot.com/docs/api-reference/crm-properties-v3/guide; error codes inside "Property
values were not valid" (PROPERTY_DOESNT_EXIST, READ_ONLY_VALUE, INVALID_OPTION, INVALID_DATE, ...) as
observed on live portals.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from connector.sandbox.hubspot.errors import HubSpotError, Problem, not_found, refuse

MAX_UNIQUE = 10
"""Properties with hasUniqueValue per object type (documented limit)."""
MAX_TEXT = 65_536
"""Characters of a string value (documented limit)."""

_FIELD_TYPES = {
    "string": {"text", "textarea", "phonenumber", "html", "file", "calculation_equation"},
    "number": {"number", "calculation_equation"},
    "date": {"date"},
    "datetime": {"date"},
    "enumeration": {"select", "radio", "checkbox", "booleancheckbox", "calculation_equation"},
    "bool": {"booleancheckbox", "calculation_equation"},
}
_NAME = re.compile(r"[a-z][a-z0-9_]{0,99}")
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
_EPOCH_MS = re.compile(r"-?\d{1,15}")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")


@dataclass(frozen=True, kw_only=True)
class Property:
    """One property definition."""

    name: str
    label: str
    type: str = "string"
    field_type: str = "text"
    group: str
    unique: bool = False
    options: tuple[str, ...] = ()
    read_only: bool = False
    defined_by_hubspot: bool = False
    description: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return the definition as the properties API shows it."""
        return {
            "name": self.name,
            "label": self.label,
            "type": self.type,
            "fieldType": self.field_type,
            "description": self.description,
            "groupName": self.group,
            "options": [
                {"label": option, "value": option, "displayOrder": place, "hidden": False}
                for place, option in enumerate(self.options)
            ],
            "displayOrder": -1,
            "calculated": False,
            "externalOptions": False,
            "hasUniqueValue": self.unique,
            "hidden": False,
            "hubspotDefined": self.defined_by_hubspot,
            "formField": False,
            "archived": False,
            "modificationMetadata": {
                "archivable": not self.defined_by_hubspot,
                "readOnlyDefinition": self.defined_by_hubspot,
                "readOnlyValue": self.read_only,
            },
        }


@dataclass(frozen=True, kw_only=True)
class ValueProblem:
    """Why one property's value is refused."""

    name: str
    code: str
    message: str

    def as_json(self, portal_id: int) -> dict[str, Any]:
        """Return the entry inside "Property values were not valid: [...]"."""
        return {
            "isValid": False,
            "message": self.message,
            "error": self.code,
            "name": self.name,
            "localizedErrorMessage": self.message,
            "portalId": portal_id,
        }


def values_problem(problems: list[ValueProblem], *, portal_id: int) -> Problem:
    """Return the 400 that lists the refused values of one record."""
    listed = json.dumps([problem.as_json(portal_id) for problem in problems], separators=(",", ":"))
    return Problem(
        status=400,
        category="VALIDATION_ERROR",
        message=f"Property values were not valid: {listed}",
    )


@dataclass
class PropertyCatalog:
    """The properties and groups of one object type."""

    object_type: str
    may_be_unique: Callable[[], bool]
    """Whether custom unique properties are allowed on this type, asked at each creation."""
    properties: dict[str, Property]
    groups: dict[str, str]
    archived: dict[str, Property] = field(default_factory=dict)

    def get(self, name: str) -> Property:
        """Return one definition.

        Raises:
            HubSpotError: 404, there is none of that name.

        """
        found = self.properties.get(name)
        if found is None:
            raise not_found(f"Property '{name}' does not exist.")
        return found

    def is_key(self, name: str) -> bool:
        """Whether records can be addressed by this property."""
        found = self.properties.get(name)
        return found is not None and found.unique

    def create(self, document: Mapping[str, Any]) -> Property:
        """Add a property; the name of an archived one restores it (observed on live portals).

        Raises:
            HubSpotError: 409 PROPERTY_WITH_NAME_EXISTS, or 400 for anything a portal would not accept.

        """
        wanted = self._parse(document)
        if wanted.name in self.properties:
            raise HubSpotError(
                Problem(
                    status=409,
                    category="OBJECT_ALREADY_EXISTS",
                    sub_category="Properties.PROPERTY_WITH_NAME_EXISTS",
                    message=f"A property named '{wanted.name}' already exists.",
                    context={"name": [wanted.name]},
                    errors=(
                        {
                            "code": "PROPERTY_WITH_NAME_EXISTS",
                            "message": f"A property named '{wanted.name}' already exists.",
                        },
                    ),
                )
            )
        restored = self.archived.pop(wanted.name, None)
        if restored is not None:
            wanted = replace(wanted, unique=restored.unique)
        elif wanted.unique:
            self._check_may_be_unique()
        self.properties[wanted.name] = wanted
        return wanted

    def update(self, name: str, document: Mapping[str, Any]) -> Property:
        """Change label, description, group or options; a changed hasUniqueValue is silently ignored."""
        current = self.get(name)
        if current.defined_by_hubspot:
            raise refuse(f"Property '{name}' is defined by HubSpot and cannot be changed.")
        changed = replace(
            current,
            label=str(document.get("label", current.label)),
            description=str(document.get("description", current.description)),
            group=self._group(document.get("groupName", current.group)),
            options=_options(document["options"]) if "options" in document else current.options,
        )
        self.properties[name] = changed
        return changed

    def archive(self, name: str) -> None:
        """Archive a custom property."""
        if self.get(name).defined_by_hubspot:
            raise refuse(f"Property '{name}' is defined by HubSpot and cannot be deleted.")
        self.archived[name] = self.properties.pop(name)

    def create_group(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """Add a property group."""
        name = str(document.get("name", ""))
        if not _NAME.fullmatch(name):
            raise refuse(f"Property group name '{name}' is not valid.")
        if name in self.groups:
            raise HubSpotError(
                Problem(
                    status=409,
                    category="OBJECT_ALREADY_EXISTS",
                    message=f"A property group named '{name}' already exists.",
                )
            )
        self.groups[name] = str(document.get("label", name))
        return self.group_json(name)

    def group_json(self, name: str) -> dict[str, Any]:
        """Return a group as the properties API shows it."""
        return {"name": name, "label": self.groups[name], "displayOrder": -1, "archived": False}

    def validate(self, values: Mapping[str, Any]) -> tuple[dict[str, str], list[ValueProblem]]:
        """Return the values as HubSpot stores them, and the problems of those it refuses."""
        stored: dict[str, str] = {}
        problems: list[ValueProblem] = []
        for name, value in values.items():
            definition = self.properties.get(name)
            if definition is None:
                problems.append(
                    ValueProblem(
                        name=name,
                        code="PROPERTY_DOESNT_EXIST",
                        message=f'Property "{name}" does not exist',
                    )
                )
                continue
            try:
                stored[name] = _stored(definition, value)
            except _BadValueError as error:
                problems.append(ValueProblem(name=name, code=error.code, message=error.message))
        return stored, problems

    def _check_may_be_unique(self) -> None:
        if not self.may_be_unique():
            raise refuse(f"Properties of {self.object_type} cannot have unique values.")
        custom = [p for p in self.properties.values() if p.unique and not p.defined_by_hubspot]
        if len(custom) >= MAX_UNIQUE:
            raise refuse(f"You can have at most {MAX_UNIQUE} properties with unique values per object.")

    def _parse(self, document: Mapping[str, Any]) -> Property:
        missing = [
            name for name in ("name", "label", "type", "fieldType", "groupName") if not document.get(name)
        ]
        if missing:
            raise refuse(f"Invalid input JSON: some required fields were not set: {missing}")
        name, kind, field_type = document["name"], document["type"], document["fieldType"]
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise refuse(f"Property name '{name}' is not valid: lower-case letters, digits, underscores.")
        if field_type not in _FIELD_TYPES.get(kind, ()):
            raise refuse(f"Property type '{kind}' with field type '{field_type}' is not valid.")
        options = _options(document.get("options") or [])
        if kind in ("enumeration", "bool") and not options:
            raise refuse(f"Property '{name}' of type {kind} needs options.")
        if kind == "bool" and set(options) != {"true", "false"}:
            raise refuse(f"Property '{name}' of type bool needs exactly the options true and false.")
        unique = document.get("hasUniqueValue", False) is True
        if unique and kind not in ("string", "number"):
            raise refuse(f"Property '{name}' of type {kind} cannot have unique values.")
        return Property(
            name=name,
            label=str(document["label"]),
            type=kind,
            field_type=field_type,
            group=self._group(document["groupName"]),
            unique=unique,
            options=options,
            description=str(document.get("description", "")),
        )

    def _group(self, name: Any) -> str:
        if name not in self.groups:
            raise refuse(f"Property group '{name}' does not exist.")
        return str(name)


def _options(documents: list[Mapping[str, Any]]) -> tuple[str, ...]:
    values = tuple(str(document.get("value", "")) for document in documents)
    if any(not value for value in values) or any("label" not in document for document in documents):
        raise refuse("Every property option needs a label and a value.")
    if len(set(values)) != len(values):
        raise refuse("Property options must have distinct values.")
    return values


class _BadValueError(Exception):
    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def _stored(definition: Property, value: Any) -> str:
    """Return a value as HubSpot stores it; "" clears the property."""
    name = definition.name
    if definition.read_only:
        raise _BadValueError("READ_ONLY_VALUE", f'"{name}" is a read only property; its value cannot be set.')
    # The specification types `properties` as a map of strings to strings.
    if not isinstance(value, str):
        raise _BadValueError("INVALID_TYPE", f"{value!r} is not a string")
    if value == "":
        return value
    if definition.type == "string":
        return _stored_text(definition, value)
    if definition.type in ("enumeration", "bool"):
        return _stored_option(definition, value)
    if definition.type == "number":
        try:
            float(value)
        except ValueError:
            raise _BadValueError("INVALID_NUMBER", f"{value} was not a valid number.") from None
        return value
    return _stored_time(definition, value)


def _stored_text(definition: Property, value: str) -> str:
    if len(value) > MAX_TEXT:
        raise _BadValueError(
            "STRING_TOO_LONG", f"{definition.name} is too long: at most {MAX_TEXT} characters are allowed."
        )
    if definition.name != "email":
        return value
    if not _EMAIL.fullmatch(value):
        raise _BadValueError("INVALID_EMAIL", f"Email address {value} is invalid")
    # Addresses come back in lower case (observed on live portals).
    return value.lower()


def _stored_option(definition: Property, value: str) -> str:
    chosen = value.split(";") if definition.field_type == "checkbox" else [value]
    if not set(chosen) <= set(definition.options):
        allowed = ", ".join(definition.options)
        raise _BadValueError("INVALID_OPTION", f"{value} was not one of the allowed options: [{allowed}]")
    return value


def _stored_time(definition: Property, value: str) -> str:
    try:
        if _EPOCH_MS.fullmatch(value):
            moment = datetime.fromtimestamp(int(value) / 1000, tz=UTC)
        else:
            moment = datetime.fromisoformat(value)
            if moment.tzinfo is None and not _DATE.fullmatch(value):
                raise ValueError(value)
            moment = moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)
    except (ValueError, OverflowError):
        kind = "date" if definition.type == "date" else "long"
        raise _BadValueError(
            "INVALID_DATE" if kind == "date" else "INVALID_LONG", f"{value} was not a valid {kind}."
        ) from None
    if definition.type == "date":
        # A `date` is a day: a time other than midnight UTC is refused.
        if (moment.hour, moment.minute, moment.second, moment.microsecond) != (0, 0, 0, 0):
            raise _BadValueError("INVALID_DATE", f"{value} is not at midnight UTC")
        return moment.date().isoformat()
    return iso(moment)


def iso(moment: datetime) -> str:
    """Return a time as HubSpot prints it: milliseconds only when there are any."""
    text = moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return text.replace(".000Z", "Z")
