"""Sentences with named fields, `WhatsApp {kind} from {person}`: checked when they are read, filled without code.

A field is a name and nothing else: no attributes, no indices, no formats. What a person typed is put in as it
is and never read as a template.
"""

from __future__ import annotations

import string
from collections.abc import Collection, Mapping
from dataclasses import dataclass

MOST_CHARACTERS = 500


@dataclass(frozen=True, kw_only=True, slots=True)
class Template:
    """`source` as written; `parts`: what stands between the fields, each with the field after it ("" none)."""

    source: str
    parts: tuple[tuple[str, str], ...]

    @property
    def fields(self) -> frozenset[str]:
        """The fields that it names."""
        return frozenset(name for _, name in self.parts if name)

    @property
    def says_something(self) -> bool:
        """Whether anything that can be read stands beside its fields."""
        return any(words.strip() for words, _ in self.parts)

    def fill(self, values: Mapping[str, str]) -> str:
        """Put the values in. `values` has every field."""
        return "".join(words + (values[name] if name else "") for words, name in self.parts)


def read_template(source: str, *, fields: Collection[str]) -> Template:
    """Read a template that may name `fields`.

    Raises:
        ValueError: it is none; the message says why and what is valid.

    """
    if len(source) > MOST_CHARACTERS:
        raise ValueError(f"is longer than {MOST_CHARACTERS} characters")
    try:
        parsed = list(string.Formatter().parse(source))
    except ValueError as error:
        raise ValueError(
            f"is no template ({error}); a brace that is meant as such is doubled: {{{{"
        ) from None
    parts: list[tuple[str, str]] = []
    for words, name, form, conversion in parsed:
        if name is not None and (form or conversion or name not in fields):
            written = name + (f"!{conversion}" if conversion else "") + (f":{form}" if form else "")
            raise ValueError(f"has no field {{{written}}}; valid: {', '.join(sorted(fields))}")
        parts.append((words, name or ""))
    return Template(source=source, parts=tuple(parts))
