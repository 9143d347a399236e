"""Kinds of value, and which kind of property takes which. Pure; each adapter knows what its CRM calls them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum

PropertyValue = str | bool | int | float | date | datetime | None
"""What a property should hold; None: nothing, what is there is cleared."""


class Kind(StrEnum):
    """What a value is, whatever the CRM calls it."""

    TEXT = "text"
    PHONE = "phone"
    DATETIME = "datetime"
    DATE = "date"
    CHOICE = "choice"
    NUMBER = "number"
    BOOLEAN = "boolean"


@dataclass(frozen=True, kw_only=True, slots=True)
class MappedProperty:
    """A contact property that the mapping writes.

    `constant`: the one value it gets; `only_new`: on records that we make; `where`: the line that says so.
    """

    name: str
    kind: Kind
    where: str
    constant: PropertyValue = None
    only_new: bool = False

    def misfit(self, target: Kind, *, options: Sequence[str] = ()) -> str:
        """Why a property of this kind does not take it, "" when it does. `options`: the only values of a choice."""
        if target is Kind.CHOICE:
            # What people call themselves is no option of anybody's list; a constant may be.
            if self.kind is not Kind.TEXT or self.constant is None:
                return f"a choice takes a constant text, not a {self.kind}"
            if options and self.constant not in options:
                return f"{self.constant!r} is none of its options: {', '.join(options[:30])}"
            return ""
        if self.kind is target or (target is Kind.TEXT and self.kind is Kind.PHONE):
            return ""
        return f"it takes a {target}, not a {self.kind}"
