"""Who is not written to the CRM for now, and why. Pure.

A person who is held is folded like everybody else, so that all is there when the hold ends; what waits for them is
no work of the writer's.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from connector.sync.core.contacts import ContactFacts
from connector.sync.core.desired import contact_profile
from connector.whatsapp.numbers import bare_number, is_bsuid, lookup_variants


class Hold(StrEnum):
    """Why a person is not written; the words stand in the tables."""

    LOOKUP = "lookup"
    """Their number has not been looked up in the CRM yet: it ends by itself, in moments."""
    UNKNOWN = "unknown"
    """They are not in the CRM, and contacts are not created (`known_only`)."""
    IGNORED = "ignored"
    """They are on the ignore list."""
    DELETED = "deleted"
    """Somebody deleted their record: it is made anew when they write again."""
    ERASED = "erased"
    """Their record was erased for good: nothing is made anew, unless a person enters them again."""
    REFUSED = "refused"
    """The CRM refuses to make their record: tried again when their facts change or a person says so."""


@dataclass(frozen=True, kw_only=True, slots=True)
class HoldRules:
    """What the settings say. `ignore`: the digits of phones, in every variant, and BSUIDs."""

    create_contacts: bool = True
    ignore: frozenset[str] = frozenset()

    @classmethod
    def of(cls, *, create_contacts: str, ignore: Iterable[str]) -> HoldRules:
        """Read the settings `always | known_only` and a list of phones and BSUIDs as people write them."""
        names: set[str] = set()
        for name in ignore:
            bare = name.strip()
            names.update([bare] if is_bsuid(bare) else lookup_variants(bare_number(bare)))
        return cls(create_contacts=create_contacts == "always", ignore=frozenset(names - {""}))


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """Where a person stands with the CRM. `looked_up_phone`: the number that was last searched for."""

    held: Hold | None = None
    record_id: str | None = None
    looked_up_phone: str | None = None
    erased: bool = False


def lookup_phone(facts: ContactFacts) -> str | None:
    """The number to look a person up by, E.164; None while it is not known."""
    phone = contact_profile(facts).phone
    return phone if phone.removeprefix("+").isdigit() else None


def is_ignored(facts: ContactFacts, rules: HoldRules) -> bool:
    """Whether the person is on the ignore list, by phone or BSUID."""
    if not rules.ignore:
        return False
    profile = contact_profile(facts)
    return profile.bsuid in rules.ignore or profile.phone.removeprefix("+") in rules.ignore


def hold(standing: Standing, *, before: ContactFacts, after: ContactFacts, rules: HoldRules) -> Hold | None:
    """Why the person is held now that their facts are `after`; None: they are written."""
    if is_ignored(after, rules):
        return Hold.IGNORED
    if standing.record_id is not None:
        return None
    if standing.held is Hold.DELETED and not _wrote_again(before, after):
        return Hold.DELETED
    phone = lookup_phone(after)
    if phone is not None and phone != standing.looked_up_phone:
        return Hold.LOOKUP
    if standing.erased:
        return Hold.ERASED
    return None if rules.create_contacts else Hold.UNKNOWN


def _wrote_again(before: ContactFacts, after: ContactFacts) -> bool:
    return (after.get("last_inbound_at") or 0) > (before.get("last_inbound_at") or 0)
