"""Fields of the org's own that the mapping writes: whether they are there and take what they will get.

A field that is missing, hidden or of another type would refuse every person, one by one; here it stops the start.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from connector.crm.properties import Kind, MappedProperty

_KINDS = {
    **dict.fromkeys(("string", "textarea", "email", "url", "combobox", "encryptedstring"), Kind.TEXT),
    **dict.fromkeys(("double", "int", "long", "currency", "percent"), Kind.NUMBER),
    **dict.fromkeys(("picklist", "multipicklist", "reference"), Kind.CHOICE),
    "phone": Kind.PHONE,
    "datetime": Kind.DATETIME,
    "date": Kind.DATE,
    "boolean": Kind.BOOLEAN,
}
"""https://developer.salesforce.com/docs → Object Reference: field types, as describe names them."""


def mapped_misfits(
    sobject: str, there: Mapping[str, Mapping[str, Any]], mapped: Sequence[MappedProperty]
) -> list[str]:
    """Those that cannot be written, each with the line of the mapping and the reason. `there`: describe's fields."""
    by_name = {name.lower(): field for name, field in there.items()}
    return [
        f"{sobject}.{item.name} ({item.where}: {reason})"
        for item in mapped
        if (reason := _misfit(item, by_name.get(item.name.lower())))
    ]


def text_lengths(there: Mapping[str, Mapping[str, Any]]) -> Mapping[str, int]:
    """Field, in lower case → most characters, of those that have any."""
    return {
        name.lower(): length for name, field in there.items() if (length := int(field.get("length") or 0))
    }


def _misfit(item: MappedProperty, there: Mapping[str, Any] | None) -> str:
    if there is None:
        return "not there, or hidden from our user"
    if there.get("createable") is False or (not item.only_new and there.get("updateable") is False):
        return "our user may not write it"
    if there.get("unique") and item.constant is not None:
        return "no two records may have the same value there"
    kind = _KINDS.get(str(there.get("type")))
    if kind is None:
        return ""  # a type of tomorrow: the first write tells
    active = [value.get("value") for value in there.get("picklistValues") or () if value.get("active")]
    return item.misfit(kind, options=active if there.get("restrictedPicklist") else ())
