"""What a dead letter is put back as, and which must not go back."""

import base64
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from connector.errors import Rejected
from connector.events import DeadLetter
from connector.ingress.again import through_the_door
from connector.recovery.letters.fixing import by_patch, by_value, tried
from connector.recovery.letters.groups import Grouping, selected
from connector.recovery.letters.reading import KeptLetter
from connector.recovery.letters.redriving import put_back
from connector.state.offsets import Place
from connector.streams.redriven import MOST_ATTEMPTS, how_redriven, is_for_any
from connector.topics import CRM_TRIGGERS, WHATSAPP_UPDATES

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
ASKED = NOW - timedelta(hours=2)
DOORS = {"ingress": through_the_door}
MESSAGE = {
    "event_id": "message:1:wamid.1::x",
    "kind": "message",
    "field": "messages",
    "waba_id": "102",
    "metadata": {"phone_number_id": "106", "display_phone_number": "15550001"},
    "update": {
        "id": "wamid.1",
        "from": "491701234567",
        "timestamp": "1772300000",
        "type": "text",
        "text": {"body": "hi"},
    },
    "received_at": ASKED.isoformat(),
    "post_id": "p",
}
SEND = {
    "type": "send.requested",
    "event_id": "send.requested:trg_1.0:1",
    "source": "api",
    "received_at": ASKED.isoformat(),
    "send_id": "trg_1.0",
    "trigger_id": "trg_1",
    "request_hash": "h",
    "template": {"name": "offer"},
    "to": {"phone": "+491701234567"},
}


def letter(
    content: Any, *, stage: str = "route", topic: str = "t.whatsapp.updates", **fields: Any
) -> DeadLetter:
    original = content if isinstance(content, bytes) else json.dumps(content).encode()
    told = {
        "event_id": "dead:route:1",
        "stage": stage,
        "cause": "undecodable",
        "reason": "r",
        "at": NOW - timedelta(hours=1),
        "topic": topic,
        "partition": 1,
        "offset": 7,
        "key": base64.b64encode(b"k"),
        "headers": {"event-id": "e", "origin": "ingress"},
        "original": base64.b64encode(original),
    }
    return DeadLetter.model_validate(told | fields)


def sends(content: Any, **fields: Any) -> DeadLetter:
    return letter(content, stage="outbound-admission", topic="t.crm.triggers", **fields)


def back(one: DeadLetter, *, fix: bytes | None = None, allow_sends: bool = False, now: datetime = NOW) -> Any:
    (record,) = put_back(one, fix=fix, prefix="t.", doors=DOORS, allow_sends=allow_sends, now=now).records
    return record


def refusal(one: DeadLetter, *, fix: Any = None, allow_sends: bool = False, now: datetime = NOW) -> str:
    value = None if fix is None else json.dumps(fix).encode()
    with pytest.raises(Rejected) as refused:
        put_back(one, fix=value, prefix="t.", doors=DOORS, allow_sends=allow_sends, now=now)
    assert refused.value.advice
    return refused.value.cause


def test_a_record_goes_back_byte_by_byte_for_its_stage_only() -> None:
    """Topic, key, value and headers are what they were; four headers say for whom, of what, how often and since when."""
    one = letter(MESSAGE)
    record = back(one)
    assert (record.topic, record.key, record.value) == (WHATSAPP_UPDATES, b"k", one.original)
    headers = dict(record.headers)
    assert (headers["event-id"], headers["origin"]) == (b"e", b"ingress")
    how = how_redriven(headers)
    assert how is not None
    assert (how.stage, how.letter, how.attempt, how.since) == ("route", "dead:route:1", 1, one.at)


def test_attempts_are_counted_on_until_they_are_enough() -> None:
    """A record that dies again carries its number on; after the last attempt it stays."""
    headers: dict[str, str] = {}
    for attempt in range(1, MOST_ATTEMPTS + 1):
        record = back(letter(MESSAGE, headers=headers))
        headers = {name: value.decode() for name, value in record.headers}
        how = how_redriven(headers)
        assert how is not None
        assert how.attempt == attempt
    assert refusal(letter(MESSAGE, headers=headers)) == "too_often"
    assert refusal(letter(MESSAGE, headers=headers | {"redrive-attempt": "many"})) == "too_often"


