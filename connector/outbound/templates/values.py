"""What a trigger gives for a parameter, as the API takes it, or why it cannot.

Limits: …/templates/components (header 60, body 1,024, code 15, URL 2,000 characters) and error 132018 ("Param text
cannot have new-line/tab characters or more than 4 consecutive spaces").
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from connector.outbound.templates.slots import Slot
from connector.whatsapp.text import storable

LONGEST_HEADER = 60
LONGEST_BODY = 1_024
LONGEST_CARD_BODY = 160
LONGEST_CODE = 15
LONGEST_URL = 2_000

_LINK = re.compile(r"https?://[^\s/?#]+\.[^\s]+", re.ASCII | re.IGNORECASE)
_MEDIA_ID = re.compile(r"[0-9]{5,40}", re.ASCII)
_LINE_BREAK = re.compile(r"[\n\r\t\v\f\x85\u2028\u2029]")
_MANY_SPACES = re.compile(r" {5,}")


class Unfit(ValueError):
    """A value that its slot cannot take. `code` is stable, `advice` what to do."""

    def __init__(self, code: str, sentence: str, advice: str) -> None:
        super().__init__(sentence)
        self.code = code
        self.sentence = sentence
        self.advice = advice


def ready(slot: Slot, value: object) -> Any:
    """The value in the form of the slot's kind: text, media object, location, action.

    Raises:
        Unfit: it has another type, is empty, too long, or something that WhatsApp refuses.

    """
    match slot.kind:
        case "text":
            return _code(value) if slot.code else _text(value)
        case "url_suffix":
            return _code(value) if slot.code else _suffix(value, before=slot.before)
        case "coupon":
            return _code(value)
        case "payload":
            return _text(value)
        case "image" | "video" | "document":
            return _media(value, kind=slot.kind)
        case "location":
            return _location(value)
        case "product":
            return _product(value)
        case "catalog":
            return {"thumbnail_product_retailer_id": _text(value)}
        case "products":
            return _products(value)
        case "flow":
            return _flow(value)
        case "offer_end":
            return _milliseconds(value)
    raise Unfit(
        "unsupported",
        f"{slot.label or slot.kind} in a template is not supported by this connector",
        "use a template without it",
    )


def _text(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise Unfit("not_text", "it has to be a text or a number", "give a text")
    if isinstance(value, float) and not math.isfinite(value):
        raise Unfit("not_text", "it is no number that can be written", "give a text")
    text = storable(str(value))
    if not text.strip():
        raise Unfit(
            "empty_text", "it is empty, which WhatsApp refuses", "give a text, or a fall-back in the mapping"
        )
    if _LINE_BREAK.search(text) or _MANY_SPACES.search(text):
        raise Unfit(
            "line_break",
            "it has a line break, a tab or more than four spaces in a row, which WhatsApp refuses",
            "put it on one line",
        )
    return text


def _code(value: object) -> str:
    text = _text(value)
    if len(text) > LONGEST_CODE:
        raise Unfit(
            "too_long",
            f"it has {len(text)} characters; a code has {LONGEST_CODE} at most",
            "give a shorter code",
        )
    return text


def _suffix(value: object, *, before: str) -> str:
    text = _text(value)
    if re.search(r"\s", text):
        raise Unfit("url_suffix", "it has a space, which no web address has", "percent-encode it: %20")
    if before and text.lower().startswith(before.lower()):
        raise Unfit(
            "url_suffix",
            f"it repeats the beginning of the address, {before}, which the template already has",
            "give only what comes after it",
        )
    if len(before) + len(text) > LONGEST_URL:
        raise Unfit("too_long", f"the address would have more than {LONGEST_URL:,} characters", "shorten it")
    return text


def _media(value: object, *, kind: str) -> dict[str, Any]:
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if isinstance(value, str):
        text = value.strip()
        value = {"id": text} if _MEDIA_ID.fullmatch(text) else {"link": text}
    if not isinstance(value, Mapping):
        raise Unfit("media", f"it has to be the {kind}'s link or media id", 'give {"link": "https://…"}')
    media_id, link = value.get("id"), value.get("link")
    if bool(media_id) == bool(link):
        raise Unfit("media", f"it needs either a link or a media id of the {kind}", "give one of the two")
    found: dict[str, Any] = {}
    if media_id:
        found["id"] = _text(media_id)
    elif isinstance(link, str) and len(link) <= LONGEST_URL and _LINK.fullmatch(link.strip()):
        found["link"] = link.strip()
    else:
        raise Unfit(
            "media",
            f"{link!r:.80} is no web address that WhatsApp can fetch",
            "give https://… without spaces",
        )
    if kind == "document" and value.get("filename"):
        found["filename"] = _text(value["filename"])
    return found


def _location(value: object) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise Unfit("location", "it has to be a place", 'give {"latitude": …, "longitude": …, "name": …}')
    found: dict[str, Any] = {
        "latitude": _degrees(value.get("latitude"), most=90, name="latitude"),
        "longitude": _degrees(value.get("longitude"), most=180, name="longitude"),
    }
    for name in ("name", "address"):
        if value.get(name):
            found[name] = _text(value[name])
    return found


def _degrees(value: object, *, most: int, name: str) -> str:
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        try:
            degrees = float(value)
        except ValueError:
            degrees = math.nan
        if abs(degrees) <= most:
            return str(value).strip()
    raise Unfit("location", f"its {name} is no number from -{most} to {most}", f"give {name} in degrees")


def _product(value: object) -> dict[str, Any]:
    if isinstance(value, Mapping) and value.get("product_retailer_id") and value.get("catalog_id"):
        return {name: _text(value[name]) for name in ("product_retailer_id", "catalog_id")}
    raise Unfit("product", "it has to be a product", 'give {"product_retailer_id": …, "catalog_id": …}')


def _products(value: object) -> dict[str, Any]:
    """Up to 30 products in up to 10 sections (…/marketing-templates/mpm-templates)."""
    sections = value.get("sections") if isinstance(value, Mapping) else None
    if not isinstance(sections, list) or not 1 <= len(sections) <= 10:
        raise Unfit(
            "products",
            "it needs one to ten sections of products",
            'give {"thumbnail_product_retailer_id": …, "sections": [{"title": …, "product_items": […]}]}',
        )
    count = sum(
        len(items)
        for section in sections
        if isinstance(section, Mapping) and isinstance(items := section.get("product_items"), list)
    )
    if not 1 <= count <= 30:
        raise Unfit(
            "products", f"it shows {count} products; one to thirty are possible", "change the sections"
        )
    assert isinstance(value, Mapping)
    thumbnail = value.get("thumbnail_product_retailer_id")
    return {
        **({"thumbnail_product_retailer_id": _text(thumbnail)} if thumbnail else {}),
        "sections": sections,
    }


def _flow(value: object) -> dict[str, Any]:
    if isinstance(value, str):
        return {"flow_token": _text(value)}
    if not isinstance(value, Mapping) or value.keys() - {"flow_token", "flow_action_data"}:
        raise Unfit(
            "flow", "it has to be a flow's token and data", 'give {"flow_token": …, "flow_action_data": {…}}'
        )
    data = value.get("flow_action_data")
    if data is not None and not isinstance(data, Mapping):
        raise Unfit("flow", "its flow_action_data is no object", 'give {"flow_action_data": {…}}')
    token = value.get("flow_token")
    return {
        "flow_token": _text(token) if token else "unused",
        **({"flow_action_data": dict(data)} if data else {}),
    }


def _milliseconds(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and value > 1_000_000_000_000:
        return value
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value.strip())
        except ValueError:
            pass
        else:
            return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
    raise Unfit(
        "offer_end", "it has to be the time at which the offer ends", "give it as 2026-12-31T20:00:00+01:00"
    )
