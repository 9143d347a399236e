"""The fields of a request to send, each with its form. Whether they mean something is judged later.

Every function gives the value back as it is kept, or raises ValueError with a sentence that says what is valid.
"""

from __future__ import annotations

import json
import re
from datetime import datetime
from typing import Any, get_args

from connector.events.triggers import Purpose
from connector.ingress.strict_json import UnreadableJson, read_json
from connector.whatsapp.numbers import bare_number, is_bsuid

MOST_PARAMETERS = 100
LARGEST_PARAMETERS = 32 * 1024
"""Characters of one recipient's parameters as JSON; a template body has 1,024, a carousel ten cards."""
LONGEST_REFERENCE = 256

# https://developers.facebook.com/documentation/business-messaging/whatsapp/templates/template-management
_TEMPLATE = re.compile(r"[a-z0-9_]{1,512}", re.ASCII)
_LANGUAGE = re.compile(r"[a-z]{2,3}(_[A-Z]{2})?", re.ASCII)
_PARAMETER = re.compile(r"[A-Za-z0-9_]{1,60}(\.[A-Za-z0-9_]{1,60}){0,3}", re.ASCII)
_PHONE = re.compile(r"[1-9][0-9]{6,14}", re.ASCII)
_SENDER = re.compile(r"[0-9]{5,20}", re.ASCII)
_HUBSPOT_ID = re.compile(r"[0-9]{1,20}", re.ASCII)
_SALESFORCE_ID = re.compile(r"[A-Za-z0-9]{15}([A-Z0-5]{3})?", re.ASCII)
_SUFFIX = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"
_MOMENT = re.compile(
    r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d(:\d\d(\.\d{1,6})?)?([Zz]|[+-]\d\d:\d\d)",
    re.ASCII,
)
_PURPOSES = get_args(Purpose)


def template_name(value: str) -> str:
    """A template's name as Meta writes it."""
    value = value.strip()
    if not _TEMPLATE.fullmatch(value):
        raise ValueError("must be a template's name: lower-case letters, digits and _, e.g. order_update")
    return value


def language(value: str) -> str:
    """A template's language code; "" for the contact's own."""
    value = value.strip()
    if value and not _LANGUAGE.fullmatch(value):
        raise ValueError("must be a language code of Meta's, e.g. en, en_US or pt_BR")
    return value


def sender(value: str) -> str:
    """Which of the business's numbers sends: its id, or the number itself; "" for the default."""
    value = value.strip()
    if value and not _SENDER.fullmatch(bare_number(value)):
        raise ValueError("must be a phone number id, or a business number with its country code")
    return value


def purpose(value: str) -> Purpose | None:
    """What the message is for; None for the template's own category."""
    value = value.strip().lower()
    if not value:
        return None
    for known in _PURPOSES:
        if value == known:
            return known  # type: ignore[no-any-return]
    raise ValueError(f"must be one of {', '.join(_PURPOSES)}, or empty for the template's own category")


def phone(value: str) -> str:
    """E.164, from a number that has its country code, however it is punctuated."""
    digits = bare_number(value)
    if not _PHONE.fullmatch(digits):
        raise ValueError("must be a phone number with its country code, e.g. +5511987654321")
    return "+" + digits


def bsuid(value: str) -> str:
    """A business-scoped user id."""
    if not is_bsuid(value):
        raise ValueError(
            "must be a business-scoped user id as WhatsApp writes it, e.g. US.13491208655302741918"
        )
    return value


def hubspot_id(value: str) -> str:
    """The record id of a contact in HubSpot."""
    if not _HUBSPOT_ID.fullmatch(value):
        raise ValueError("must be the record id of a HubSpot contact: digits")
    return value


def salesforce_id(value: str) -> str:
    """The id of a Contact or Lead in its 18-character form.

    https://developer.salesforce.com/docs → Object Reference, "ID Field Type": the last three characters tell the
    case of the first fifteen.
    """
    if not _SALESFORCE_ID.fullmatch(value):
        raise ValueError("must be the id of a Salesforce Contact or Lead: 15 or 18 letters and digits")
    whole = value[:15] + "".join(
        _SUFFIX[sum(1 << place for place, char in enumerate(value[start : start + 5]) if char.isupper())]
        for start in (0, 5, 10)
    )
    if len(value) == 18 and whole != value:
        raise ValueError("is no Salesforce id: its last three characters do not fit the others' upper case")
    return whole


def moment(value: Any) -> datetime:
    """A time with its offset from UTC."""
    if isinstance(value, str) and _MOMENT.fullmatch(value):
        try:
            return datetime.fromisoformat(value.upper())
        except ValueError:
            pass
    raise ValueError("must be a time with its offset, e.g. 2026-03-01T09:00:00Z or 2026-03-01T09:00:00+02:00")


def reference(value: str) -> str:
    """The caller's own text."""
    if len(value) > LONGEST_REFERENCE:
        raise ValueError(f"must have at most {LONGEST_REFERENCE} characters")
    return value


def parameters(value: Any) -> dict[str, Any]:
    """Names or positions with a text, a number, or an object of those (a media header, money, a date)."""
    if not isinstance(value, dict):
        raise ValueError(  # noqa: TRY004 - pydantic reports ValueError
            'must be an object of names and values, e.g. {"first_name": "Ana"} or {"1": "Ana"}'
        )
    if len(value) > MOST_PARAMETERS:
        raise ValueError(f"must have at most {MOST_PARAMETERS} names")
    for name, content in value.items():
        if not _PARAMETER.fullmatch(name):
            raise ValueError(
                f"{name[:60]!r} is no parameter's name: letters, digits and _, or a position such as 1, header, button.0"
            )
        if not _is_plain(content) and not (
            isinstance(content, dict) and content and all(map(_is_plain, content.values()))
        ):
            raise ValueError(f"{name} must be a text, a number, or an object of texts and numbers")
    if len(json.dumps(value, ensure_ascii=False)) > LARGEST_PARAMETERS:
        raise ValueError(f"must have at most {LARGEST_PARAMETERS} characters in all")
    return value


def typed_parameters(value: str) -> dict[str, Any]:
    """Parameters as a person types them into a CRM: a JSON object, or lines of name=value."""
    text = value.strip()
    if text.startswith(("{", "[", '"')):
        try:
            return parameters(read_json(text.encode("utf-8", "surrogatepass")))
        except UnreadableJson as error:
            raise ValueError(f"is not valid JSON: {error}") from None
    found: dict[str, Any] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        name, sign, content = line.partition("=")
        if not sign:
            raise ValueError(
                f"line {number} has no =; each line must be name=value, or the whole a JSON object"
            )
        if name.strip() in found:
            raise ValueError(f"line {number}: {name.strip()[:60]} is there twice")
        found[name.strip()] = content.strip()
    return parameters(found)


def _is_plain(value: Any) -> bool:
    return isinstance(value, str | int | float) and not isinstance(value, bool)
