"""Everybody on the simulated WhatsApp, as each business number gets to know them.

A person is found by phone or by business-scoped user id; both lead to one entry once they were seen together.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace

import phonenumbers

from connector.sandbox.whatsapp.payloads import Person
from connector.whatsapp.numbers import lookup_variants


@dataclass(kw_only=True)
class Acquaintance:
    """One person, and what passed between them and the business."""

    person: Person
    last_inbound: dict[str, float] = field(default_factory=dict)
    """Business number id → Unix seconds of the person's latest message to it: the window is one of a number."""
    opted_out: bool = False
    """Whether they told WhatsApp to stop this business's marketing messages."""
    busy_until: dict[str, float] = field(default_factory=dict)
    """Business number id → when the last place that its messages took in the pair limit comes free."""


class People:
    """Who is known. Nobody is ever forgotten."""

    def __init__(self) -> None:
        self._by_phone: dict[str, Acquaintance] = {}
        self._by_bsuid: dict[str, Acquaintance] = {}

    def everybody(self) -> list[Acquaintance]:
        """Return each person once."""
        return list({id(one): one for one in (*self._by_phone.values(), *self._by_bsuid.values())}.values())

    def meet(self, shown: Person) -> Acquaintance:
        """Find a person by what a message shows of them, and learn what is new."""
        found = self._by_bsuid.get(shown.bsuid or "") or self._by_phone.get(shown.wa_id or "")
        if found is None:
            found = Acquaintance(person=shown)
        known = found.person
        found.person = replace(
            known,
            name=shown.name or known.name,
            wa_id=shown.wa_id or known.wa_id,
            bsuid=shown.bsuid or known.bsuid,
            username=shown.username or known.username,
        )
        self._file(found)
        return found

    def moved(self, before: Person, after: Person) -> Acquaintance:
        """Follow a person to another number or user id; the old ones lead nowhere any more."""
        found = self.meet(before)
        self._by_phone.pop(before.wa_id or "", None)
        self._by_bsuid.pop(before.bsuid or "", None)
        found.person = replace(found.person, wa_id=after.wa_id or found.person.wa_id, bsuid=after.bsuid)
        self._file(found)
        return found

    def by_phone(self, digits: str) -> Acquaintance:
        """Return who has this phone, a stranger if nobody is known by it.

        Brazilian and Mexican numbers are also found as WhatsApp writes them ("wa_id may not match the input").
        """
        for variant in lookup_variants(digits):
            if variant in self._by_phone:
                return self._by_phone[variant]
        return self.meet(introduced(Person(wa_id=digits)))

    def by_bsuid(self, bsuid: str) -> Acquaintance | None:
        """Return who has this user id. Ids cannot be guessed: a stranger has none."""
        return self._by_bsuid.get(bsuid)

    def _file(self, found: Acquaintance) -> None:
        if found.person.wa_id:
            self._by_phone[found.person.wa_id] = found
        if found.person.bsuid:
            self._by_bsuid[found.person.bsuid] = found


def introduced(person: Person) -> Person:
    """Return the person with the user id that every inbound message carries since April 2026."""
    if person.bsuid is not None or person.wa_id is None:
        return person
    return replace(person, bsuid=bsuid_of(person.wa_id, country=_country(person.wa_id)))


def _country(digits: str) -> str:
    try:
        return phonenumbers.region_code_for_number(phonenumbers.parse(f"+{digits}")) or "US"
    except phonenumbers.NumberParseException:
        return "US"


def bsuid_of(digits: str, *, country: str = "US") -> str:
    """Return the user id of a phone that nobody chose one for: always the same."""
    number = int.from_bytes(hashlib.sha256(digits.encode()).digest()[:8], "big")
    return f"{country}.{10**15 + number % (9 * 10**15)}"
