"""Which person a record may have been found for, when one search asked for many.

Coarse on purpose: by the last digits, with anything between them. Whether the number is really theirs is decided
by `sync/core/adoption.py`, which reads it in full.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence

import phonenumbers

from connector.crm.port import CandidateContact, ContactQuery

TAIL = 8
"""Digits from the end that no way of writing a number changes: neither country code nor trunk zero, nor the mobile
digit that Brazil, Mexico and Argentina put in, is among them."""


def tail(phone: str) -> str:
    """The last digits of a number."""
    return phone[-TAIL:]


def written_forms(phone: str) -> list[str]:
    """How people and programs usually write a number of these digits, where nothing but equality can be asked for."""
    forms = [f"+{phone}", phone]
    try:
        number = phonenumbers.parse(f"+{phone}")
    except phonenumbers.NumberParseException:
        return forms
    forms += [
        phonenumbers.format_number(number, style)
        for style in (phonenumbers.PhoneNumberFormat.INTERNATIONAL, phonenumbers.PhoneNumberFormat.NATIONAL)
    ]
    return list(dict.fromkeys((*forms, *("".join(filter(str.isdigit, form)) for form in forms))))


def attribute(
    queries: Sequence[ContactQuery], found: Iterable[CandidateContact]
) -> list[list[CandidateContact]]:
    """For each query the records that have its key, or a number with its last digits in order."""
    records = [(item, [_digits(phone) for phone in item.phones]) for item in found]
    hits = []
    for query in queries:
        tails = {tail(phone) for phone in query.phones}
        hits.append(
            [
                item
                for item, numbers in records
                if item.key == query.key
                or any(_in_order(digits, number) for digits in tails for number in numbers)
            ]
        )
    return hits


def _digits(phone: str) -> str:
    return "".join(str(unicodedata.digit(letter)) for letter in phone if letter.isdigit())


def _in_order(digits: str, number: str) -> bool:
    rest = iter(number)
    return all(digit in rest for digit in digits)
