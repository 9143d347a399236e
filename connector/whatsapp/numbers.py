"""Phones and business-scoped user ids (BSUID): telling them apart, E.164, and variants for look-up only.

What WhatsApp wrote is stored and used for replies verbatim. Meta: "wa_id may not match the input number";
Brazilian and Mexican prefixes are rewritten on its side.
"""

from __future__ import annotations

import re
from functools import lru_cache

import phonenumbers

_PUNCTUATION = re.compile(r"[\s().\-/+\u200e\u200f\u202a-\u202e]+")
_PHONE = re.compile(r"[0-9]{5,15}", re.ASCII)
# CC.<alphanumerics>, parents CC.ENT.<alphanumerics>; `user.<hex>` was the form of Meta's draft of November 2025.
_BSUID = re.compile(r"(?:[A-Z]{2}\.(?:ENT\.)?[A-Za-z0-9]{1,128}|user\.[A-Za-z0-9._-]{1,250})", re.ASCII)


def is_bsuid(value: str) -> bool:
    """Whether the text has the form of a BSUID. It sits in `from` and `wa_id` of some webhooks (nyaruka/courier)."""
    return _BSUID.fullmatch(value) is not None


@lru_cache(maxsize=65_536)
def bare_number(value: str) -> str:
    """The digits of a phone however it was punctuated; text that is no phone is given back trimmed."""
    digits = _PUNCTUATION.sub("", value)
    return digits if _PHONE.fullmatch(digits) else value.strip()


@lru_cache(maxsize=65_536)
def e164(wa_id: str) -> str | None:
    """`+` and the digits, when they are a possible number of their country; None for anything else.

    Possible, not valid: WhatsApp accounts exist under numbers that the numbering plan no longer knows, such as
    Brazilian mobiles without the ninth digit and Mexican ones with the 1. Nothing is reformatted, so it names
    the same account.
    """
    if not _PHONE.fullmatch(wa_id) or not any(map(_is_possible, lookup_variants(wa_id))):
        return None
    return "+" + wa_id


def _is_possible(digits: str) -> bool:
    try:
        return phonenumbers.is_possible_number(phonenumbers.parse("+" + digits, None))
    except phonenumbers.NumberParseException:
        return False


def lookup_variants(digits: str) -> tuple[str, ...]:
    """Every form under which the same phone may be on file, the given one first. Never for rewriting.

    Brazil: with and without the ninth digit of a mobile, never for a landline. Mexico: 521… and 52….
    Argentina: 549… also finds 54…, but not the reverse, which would join a mobile to a landline
    (chatwoot/chatwoot#14264, #14657).
    """
    variants = [digits]
    if digits.startswith("55") and len(digits) == 13 and digits[4] == "9" and digits[5] in "6789":
        variants.append(digits[:4] + digits[5:])
    elif digits.startswith("55") and len(digits) == 12 and digits[4] in "6789":
        variants.append(digits[:4] + "9" + digits[4:])
    elif digits.startswith("521") and len(digits) == 13:
        variants.append("52" + digits[3:])
    elif digits.startswith("52") and len(digits) == 12:
        variants.append("521" + digits[2:])
    elif digits.startswith("549") and len(digits) == 13:
        variants.append("54" + digits[3:])
    return tuple(variants)
