"""How an activity reads: its subject, its text and which details stand below the line. Pure; read from a mapping."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from connector.sync.core.templates import Template

ALWAYS_KNOWN = {
    "kind": "what kind of message it is, in words: text, voice message, list choice, order",
    "direction": "inbound or outbound",
    "from_or_to": "from an inbound message, to an outbound one",
}
"""Fields of subject and text that are never empty → what they say."""

SOMETIMES_KNOWN = {
    "person": "the number, username or user id on the other side",
    "name": "the name in the person's WhatsApp profile",
    "who": "the name, else the number, username or user id",
    "number": "the business number",
    "first_line": "the first line of what the message says, at most 80 characters",
}
"""Fields of subject and text that may be empty → what they say."""

TEXT_FIELD = "text"
"""What the message says: a field of the text alone, there once."""

SUBJECT_FIELDS = frozenset({*ALWAYS_KNOWN, *SOMETIMES_KNOWN})
TEXT_FIELDS = frozenset({*SUBJECT_FIELDS, TEXT_FIELD})


@dataclass(frozen=True, kw_only=True, slots=True)
class MessageLayout:
    """One family of messages. The first subject whose fields are all known is used; the last has no other fields."""

    subject: tuple[Template, ...]
    text: Template
    details: tuple[str, ...]

    def subject_of(self, values: Mapping[str, str]) -> str:
        """The subject that fits what is known."""
        for template in self.subject:
            if all(values[name] for _, name in template.parts if name):
                return template.fill(values)
        return self.subject[-1].fill(values)


@dataclass(frozen=True, kw_only=True, slots=True)
class ActivityLayout:
    """Every message, and the families that read otherwise."""

    usual: MessageLayout
    families: Mapping[str, MessageLayout] = field(default_factory=dict)

    def of(self, family: str) -> MessageLayout:
        """The layout of one family."""
        return self.families.get(family, self.usual)
