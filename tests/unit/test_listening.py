"""What `connector listen` shows of a record, and what it hides."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import typer

from connector.cli.listen import moment_given
from connector.recovery.listening import Heard, heard, masked_key

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECRETS = ["15551230001", "US.1180000000000001", "Ana Silva", "my card is 4111", "ana@example.com"]
EVENT_ID = f"status:106540352242922:wamid.HBg:{SECRETS[0]}:{SECRETS[1]}:9e107d9d372bb682"
MESSAGE = {
    "type": "message",
    "event_id": EVENT_ID,
    "direction": "inbound",
    "wamid": "wamid.1",
    "person": {"contact_id": "9e1", "bsuid": SECRETS[1], "wa_id": SECRETS[0], "name": SECRETS[2]},
    "text": SECRETS[3],
    "content": {"contacts": [{"emails": [{"email": SECRETS[4]}]}]},
    "at": "2026-03-01T12:00:00Z",
}
UPDATE = {
    "kind": "message",
    "update": {"id": "wamid.1", "from": SECRETS[0], "text": {"body": SECRETS[3]}},
    "contact": {"profile": {"name": SECRETS[2]}, "wa_id": SECRETS[0], "user_id": SECRETS[1]},
    "context": {"new_field": {"mail": SECRETS[4]}},
}
SEND = {
    "type": "send.requested",
    "send_id": "trg_1.0",
    "template": {"name": "offer"},
    "to": {"phone": f"+{SECRETS[0]}", "bsuid": SECRETS[1]},
    "parameters": {"1": SECRETS[2], "2": SECRETS[3]},
    "purpose": "marketing",
}


def shown(content: Any, *, plain: bool = False, headers: Mapping[str, bytes] | None = None) -> Heard:
    value = content if isinstance(content, bytes) else json.dumps(content).encode()
    return heard(
        topic="conversation.events",
        partition=3,
        offset=7,
        timestamp=int(NOW.timestamp() * 1000),
        key=SECRETS[0].encode(),
        value=value,
        headers={"schema": b"conversation.events/message", "event-id": EVENT_ID.encode(), **(headers or {})},
        plain=plain,
    )


@pytest.mark.parametrize("content", [MESSAGE, UPDATE, SEND], ids=["message", "update", "send"])
def test_nobody_can_be_recognised_by_what_passes(content: Any) -> None:
    """Phones, BSUIDs, names, texts and what is new within them are masked, in the line and in the JSON."""
    found = shown(content)
    text = json.dumps(found.document) + found.told() + found.key + found.event_id
    assert [secret for secret in SECRETS if secret in text] == []
    assert [secret for secret in SECRETS if secret in json.dumps(shown(content, plain=True).document)]


def test_what_it_is_about_stays_readable() -> None:
    """Type, place, ids of messages and sends, direction and template are there."""
    found = shown(MESSAGE)
    assert (found.type, found.partition, found.offset, found.at) == ("message", 3, 7, NOW)
    assert found.told() == "direction=inbound wamid=wamid.1"
    assert found.document["person"]["contact_id"] == "9e1"
    assert found.event_id == "status:***22:wamid.HBg:***01:***01:9e107d9d372bb682"
    assert shown(SEND).told() == "template=offer purpose=marketing send_id=trg_1.0"
    assert shown(b"\xff").told() == "not JSON"
    assert shown(MESSAGE, headers={"redrive-stage": b"route"}).redriven


@pytest.mark.parametrize(
    ("key", "seen"),
    [
        pytest.param(
            "9e107d9d-372b-5b6d-9c1e-0242ac120002", "9e107d9d-372b-5b6d-9c1e-0242ac120002", id="contact-id"
        ),
        pytest.param("15551230001", "***01", id="phone"),
        pytest.param("wamid.HBg", "wamid.HBg", id="wamid"),
    ],
)
def test_a_key_that_names_a_person_is_masked(key: str, seen: str) -> None:
    """Contact ids and wamids are ours to show, phones are not."""
    assert masked_key(key) == seen


@pytest.mark.parametrize(
    ("text", "then"),
    [
        pytest.param("90s", NOW - timedelta(seconds=90), id="seconds"),
        pytest.param("10m", NOW - timedelta(minutes=10), id="minutes"),
        pytest.param("2h", NOW - timedelta(hours=2), id="hours"),
        pytest.param("1d", NOW - timedelta(days=1), id="days"),
        pytest.param("2026-03-01T09:00Z", NOW - timedelta(hours=3), id="utc"),
        pytest.param("2026-03-01T09:00", NOW - timedelta(hours=3), id="no-zone"),
        pytest.param("2026-03-01T09:00+02:00", NOW - timedelta(hours=5), id="zone"),
    ],
)
def test_a_time_is_typed_as_people_type_it(text: str, then: datetime) -> None:
    """So long ago, or a time, UTC unless it says otherwise."""
    assert moment_given(text, now=NOW) == then


@pytest.mark.parametrize("text", ["10", "yesterday", "2026-13-01", "2026-03-02T00:00Z", "1w"])
def test_an_impossible_time_is_refused(text: str) -> None:
    """The refusal names the option; a time in the future is none."""
    with pytest.raises(typer.BadParameter, match="--from"):
        moment_given(text, now=NOW)
