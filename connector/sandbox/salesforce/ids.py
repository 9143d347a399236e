"""Record ids: 15 characters that tell case, and 3 that make up for systems that do not."""

from __future__ import annotations

_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_SUFFIX = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"


def record_id(prefix: str, number: int) -> str:
    """The 18-character id of the `number`th record of an object with this key prefix."""
    digits = ""
    while number:
        number, rest = divmod(number, len(_DIGITS))
        digits = _DIGITS[rest] + digits
    return with_suffix(f"{prefix}5g{digits.rjust(10, '0')}")


def with_suffix(short: str) -> str:
    """The 18-character form of a 15-character id: each suffix letter tells which of five are upper-case."""
    suffix = ""
    for start in (0, 5, 10):
        bits = sum(1 << place for place, letter in enumerate(short[start : start + 5]) if letter.isupper())
        suffix += _SUFFIX[bits]
    return short + suffix


def normal(value: str) -> str:
    """An id as it is kept: 15-character ids are accepted wherever 18-character ones are."""
    return with_suffix(value) if len(value) == 15 and value.isalnum() else value
