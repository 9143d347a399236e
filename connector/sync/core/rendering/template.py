"""A template that the connector sent, or was not allowed to: the words that the person reads, and which template it is."""

from __future__ import annotations

from connector.sync.core.rendering.parts import Part, Version, part_of
from connector.sync.core.rendering.wording import one_line, paragraph
from connector.whatsapp.lenient import as_object


def template(version: Version) -> Part:
    """The text as it was filled in; under it the template's name and language."""
    shape = as_object(part_of(version, "template"))
    name, language = one_line(shape.get("name"), limit=200), one_line(shape.get("language"), limit=20)
    text = paragraph(version.get("text"))
    named = f"Template: {name}{f' ({language})' if language else ''}" if name else ""
    return Part(
        label="template", lines=[text or named or "A template"], details=[named] if text and named else []
    )
