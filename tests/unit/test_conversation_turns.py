"""A person's traces as one conversation, and the marks by which records about somebody are known."""

from dataclasses import fields
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from connector.recovery.conversation import conversation
from connector.recovery.in_flight import LetterAbout, Marks, Unread
from connector.recovery.replays import ReplayTrace
from connector.recovery.sends import SendTrace
from connector.recovery.trace import ContactTrace, MessageTrace, Received, SinkTrace

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
ANA = UUID(int=1)


def minute(number: int) -> datetime:
    return NOW + timedelta(minutes=number)


def sink(
    text: str, *, at: datetime | None, direction: str = "inbound", status: str = "received"
) -> SinkTrace:
    return SinkTrace(
        sink="hubspot",
        stage="written to hubspot",
        desired_version=1,
        written_version=1,
        record_id="1",
        contact_record_id="2",
        status=status,
        statuses=[],
        text=text,
        direction=direction,
        at=at,
    )


def send(name: str, *, at: datetime, **told: Any) -> SendTrace:
    empty = {field.name: None for field in fields(SendTrace)}
    texts = {
        "send_id": name,
        "template": "offer",
        "text": "",
        "reason": "",
        "requested_at": at,
        "state": "queued",
    }
    return SendTrace(**{**empty, **texts, **told})


def message(wamid: str, *, received: datetime | None = None, **told: Any) -> MessageTrace:
    place = received and Received(at=received, topic="whatsapp.updates", partition=0, offset=1, event_id="e")
    return MessageTrace(**{"wamid": wamid, "contact_id": ANA, "received": place, "sinks": [], **told})


def test_everything_about_a_person_is_told_in_its_order() -> None:
    """Both directions, a send that was not allowed, a letter and a replay; a send that became a message stands once."""
    accepted = send("trg_1.0", at=minute(1), state="accepted", wamid="wamid.2", attempted_at=minute(2))
    found = ContactTrace(
        contact_id=ANA,
        merged=[],
        aliases=[],
        records=[],
        adoptions=[],
        messages=[
            message("wamid.3", received=minute(6)),
            message("wamid.1", sinks=[sink("hi", at=minute(0))]),
            message("wamid.2", sinks=[sink("Hello Ana", at=None, direction="outbound")], send=accepted),
        ],
        sends=[accepted, send("trg_2.0", at=minute(3), state="blocked", reason="They opted out.")],
    )
    letter = LetterAbout(
        letter_id="dead:route:1", stage="route", cause="no_person", reason="r", at=minute(4), state="open"
    )
    replay = ReplayTrace(
        plan="abc", sink="hubspot", kind="activity", key="wamid.1", act="change", state="written", fields=["body"],
        at=minute(5), who="ana", why="mapping",
    )  # fmt: skip
    turns = conversation(found, letters=[letter], replays=[replay])
    assert [(turn.at, turn.arrow, turn.name) for turn in turns] == [
        (minute(0), "←", "wamid.1"),
        (minute(2), "→", "wamid.2"),
        (minute(3), "→", "trg_2.0"),
        (minute(4), "·", "dead:route:1"),
        (minute(5), "·", "plan abc"),
        (minute(6), "·", "wamid.3"),
    ]
    stands = {turn.name: turn.stands for turn in turns}
    assert stands["wamid.1"] == "received; written to hubspot"
    assert stands["wamid.2"] == "accepted; written to hubspot"
    assert stands["trg_2.0"] == "blocked: They opted out."
    assert stands["wamid.3"] == "no sync role has folded it yet"


@pytest.mark.parametrize(
    ("name", "key", "value", "about"),
    [
        pytest.param("15551230001", b"x", b'{"from":"15551230001"}', True, id="phone"),
        pytest.param("15551230001", b"x", b'{"id":"9915551230001"}', False, id="part-of-another-number"),
        pytest.param("15551230001", b"15551230001", None, True, id="key-of-a-tombstone"),
        pytest.param(
            "wamid.HBgLMTU1NTEyMzAwMDEVAgARGBI",
            b"x",
            b"no json wamid.HBgLMTU1NTEyMzAwMDEVAgARGBI",
            True,
            id="long",
        ),
        pytest.param("wamid.x", None, b'{"id":"wamid.x2"}', False, id="longer-wamid"),
        pytest.param("", b"", b'{"from":""}', False, id="nothing"),
    ],
)
def test_records_are_known_by_whole_names(
    name: str, key: bytes | None, value: bytes | None, about: object
) -> None:
    """A short name counts as a whole JSON string or as the key; a long one wherever it stands."""
    assert Marks([name]).in_record(key, value) is about


def test_a_record_that_waits_where_nobody_works_says_what_to_run() -> None:
    """The sentence names the stage, the place, how much is before it, and the role to start."""
    unread = Unread(
        stage="outbound-admission",
        place="crm.triggers/0/7",
        schema="s",
        written_at=NOW,
        ahead=1200,
        workers=0,
        redriven=False,
    )
    assert unread.explain() == (
        "not read by outbound-admission yet: crm.triggers/0/7, 1,200 records before it, "
        "nobody works there: connector run outbound"
    )