@pytest.mark.parametrize(
    ("one", "cause"),
    [
        pytest.param(letter(b"{"), "would_die_again", id="no-json"),
        pytest.param(letter({**MESSAGE, "kind": "status", "update": {}}), "would_die_again", id="unreadable"),
        pytest.param(letter(MESSAGE, topic="u.whatsapp.updates"), "not_on_a_topic", id="another-deployment"),
        pytest.param(letter(MESSAGE, topic=""), "not_on_a_topic", id="no-topic"),
        pytest.param(letter(MESSAGE, topic="t.dead.letters"), "not_on_a_topic", id="a-letter-of-a-letter"),
        pytest.param(letter(b"{", stage="ingress", topic="", cause="not_json"), "would_die_again", id="post"),
        pytest.param(
            letter(b"{}", stage="ingress", topic="", cause="not_a_send"), "asked_anew", id="salesforce"
        ),
        pytest.param(
            letter(b"{}", stage="ingress", topic="", cause="not_a_workflow_action"),
            "asked_anew",
            id="workflow",
        ),
        pytest.param(
            letter(b"[1]", stage="ingress", topic="", cause="not_a_hubspot_event"),
            "would_die_again",
            id="hubspot-event",
        ),
    ],
)
def test_what_cannot_pass_stays(one: DeadLetter, cause: str) -> None:
    """The same checks as at its stage, before anything is sent."""
    assert refusal(one) == cause


def test_a_post_goes_through_its_door_again() -> None:
    """Bytes that the ingress could not take apart become the records that it makes of them today, for all readers."""
    post = {
        "object": "whatsapp_business_account",
        "entry": [
            {"id": "102", "changes": [{"field": "messages", "value": {"messages": [MESSAGE["update"]]}}]}
        ],
    }
    found = put_back(
        letter(post, stage="ingress", topic="", cause="split_failed"),
        fix=None,
        prefix="t.",
        doors=DOORS,
        allow_sends=False,
        now=NOW,
    )
    (record,) = found.records
    assert (record.topic, found.stage) == (WHATSAPP_UPDATES, "")
    assert how_redriven(dict(record.headers)) is None


def test_a_request_to_send_needs_a_word_for_it() -> None:
    """It stays without --allow-sends, and goes with it; what gives consent goes as any record."""
    assert refusal(sends(SEND)) == "sends"
    assert back(sends(SEND), allow_sends=True).topic is CRM_TRIGGERS
    consent = {
        "type": "consent.given",
        "event_id": "c",
        "source": "api",
        "received_at": ASKED.isoformat(),
        "to": {"phone": "+491701234567"},
        "purpose": "marketing",
        "state": "denied",
        "at": ASKED.isoformat(),
    }
    assert back(sends(consent)).topic is CRM_TRIGGERS


@pytest.mark.parametrize(
    ("original", "fix", "hours"),
    [
        pytest.param(SEND, None, 22, id="a-day-from-the-request"),
        pytest.param({**SEND, "expires_at": (NOW + timedelta(hours=1)).isoformat()}, None, 1, id="as-asked"),
        pytest.param({**SEND, "template": None}, SEND, 22, id="mended"),
        pytest.param(
            {**SEND, "template": None, "expires_at": (NOW + timedelta(hours=1)).isoformat()},
            {**SEND, "expires_at": (NOW + timedelta(hours=1)).isoformat()},
            1,
            id="mended-as-asked",
        ),
        pytest.param(
            b"\xff", {**SEND, "expires_at": (NOW + timedelta(hours=3)).isoformat()}, 3, id="unreadable"
        ),
    ],
)
def test_a_request_is_never_sent_past_its_time(original: Any, fix: Any, hours: int) -> None:
    """It goes until a moment before it expires, and never from then on."""
    value = None if fix is None else json.dumps(fix).encode()
    ends = NOW + timedelta(hours=hours)
    assert back(sends(original), fix=value, allow_sends=True, now=ends - timedelta(microseconds=1))
    assert refusal(sends(original), fix=fix, allow_sends=True, now=ends) == "expired"


@pytest.mark.parametrize(
    ("original", "change"),
    [
        pytest.param(SEND, {"expires_at": (NOW + timedelta(days=3)).isoformat()}, id="later-expiry"),
        pytest.param(SEND, {"received_at": NOW.isoformat()}, id="later-request"),
        pytest.param({**SEND, "purpose": "authentication"}, {"purpose": "utility"}, id="other-purpose"),
        pytest.param(b"\xff", {"received_at": NOW.isoformat()}, id="unreadable-original"),
    ],
)
def test_a_fix_cannot_make_a_request_last_longer(original: Any, change: dict[str, Any]) -> None:
    """Whatever is mended, the time until which it was asked for stays the bound."""
    asked = original if isinstance(original, bytes) else {**original, "template": None}
    assert refusal(sends(asked), fix={**SEND, **change}, allow_sends=True) == "expired"


