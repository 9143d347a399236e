"""Facts about a person → properties of a CRM record, by rules. Pure; the rules are read from a mapping file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum

from connector.crm.port import ContactProfile
from connector.crm.properties import Kind, MappedProperty, PropertyValue
from connector.sync.core.layout import ActivityLayout, MessageLayout
from connector.sync.core.rendering.wording import moment


@dataclass(frozen=True, slots=True)
class Fact:
    """Something known about a person. `read` gets the profile and our key; "" and None: not known."""

    kind: Kind
    says: str
    read: Callable[[ContactProfile, str], str | datetime | None]


def _display_name(profile: ContactProfile) -> str:
    return profile.name.strip() or (f"@{profile.username}" if profile.username else "")


def _best_name(profile: ContactProfile, key: str) -> str:
    return _display_name(profile) or profile.phone or profile.bsuid or key


FACTS: Mapping[str, Fact] = {
    "bsuid": Fact(Kind.TEXT, "WhatsApp's id of the person within your business", lambda who, _: who.bsuid),
    "phone": Fact(Kind.PHONE, "the number, E.164; a person may hide it", lambda who, _: who.phone),
    "username": Fact(Kind.TEXT, "the WhatsApp username, without @", lambda who, _: who.username),
    "name": Fact(Kind.TEXT, "the name in the WhatsApp profile", lambda who, _: who.name),
    "display_name": Fact(Kind.TEXT, "the name, else @username", lambda who, _: _display_name(who)),
    "best_name": Fact(
        Kind.TEXT, "the name, else @username, number, id or our key: there is always one", _best_name
    ),
    "ad_source": Fact(Kind.TEXT, "the latest ad that the person came from", lambda who, _: who.ad_source),
    "last_inbound_at": Fact(Kind.DATETIME, "when the person last wrote", lambda who, _: who.last_inbound_at),
    "window_open_until": Fact(
        Kind.DATETIME, "until when you may answer freely", lambda who, _: who.window_open_until
    ),
}
"""Every fact that a mapping may name."""

LEDGER_FACTS: Mapping[str, Callable[[ContactProfile], str | datetime | None]] = {
    "marketing_consent": lambda who: who.marketing_consent,
    "utility_consent": lambda who: who.utility_consent,
    "consent_changed_at": lambda who: who.consent_changed_at,
}
"""Facts of the consent ledger: their properties are the connector's own, written always, and by no mapping."""
RESERVED_FACTS = frozenset(LEDGER_FACTS)


class Format(StrEnum):
    """In which form a fact is written."""

    PLAIN = "plain"
    DATE = "date"
    TEXT = "text"
    DIGITS = "digits"


FORMATS: Mapping[Kind, Mapping[Format, Kind]] = {
    Kind.TEXT: {Format.PLAIN: Kind.TEXT},
    Kind.PHONE: {Format.PLAIN: Kind.PHONE, Format.DIGITS: Kind.PHONE, Format.TEXT: Kind.TEXT},
    Kind.DATETIME: {Format.PLAIN: Kind.DATETIME, Format.DATE: Kind.DATE, Format.TEXT: Kind.TEXT},
}
"""Kind of a fact → the formats it can be written in → the kind that comes out."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ContactRule:
    """One property: from which fact, or which constant. `line`: where the mapping says so, 0 the built-in one."""

    name: str
    fact: str = ""
    constant: PropertyValue = None
    format: Format = Format.PLAIN
    only_new: bool = False
    clear: bool = False
    line: int = 0

    @property
    def kind(self) -> Kind:
        """The kind of value that is written."""
        if self.fact:
            return FORMATS[FACTS[self.fact].kind][self.format]
        if isinstance(self.constant, bool):
            return Kind.BOOLEAN
        return Kind.NUMBER if isinstance(self.constant, int | float) else Kind.TEXT

    def value(self, profile: ContactProfile, key: str) -> PropertyValue:
        """What it says of this person; None: the fact is not known."""
        if not self.fact:
            return self.constant
        known = FACTS[self.fact].read(profile, key)
        return _formatted(known, self.format) if known else None


@dataclass(frozen=True, kw_only=True, slots=True)
class ContactMapping:
    """All properties of one CRM. `ledger`: property → the fact of the consent ledger that it holds."""

    rules: Sequence[ContactRule]
    ledger: Mapping[str, str] = field(default_factory=dict)

    def always(self, profile: ContactProfile, *, key: str) -> dict[str, PropertyValue]:
        """What every write says. Unknown facts are left alone, or cleared where the rule says so."""
        values = _values((rule for rule in self.rules if not rule.only_new), profile, key)
        said = {rule.name: value for rule, value in values if value is not None or rule.clear}
        consent = {name: LEDGER_FACTS[fact](profile) for name, fact in self.ledger.items()}
        return said | {name: value for name, value in consent.items() if value}

    def once(self, profile: ContactProfile, *, key: str) -> dict[str, PropertyValue]:
        """What is said when a record is made, and never again."""
        values = _values((rule for rule in self.rules if rule.only_new), profile, key)
        return {rule.name: value for rule, value in values if value is not None}


@dataclass(frozen=True, kw_only=True, slots=True)
class SyncMapping:
    """What is written where. `source`: the file it was read from, `built-in` without one."""

    source: str
    contacts: Mapping[str, ContactMapping]
    layout: ActivityLayout

    def mapped(self, crm: str) -> list[MappedProperty]:
        """The properties that the file, and not the built-in mapping, writes: the CRM has to have them."""
        return [
            MappedProperty(
                name=rule.name,
                kind=rule.kind,
                constant=rule.constant,
                only_new=rule.only_new,
                where=f"{self.source}, line {rule.line}",
            )
            for rule in self.contacts[crm].rules
            if rule.line
        ]

    @property
    def version(self) -> str:
        """Names what the mapping says: comments and the order of lines do not change it."""
        said = {
            "contacts": {
                crm: sorted(
                    [rule.name, rule.fact, rule.constant, rule.format, rule.only_new, rule.clear]
                    for rule in mapping.rules
                )
                for crm, mapping in self.contacts.items()
            },
            "usual": _said(self.layout.usual),
            "families": {name: _said(layout) for name, layout in self.layout.families.items()},
        }
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:12]


def _said(layout: MessageLayout) -> list[object]:
    return [[one.source for one in layout.subject], layout.text.source, layout.details]


def _values(
    rules: Iterable[ContactRule], profile: ContactProfile, key: str
) -> list[tuple[ContactRule, PropertyValue]]:
    return [(rule, rule.value(profile, key)) for rule in rules]


def _formatted(value: str | datetime, form: Format) -> PropertyValue:
    if isinstance(value, datetime):
        if form is Format.DATE:
            return value.astimezone(UTC).date()
        return moment(int(value.timestamp() * 1000)) if form is Format.TEXT else value
    return value.removeprefix("+") if form is Format.DIGITS else value
