"""What the person reads: header, body, footer and buttons of a filled-in template, as text for a timeline or preview.

A parameter that is missing or does not fit stays visible as its placeholder, so that a preview shows what is wrong.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from connector.events.base import content_hash
from connector.outbound.templates.slots import Slot, button_kind, buttons_of, slots_of
from connector.outbound.templates.template import PLACEHOLDER, Component, Template, format_of, kind_of
from connector.outbound.templates.values import Unfit, ready

_MEDIA = {"image": "Image", "video": "Video", "document": "Document"}


def rendered(template: Template, parameters: Mapping[str, Any]) -> str:
    """The whole message. Parts stand a line apart, buttons in brackets, cards under their number."""
    values: dict[tuple[int | None, str, int, str], Any] = {}
    for slot in slots_of(template):
        value = _value(slot, parameters)
        if value is not None:
            values[slot.card, slot.part, slot.index, slot.name] = value
    lines = list(_lines(template.current_components, values, template, card=None))
    cards = (template.component("CAROUSEL") or {}).get("cards")
    for number, card in enumerate(cards if isinstance(cards, list) else ()):
        parts = card.get("components") if isinstance(card, dict) else None
        lines.append(f"— {number + 1} —")
        lines += _lines(
            (item for item in parts or () if isinstance(item, dict)), values, template, card=number
        )
    return "\n".join(line for line in lines if line)


def content_key(text: str) -> str:
    """Equal for equal words, whichever template they are of: what the gate knows duplicates by."""
    return content_hash(text)


def _value(slot: Slot, parameters: Mapping[str, Any]) -> Any:
    given = slot.given(parameters)
    if given is None:
        return None
    try:
        return ready(slot, given)
    except Unfit:
        return None


def _lines(
    components: Iterable[Component],
    values: Mapping[tuple[int | None, str, int, str], Any],
    template: Template,
    *,
    card: int | None,
) -> Iterable[str]:
    def filled(text: str, part: str) -> str:
        return PLACEHOLDER.sub(lambda found: str(values.get((card, part, 0, found[1]), found[0])), text)

    for component in components:
        kind = kind_of(component)
        if kind == "HEADER" and format_of(component) == "TEXT":
            yield filled(str(component.get("text", "")), "header")
        elif kind == "HEADER":
            yield _medium(format_of(component).lower(), values.get((card, "header", 0, "")))
        elif kind == "BODY":
            text = str(component.get("text", ""))
            if not text and template.category == "AUTHENTICATION":
                text = "{{1}} is your verification code."
            yield filled(text, "body")
        elif kind == "FOOTER":
            yield _footer(component)
        elif kind == "LIMITED_TIME_OFFER":
            offer = component.get("limited_time_offer")
            yield str(offer.get("text", "")) if isinstance(offer, dict) else ""
        elif kind == "BUTTONS":
            for index, button in enumerate(buttons_of(component)):
                yield _button(button, values.get((card, "button", index, "")))


def _medium(kind: str, value: Any) -> str:
    shown = _MEDIA.get(kind, kind.capitalize())
    if not isinstance(value, Mapping):
        return f"[{shown}]"
    if kind == "location":
        place = value.get("name") or value.get("address") or f"{value['latitude']}, {value['longitude']}"
        return f"[{shown}: {place}]"
    what = value.get("filename") or value.get("link") or value.get("product_retailer_id") or ""
    return f"[{shown}: {what}]" if what else f"[{shown}]"


def _footer(component: Component) -> str:
    minutes = component.get("code_expiration_minutes")
    return str(component.get("text") or (f"This code expires in {minutes} minutes." if minutes else ""))


def _button(button: Mapping[str, Any], value: Any) -> str:
    kind, label = button_kind(button), str(button.get("text", ""))
    if kind == "URL":
        url = str(button.get("url", ""))
        address = PLACEHOLDER.sub(lambda found: str(value) if value is not None else found[0], url)
        return f"[{label}: {address}]" if address else f"[{label}]"
    if kind == "PHONE_NUMBER":
        return f"[{label}: {button.get('phone_number', '')}]"
    if kind == "COPY_CODE":
        return f"[{label or 'Copy code'}: {value if value is not None else '{{code}}'}]"
    return f"[{label or kind.replace('_', ' ').capitalize()}]"
