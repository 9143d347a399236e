"""Everything the gate looks at, gathered before it judges: one frozen value a send, with the times of what is known.

Whoever gathers it reads the tables in one transaction that has the contact locked, so that what is judged is what
is reserved. Missing knowledge is said (`None`, empty), never guessed: the policies decide what it means.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID

from connector.events.triggers import Purpose
from connector.outbound.consent.ledger import NOBODY_ASKED, ConsentPurpose, Standing
from connector.outbound.pacing.pair import PairState
from connector.outbound.rules import GateRules
from connector.outbound.templates.checking import Problem
from connector.outbound.templates.template import Template

SendKind = Literal["template", "free_form"]
SwitchScope = Literal["all", "template", "number"]
Obstacle = Literal["", "not_found", "ambiguous", "erased", "phone_moved", "invalid_phone", "no_phone"]
"""Why the recipient that was asked for is nobody we can write to; "" when it is somebody."""

_STRICTNESS: Mapping[str, int] = {"authentication": 0, "utility": 1, "marketing": 2}
_BY_CATEGORY: Mapping[str, Purpose] = {
    "AUTHENTICATION": "authentication",
    "UTILITY": "utility",
    "MARKETING": "marketing",
}


def purpose_of(category: str) -> Purpose:
    """What Meta's category means for consent and caps; a category nobody has heard of is judged as marketing."""
    return _BY_CATEGORY.get(category, "marketing")


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """What was asked for."""

    send_id: str
    template: str
    language: str
    """As chosen; "" when no language of the template suits."""
    requested_at: datetime
    expires_at: datetime
    kind: SendKind = "template"
    purpose: Purpose | Literal[""] = ""
    """What the caller says it is for. It can only make the judgement stricter than Meta's category does."""
    content_key: str = ""
    """Hash of what the person would read; equal for equal content."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RecipientFacts:
    """Whom it would go to, redirects resolved."""

    contact_id: UUID | None
    obstacle: Obstacle = ""
    phone: str = ""
    """E.164; "" when WhatsApp does not share it."""
    bsuid: str = ""
    zones: tuple[str, ...] = ()
    """IANA time zones the person is known to live in; empty: by the number's country."""
    window_open_until: datetime | None = None
    """24 h after the last message of the person to this business number."""
    unreachable_at: datetime | None = None
    """When WhatsApp last said that the message cannot be delivered to them (131026)."""
    marketing_refused_at: datetime | None = None
    """When WhatsApp last refused marketing to them for its own per-user limit (131049)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PastSend:
    """One send to this person that left, or may have."""

    send_id: str
    at: datetime
    purpose: Purpose
    content_key: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class NumberFacts:
    """The business number it would leave from."""

    phone_number_id: str
    quality: str = "UNKNOWN"
    """GREEN | YELLOW | RED | UNKNOWN, as Meta names it."""
    status: str = "CONNECTED"
    """CONNECTED | FLAGGED | RESTRICTED | PENDING | …, as Meta names it; UNLISTED: none of the numbers that Meta listed."""
    listed_at: datetime | None = None
    """Of an unlisted one: when all numbers of the business were read last; None: not all of them ever were."""
    paused_until: datetime | None = None
    """Told to be quiet by an error of this number or its account (131048, 131031, 368, …)."""
    pause_reason: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class PortfolioFacts:
    """Meta's messaging limit: unique people written to outside their window in 24 h, over all numbers."""

    limit: int | None = None
    """None: unlimited, or not known yet."""
    used: int = 0
    """People counted in the last 24 h, reservations included."""
    counted: bool = False
    """Whether this person is one of them: then another message costs nothing."""
    frees_at: datetime | None = None
    """When the oldest of them leaves the count."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Switch:
    """Somebody pressed stop: `connector pause sends [--template|--number]`."""

    scope: SwitchScope
    subject: str = ""
    """Template name or phone number id; "" for all."""
    since: datetime
    by: str = ""
    reason: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """How current our own knowledge is."""

    lag: timedelta | None
    """How far the folds of consent are behind the log; None: not known, for example just after a start."""
    templates_synced_at: datetime | None = None
    """When all templates of the account were last read from Meta."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """One send and all that is known about it. Everything a policy may look at stands here."""

    request: Request
    recipient: RecipientFacts
    template: Template | None
    """In the language that was chosen; None: the account has none of that name and language."""
    problems: tuple[Problem, ...] = ()
    """What `templates.check` found wrong with the parameters."""
    unread: Mapping[str, datetime] = field(default_factory=dict)
    """CRM → when to look again, where the person's record has to be read before the message can be filled in."""
    consent: Mapping[ConsentPurpose, Standing] = field(default_factory=dict)
    recent: tuple[PastSend, ...] = ()
    """Sends to this person, over at least the longest period of caps and duplicates."""
    number: NumberFacts
    pair: PairState | None = None
    """Messages between this number and this person; None: none lately."""
    portfolio: PortfolioFacts = field(default_factory=PortfolioFacts)
    switches: tuple[Switch, ...] = ()
    view: View
    rules: GateRules

    def purpose(self, *, now: datetime) -> Purpose:
        """What it is judged as: Meta's category at `now`, or what the caller said if that is stricter."""
        by_meta = purpose_of(self.template.category_on(now)) if self.template else None
        asked = self.request.purpose
        known: list[Purpose] = [name for name in (by_meta, asked) if name]
        return max(known, key=lambda name: _STRICTNESS[name]) if known else "marketing"

    @property
    def awaits_category(self) -> bool:
        """Whether Meta's category may still turn out milder: the template has not been read. Such a send waits for it, and
        nothing that depends on it may end it.
        """
        unread = self.template is None and self.view.templates_synced_at is None
        return unread and self.request.kind == "template" and self.request.purpose != "marketing"

    def standing(self, purpose: ConsentPurpose) -> Standing:
        """What the person allows for a purpose."""
        return self.consent.get(purpose, NOBODY_ASKED)
