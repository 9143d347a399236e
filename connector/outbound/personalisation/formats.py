"""CRM values as people read them in a message: names, dates, times, numbers and money in the template's language.

What a CRM holds is somebody's typing or another system's form: a value that cannot be read as what the rule says it
is gives None, and the rule's fall-back is used. Line breaks and runs of spaces become one space, because WhatsApp
refuses them (132018).
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Any, Literal
from zoneinfo import ZoneInfo

from babel import Locale, UnknownLocaleError
from babel.dates import format_date, format_time
from babel.numbers import format_currency, format_decimal, is_currency

from connector.whatsapp.text import storable

Format = Literal["text", "name", "date", "time", "number", "money"]
FORMATS: tuple[Format, ...] = ("text", "name", "date", "time", "number", "money")

_MILLISECONDS_FROM = 100_000_000_000  # as seconds it would be the year 5138


@lru_cache(maxsize=256)
def locale_of(language: str) -> Locale:
    """The locale of a template's language; English where the tables have none."""
    for name in (language, language.partition("_")[0]):
        try:
            return Locale.parse(name)
        except (UnknownLocaleError, ValueError):
            continue
    return Locale.parse("en")


def formatted(
    value: Any, *, style: Format, language: str, zone: ZoneInfo | None = None, currency: str = ""
) -> str | None:
    """The value as a person reads it; None: it is empty, or cannot be read as the style says.

    `zone`: of dates and times that are moments (UTC without one). `currency`: ISO 4217, for money.
    """
    text = _one_line(value)
    if not text:
        return None
    match style:
        case "text":
            return text
        case "name":
            return _name(text)
        case "date":
            day = _day(text, zone)
            return None if day is None else str(format_date(day, format="long", locale=locale_of(language)))
        case "time":
            moment = _moment(text)
            if moment is None:
                return None
            local = moment.astimezone(zone or UTC)
            return _one_line(format_time(local.time(), format="short", locale=locale_of(language)))
        case "number":
            number = _number(text)
            return None if number is None else str(format_decimal(number, locale=locale_of(language)))
        case "money":
            number = _number(text)
            if number is None or not is_currency(currency.upper()):
                return None
            return str(format_currency(number, currency.upper(), locale=locale_of(language)))


def _one_line(value: Any) -> str:
    if value is None or isinstance(value, bool | dict | list):
        return ""
    return " ".join(storable(str(value)).split())


def _name(text: str) -> str:
    """ANA MARIA and ana maria → Ana Maria; a name with both cases is as its owner writes it."""
    return text.title() if text.isupper() or text.islower() else text


def _day(text: str, zone: ZoneInfo | None) -> date | None:
    """A day as it stands. Midnight UTC is how HubSpot stores a day, and stays that day everywhere."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        moment = _moment(text)
    if moment is None:
        return None
    utc = moment.astimezone(UTC)
    if (utc.hour, utc.minute, utc.second) == (0, 0, 0):
        return utc.date()
    return moment.astimezone(zone or UTC).date()


def _moment(text: str) -> datetime | None:
    """ISO 8601 (UTC when it names no offset) or Unix milliseconds or seconds."""
    try:
        if text.lstrip("-").isdecimal() and len(text) > 8:
            seconds = int(text) / 1000 if abs(int(text)) >= _MILLISECONDS_FROM else int(text)
            return datetime.fromtimestamp(seconds, tz=UTC)
        moment = datetime.fromisoformat(text)
    except (ValueError, OverflowError, OSError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _number(text: str) -> Decimal | None:
    """A number as a program writes it: 1234.5. Grouping is ambiguous (1,234), so it is not guessed."""
    try:
        number = Decimal(text)
    except InvalidOperation:
        return None
    return number if number.is_finite() and abs(number) < Decimal(10) ** 15 else None
