"""Shared contact cards: names, phones, e-mails, company, addresses."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from connector.sync.core.rendering.parts import Part, Version, part_of
from connector.sync.core.rendering.wording import joined, one_line
from connector.whatsapp.lenient import as_list, as_object

_MOST_CARDS = 20
_MOST_LINES = 6
"""Of a kind (phones, say) on one card."""
_ADDRESS = ("street", "city", "state", "zip", "country")


def contacts(version: Version) -> Part:
    """A card a paragraph."""
    cards = as_list(part_of(version, "contacts"))
    lines: list[str] = []
    for card in cards[:_MOST_CARDS]:
        lines.extend(_card(as_object(card)))
    if len(cards) > _MOST_CARDS:
        lines.append(f"… and {len(cards) - _MOST_CARDS} more contacts")
    requested = any(as_object(card).get("origin") == "contact_request" for card in cards)
    return Part(
        label="contact card" if len(cards) == 1 else "contact cards",
        lines=lines or ["Contact card without content"],
        details=["Shared because the business asked for contact information"] if requested else [],
    )


def _card(card: dict[str, Any]) -> Iterator[str]:
    name = as_object(card.get("name"))
    label = one_line(name.get("formatted_name")) or joined(
        one_line(name.get("first_name")), one_line(name.get("last_name")), by=" "
    )
    written = _vcard(card.get("vcard"))
    company = as_object(card.get("org"))
    work = joined(one_line(company.get("title")), one_line(company.get("company")), by=", ")
    yield f"Contact: {label or written.get('FN') or 'without a name'}{f' ({work})' if work else ''}"
    phones = list(_typed(card.get("phones"), "phone", "wa_id"))
    if not phones and "TEL" in written:
        phones = [written["TEL"]]
    emails = list(_typed(card.get("emails"), "email"))
    if not emails and "EMAIL" in written:
        emails = [written["EMAIL"]]
    yield from (f"  Phone: {phone}" for phone in phones)
    yield from (f"  E-mail: {email}" for email in emails)
    for item in as_list(card.get("addresses"))[:_MOST_LINES]:
        address = as_object(item)
        place = joined(*(one_line(address.get(key)) for key in _ADDRESS), by=", ")
        if place:
            yield f"  Address: {place}{_kind(address)}"
    yield from (f"  Web: {url}" for url in _typed(card.get("urls"), "url"))
    if birthday := one_line(card.get("birthday"), limit=40):
        yield f"  Birthday: {birthday}"


def _typed(items: object, *keys: str) -> Iterator[str]:
    for item in as_list(items)[:_MOST_LINES]:
        entry = as_object(item)
        value = next((text for key in keys if (text := one_line(entry.get(key)))), "")
        if value:
            yield f"{value}{_kind(entry)}"


def _kind(entry: dict[str, Any]) -> str:
    kind = one_line(entry.get("type"), limit=40)
    return f" ({kind.lower()})" if kind else ""


def _vcard(text: object) -> dict[str, str]:
    """The first name, phone and e-mail of a vCard (RFC 6350): some cards carry nothing else."""
    found: dict[str, str] = {}
    for line in text.splitlines()[:100] if isinstance(text, str) else ():
        field, colon, value = line.partition(":")
        name = field.split(";")[0].rsplit(".", 1)[-1].upper()
        if colon and name in {"FN", "TEL", "EMAIL"} and (content := one_line(value)):
            found.setdefault(name, content)
    return found
