"""Parameters of a send: what the trigger gives, then what a rule finds in the CRM, then the rule's fall-back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from zoneinfo import ZoneInfo

from connector.outbound.personalisation.formats import Format, formatted
from connector.outbound.templates.slots import slots_of
from connector.outbound.templates.template import Template

ANY_TEMPLATE = "*"

CrmProperties = Mapping[str, Mapping[str, Any]]
"""CRM name → property → value, as read."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ParameterRule:
    """Where one parameter comes from. `properties`: CRM name → property. `value`: a constant instead."""

    properties: Mapping[str, str] = field(default_factory=dict)
    value: Any = None
    style: Format = "text"
    otherwise: str = ""
    """Used when the CRM has nothing, or nothing that can be read as the style says."""
    currency: str = ""
    """ISO 4217, for money."""
    currency_properties: Mapping[str, str] = field(default_factory=dict)
    """CRM name → property that holds the currency; goes before `currency`."""

    def read_from(self, crm: str) -> frozenset[str]:
        """The properties of a CRM that it needs."""
        return frozenset({self.properties.get(crm, ""), self.currency_properties.get(crm, "")} - {""})


@dataclass(frozen=True, kw_only=True, slots=True)
class Personalisation:
    """The rules of one deployment: template name (or `*`) → parameter → rule."""

    templates: Mapping[str, Mapping[str, ParameterRule]] = field(default_factory=dict)
    language_properties: Mapping[str, str] = field(default_factory=dict)
    """CRM name → property that holds the contact's language."""
    fallback_languages: tuple[str, ...] = ()

    def rules(self, template: str) -> Mapping[str, ParameterRule]:
        """Those of one template, over those of all."""
        return {**self.templates.get(ANY_TEMPLATE, {}), **self.templates.get(template, {})}

    def read_from(self, crm: str) -> frozenset[str]:
        """Every property of a CRM that some message may need."""
        names = {self.language_properties.get(crm, "")}
        for rules in self.templates.values():
            names |= {name for rule in rules.values() for name in rule.read_from(crm)}
        return frozenset(names - {""})

    def needs(
        self, versions: Sequence[Template], given: Mapping[str, Any], *, language: str, crms: Sequence[str]
    ) -> dict[str, frozenset[str]]:
        """CRM → the properties that one send is filled in from: of what its trigger leaves out, in any language."""
        if not versions or not crms:
            return {}
        rules = self.rules(versions[0].name)
        open_rules = [
            rule
            for slot in {slot.key: slot for version in versions for slot in slots_of(version)}.values()
            if slot.given(given) is None
            and (rule := rules.get(slot.key) or rules.get(slot.alias)) is not None
        ]
        found: dict[str, frozenset[str]] = {}
        for crm in crms:
            names = {name for rule in open_rules for name in rule.read_from(crm)}
            if not language:
                names.add(self.language_properties.get(crm, ""))
            if names - {""}:
                found[crm] = frozenset(names - {""})
        return found

    def languages(self, properties: CrmProperties, *, crms: Sequence[str]) -> tuple[str, ...]:
        """The contact's languages, those of the first CRM first."""
        found = (properties.get(crm, {}).get(self.language_properties.get(crm, "")) for crm in crms)
        return tuple(str(language) for language in found if language)


@dataclass(frozen=True, kw_only=True, slots=True)
class Filled:
    """Parameters ready to be checked, and where each came from: trigger, constant, crm.property, fall-back."""

    parameters: Mapping[str, Any]
    sources: Mapping[str, str]


def filled(
    personalisation: Personalisation,
    template: Template,
    given: Mapping[str, Any],
    properties: CrmProperties,
    *,
    crms: Sequence[str],
    zone: ZoneInfo | None = None,
) -> Filled:
    """The parameters of a send. `crms`: in the order in which their values are preferred. `zone`: the recipient's.

    What the trigger gives is passed on as it is, unknown names included, so that the check can name them.
    """
    parameters: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    sources = dict.fromkeys(parameters, "trigger")
    rules = personalisation.rules(template.name)
    for slot in slots_of(template):
        if slot.given(parameters) is not None:
            continue
        key = slot.key if slot.key in rules else slot.alias
        rule = rules.get(key)
        if rule is None:
            continue
        value, source = _found(rule, properties, crms=crms, language=template.language, zone=zone)
        if value is not None:
            parameters[key], sources[key] = value, source
    return Filled(parameters=parameters, sources=sources)


def _found(
    rule: ParameterRule,
    properties: CrmProperties,
    *,
    crms: Sequence[str],
    language: str,
    zone: ZoneInfo | None,
) -> tuple[Any, str]:
    if rule.value is not None:
        return rule.value, "constant"
    for crm in crms:
        name = rule.properties.get(crm)
        record = properties.get(crm, {})
        if not name:
            continue
        currency = str(record.get(rule.currency_properties.get(crm, "")) or rule.currency)
        value = formatted(record.get(name), style=rule.style, language=language, zone=zone, currency=currency)
        if value is not None:
            return value, f"{crm}.{name}"
    return (rule.otherwise, "fall-back") if rule.otherwise else (None, "")
