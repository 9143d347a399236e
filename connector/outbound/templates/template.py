"""One template in one language, and the fold that keeps it current.

A template is known from two sides: Graph shows the whole of it when it is asked, webhooks tell single changes. Both
become a `TemplateChange`, and every attribute remembers when its value was true, so changes may come twice, late and
in any order. At the same moment the value that forbids more wins.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from connector.events.base import Model, UtcDatetime

APPROVED = "APPROVED"

PLACEHOLDER = re.compile(r"\{\{\s*([A-Za-z0-9_]+)\s*\}\}")
"""`{{1}}` in positional templates, `{{first_name}}` in named ones."""

Attribute = Literal[
    "id",
    "status",
    "status_note",
    "category",
    "coming",
    "quality",
    "parameter_format",
    "components",
    "edited",
    "rejected_reason",
    "ttl_seconds",
]
_STRICTNESS = {"AUTHENTICATION": 0, "UTILITY": 1, "MARKETING": 2}

Component = Mapping[str, Any]


class ComingCategory(Model):
    """Meta's notice that it will move the template to another category."""

    category: str
    at: UtcDatetime = Field(description="When; 24 h after the notice.")


class TemplateKey(Model):
    """What names a template. Its id names one language of it, and may change when it is made anew."""

    waba_id: str
    name: str
    language: str = Field(description="As in the API: en_US, pt_BR, ar.")

    @property
    def key(self) -> TemplateKey:
        """What names it, and nothing else."""
        return TemplateKey(waba_id=self.waba_id, name=self.name, language=self.language)


class TemplateChange(TemplateKey):
    """What one answer of Graph, or one webhook, says about a template."""

    at: UtcDatetime = Field(description="When it was true.")
    values: dict[Attribute, Any]


class Template(TemplateKey):
    """A template as it stands. Only `status` APPROVED is sent; `category` is Meta's own, not the one asked for."""

    id: str = ""
    status: str = "UNKNOWN"
    status_note: str = Field(default="", description="FIRST_PAUSE, SECOND_PAUSE, … where Meta says it.")
    category: str = ""
    coming: ComingCategory | None = None
    quality: str = "UNKNOWN"
    parameter_format: str = Field(
        default="", description="NAMED | POSITIONAL; empty: not known, the placeholders tell."
    )
    components: tuple[dict[str, Any], ...] = Field(default=(), description="As Graph showed them.")
    edited: tuple[dict[str, Any], ...] = Field(
        default=(), description="The texts and buttons of a later edit, as a webhook told them."
    )
    rejected_reason: str = ""
    ttl_seconds: int | None = Field(
        default=None, description="message_send_ttl_seconds; None: Meta's default."
    )
    as_of: dict[Attribute, UtcDatetime] = Field(default_factory=dict)

    @property
    def sendable(self) -> bool:
        """Whether Meta lets it be sent. A status that nobody has heard of is none of those."""
        return self.status == APPROVED

    @property
    def incomplete(self) -> bool:
        """Whether it should be read from Graph: it never was, or a webhook told of an edit since."""
        return "components" not in self.as_of or self._edited_since

    @property
    def _edited_since(self) -> bool:
        edited, read = self.as_of.get("edited"), self.as_of.get("components")
        return edited is not None and (read is None or edited > read)

    @property
    def current_components(self) -> tuple[Component, ...]:
        """The components with a later edit laid over them. The webhook of an edit is silent about media headers."""
        if not self._edited_since:
            return self.components
        told = {kind_of(item) for item in self.edited}
        kept = tuple(
            item
            for item in self.components
            if kind_of(item) not in {"HEADER", "BODY", "FOOTER", "BUTTONS"}
            or (kind_of(item) == "HEADER" and "HEADER" not in told and format_of(item) != "TEXT")
        )
        return kept + self.edited

    def component(self, kind: str) -> Component | None:
        """The HEADER, BODY, FOOTER, BUTTONS, …; None when it has none."""
        return next((item for item in self.current_components if kind_of(item) == kind), None)

    @property
    def named(self) -> bool:
        """Whether parameters have names instead of positions."""
        if self.parameter_format:
            return self.parameter_format == "NAMED"
        return any(
            not name.isdecimal()
            for item in self.current_components
            if kind_of(item) in {"HEADER", "BODY"}
            for name in PLACEHOLDER.findall(str(item.get("text", "")))
        )

    def category_on(self, now: datetime) -> str:
        """Meta's category at `now`: an announced change counts from its time on, told again or not."""
        coming = self.coming
        if coming is not None and coming.at <= now:
            decided = self.as_of.get("category")
            if decided is None or decided < coming.at:
                return coming.category
        return self.category


def kind_of(component: Component) -> str:
    """HEADER, BODY, …: Graph writes them in upper case, Meta's own examples in lower case too."""
    return str(component.get("type", "")).upper()


def format_of(header: Component) -> str:
    """TEXT, IMAGE, VIDEO, DOCUMENT, LOCATION, …"""
    return str(header.get("format") or "TEXT").upper()


def blank(key: TemplateKey) -> Template:
    """A template of which nothing is known: it cannot be sent."""
    return Template.model_validate(key.key.model_dump())


def folded(template: Template | None, change: TemplateChange) -> Template:
    """The template after a change. Commutative and idempotent; `template` is that of the change's key or None."""
    before = template if template is not None else blank(change)
    told = Template.model_validate(dict(change.key) | change.values)
    newer = [name for name in change.values if _is_newer(before, told, name, at=change.at)]
    if not newer:
        return before
    update: dict[str, Any] = {name: getattr(told, name) for name in newer}
    update["as_of"] = {**before.as_of, **dict.fromkeys(newer, change.at)}
    return before.model_copy(update=update)


def _is_newer(before: Template, told: Template, name: Attribute, *, at: datetime) -> bool:
    known = before.as_of.get(name)
    if known is None or known < at:
        return True
    return known == at and _rank(told, name) > _rank(before, name)


def _rank(template: Template, name: Attribute) -> tuple[int, str]:
    """Which of two values of the same moment is believed: the one that allows less, then any fixed order."""
    value = template.model_dump(mode="json")[name]
    strict = 0
    if name == "status":
        strict = int(value != APPROVED)
    elif name == "category":
        strict = _STRICTNESS.get(str(value), 3)
    return strict, json.dumps(value, sort_keys=True)
