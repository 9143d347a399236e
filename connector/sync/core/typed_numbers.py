"""Phone numbers as people type them into a CRM, read as the numbers they may mean. Pure.

`+55 (11) 98765-4321`, `0055…`, `(11) 98765-4321`, `5511987654321`, `tel:…`, `… ext. 12`: whether a record's number
is a person's is decided by meaning, never by the text, and never by the last digits alone.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

import phonenumbers

_INTERNATIONAL = re.compile(r"[^\d+]*\+")
_DIALLED_ABROAD = re.compile(r"\D*0\D*0")
_NATIONAL_MARKS = re.compile(r"\(|^0")
"""An area code in parentheses, or a trunk zero: no country code was meant to be there."""


@lru_cache(maxsize=65_536)
def readings(typed: str, *, region: str) -> frozenset[str]:
    """The digits of every international number that the text may mean; none when it is no number.

    Without a country code it is a number of `region` (ISO 3166, "" for none). One that is no valid number there
    may also be an international one whose "+" was left out. An extension does not make another number.
    """
    text = _plain(typed)
    if _INTERNATIONAL.match(text):
        return _digits(_parsed(text[text.index("+") :]))
    abroad = _DIALLED_ABROAD.match(text)
    if abroad:
        # Before the region's own rules, which read 0055 in Brazil as a carrier that dials abroad.
        return _digits(_parsed("+" + text[abroad.end() :]))
    found: frozenset[str] = frozenset()
    if region:
        national = _parsed(text, region)
        found = _digits(national)
        if national is not None and phonenumbers.is_valid_number(national):
            return found
    if not _NATIONAL_MARKS.search(text):
        international = _parsed("+" + text)
        if international is not None and phonenumbers.is_valid_number(international):
            found |= _digits(international)
    return found


def _plain(typed: str) -> str:
    """Full-width digits and signs as ASCII, without the invisible marks that come along when a number is copied."""
    text = unicodedata.normalize("NFKC", typed)
    return "".join(letter for letter in text if unicodedata.category(letter) != "Cf").strip()


def _parsed(text: str, region: str | None = None) -> phonenumbers.PhoneNumber | None:
    try:
        return phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException:
        return None


def _digits(number: phonenumbers.PhoneNumber | None) -> frozenset[str]:
    if number is None:
        return frozenset()
    return frozenset({f"{number.country_code}{phonenumbers.national_significant_number(number)}"})
