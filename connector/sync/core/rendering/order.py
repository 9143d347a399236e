"""A cart sent from a catalogue: lines with quantity × price, and a total per currency."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

from connector.sync.core.rendering.parts import Part, Version, part_of
from connector.sync.core.rendering.wording import joined, one_line, paragraph
from connector.whatsapp.lenient import as_list, as_object

_MOST_ITEMS = 50
_NUMBER = re.compile(r"^\d{1,12}(\.\d{1,6})?$")


def order(version: Version) -> Part:
    """Prices are what the catalogue said when the cart was sent; quantities come as numbers and as texts."""
    cart = as_object(part_of(version, "order"))
    items = [as_object(item) for item in as_list(cart.get("product_items"))]
    note = paragraph(cart.get("text"))
    lines = [note] if note else []
    lines.append(f"Order of {len(items)} {'product' if len(items) == 1 else 'products'}")
    lines.extend(_line(item) for item in items[:_MOST_ITEMS])
    if len(items) > _MOST_ITEMS:
        lines.append(f"… and {len(items) - _MOST_ITEMS} more products")
    lines.extend(_totals(items))
    catalogue = one_line(cart.get("catalog_id"))
    return Part(label="order", lines=lines, details=[f"Catalogue: {catalogue}"] if catalogue else [])


def _line(item: dict[str, Any]) -> str:
    quantity, price = _number(item.get("quantity")), _number(item.get("item_price"))
    product = one_line(item.get("product_retailer_id"), limit=100) or "a product without an id"
    currency = one_line(item.get("currency"), limit=10)
    if quantity is None or price is None:
        told = joined(one_line(item.get("quantity")), one_line(item.get("item_price")), by=" × ")
        return joined(f"  {product}", joined(told, currency, by=" "))
    return f"  {quantity} × {product} at {joined(_plain(price), currency, by=' ')} = {joined(_plain(quantity * price), currency, by=' ')}"


def _totals(items: list[dict[str, Any]]) -> list[str]:
    totals: dict[str, Decimal] = {}
    unpriced = 0
    for item in items:
        quantity, price = _number(item.get("quantity")), _number(item.get("item_price"))
        if quantity is None or price is None:
            unpriced += 1
            continue
        currency = one_line(item.get("currency"), limit=10)
        totals[currency] = totals.get(currency, Decimal(0)) + quantity * price
    missing = f" without {unpriced} that show no price" if unpriced else ""
    return [
        f"Total: {joined(_plain(total), currency, by=' ')}{missing}"
        for currency, total in sorted(totals.items())
    ]


def _number(value: object) -> Decimal | None:
    text = one_line(value, limit=40)
    return Decimal(text) if _NUMBER.match(text) and not isinstance(value, bool) else None


def _plain(amount: Decimal) -> str:
    """Two decimals, or more when the catalogue has more; none of a whole amount's zeros is made up or lost."""
    exact = amount.normalize()
    places = max(2, -int(exact.as_tuple().exponent)) if exact != exact.to_integral_value() else 0
    return f"{exact:,.{places}f}"
