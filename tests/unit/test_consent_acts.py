"""Which events are acts of consent, and what they say."""

from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from gate_facts import NOW

from connector.events import (
    AccountEvent,
    ConsentGiven,
    CrmContactChanged,
    Message,
    MessageEdited,
    Origin,
    Person,
    Recipient,
    StatusChange,
    StatusError,
)
from connector.outbound.consent.acts import (
    act_of_crm,
    act_of_given,
    act_of_preference,
    act_of_status,
    said_in,
)
from connector.outbound.consent.keywords import keyword_tables
from connector.outbound.consent.ledger import ConsentLedger
from connector.whatsapp.messages import read_message

TABLES = keyword_tables()
ORIGIN = Origin(topic="whatsapp.updates", partition=0, offset=1, received_at=NOW)
ANA = UUID(int=1)


def message(raw: dict[str, Any], *, direction: Any = "inbound") -> Message:
    """As the route stage makes it of what Meta sends."""
    parts = read_message(raw)
    return Message(
        event_id="message:106:wamid.A",
        waba_id="102",
        at=NOW,
        person=Person(contact_id=ANA),
        origin=ORIGIN,
        direction=direction,
        wamid=parts.wamid,
        message_type=parts.message_type,
        text=parts.text,
        media=parts.media,
        content=parts.content,
    )


def text(body: str) -> dict[str, Any]:
    return {"id": "wamid.A", "type": "text", "text": {"body": body}}


def button(payload: str, label: str) -> dict[str, Any]:
    return {"id": "wamid.A", "type": "button", "button": {"payload": payload, "text": label}}


def reply(reply_id: str, title: str) -> dict[str, Any]:
    content = {"type": "button_reply", "button_reply": {"id": reply_id, "title": title}}
    return {"id": "wamid.A", "type": "interactive", "interactive": content}


def choice(reply_id: str, title: str) -> dict[str, Any]:
    content = {"type": "list_reply", "list_reply": {"id": reply_id, "title": title}}
    return {"id": "wamid.A", "type": "interactive", "interactive": content}


@pytest.mark.parametrize(
    ("raw", "source", "said"),
    [
        (text("STOP"), "keyword", {("marketing", "denied"), ("utility", "denied")}),
        (text("Stop promotions"), "keyword", {("marketing", "denied")}),
        (text("Start"), "keyword", {("marketing", "granted"), ("utility", "granted")}),
        (text("Subscribe"), "keyword", {("marketing", "granted")}),
        (button("Stop promotions", "Stop promotions"), "button", {("marketing", "denied")}),
        (button("UNSUBSCRIBE", "No, thanks"), "button", {("marketing", "denied"), ("utility", "denied")}),
        (button("a1b2c3", "Unsubscribe"), "button", {("marketing", "denied"), ("utility", "denied")}),
        (reply("opt-out", "I have enough"), "button", {("marketing", "denied"), ("utility", "denied")}),
        (reply("r7", "Keine Werbung"), "button", {("marketing", "denied")}),
        (choice("x", "STOP"), "button", {("marketing", "denied"), ("utility", "denied")}),
    ],
    ids=[
        "stop",
        "promotions",
        "start",
        "subscribe",
        "default payload",
        "payload",
        "label",
        "reply id",
        "title",
        "list",
    ],
)
def test_a_message_that_is_a_keyword_is_an_act_of_the_person(
    raw: dict[str, Any], source: str, said: set[tuple[str, str]]
) -> None:
    """With the message as evidence, one act a purpose."""
    found = said_in(message(raw), tables=TABLES)
    assert found is not None
    assert {(act.purpose, act.state) for act in found.acts} == said
    assert {act.source for act in found.acts} == {source}
    assert all(act.convincing and act.at == NOW and "wamid.A" in act.evidence for act in found.acts)
    assert len({act.act_id for act in found.acts}) == len(found.acts)


@pytest.mark.parametrize(
    "raw",
    [
        text("Please don't stop"),
        text(""),
        button("yes", "Yes"),
        {"id": "wamid.A", "type": "image", "image": {"id": "1", "caption": "STOP"}},
        {"id": "wamid.A", "type": "reaction", "reaction": {"message_id": "wamid.B", "emoji": "🛑"}},
        {"id": "wamid.A", "type": "interactive"},
        {"id": "wamid.A", "type": "button"},
        {"id": "wamid.A", "type": "unsupported"},
    ],
)
def test_other_messages_say_nothing(raw: dict[str, Any]) -> None:
    """A caption is no keyword, a broken element is no error."""
    assert said_in(message(raw), tables=TABLES) is None


def test_what_the_business_itself_writes_says_nothing() -> None:
    """An employee who explains "STOP" in the WhatsApp Business app opts nobody out."""
    assert said_in(message(text("STOP"), direction="outbound"), tables=TABLES) is None


def test_a_message_that_is_edited_into_a_keyword_counts() -> None:
    """Within 15 minutes a person can turn a message into STOP."""
    edited = MessageEdited(
        event_id="edit:1",
        waba_id="102",
        at=NOW,
        person=Person(contact_id=ANA),
        origin=ORIGIN,
        direction="inbound",
        wamid="wamid.E",
        target="wamid.A",
        message_type="text",
        text="STOP",
    )
    found = said_in(edited, tables=TABLES)
    assert found is not None
    assert found.keyword.action == "opt_out"


