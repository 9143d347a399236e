"""What a template has to be given before it can be sent: one slot a parameter, in the order of the message.

The key of a slot is what a trigger calls it: `1`, `2`, … or the names of a named template; `header`; `button.0`;
`limited_time_offer`; within a carousel `card.0.header`, `card.0.1`, `card.0.button.1`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from connector.outbound.templates.template import PLACEHOLDER, Component, Template, format_of, kind_of

SlotKind = Literal[
    "text",
    "image",
    "video",
    "document",
    "location",
    "product",
    "url_suffix",
    "coupon",
    "payload",
    "flow",
    "catalog",
    "products",
    "offer_end",
    "unsupported",
]
Part = Literal["header", "body", "button", "limited_time_offer"]

_HEADERS: Mapping[str, SlotKind] = {
    "IMAGE": "image",
    "VIDEO": "video",
    "DOCUMENT": "document",
    "LOCATION": "location",
    "PRODUCT": "product",
}
_BUTTONS: Mapping[str, tuple[SlotKind, bool]] = {
    # kind of parameter, and whether it must be given
    "COPY_CODE": ("coupon", True),
    "QUICK_REPLY": ("payload", False),
    "FLOW": ("flow", False),
    "CATALOG": ("catalog", False),
    "MPM": ("products", True),
    "ORDER_DETAILS": ("unsupported", True),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Slot:
    """One parameter. `key` names it for people, `name` within its text, `index` and `card` its place."""

    key: str
    kind: SlotKind
    part: Part
    required: bool = True
    name: str = ""
    alias: str = ""
    """Another key that fills it, when its own is not given."""
    index: int = 0
    """Of a button."""
    card: int | None = None
    """Of a carousel."""
    code: bool = False
    """The one-time password of an authentication template."""
    before: str = ""
    """What stands before a `url_suffix`."""
    label: str = ""
    """What the button says, or Meta's name of what is not supported."""

    def given(self, parameters: Mapping[str, Any]) -> Any:
        """Its value; None when none was given."""
        found = parameters.get(self.key)
        return parameters.get(self.alias) if found is None and self.alias else found


def slots_of(template: Template) -> tuple[Slot, ...]:
    """Every slot of a template."""
    found = list(_slots(template.current_components, template, card=None))
    carousel = template.component("CAROUSEL")
    cards = carousel.get("cards") if carousel else None
    for number, card in enumerate(cards if isinstance(cards, list) else ()):
        parts = card.get("components") if isinstance(card, dict) else None
        found += _slots(tuple(item for item in parts or () if isinstance(item, dict)), template, card=number)
    return tuple(found)


def buttons_of(component: Component | None) -> tuple[Mapping[str, Any], ...]:
    """The buttons of a BUTTONS component."""
    buttons = component.get("buttons") if component else None
    return tuple(item for item in buttons if isinstance(item, dict)) if isinstance(buttons, list) else ()


def button_kind(button: Mapping[str, Any]) -> str:
    """URL, QUICK_REPLY, … A one-time password's OTP button is a URL button once it is made."""
    kind = str(button.get("type", "")).upper()
    return "URL" if kind == "OTP" else kind


def _slots(components: tuple[Component, ...], template: Template, *, card: int | None) -> Iterator[Slot]:
    prefix = "" if card is None else f"card.{card}."
    for component in components:
        match kind_of(component):
            case "HEADER":
                yield from _header(component, template, prefix=prefix, card=card)
            case "BODY":
                yield from _body(component, template, prefix=prefix, card=card)
            case "LIMITED_TIME_OFFER":
                offer = component.get("limited_time_offer")
                if isinstance(offer, dict) and offer.get("has_expiration"):
                    yield Slot(key="limited_time_offer", kind="offer_end", part="limited_time_offer")
            case "BUTTONS":
                for index, button in enumerate(buttons_of(component)):
                    yield from _button(index, button, template, prefix=prefix, card=card)


def _header(component: Component, template: Template, *, prefix: str, card: int | None) -> Iterator[Slot]:
    shape = format_of(component)
    if shape == "TEXT":
        for name in _names(component):
            alias = f"{prefix}{name}" if template.named else f"{prefix}header.{name}"
            yield Slot(key=f"{prefix}header", kind="text", part="header", name=name, alias=alias, card=card)
        return
    kind = _HEADERS.get(shape, "unsupported")
    yield Slot(key=f"{prefix}header", kind=kind, part="header", card=card, label=shape)


def _body(component: Component, template: Template, *, prefix: str, card: int | None) -> Iterator[Slot]:
    names = _names(component)
    authentication = template.category == "AUTHENTICATION"
    if authentication and not names:
        names = ("1",)  # the text is Meta's own, the code its one parameter
    for name in names:
        yield Slot(key=f"{prefix}{name}", kind="text", part="body", name=name, card=card, code=authentication)


def _button(
    index: int, button: Mapping[str, Any], template: Template, *, prefix: str, card: int | None
) -> Iterator[Slot]:
    key, kind, label = f"{prefix}button.{index}", button_kind(button), str(button.get("text", ""))
    if kind == "URL":
        url = str(button.get("url", ""))
        authentication = template.category == "AUTHENTICATION"
        if authentication or PLACEHOLDER.search(url):
            yield Slot(
                key=key,
                kind="url_suffix",
                part="button",
                index=index,
                card=card,
                alias="1" if authentication else "",
                code=authentication,
                before=PLACEHOLDER.split(url)[0],
                label=label,
            )
        return
    known = _BUTTONS.get(kind)
    if known is not None:
        parameter, required = known
        yield Slot(
            key=key,
            kind=parameter,
            part="button",
            required=required,
            index=index,
            card=card,
            label=label or kind.replace("_", " ").capitalize(),
        )


def _names(component: Component) -> tuple[str, ...]:
    """Placeholders in the order in which the API wants them: positions by number, names as they stand."""
    names = list(dict.fromkeys(PLACEHOLDER.findall(str(component.get("text", "")))))
    if all(name.isdecimal() for name in names):
        names.sort(key=int)
    return tuple(names)
