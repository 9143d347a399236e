"""From body to records: nothing is too large, too deep or too odd to be kept."""

import json
from datetime import UTC, datetime

import pytest

from connector.ingress.dead_letters import LARGEST_KEPT_BODY
from connector.ingress.intake import take_in
from connector.streams.codec import decode
from connector.topics import DEAD_LETTERS, WHATSAPP_UPDATES

NOW = datetime(2026, 11, 24, tzinfo=UTC)


def body_of(*messages: object) -> bytes:
    value = {"metadata": {"phone_number_id": "1065"}, "messages": list(messages)}
    entry = {"id": "WABA", "changes": [{"field": "messages", "value": value}]}
    return json.dumps({"object": "whatsapp_business_account", "entry": [entry]}, ensure_ascii=False).encode(
        "utf-8", "surrogatepass"
    )


def test_updates_become_records_of_the_updates_topic() -> None:
    """Key, value and headers are those of the codec; the counters say what was in the POST."""
    intake = take_in(body_of({"id": "a", "from": "49"}, {"id": "b", "from": "50"}), received_at=NOW)

    assert [(record.topic, record.key) for record in intake.records] == [
        (WHATSAPP_UPDATES, b"49"),
        (WHATSAPP_UPDATES, b"50"),
    ]
    assert [decode(WHATSAPP_UPDATES, record.value).update["id"] for record in intake.records] == ["a", "b"]
    assert intake.kinds == {"message": 2}
    assert not intake.dead


@pytest.mark.parametrize(
    ("body", "cause"),
    [
        pytest.param(b"<html>\xff\x00", "not_json", id="not JSON"),
        pytest.param(b"", "not_json", id="empty"),
        pytest.param(b"[" * 100_000, "too_deep", id="open brackets"),
        pytest.param(body_of(*[0] * 10_001), "too_many_updates", id="too many updates"),
    ],
)
def test_what_cannot_be_split_is_one_dead_letter_with_the_exact_bytes(body: bytes, cause: str) -> None:
    """The bytes come back as they were; the same POST again has the same id."""
    intake = take_in(body, received_at=NOW)

    (record,) = intake.records
    letter = decode(DEAD_LETTERS, record.value)
    assert record.topic is DEAD_LETTERS
    assert intake.dead == {cause: 1}
    assert (letter.stage, letter.cause, letter.original, letter.at) == ("ingress", cause, body, NOW)
    assert letter.reason
    assert letter.advice
    assert decode(DEAD_LETTERS, take_in(body, received_at=NOW).records[0].value).event_id == letter.event_id


def test_an_update_that_cannot_be_written_does_not_hold_up_the_others() -> None:
    """400 levels pass the parser and not the writer: that update is kept as bytes, its neighbours as updates."""
    deep: object = "bottom"
    for _ in range(400):
        deep = [deep]
    body = body_of({"id": "a"}, {"id": "b", "deep": deep}, {"id": "c", "deep": deep}, {"id": "d"})

    intake = take_in(body, received_at=NOW)

    assert intake.kinds == {"message": 2}
    assert intake.dead == {"too_deep": 1}
    assert decode(DEAD_LETTERS, intake.records[-1].value).original == body


def test_an_update_that_outgrows_its_topic_becomes_a_dead_letter_that_fits() -> None:
    """Half an emoji makes every raw emoji three times as long; the whole POST still fits as base64."""
    body = body_of({"id": "a"}, {"id": "b", "text": "😀" * 2_000_000 + "\ud83d"})
    body = body.replace(b"\xed\xa0\xbd", b"\\ud83d")  # JSON has half an emoji only as an escape

    intake = take_in(body, received_at=NOW)

    assert intake.kinds == {"message": 1}
    assert intake.dead == {"update_too_large": 1}
    letter = intake.records[-1]
    assert len(letter.value) < DEAD_LETTERS.max_message_bytes
    assert decode(DEAD_LETTERS, letter.value).original == body


def test_the_largest_body_fits_a_dead_letter() -> None:
    """What may be accepted can be kept, even if it is not JSON."""
    intake = take_in(b"\xff" * LARGEST_KEPT_BODY, received_at=NOW)

    assert len(intake.records[0].value) + 4096 < DEAD_LETTERS.max_message_bytes
