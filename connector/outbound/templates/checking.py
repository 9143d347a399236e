"""Whether parameters fill a template in as it was approved, before a call costs anything.

WhatsApp answers the same mistakes with 132000, 132005, 132012, 132018, 131008 or 131009, one at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from connector.outbound.templates.slots import Slot, slots_of
from connector.outbound.templates.template import PLACEHOLDER, Template, kind_of
from connector.outbound.templates.values import (
    LONGEST_BODY,
    LONGEST_CARD_BODY,
    LONGEST_HEADER,
    Unfit,
    ready,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """One thing that is wrong with what was given. `parameter`: the key it is about."""

    code: str
    parameter: str
    sentence: str
    advice: str


def check(template: Template, parameters: Mapping[str, Any]) -> tuple[Problem, ...]:
    """Everything that is wrong, in the order of the message; empty: it can be sent as far as parameters go."""
    slots = slots_of(template)
    values: dict[Slot, Any] = {}
    problems: list[Problem] = []
    for slot in slots:
        given = slot.given(parameters)
        if given is None and (not slot.required or slot.kind == "flow"):
            continue
        if given is None and slot.kind != "unsupported":
            problems.append(_missing(slot, slots))
            continue
        try:
            values[slot] = ready(slot, given)
        except Unfit as unfit:
            problems.append(
                Problem(
                    code=unfit.code,
                    parameter=slot.key,
                    sentence=f"parameter {slot.key}: {unfit.sentence}",
                    advice=unfit.advice,
                )
            )
    problems += _unknown(parameters, slots)
    problems += _too_long(template, values)
    return tuple(problems)


def _missing(slot: Slot, slots: tuple[Slot, ...]) -> Problem:
    what = {
        "text": "a text",
        "url_suffix": f"the end of the address of the button “{slot.label}”",
        "coupon": "the code that the button copies",
        "location": "a place",
        "products": "sections of products",
        "offer_end": "the time at which the offer ends",
    }.get(slot.kind, f"a link or media id of a {slot.kind}")
    wanted = ", ".join(dict.fromkeys(item.key for item in slots if item.required))
    return Problem(
        code="missing_parameter",
        parameter=slot.key,
        sentence=f"parameter {slot.key} is missing: {what}",
        advice=f"the template takes: {wanted}",
    )


def _unknown(parameters: Mapping[str, Any], slots: tuple[Slot, ...]) -> Iterator[Problem]:
    taken = {slot.key for slot in slots} | {slot.alias for slot in slots if slot.alias}
    for name, value in parameters.items():
        if name not in taken and value is not None:
            yield Problem(
                code="unknown_parameter",
                parameter=name,
                sentence=f"the template has no parameter {name}",
                advice="the template takes: " + (", ".join(dict.fromkeys(s.key for s in slots)) or "none"),
            )


def _too_long(template: Template, values: Mapping[Slot, Any]) -> Iterator[Problem]:
    """A text's length counts with its parameters filled in."""
    for card, kind, part, longest in _places(template):
        component = _component(template, card=card, kind=kind)
        if component is None:
            continue
        text = str(component.get("text", ""))
        filled = [
            (slot, value)
            for slot, value in values.items()
            if slot.kind == "text" and slot.part == part and slot.card == card
        ]
        length = len(PLACEHOLDER.sub("", text)) + sum(
            len(value) * max(1, _uses(text, slot.name)) for slot, value in filled
        )
        if filled and length > longest:
            where = part if card is None else f"{part} of card {card}"
            yield Problem(
                code="too_long",
                parameter=filled[0][0].key,
                sentence=f"the {where} would have {length:,} characters; {longest:,} at most",
                advice="shorten: " + ", ".join(slot.key for slot, _ in filled),
            )


def _places(template: Template) -> Iterator[tuple[int | None, str, str, int]]:
    yield None, "HEADER", "header", LONGEST_HEADER
    yield None, "BODY", "body", LONGEST_BODY
    for card in range(len((template.component("CAROUSEL") or {}).get("cards") or ())):
        yield card, "BODY", "body", LONGEST_CARD_BODY


def _component(template: Template, *, card: int | None, kind: str) -> Mapping[str, Any] | None:
    if card is None:
        return template.component(kind)
    cards = (template.component("CAROUSEL") or {}).get("cards") or ()
    parts = cards[card].get("components") or () if isinstance(cards[card], dict) else ()
    return next((item for item in parts if isinstance(item, dict) and kind_of(item) == kind), None)


def _uses(text: str, name: str) -> int:
    return PLACEHOLDER.findall(text).count(name)
