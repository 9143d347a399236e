"""The part `contact` of a mapping: property ← fact or constant, by CRM, laid over the built-in rules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TypeVar

import yaml

from connector.crm.properties import Kind, MappedProperty
from connector.sync.core.mapping import (
    FACTS,
    FORMATS,
    RESERVED_FACTS,
    ContactMapping,
    ContactRule,
    Format,
)
from connector.sync.mapping.document import Entry, Problems, constant, entries, line_of, words
from connector.sync.mapping.targets import TARGETS, Targets

OFF = "off"
_OPTIONS = ("fact", "value", "only", "empty", "format")
_ONLY = {"new": True, "always": False}
_EMPTY = {"clear": True, "keep": False}

Choice = TypeVar("Choice")


def contact_part(
    node: yaml.Node | None, problems: Problems, *, over: Mapping[str, ContactMapping], built_in: bool = False
) -> dict[str, ContactMapping]:
    """The rules of every CRM. `over`: those that stand where the file says nothing."""
    result = {
        crm: over.get(crm, ContactMapping(rules=(), ledger=targets.ledger))
        for crm, targets in TARGETS.items()
    }
    for entry in entries(node, problems, what="contact") if node is not None else ():
        targets = TARGETS.get(entry.name)
        if targets is None:
            problems.add(entry.line, f"there is no CRM {entry.name}; valid: {', '.join(TARGETS)}")
        else:
            result[entry.name] = _laid_over(
                entry, problems, targets=targets, over=result[entry.name], built_in=built_in
            )
    return result


def _laid_over(
    part: Entry, problems: Problems, *, targets: Targets, over: ContactMapping, built_in: bool
) -> ContactMapping:
    rules = {targets.canonical(rule.name): rule for rule in over.rules}
    seen: dict[str, int] = {}
    for entry in entries(part.value, problems, what=f"contact.{part.name}"):
        name = targets.canonical(entry.name)
        if name in seen:
            problems.add(
                entry.line,
                f"{entry.name} stands there twice, also in line {seen[name]}: {targets.crm} does not tell upper "
                "from lower case",
            )
            continue
        seen[name] = entry.line
        if not targets.name.fullmatch(entry.name):
            problems.add(entry.line, f"{entry.name} is no name of a {targets.crm} property")
        elif reason := targets.reserved(entry.name):
            problems.add(entry.line, f"{entry.name} is reserved: {reason}")
        elif isinstance(entry.value, yaml.ScalarNode) and entry.value.value == OFF:
            if name not in rules:
                problems.add(entry.line, f"{entry.name} is not in the built-in mapping, so it cannot be off")
            elif name == targets.canonical(targets.required):
                problems.add(entry.line, f"{entry.name} cannot be off: {targets.crm} makes nobody without it")
            else:
                del rules[name]
        elif (rule := _rule(entry, problems, targets)) is not None:
            for reason in _unfit(rule, targets):
                problems.add(entry.line, f"{entry.name}: {reason}")
            spelled = targets.spelling.get(name, rule.name)
            rules[name] = replace(rule, name=spelled, line=0 if built_in else rule.line)
    return ContactMapping(rules=tuple(rules.values()), ledger=targets.ledger)


def _rule(entry: Entry, problems: Problems, targets: Targets) -> ContactRule | None:
    """One property's rule; None when it says neither a fact nor a constant, which is noted."""
    if isinstance(entry.value, yaml.ScalarNode):
        fact = _fact(entry.value, problems, targets.crm, entry.name)
        return ContactRule(name=entry.name, fact=fact, line=entry.line) if fact else None
    before = bool(problems)
    options = {item.name: item for item in entries(entry.value, problems, what=entry.name)}
    for name, item in options.items():
        if name not in _OPTIONS:
            problems.add(item.line, f"{entry.name} has no option {name}; valid: {', '.join(_OPTIONS)}")
    if ("fact" in options) == ("value" in options):
        if options or not before:
            problems.add(entry.line, f"{entry.name} needs a fact or a value, and not both")
        return None
    if "value" in options:
        value = constant(options["value"].value, problems, what=f"{entry.name}: the value")
        for name in ("empty", "format"):
            if name in options:
                problems.add(options[name].line, f"{entry.name}: {name} is for facts; a value is never empty")
        if value is None:
            return None
        only_new = _choice(options.get("only"), problems, _ONLY, default=False)
        return ContactRule(name=entry.name, constant=value, only_new=only_new, line=entry.line)
    fact = _fact(options["fact"].value, problems, targets.crm, entry.name)
    if not fact:
        return None
    formats = {str(name): name for name in FORMATS[FACTS[fact].kind]}
    rule = ContactRule(
        name=entry.name,
        fact=fact,
        format=_choice(options.get("format"), problems, formats, default=Format.PLAIN),
        only_new=_choice(options.get("only"), problems, _ONLY, default=False),
        clear=_choice(options.get("empty"), problems, _EMPTY, default=False),
        line=entry.line,
    )
    if rule.only_new and rule.clear:
        problems.add(
            options["empty"].line, f"{entry.name}: empty: clear never happens to what is said once only"
        )
    return rule


def _fact(node: yaml.Node, problems: Problems, crm: str, name: str) -> str:
    fact = words(node, problems, what=f"the fact of {name}")
    if fact is None or fact in FACTS:
        return fact or ""
    if fact in RESERVED_FACTS:
        problems.add(
            line_of(node), f"the fact {fact} is reserved: consent has properties of its own in {crm}"
        )
    else:
        problems.add(
            line_of(node),
            f"there is no fact {fact}; valid: {', '.join(FACTS)}; a constant is written "
            f"{name}: {{value: {fact}}}",
        )
    return ""


def _choice(
    entry: Entry | None, problems: Problems, valid: Mapping[str, Choice], *, default: Choice
) -> Choice:
    if entry is None:
        return default
    said = words(entry.value, problems, what=entry.name)
    if said is not None and said not in valid:
        problems.add(entry.line, f"{entry.name} cannot be {said}; valid: {', '.join(valid)}")
    return valid.get(said or "", default)


def _unfit(rule: ContactRule, targets: Targets) -> list[str]:
    """Why the property does not take the value, as far as that is known without asking the CRM."""
    name = targets.canonical(rule.name)
    own = targets.own.get(name)
    if own and rule.fact != own:
        return [f"it always holds the fact {own}; take a property of your own for something else"]
    if own and rule.format is not Format.PLAIN:
        return ["its format is the connector's; take a property of your own for another"]
    if name == targets.canonical(targets.required):
        if not rule.only_new:
            return ["it has to be only: new: people correct it, and a deleted person would be made anew"]
        if rule.fact and rule.fact != "best_name":
            return [f"{targets.crm} makes nobody without it: use best_name, which is never empty"]
    if rule.constant is not None and name in targets.unique:
        return ["no two people may have the same value there"]
    known = targets.kinds.get(name)
    if known is None:
        return []
    mapped = MappedProperty(name=rule.name, kind=rule.kind, where="", constant=rule.constant)
    reason = mapped.misfit(known)
    if not reason:
        return []
    advice = ""
    if rule.kind is Kind.DATETIME and known in (Kind.TEXT, Kind.DATE):
        advice = f"; write format: {known}"
    return [f"{reason}{advice}"]
