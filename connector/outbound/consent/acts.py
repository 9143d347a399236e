"""Which events are acts of consent: what the person wrote, tapped or set in WhatsApp, what a CRM or a client says.

Every act has the id of its event and the purpose, so that a redelivery or a replay is the same act.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import cast, get_args

from connector.events import (
    AccountEvent,
    ConsentChanged,
    ConsentGiven,
    CrmContactChanged,
    Message,
    MessageEdited,
    Person,
    SendFailed,
    StatusChange,
)
from connector.events.triggers import ConsentState
from connector.outbound.consent.keywords import Keyword, KeywordAction, KeywordTables
from connector.outbound.consent.ledger import PURPOSES, Act, ConsentPurpose, ConsentSource
from connector.whatsapp import people
from connector.whatsapp.lenient import as_object, as_text

MARKETING_STOPPED = 131050
_PREFERENCES: Mapping[str, ConsentState] = {"stop": "denied", "resume": "granted", "signup": "granted"}
_MEANING: Mapping[KeywordAction, tuple[ConsentState, tuple[ConsentPurpose, ...]]] = {
    "opt_out": ("denied", PURPOSES),
    "opt_out_marketing": ("denied", ("marketing",)),
    "opt_in": ("granted", PURPOSES),
    "opt_in_marketing": ("granted", ("marketing",)),
}
_STATES: frozenset[str] = frozenset(get_args(ConsentState))

CONSENT_PROPERTIES: Mapping[str, ConsentPurpose] = {
    "whatsapp_marketing_consent": "marketing",
    "whatsapp_utility_consent": "utility",
    "WA_Marketing_Consent__c": "marketing",
    "WA_Utility_Consent__c": "utility",
}
"""The CRM properties that hold consent, by the name each CRM knows them by."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Said:
    """A message that is a keyword: what it means, and the acts that follow."""

    keyword: Keyword
    acts: tuple[Act, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class PersonsAct:
    """An act on `account.events`, whose person is not resolved yet."""

    person: Person
    act: Act


def said_in(message: Message | MessageEdited, *, tables: KeywordTables) -> Said | None:
    """What a message of the person says about consent; None: nothing. The business's own messages say nothing."""
    if message.direction != "inbound":
        return None
    for words, source in _words(message):
        keyword = tables.recognise(words)
        if keyword is not None:
            state, purposes = _MEANING[keyword.action]
            acts = tuple(
                Act(
                    act_id=f"{message.event_id}:{purpose}",
                    purpose=purpose,
                    state=state,
                    at=message.at,
                    source=source,
                    by_person=True,
                    evidence=f"{message.wamid} “{words.strip()}”",
                    resumes=keyword.action == "opt_in",
                )
                for purpose in purposes
            )
            return Said(keyword=keyword, acts=acts)
    return None


def _words(message: Message | MessageEdited) -> tuple[tuple[str, ConsentSource], ...]:
    """What may be a keyword: a text, or a button's payload, then its label."""
    match message.message_type:
        case "text":
            return ((message.text, "keyword"),)
        case "button":
            button = as_object(message.content.get("button", message.content))
            return ((as_text(button.get("payload")), "button"), (message.text, "button"))
        case "interactive":
            part = as_object(message.content.get("interactive", message.content))
            reply = as_object(part.get("button_reply") or part.get("list_reply"))
            return ((as_text(reply.get("id")), "button"), (as_text(reply.get("title")), "button"))
    return ()


def act_of_preference(event: AccountEvent) -> PersonsAct | None:
    """What `user_preferences` says: the person stopped or resumed marketing in WhatsApp itself."""
    content = event.content
    state = _PREFERENCES.get(as_text(content.get("value")).strip().lower())
    if event.field != "user_preferences" or state is None:
        return None
    if as_text(content.get("category"), limit=100) not in ("marketing_messages", ""):
        return None
    person = people.person(
        user_id=content.get("user_id"), phone=content.get("wa_id"), contact=content.get("contact")
    )
    act = Act(
        act_id=f"{event.event_id}:marketing",
        purpose="marketing",
        state=state,
        at=event.at,
        source="user_preferences",
        by_person=True,
        evidence=f"user_preferences {content.get('value')}: {as_text(content.get('detail'), limit=200)}",
    )
    return PersonsAct(person=person, act=act)


def act_of_status(status: StatusChange) -> Act | None:
    """An opt-out that only shows when a message fails: 131050, the person stopped marketing in WhatsApp."""
    if not any(error.code == MARKETING_STOPPED for error in status.errors):
        return None
    return Act(
        act_id=f"{status.event_id}:marketing",
        purpose="marketing",
        state="denied",
        at=status.at,
        source="error_131050",
        by_person=True,
        evidence=f"{status.wamid} failed with {MARKETING_STOPPED}",
    )


def act_told(change: ConsentChanged) -> Act | None:
    """The act that decided a change that we announced; known already, unless the ledger was lost since."""
    if not change.act_id or change.acted_at is None or change.source not in get_args(ConsentSource):
        return None
    # Only a START is told as the reason of "nobody asked"; it is itself a yes.
    state: ConsentState = "granted" if change.resumes else change.state
    return Act(
        act_id=change.act_id,
        purpose=change.purpose,
        state=state,
        at=change.acted_at,
        source=cast("ConsentSource", change.source),
        by_person=change.by_person,
        evidence=change.evidence,
        resumes=change.resumes,
    )


def act_of_refusal(failed: SendFailed) -> Act | None:
    """The same, as WhatsApp's answer to the request."""
    if failed.code != MARKETING_STOPPED:
        return None
    return Act(
        act_id=f"{failed.event_id}:marketing",
        purpose="marketing",
        state="denied",
        at=failed.at,
        source="error_131050",
        by_person=True,
        evidence=f"{failed.send_id} was refused with {MARKETING_STOPPED}",
    )


def act_of_given(given: ConsentGiven) -> Act:
    """What came through the API, the command line or an import."""
    sources: Mapping[str, ConsentSource] = {"cli": "operator", "import": "import", "click": "click"}
    return Act(
        act_id=f"{given.event_id}:{given.purpose}",
        purpose=given.purpose,
        state=given.state,
        at=given.at,
        source=sources.get(given.source, "api"),
        by_person=given.by_person,
        evidence=given.evidence,
    )


def act_of_crm(change: CrmContactChanged, *, ours: Collection[str]) -> Act | None:
    """What somebody set in a CRM. It can deny, and grant to somebody who never refused; it never undoes a denial.

    `ours`: how the CRM names us as the source of a change. What we wrote ourselves comes back as a change and is none.
    """
    purpose = CONSENT_PROPERTIES.get(change.property_name)
    value = change.value.strip().lower()
    if change.change != "property" or purpose is None or change.change_source in ours:
        return None
    state: ConsentState = "unknown"
    if value in _STATES:
        state = "granted" if value == "granted" else "denied" if value == "denied" else "unknown"
    elif value:
        return None
    return Act(
        act_id=f"{change.event_id}:{purpose}",
        purpose=purpose,
        state=state,
        at=change.at,
        source="crm_property",
        evidence=f"{change.crm} {change.record_id} {change.property_name}={value or '(empty)'}",
    )
