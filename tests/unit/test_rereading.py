"""What today's code reads again changes what is known, forward only."""

from typing import Any

import pytest
from conversation_events import message, status
from hypothesis import given, strategies as st

from connector.events import ConversationEvent, MessageRevoked
from connector.sync.core.activities import merge_activity_facts
from connector.sync.core.contacts import contact_facts, merge_contact_facts
from connector.sync.core.fold import Position, gather
from connector.sync.core.rereading import reread_activity, reread_contact

_HERE = Position("conversation.events", 0, 0)


def _facts(*events: ConversationEvent) -> dict[str, Any]:
    _, messages = gather([(event, _HERE) for event in events], {})
    return messages["w"].facts


def _reread(known: dict[str, Any], told: dict[str, Any]) -> dict[str, Any]:
    return reread_activity(known, told, keep_deleted_text=False)


EVENTS = st.sampled_from(
    [
        message("w", "ann", direction="outbound"),
        message("w", "ann", direction="outbound", message_type="unsupported", text=""),
        *(
            status("w", word, "ann", seconds=place)
            for place, word in enumerate(("sent", "failed", "delivered", "read"))
        ),
        status("w", "delivered", None, seconds=2),
    ]
)


@given(st.lists(EVENTS, min_size=1), st.lists(EVENTS, min_size=1))
def test_reading_the_same_records_again_changes_nothing(log: list[Any], more: list[Any]) -> None:
    """Whatever part of the log is read again by the same code, the facts stay as the fold has them."""
    known = merge_activity_facts(_facts(*log), _facts(*more))
    assert _reread(known, _facts(*log)) == known


def test_a_mended_reader_is_right_about_the_same_message() -> None:
    """A text that today's code reads differently replaces the one that was read before, whichever is larger."""
    for before, now in (("a", "b"), ("b", "a")):
        known, told = (_facts(message("w", "ann", text=text)) for text in (before, now))
        assert _reread(known, told)["message"]["text"] == now


def test_a_poorer_version_replaces_nothing() -> None:
    """A slice that holds the placeholder only leaves the message as it is known; an older status goes nowhere."""
    known = _facts(message("w", "ann", direction="outbound"), status("w", "read", "ann", seconds=3))
    placeholder = message("w", "ann", direction="outbound", message_type="media_placeholder", text="")
    told = _facts(placeholder, status("w", "sent", "ann", seconds=1))
    assert _reread(known, told) == known


def test_a_deleted_message_stays_deleted() -> None:
    """Reading the message again does not bring its text back."""
    text = message("w", "ann", text="a secret")
    gone = MessageRevoked(**_revocation(text))
    known = reread_activity({}, _facts(text, gone), keep_deleted_text=False)
    assert "a secret" not in str(_reread(known, _facts(text)))


def _revocation(text: Any) -> dict[str, Any]:
    shared = ("waba_id", "phone_number_id", "business_phone", "at", "person", "origin")
    return {name: getattr(text, name) for name in shared} | {
        "event_id": "revoked",
        "wamid": "w2",
        "target": text.wamid,
        "direction": "inbound",
    }


@pytest.mark.parametrize(("seconds", "name"), [(-1, "known"), (0, "told"), (1, "told")])
def test_a_fact_about_a_person_goes_forward_only(seconds: int, name: str) -> None:
    """The later fact wins, and of the same moment the one that today's code reads."""
    known = contact_facts(message("w", "ann", shown={"name": "known"}))
    told = contact_facts(message("w", "ann", seconds=seconds, shown={"name": "told"}))
    assert reread_contact(known, told)["name"][0] == name
    assert reread_contact(known, known) == known == merge_contact_facts(known, known)