def test_a_record_that_died_twice_does_not_become_younger() -> None:
    """An unreadable request counts from its first death, not from the one after its redrive."""
    since = (NOW - timedelta(hours=23)).isoformat()
    headers = {"redrive-stage": "outbound-admission", "redrive-attempt": "1", "redrive-since": since}
    late = {**SEND, "received_at": (NOW - timedelta(hours=1)).isoformat()}
    assert refusal(sends(b"\xff", headers=headers), fix=late, allow_sends=True) == "expired"


def test_a_fix_is_tried_as_a_redrive_would_try_it() -> None:
    """A patch that mends a letter passes; one that does not fit, or does not mend, says why."""
    broken = letter({**MESSAGE, "waba_id": None})
    mended = tried(
        broken,
        by_patch([{"op": "replace", "path": "/waba_id", "value": "102"}]),
        prefix="t.",
        doors=DOORS,
        now=NOW,
    )
    assert mended.refusal is None
    assert json.loads(mended.value) == MESSAGE
    unfit = tried(broken, by_patch([{"op": "remove", "path": "/nothing"}]), prefix="t.", doors=DOORS, now=NOW)
    useless = tried(
        broken,
        by_patch([{"op": "replace", "path": "/waba_id", "value": 7}]),
        prefix="t.",
        doors=DOORS,
        now=NOW,
    )
    unread = tried(
        letter(b"\xff"), by_patch([{"op": "remove", "path": "/a"}]), prefix="t.", doors=DOORS, now=NOW
    )
    assert [one.refusal and one.refusal.cause for one in (unfit, useless, unread)] == [
        "patch_failed",
        "would_die_again",
        "patch_failed",
    ]
    assert (
        tried(
            letter(b"\xff"), by_value(json.dumps(MESSAGE).encode()), prefix="t.", doors=DOORS, now=NOW
        ).refusal
        is None
    )


def kept(one: DeadLetter, *, minute: int) -> KeptLetter:
    return KeptLetter(letter=one, at=NOW + timedelta(minutes=minute), place=Place("d", 0), offset=minute)


def test_letters_are_counted_once_by_stage_and_cause_and_what_was_done() -> None:
    """Repeated letters count once, refused items not at all; the sample is the last open one."""
    names = ["a", "b", "c", "d"]
    letters = [letter(MESSAGE, event_id=f"dead:route:{name}", reason=name) for name in names]
    other = letter(MESSAGE, event_id="dead:media:1", stage="media")
    refused = letter(MESSAGE, event_id="refused:sync-hubspot:x:1", stage="sync-hubspot")
    grouping = Grouping(
        states={"dead:route:a": "redriven", "dead:route:b": "dropped", "dead:route:c": "redriving"},
        fixed=frozenset({"dead:route:c", "dead:route:a"}),
    )
    for minute, one in enumerate(
        [letters[3], letters[0], letters[0], letters[2], letters[1], other, refused]
    ):
        grouping.add(kept(one, minute=minute))
    found = grouping.result(complete=True)
    media, route = found.groups
    assert (media.name, media.open) == ("media/undecodable", 1)
    assert (route.name, route.open, route.redriven, route.dropped, route.fixed) == (
        "route/undecodable",
        2,
        1,
        1,
        1,
    )
    assert (route.sample, route.reason) == ("dead:route:c", "c")
    assert (route.first, route.last, found.since) == (NOW, NOW + timedelta(minutes=4), NOW)


@pytest.mark.parametrize("named", ["", "route", "route/", "/undecodable", "a/b/c"])
def test_what_names_no_letters_is_refused(named: str) -> None:
    """The refusal says how they are named."""
    with pytest.raises(Rejected, match="names no dead letters"):
        selected(named)


def test_letters_are_named_by_group_or_by_id() -> None:
    """`stage/cause` takes all of a group, an id just that one."""
    one = kept(letter(MESSAGE), minute=0)
    assert selected("route/undecodable").takes(one)
    assert not selected("route/no_person").takes(one)
    assert selected("dead:route:1").takes(one)
    assert not selected("dead:route:2").takes(replace(one))


def test_a_reader_of_the_log_takes_what_came_by_itself_or_was_put_back_for_it() -> None:
    """A replay of the CRMs' events leaves out what only the media stage was given."""
    sinks = {"sync-hubspot", "sync-salesforce"}
    assert is_for_any(sinks, [("event-id", b"e")])
    assert is_for_any(sinks, [("redrive-stage", b"sync-hubspot")])
    assert not is_for_any(sinks, [("redrive-stage", b"media")])
