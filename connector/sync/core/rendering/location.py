"""A place, with a link to the map."""

from __future__ import annotations

import math

from connector.sync.core.rendering.parts import Part, Version, part_of
from connector.sync.core.rendering.wording import joined, one_line
from connector.whatsapp.lenient import as_object


def location(version: Version) -> Part:
    """Name and address, the link, and the web page of a business that was shared."""
    place = as_object(part_of(version, "location"))
    named = joined(one_line(place.get("name")), one_line(place.get("address")), by=", ")
    lines = [f"Location: {named}" if named else "Location"]
    latitude, longitude = _degrees(place.get("latitude"), 90), _degrees(place.get("longitude"), 180)
    if latitude and longitude:
        lines.append(f"https://maps.google.com/?q={latitude},{longitude}")
    else:
        given = joined(one_line(place.get("latitude")), one_line(place.get("longitude")), by=", ")
        lines.append(f"No point on the map: {given}" if given else "No point on the map was given")
    if page := one_line(place.get("url"), limit=2_000):
        lines.append(page)
    return Part(label="location", lines=lines)


def _degrees(value: object, most: int) -> str:
    """As a decimal without exponent, as sent; "" when it is no angle on Earth."""
    text = one_line(value, limit=40)
    try:
        angle = float(text)
    except ValueError:
        return ""
    if not math.isfinite(angle) or abs(angle) > most or isinstance(value, bool):
        return ""
    return f"{angle:.7f}".rstrip("0").rstrip(".")
