"""Where a person is, as far as their number tells: country and time zones. Pure look-ups in tables that ship with us.

A BSUID begins with the country of its person (`US.1349…`). Zones of a phone come from libphonenumber's prefix table;
where that spans countries or names stand-ins (all of +7, Bucharest for Kaliningrad), the country's own zones of the
IANA database (zone.tab) count.
"""

from __future__ import annotations

import re
from functools import cache, lru_cache
from importlib.resources import files

import phonenumbers
from phonenumbers.timezone import time_zones_for_number

_BSUID_COUNTRY = re.compile(r"([A-Z]{2})\.", re.ASCII)


@lru_cache(maxsize=65_536)
def country_of(phone: str, bsuid: str = "") -> str:
    """ISO country of a phone (E.164), else of a BSUID; "" when neither tells."""
    number = _parsed(phone)
    if number is not None:
        region = phonenumbers.region_code_for_number(number)
        region = region or phonenumbers.region_code_for_country_code(number.country_code or 0)
        if len(region) == 2 and region.isalpha() and region != "ZZ":
            return region
    found = _BSUID_COUNTRY.match(bsuid)
    return found[1] if found else ""


@lru_cache(maxsize=65_536)
def zones_of(phone: str, bsuid: str = "") -> tuple[str, ...]:
    """IANA zones in which the person may be, the country's most populous first; empty when nothing tells."""
    by_country = zones_of_country(country_of(phone, bsuid))
    number = _parsed(phone)
    by_prefix = time_zones_for_number(number) if number is not None else ()
    if by_prefix and set(by_prefix) <= set(by_country):
        return tuple(zone for zone in by_country if zone in set(by_prefix))
    return by_country


@cache
def _table() -> dict[str, tuple[str, ...]]:
    found: dict[str, list[str]] = {}
    for line in files("tzdata.zoneinfo").joinpath("zone.tab").read_text("utf-8").splitlines():
        if line and not line.startswith("#"):
            country, _, zone, *_ = line.split("\t")
            found.setdefault(country, []).append(zone)
    return {country: tuple(zones) for country, zones in found.items()}


def zones_of_country(country: str) -> tuple[str, ...]:
    """The zones of an ISO country."""
    return _table().get(country, ())


def _parsed(phone: str) -> phonenumbers.PhoneNumber | None:
    if not phone:
        return None
    try:
        return phonenumbers.parse(phone if phone.startswith("+") else f"+{phone}", None)
    except phonenumbers.NumberParseException:
        return None
