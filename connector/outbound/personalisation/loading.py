"""The personalisation file → `Personalisation`, or a `SettingsError` that names every wrong line and what is valid."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from babel.numbers import is_currency

from connector.errors import SettingsError
from connector.outbound.personalisation.filling import ParameterRule, Personalisation
from connector.outbound.personalisation.formats import FORMATS, Format
from connector.outbound.templates.reading import language_code
from connector.sync.mapping.document import (
    Entry,
    Problems,
    constant,
    entries,
    items,
    line_of,
    read_document,
    words,
)

VERSION = "1"
CRMS = ("hubspot", "salesforce")
_PARTS = ("version", "languages", "templates")
_RULE_KEYS = (*CRMS, "value", "format", "otherwise", "currency")
_LANGUAGE_KEYS = (*CRMS, "fallbacks")


def load_personalisation(path: Path | None) -> Personalisation:
    """Read a file; None: no rules, every parameter comes from the trigger.

    Raises:
        SettingsError: it cannot be read, or something in it is wrong: every line, with what is valid.

    """
    if path is None:
        return Personalisation()
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise SettingsError(
            f"The personalisation {path} cannot be read: {reason}. Nothing was sent.",
            advice="correct CONNECTOR_OUTBOUND__PERSONALISATION; without it every parameter comes from the trigger",
        ) from None
    return read_personalisation(text, source=str(path))


def read_personalisation(text: str, *, source: str) -> Personalisation:
    """Read the text of a file. Raises as `load_personalisation` does."""
    problems = Problems()
    root = read_document(text, problems)
    parts = _parts(root, problems) if root is not None else {}
    language_properties, fallbacks = _languages(parts.get("languages"), problems)
    templates = {
        entry.name: _rules(entry, problems)
        for entry in (entries(parts["templates"], problems, what="templates") if "templates" in parts else ())
    }
    if problems:
        raise SettingsError(
            f"The personalisation {source} is refused: {problems}. Nothing was sent.",
            advice="correct these lines; docs/outbound.md says what is valid",
        )
    return Personalisation(
        templates=templates, language_properties=language_properties, fallback_languages=fallbacks
    )


def _parts(root: yaml.Node, problems: Problems) -> dict[str, yaml.Node]:
    found = {entry.name: entry for entry in entries(root, problems, what="the file")}
    for name, entry in found.items():
        if name not in _PARTS:
            problems.add(entry.line, f"the file has no part {name}; valid: {', '.join(_PARTS)}")
    if "version" not in found:
        problems.add(line_of(root), f"version: {VERSION} is missing")
    elif (version := words(found["version"].value, problems, what="version")) not in (VERSION, None):
        problems.add(found["version"].line, f"version {version} is not known; valid: {VERSION}")
    return {name: entry.value for name, entry in found.items()}


def _languages(node: yaml.Node | None, problems: Problems) -> tuple[dict[str, str], tuple[str, ...]]:
    properties: dict[str, str] = {}
    fallbacks: list[str] = []
    for entry in entries(node, problems, what="languages") if node is not None else ():
        if entry.name in CRMS:
            properties[entry.name] = words(entry.value, problems, what=f"languages.{entry.name}") or ""
        elif entry.name == "fallbacks":
            for item in items(entry.value, problems, what="languages.fallbacks"):
                language = words(item, problems, what="a language")
                fallbacks.append(language_code(language or ""))
        else:
            problems.add(entry.line, f"languages has no {entry.name}; valid: {', '.join(_LANGUAGE_KEYS)}")
    return properties, tuple(fallbacks)


def _rules(template: Entry, problems: Problems) -> dict[str, ParameterRule]:
    return {
        entry.name: rule
        for entry in entries(template.value, problems, what=f"templates.{template.name}")
        if (rule := _rule(entry, problems)) is not None
    }


def _rule(parameter: Entry, problems: Problems) -> ParameterRule | None:
    what = f"the parameter {parameter.name}"
    found = {entry.name: entry for entry in entries(parameter.value, problems, what=what)}
    for name, entry in found.items():
        if name not in _RULE_KEYS:
            problems.add(entry.line, f"{what} has no {name}; valid: {', '.join(_RULE_KEYS)}")
    properties = {
        crm: words(found[crm].value, problems, what=f"{what}: {crm}") or "" for crm in CRMS if crm in found
    }
    value: Any = None
    if "value" in found:
        value = constant(found["value"].value, problems, what=f"{what}: value")
    if bool(properties) == ("value" in found):
        problems.add(parameter.line, f"{what} needs a property of a CRM ({', '.join(CRMS)}), or a value")
    style = _style(found.get("format"), problems, what=what)
    currency, currency_properties = _currency(found.get("currency"), problems, what=what)
    if style == "money" and not (currency or currency_properties):
        problems.add(
            parameter.line, f"{what}: money needs a currency, e.g. EUR or {{salesforce: CurrencyIsoCode}}"
        )
    otherwise = (
        words(found["otherwise"].value, problems, what=f"{what}: otherwise") if "otherwise" in found else ""
    )
    return ParameterRule(
        properties=properties,
        value=value,
        style=style,
        otherwise=otherwise or "",
        currency=currency,
        currency_properties=currency_properties,
    )


def _style(entry: Entry | None, problems: Problems, *, what: str) -> Format:
    if entry is None:
        return "text"
    named = words(entry.value, problems, what=f"{what}: format")
    for style in FORMATS:
        if style == named:
            return style
    if named is not None:
        problems.add(entry.line, f"{what}: there is no format {named}; valid: {', '.join(FORMATS)}")
    return "text"


def _currency(entry: Entry | None, problems: Problems, *, what: str) -> tuple[str, dict[str, str]]:
    if entry is None:
        return "", {}
    if isinstance(entry.value, yaml.MappingNode):
        found = entries(entry.value, problems, what=f"{what}: currency")
        for item in found:
            if item.name not in CRMS:
                problems.add(item.line, f"{what}: there is no CRM {item.name}; valid: {', '.join(CRMS)}")
        return "", {item.name: words(item.value, problems, what=f"{what}: currency") or "" for item in found}
    code = (words(entry.value, problems, what=f"{what}: currency") or "").upper()
    if code and not is_currency(code):
        problems.add(entry.line, f"{what}: {code} is no currency of ISO 4217")
    return code, {}
