"""Imports of old chats: a chunk taken apart, and who wrote what."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from connector.events import WhatsAppUpdate
from connector.ingress.intake import take_in
from connector.streams.codec import decode
from connector.topics import WHATSAPP_HISTORY, WHATSAPP_UPDATES
from connector.whatsapp.history import CHUNK, THREAD, past_updates, read_past_message

NOW = datetime(2026, 11, 24, tzinfo=UTC)


def chunk(content: Any) -> WhatsAppUpdate:
    return WhatsAppUpdate(
        event_id="history:1065:::x",
        kind="history",
        field="history",
        waba_id="WABA",
        metadata={"phone_number_id": "1065"},
        update=content,
        received_at=NOW,
        post_id="p",
    )


def test_an_import_goes_to_its_own_topic_in_one_record() -> None:
    """A chunk stays whole, its late files follow on the same partition, and live messages go the usual way."""
    values: list[tuple[str, dict[str, Any]]] = [
        ("history", {"history": [{"threads": [{"id": "49", "messages": [{"id": "a"}, {"id": "b"}]}]}]}),
        ("history", {"messages": [{"id": "a", "from": "49"}]}),
        ("messages", {"messages": [{"id": "c", "from": "49"}]}),
    ]
    changes = [{"field": field, "value": value} for field, value in values]
    body = {"object": "whatsapp_business_account", "entry": [{"id": "WABA", "changes": changes}]}
    records = take_in(json.dumps(body).encode(), received_at=NOW).records
    assert [(record.topic, record.key) for record in records] == [
        (WHATSAPP_HISTORY, b"WABA"),
        (WHATSAPP_HISTORY, b"WABA"),
        (WHATSAPP_UPDATES, b"49"),
    ]
    assert decode(WHATSAPP_HISTORY, records[0].value).update == values[0][1]["history"][0]


def test_a_chunk_becomes_its_messages_and_what_is_left() -> None:
    """Each message with its thread and progress; the progress of the import once more by itself."""
    progress = {"phase": 0, "chunk_order": 1, "progress": 55}
    threads = [
        {"id": "49", "messages": [{"id": "a", "from": "49"}, "odd"]},
        {"id": "50", "messages": [{"id": "b", "from": "1"}]},
        "odd",
    ]
    *messages, left = past_updates(chunk({"metadata": progress, "threads": threads}))
    assert [message.update["id"] for message in messages] == ["a", "b"]
    assert [message.context[THREAD] for message in messages] == [{"id": "49"}, {"id": "50"}]
    assert messages[0].context[CHUNK] == {"metadata": progress}
    assert left.update == {
        "history": {"metadata": progress, "threads": [{"id": "49", "messages": ["odd"]}, "odd"]}
    }


def test_a_message_has_the_same_id_however_the_chunks_are_cut() -> None:
    """A redelivery that is cut otherwise has the same messages; another thread's message has another id."""
    message = {"id": "a", "from": "49"}
    ids = [
        next(iter(past_updates(chunk({"threads": [{"id": "49", "messages": messages}]})))).event_id
        for messages in ([message], [message, {"id": "b"}])
    ]
    assert ids[0] == ids[1]
    assert ids[0].startswith("history:1065:a:49:")


@pytest.mark.parametrize(
    ("raw", "thread", "business", "expected"),
    [
        pytest.param({"from": "49"}, {"id": "49"}, "+1 5", ("inbound", "49"), id="the customer wrote"),
        pytest.param({"from": "15550", "to": "49"}, {"id": "49"}, "", ("outbound", "49"), id="has a to"),
        pytest.param(
            {"from": "155501"}, {"id": "49"}, "+1 555-01", ("outbound", "49"), id="the business's number"
        ),
        pytest.param(
            {"from": "5511987654321"},
            {"id": "551187654321"},
            "15550100",
            ("inbound", "551187654321"),
            id="a number in two spellings",
        ),
        pytest.param(
            {"from": "155501"}, {"id": "49000"}, "", ("outbound", "49000"), id="not the thread's customer"
        ),
        pytest.param({"from": "49"}, None, "15550100", ("inbound", "49"), id="late file, from the customer"),
        pytest.param({}, "odd", "", ("inbound", None), id="nothing"),
    ],
)
def test_who_wrote_is_told_by_whose_number_it_is(
    raw: dict[str, Any], thread: Any, business: str, expected: tuple[str, Any]
) -> None:
    """The direction, and the customer's number as the thread spells it."""
    past = read_past_message(raw, thread=thread, business_phone=business)
    assert (past.direction, past.phone) == expected


@pytest.mark.parametrize(
    ("word", "status"), [("READ", "read"), ("ERROR", "failed"), ("PENDING", "accepted"), ("X", "x"), (5, "5")]
)
def test_what_became_of_a_message_is_read_in_the_words_of_statuses(word: Any, status: str) -> None:
    """Capitals and two words of their own."""
    past = read_past_message({"history_context": {"status": word}}, thread={}, business_phone="")
    assert past.status == status


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["id", "from", "messages", "threads", "metadata", "x"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)


def _leaves(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [leaf for item in value.values() for leaf in _leaves(item)]
    if isinstance(value, list):
        return [leaf for item in value for leaf in _leaves(item)]
    return [repr(value)]


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.sampled_from(["threads", "metadata", "id", "x"]), ANY_JSON, max_size=4))
def test_no_leaf_of_a_chunk_is_lost(content: dict[str, Any]) -> None:
    """Whatever stands in a chunk stands in one of its parts."""
    parts = list(past_updates(chunk(content)))
    kept = [leaf for part in parts for leaf in _leaves([part.update, part.context])]
    assert set(_leaves(content)) <= set(kept)
