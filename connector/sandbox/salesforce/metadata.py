"""Deploying an SFDX source package: its `field-meta.xml` files become custom fields.

https://developer.salesforce.com/docs/atlas.en-us.api_meta.meta/api_meta/customfield.htm. A field on Activity is
one on Task and on Event.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from xml.etree import ElementTree as ET

from connector.sandbox.salesforce.catalog import Field, SObject

_FIELD_FILE = re.compile(r"(?:.*/)?objects/(?P<object>\w+)/fields/(?P<name>\w+)\.field-meta\.xml")
_NAMESPACE = {"m": "http://soap.sforce.com/2006/04/metadata"}
_TYPES = {
    "Text": "string",
    "Phone": "phone",
    "DateTime": "datetime",
    "Date": "date",
    "Picklist": "picklist",
    "Checkbox": "boolean",
    "LongTextArea": "textarea",
}
_LENGTHS = {"Phone": 40, "Picklist": 255}


def deploy(objects: Mapping[str, SObject], files: Mapping[str, str]) -> list[str]:
    """Add the fields that the files define; the names added, as `SObject.Field`.

    Raises:
        ValueError: a file defines something that Salesforce refuses; nothing was added.

    """
    added: list[tuple[SObject, Field]] = []
    for path, text in files.items():
        match = _FIELD_FILE.fullmatch(path)
        if match is None:
            continue
        field = _field(text)
        if field.name != match["name"]:
            raise ValueError(f"{path}: fullName is {field.name}")
        targets = ("Task", "Event") if match["object"] == "Activity" else (match["object"],)
        if match["object"] in ("Task", "Event"):
            raise ValueError(f"{path}: custom fields of {match['object']} are defined on Activity")
        added += [(objects[target], field) for target in targets]
    for sobject, field in added:
        sobject.fields[field.name] = field
    return [f"{sobject.name}.{field.name}" for sobject, field in added]


def _field(text: str) -> Field:
    root = ET.fromstring(text)  # noqa: S314 - the operator's own file
    kind = _text(root, "type")
    if kind not in _TYPES:
        raise ValueError(f"{_text(root, 'fullName')}: type {kind} is not simulated")
    external_id = _text(root, "externalId") == "true"
    unique = _text(root, "unique") == "true"
    length = int(_text(root, "length") or _LENGTHS.get(kind, 0))
    if kind == "Text" and not 1 <= length <= 255:
        raise ValueError(f"{_text(root, 'fullName')}: a text has 1 to 255 characters")
    if (external_id or unique) and kind != "Text":
        raise ValueError(f"{_text(root, 'fullName')}: only a text is a key here")
    return Field(
        name=_text(root, "fullName"),
        label=_text(root, "label"),
        type=_TYPES[kind],
        length=length,
        external_id=external_id,
        unique=unique,
        case_sensitive=_text(root, "caseSensitive") == "true",
        values=tuple(item.text or "" for item in root.findall(".//m:value/m:fullName", _NAMESPACE)),
    )


def _text(root: ET.Element, name: str) -> str:
    return (root.findtext(f"m:{name}", default="", namespaces=_NAMESPACE) or "").strip()
