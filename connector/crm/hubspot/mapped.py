"""Properties of the portal's own that the mapping writes: whether they are there and take what they will get.

A property that is missing or of another type would refuse every person, one by one; here it stops the start.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from connector.crm.hubspot.client import HubSpotClient
from connector.crm.properties import Kind, MappedProperty

_KINDS = {
    "string": Kind.TEXT,
    "phone_number": Kind.PHONE,
    "datetime": Kind.DATETIME,
    "date": Kind.DATE,
    "enumeration": Kind.CHOICE,
    "number": Kind.NUMBER,
    "bool": Kind.BOOLEAN,
}
"""https://developers.hubspot.com/docs/api-reference/crm-properties-v3/guide → property types."""


async def mapped_misfits(client: HubSpotClient, mapped: Sequence[MappedProperty]) -> list[str]:
    """Those that cannot be written, each with the line of the mapping and the reason."""
    if not mapped:
        return []
    _, answer = await client.call("GET", client.path("properties", "contacts"), writes=False)
    there: Mapping[str, Mapping[str, Any]] = {item["name"]: item for item in answer.get("results") or ()}
    return [
        f"{item.name} ({item.where}: {reason})"
        for item in mapped
        if (reason := _misfit(item, there.get(item.name)))
    ]


def _misfit(item: MappedProperty, there: Mapping[str, Any] | None) -> str:
    if there is None:
        return "HubSpot has no such contact property"
    if (there.get("modificationMetadata") or {}).get("readOnlyValue") or there.get("calculated"):
        return "HubSpot alone writes it"
    if there.get("hasUniqueValue") and item.constant is not None:
        return "no two contacts may have the same value there"
    kind = _KINDS.get(str(there.get("type")))
    if kind is None:
        return ""  # a type of tomorrow: the first write tells
    if kind is Kind.TEXT and there.get("fieldType") == "phonenumber":
        kind = Kind.PHONE
    external = there.get("externalOptions") or there.get("referencedObjectType")
    options = () if external else [str(option.get("value")) for option in there.get("options") or ()]
    return item.misfit(kind, options=options)
