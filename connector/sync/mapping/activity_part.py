"""The part `activity` of a mapping: subject, text and details of every message, and of families that differ."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import yaml

from connector.sync.core.layout import (
    ALWAYS_KNOWN,
    SUBJECT_FIELDS,
    TEXT_FIELD,
    TEXT_FIELDS,
    ActivityLayout,
    MessageLayout,
)
from connector.sync.core.rendering import DETAILS, FAMILIES
from connector.sync.core.templates import Template, read_template
from connector.sync.mapping.document import Entry, Problems, entries, items, line_of, words

_PARTS = ("subject", "text", "details")


def activity_part(
    node: yaml.Node | None, problems: Problems, *, over: ActivityLayout | None
) -> ActivityLayout | None:
    """The layout. `over`: what stands where the file says nothing. None: something is missing, which is noted."""
    if node is None:
        return over
    found = {entry.name: entry for entry in entries(node, problems, what="activity")}
    _refuse_unknown(found, problems, valid=(*_PARTS, "families"), what="activity")
    usual = _message_layout(found, problems, over=over.usual if over else None, line=line_of(node))
    if usual is None:
        return None
    families: dict[str, MessageLayout] = {}
    if "families" in found:
        for entry in entries(found["families"].value, problems, what="families"):
            if entry.name not in FAMILIES:
                valid = ", ".join(sorted(FAMILIES))
                problems.add(
                    entry.line, f"there is no family of messages called {entry.name}; valid: {valid}"
                )
                continue
            parts = {item.name: item for item in entries(entry.value, problems, what=entry.name)}
            _refuse_unknown(parts, problems, valid=_PARTS, what=entry.name)
            layout = _message_layout(parts, problems, over=usual, line=entry.line)
            assert layout is not None, "what it does not say is taken from `usual`"
            families[entry.name] = layout
    return ActivityLayout(usual=usual, families=families)


def _refuse_unknown(
    found: Mapping[str, Entry], problems: Problems, *, valid: Collection[str], what: str
) -> None:
    for name, entry in found.items():
        if name not in valid:
            problems.add(entry.line, f"{what} has no part {name}; valid: {', '.join(valid)}")


def _message_layout(
    found: Mapping[str, Entry], problems: Problems, *, over: MessageLayout | None, line: int
) -> MessageLayout | None:
    subject = over.subject if over else ()
    text = over.text if over else None
    details = over.details if over else ()
    if "subject" in found:
        subject = _subject(found["subject"], problems) or subject
    if "text" in found:
        text = _text(found["text"], problems) or text
    if "details" in found:
        details = _details(found["details"], problems)
    if not subject or text is None:
        if not problems:
            problems.add(line, "activity needs a subject and a text")
        return None
    return MessageLayout(subject=subject, text=text, details=details)


def _subject(entry: Entry, problems: Problems) -> tuple[Template, ...]:
    nodes = entry.value.value if isinstance(entry.value, yaml.SequenceNode) else [entry.value]
    if not nodes:
        problems.add(entry.line, "subject has to be a text, or a list of them")
    templates = [_template(node, problems, fields=SUBJECT_FIELDS, what="subject") for node in nodes]
    if not nodes or None in templates:
        return ()
    for node, template in zip(nodes, templates, strict=True):
        if template is not None and "\n" in template.source:
            problems.add(line_of(node), "a subject is one line")
    last = templates[-1]
    assert last is not None
    if unsure := last.fields - ALWAYS_KNOWN.keys():
        problems.add(
            line_of(nodes[-1]),
            f"the last subject may name only what is always known ({', '.join(ALWAYS_KNOWN)}), and "
            f"{', '.join(sorted(unsure))} may be empty: add one more subject below it",
        )
    elif not last.says_something and not last.fields:
        problems.add(line_of(nodes[-1]), "the last subject says nothing")
    return tuple(template for template in templates if template is not None)


def _text(entry: Entry, problems: Problems) -> Template | None:
    template = _template(entry.value, problems, fields=TEXT_FIELDS, what="text")
    if template is None:
        return None
    if sum(name == TEXT_FIELD for _, name in template.parts) > 1:
        problems.add(line_of(entry.value), "text may name {text} once only")
    elif not template.says_something and not template.fields & {TEXT_FIELD, *ALWAYS_KNOWN}:
        problems.add(line_of(entry.value), "text would be empty where its fields are not known; add {text}")
    return template


def _template(node: yaml.Node, problems: Problems, *, fields: Collection[str], what: str) -> Template | None:
    source = words(node, problems, what=what)
    if source is None:
        return None
    try:
        return read_template(source, fields=fields)
    except ValueError as error:
        problems.add(line_of(node), f"{what} {error}")
        return None


def _details(entry: Entry, problems: Problems) -> tuple[str, ...]:
    chosen: list[str] = []
    for node in items(entry.value, problems, what="details"):
        name = words(node, problems, what="a detail")
        if name is None:
            continue
        if name not in DETAILS:
            problems.add(line_of(node), f"there is no detail {name}; valid: {', '.join(DETAILS)}")
        elif name in chosen:
            problems.add(line_of(node), f"the detail {name} stands there twice")
        else:
            chosen.append(name)
    return tuple(chosen)