def preference(**content: Any) -> AccountEvent:
    fields = {
        "wa_id": "16505551234",
        "user_id": "US.1349",
        "detail": "User requested to stop marketing messages",
        "category": "marketing_messages",
        "value": "stop",
        "timestamp": 1731705721,
        **content,
    }
    return AccountEvent(
        event_id="p1", waba_id="102", field="user_preferences", at=NOW, content=fields, origin=ORIGIN
    )


@pytest.mark.parametrize(
    ("value", "state"), [("stop", "denied"), ("resume", "granted"), ("signup", "granted"), ("STOP", "denied")]
)
def test_a_preference_set_in_whatsapp_is_about_marketing(value: str, state: str) -> None:
    """And names the person by user id and phone."""
    found = act_of_preference(preference(value=value))
    assert found is not None
    assert (found.act.purpose, found.act.state, found.act.convincing) == ("marketing", state, True)
    assert (found.person.bsuid, found.person.phone) == ("US.1349", "+16505551234")


@pytest.mark.parametrize("content", [{"value": "pause"}, {"value": None}, {"category": "calls"}])
def test_a_preference_that_nobody_has_heard_of_says_nothing(content: dict[str, Any]) -> None:
    """It is kept on the log, and does not guess."""
    assert act_of_preference(preference(**content)) is None


def test_an_account_event_of_another_field_is_no_preference() -> None:
    """Whatever keys it has."""
    assert act_of_preference(preference().model_copy(update={"field": "account_update"})) is None


def status(*codes: int | None) -> StatusChange:
    return StatusChange(
        event_id="s1",
        waba_id="102",
        at=NOW,
        person=Person(contact_id=ANA),
        origin=ORIGIN,
        wamid="wamid.A",
        status="failed",
        errors=[StatusError(code=code) for code in codes],
    )


def test_a_message_that_failed_because_marketing_was_stopped_is_an_opt_out() -> None:
    """131050 is all that is seen of a stop whose webhook was lost."""
    act = act_of_status(status(None, 131050))
    assert act is not None
    assert (act.purpose, act.state, act.source, act.by_person) == (
        "marketing",
        "denied",
        "error_131050",
        True,
    )
    assert act_of_status(status(131049)) is None
    assert act_of_status(status()) is None


def given(**changes: Any) -> ConsentGiven:
    fields = {
        "event_id": "c1",
        "source": "api",
        "received_at": NOW,
        "to": Recipient(phone="+16505551234"),
        "purpose": "utility",
        "state": "granted",
        "at": NOW - timedelta(days=3),
        "by_person": True,
        "evidence": "form 7",
        **changes,
    }
    return ConsentGiven.model_validate(fields)


@pytest.mark.parametrize(
    ("door", "source"),
    [("api", "api"), ("cli", "operator"), ("import", "import"), ("click", "click"), ("other", "api")],
)
def test_an_act_through_the_api_has_the_time_of_the_act_not_of_the_call(door: str, source: str) -> None:
    """A form that was signed three days ago is three days old."""
    act = act_of_given(given(source=door))
    assert (act.at, act.source, act.convincing) == (NOW - timedelta(days=3), source, True)


def crm(value: str, **changes: Any) -> CrmContactChanged:
    fields = {
        "event_id": "h1",
        "source": "hubspot",
        "received_at": NOW,
        "crm": "hubspot",
        "record_id": "501",
        "change": "property",
        "property_name": "whatsapp_marketing_consent",
        "value": value,
        "change_source": "CRM_UI",
        "at": NOW,
        **changes,
    }
    return CrmContactChanged.model_validate(fields)


@pytest.mark.parametrize(
    ("value", "state"),
    [("granted", "granted"), ("Denied", "denied"), ("unknown", "unknown"), ("", "unknown")],
)
def test_a_consent_property_is_an_act_of_somebody_else(value: str, state: str) -> None:
    """It never convinces: nobody's record of a person is the person."""
    act = act_of_crm(crm(value), ours=())
    assert act is not None
    assert (act.purpose, act.state, act.convincing) == ("marketing", state, False)


def test_salesforces_property_is_known_too() -> None:
    """By its API name."""
    act = act_of_crm(crm("denied", crm="salesforce", property_name="WA_Utility_Consent__c"), ours=())
    assert act is not None
    assert act.purpose == "utility"


@pytest.mark.parametrize(
    "changes",
    [
        {"change_source": "INTEGRATION:77"},
        {"property_name": "firstname"},
        {"value": "maybe"},
        {"change": "merged"},
    ],
)
def test_our_own_writes_and_other_changes_are_no_acts(changes: dict[str, Any]) -> None:
    """What we wrote comes back as a change."""
    change = crm(changes.pop("value", "denied"), **changes)
    assert act_of_crm(change, ours={"INTEGRATION:77"}) is None


def test_a_bulk_edit_does_not_undo_what_the_person_wrote_and_start_does() -> None:
    """The whole way: property, keyword, property, keyword."""
    wrote = {word: said_in(message(text(word)), tables=TABLES) for word in ("STOP", "START")}
    ledger = ConsentLedger()

    def told(act: Any, minute: int) -> str:
        nonlocal ledger
        ledger = ledger.with_act(ANA, replace(act, at=NOW + timedelta(minutes=minute), act_id=f"a{minute}"))
        return ledger.standing().state

    stop, start = wrote["STOP"], wrote["START"]
    assert stop is not None
    assert start is not None
    grant = act_of_crm(crm("granted"), ours=())
    assert told(grant, 1) == "granted"
    assert told(stop.acts[0], 2) == "denied"
    assert told(grant, 3) == "denied"
    assert told(start.acts[0], 4) == "granted"
