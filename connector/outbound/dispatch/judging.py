"""One send and what is known → verdict, and the message to send. Pure; what passes is counted for those after it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import UUID

from connector.events import content_hash
from connector.outbound.dispatch.knowledge import NumberStanding, Portfolio, Someone
from connector.outbound.dispatch.send import Send
from connector.outbound.facts import (
    Facts,
    Obstacle,
    PastSend,
    PortfolioFacts,
    RecipientFacts,
    Request,
    View,
)
from connector.outbound.gate import Verdict, judge
from connector.outbound.pacing.pair import pair_taken
from connector.outbound.personalisation.filling import Personalisation, filled
from connector.outbound.personalisation.languages import chosen
from connector.outbound.personalisation.records import NOTHING, RecordFacts, RecordPlace
from connector.outbound.policies import crm_properties
from connector.outbound.rules import GateRules
from connector.outbound.templates.checking import Problem, check
from connector.outbound.templates.payload import payload
from connector.outbound.templates.template import Template
from connector.outbound.templates.wording import rendered
from connector.whatsapp.client import message_to

_AUTHENTICATION_LIFE = timedelta(minutes=10)
_HIDDEN = "••••••"

Fate = Literal["sending", "held", "blocked", "expired"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Known:
    """What the sends of one claim are judged by."""

    now: datetime
    number: NumberStanding
    people: Mapping[UUID, UUID]
    """Contact → person."""
    someone: Mapping[UUID, Someone]
    templates: Mapping[str, Sequence[Template]]
    portfolio: Portfolio
    view: View
    rules: GateRules
    personalisation: Personalisation
    records: Mapping[str, RecordFacts] = field(default_factory=dict)
    """Send → what the CRMs say of the person, where it needs that."""
    crms: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """A send after its judgement. `send`: as it is from now on. `message`: of one that leaves `at`.

    `wanted`: what has to be read in the CRMs; nothing else holds it up.
    """

    send: Send
    fate: Fate
    verdict: Verdict
    content_key: str
    at: datetime | None = None
    message: Mapping[str, Any] | None = None
    wanted: Sequence[RecordPlace] = ()


def judged(send: Send, known: Known, *, turn: datetime | None) -> Judged:
    """Judge one send. `turn`: when it would leave.

    A send that passes is counted at once (`Someone.recent`, `pair`, the portfolio): the next of the same claim sees it.
    """
    someone = known.someone[known.people[send.contact_id]] if send.contact_id else None
    records = known.records.get(send.send_id, NOTHING)
    properties = records.properties
    versions = known.templates.get(send.template_name, ())
    template = chosen(
        versions,
        asked=send.template_language,
        contact=known.personalisation.languages(properties, crms=known.crms),
        fallbacks=known.personalisation.fallback_languages,
    )
    parameters = send.parameters
    problems: Sequence[Problem] = ()
    if records.unread:
        template = _stand_in(template, versions, asked=send.template_language)
    elif template is not None:
        parameters = filled(
            known.personalisation, template, send.parameters, properties, crms=known.crms
        ).parameters
        problems = check(template, parameters)
    category = template.category_on(known.now) if template else ""
    send = replace(
        send,
        template_language=template.language if template else send.template_language,
        phone=_phone(send, someone),
        bsuid=(someone.bsuid if someone else "") or send.bsuid,
        category=category,
        expires_at=_expiry(send, category),
        rendered=_words(template, parameters, category) if template and not records.unread else "",
    )
    whole = template is not None and not records.unread
    key = content_hash([send.template_name, send.template_language, parameters]) if whole else ""
    facts = _facts(
        send, someone, known, template=template, problems=problems, content_key=key, unread=records.unread
    )
    verdict = judge(facts, now=known.now)
    if verdict.outcome != "pass" or turn is None or template is None or someone is None:
        wanted = records.wanted if _only_unread(verdict) else ()
        return Judged(send=send, fate=_fate(verdict), verdict=verdict, content_key=key, wanted=wanted)
    _count(send, someone, known, purpose=facts.purpose(now=known.now), key=key, at=turn)
    return Judged(
        send=replace(send, attempts=send.attempts + 1),
        fate="sending",
        verdict=verdict,
        content_key=key,
        at=turn,
        message=message_to(
            phone=send.phone,
            bsuid=send.bsuid,
            template=payload(template, parameters),
            callback_data=send.send_id,
        ),
    )


def _stand_in(template: Template | None, versions: Sequence[Template], *, asked: str) -> Template | None:
    """The version that a send is judged by before its record is read, among which the person's language may be.

    Unless the request names the language it is one that may be sent, if there is any: a version that is rejected must
    not end the sends of people who read another one.
    """
    if template is not None and (asked or template.sendable):
        return template
    return next((item for item in versions if item.sendable), template or next(iter(versions), None))


def _only_unread(verdict: Verdict) -> bool:
    """Whether nothing but a record that is not read stands against it: what waits for long is read when it is over."""
    against = {line.policy for line in verdict.lines if line.outcome != "pass"}
    return against == {crm_properties.POLICY.name}


def _fate(verdict: Verdict) -> Fate:
    decisive = verdict.decisive
    if verdict.outcome == "block":
        return "expired" if decisive is not None and decisive.policy == "expiry" else "blocked"
    return "held"


def _phone(send: Send, someone: Someone | None) -> str:
    if someone is None:
        return send.phone
    return someone.phone or ("" if send.phone in someone.lost_phones else send.phone)


def _expiry(send: Send, category: str) -> datetime:
    """Unless the caller said otherwise, a one-time password is of no use after ten minutes."""
    if send.expiry_given or category != "AUTHENTICATION":
        return send.expires_at
    return min(send.expires_at, send.created_at + _AUTHENTICATION_LIFE)


def _words(template: Template, parameters: Mapping[str, Any], category: str) -> str:
    """What the person reads; of a one-time password everything but the password."""
    if category == "AUTHENTICATION":
        parameters = dict.fromkeys(parameters, _HIDDEN)
    return rendered(template, parameters)


def _obstacle(send: Send, someone: Someone | None) -> Obstacle:
    if send.obstacle:
        return send.obstacle  # type: ignore[return-value]  # the table holds what the admission wrote
    if someone is not None and someone.erased:
        return "erased"
    if someone is not None and send.phone in someone.lost_phones and send.phone != someone.phone:
        return "phone_moved"
    return ""


def _facts(
    send: Send,
    someone: Someone | None,
    known: Known,
    *,
    template: Template | None,
    problems: Sequence[Problem],
    content_key: str,
    unread: Mapping[str, datetime],
) -> Facts:
    portfolio = known.portfolio
    recipient = RecipientFacts(
        contact_id=send.contact_id,
        obstacle=_obstacle(send, someone),
        phone=send.phone,
        bsuid=send.bsuid,
        window_open_until=someone.window_open_until if someone else None,
        unreachable_at=someone.unreachable_at if someone else None,
        marketing_refused_at=someone.marketing_refused_at if someone else None,
    )
    return Facts(
        request=Request(
            send_id=send.send_id,
            template=send.template_name,
            language=send.template_language,
            requested_at=send.created_at,
            expires_at=send.expires_at,
            purpose=send.purpose,  # type: ignore[arg-type]  # the table holds what the admission wrote
            content_key=content_key,
        ),
        recipient=recipient,
        template=template,
        problems=tuple(problems),
        unread=unread,
        consent=someone.consent if someone else {},
        recent=tuple(someone.recent) if someone else (),
        number=known.number.facts,
        pair=someone.pair if someone else None,
        portfolio=PortfolioFacts(
            limit=portfolio.limit,
            used=portfolio.used,
            counted=someone is not None and someone.person_id in portfolio.counted,
            frees_at=portfolio.frees_at,
        ),
        switches=tuple(known.number.switches),
        view=known.view,
        rules=known.rules,
    )


def _count(send: Send, someone: Someone, known: Known, *, purpose: Any, key: str, at: datetime) -> None:
    someone.recent.append(PastSend(send_id=send.send_id, at=known.now, purpose=purpose, content_key=key))
    someone.pair = pair_taken(someone.pair, at=at)
    portfolio = known.portfolio
    in_window = someone.window_open_until is not None and known.now < someone.window_open_until
    if portfolio.limit is not None and not in_window and someone.person_id not in portfolio.counted:
        portfolio.counted.add(someone.person_id)
        portfolio.used += 1
