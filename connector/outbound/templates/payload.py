"""A template filled in, as the Cloud API takes it: the `components` of POST /{phone number id}/messages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import groupby
from typing import Any

from connector.outbound.templates.slots import Slot, slots_of
from connector.outbound.templates.template import Template
from connector.outbound.templates.values import ready

_SUB_TYPES = {
    "url_suffix": "url",
    "coupon": "copy_code",
    "payload": "quick_reply",
    "flow": "flow",
    "catalog": "catalog",
    "products": "mpm",
}


def payload(template: Template, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The `template` object of a send.

    Raises:
        Unfit: the parameters do not fit; `check` tells everything that is wrong with them.

    """
    slots = [slot for slot in slots_of(template) if slot.required or _given(slot, parameters)]
    components = _components((slot for slot in slots if slot.card is None), template, parameters)
    cards = [
        {"card_index": card, "components": _components(group, template, parameters)}
        for card, group in groupby(
            (slot for slot in slots if slot.card is not None), key=lambda slot: slot.card
        )
    ]
    if cards:
        components.append({"type": "carousel", "cards": cards})
    return {
        "name": template.name,
        "language": {"code": template.language},
        **({"components": components} if components else {}),
    }


def _given(slot: Slot, parameters: Mapping[str, Any]) -> bool:
    # A flow opens with its own token; without one in the message WhatsApp takes "unused".
    return slot.kind == "flow" or slot.given(parameters) is not None


def _components(
    slots: Iterable[Slot], template: Template, parameters: Mapping[str, Any]
) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for (part, index), group in groupby(slots, key=lambda slot: (slot.part, slot.index)):
        members = list(group)
        component: dict[str, Any] = {"type": part}
        if part == "button":
            component |= {"sub_type": _SUB_TYPES[members[0].kind], "index": str(index)}
        component["parameters"] = [_parameter(slot, template, parameters) for slot in members]
        found.append(component)
    return found


def _parameter(slot: Slot, template: Template, parameters: Mapping[str, Any]) -> dict[str, Any]:
    given = slot.given(parameters)
    value = ready(slot, {} if slot.kind == "flow" and given is None else given)
    match slot.kind:
        case "text":
            named = {"parameter_name": slot.name} if template.named else {}
            return {"type": "text", **named, "text": value}
        case "url_suffix":
            return {"type": "text", "text": value}
        case "coupon":
            return {"type": "coupon_code", "coupon_code": value}
        case "payload":
            return {"type": "payload", "payload": value}
        case "flow" | "catalog" | "products":
            return {"type": "action", "action": value}
        case "offer_end":
            return {"type": "limited_time_offer", "limited_time_offer": {"expiration_time_ms": value}}
        case _:
            return {"type": slot.kind, slot.kind: value}
