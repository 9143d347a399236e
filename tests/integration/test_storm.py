"""400 damaged webhooks through the real thing, and that what judges them would notice."""

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import storm
import storm_judge as judge
from damage import damaged

from connector.events import Origin, Person, StatusChange, WhatsAppUpdate
from connector.sandbox.audit import CrmRecords, LoggedMessage

NOW = datetime(2026, 6, 1, tzinfo=UTC)
BODY = json.dumps({"entry": [{"changes": [{"value": {"note": "hello", "count": 7}}]}]}).encode()
PLACE = ("whatsapp.updates", 0, 5)
_POSTS = 400  # `make storm` plays 10,000
ANA, BEA = UUID(int=1), UUID(int=2)


@pytest.mark.timeout(400)
async def test_damaged_webhooks_lose_nothing_and_stop_nobody(tmp_path: Path) -> None:
    """Every update ends as an event, account event or dead letter, and both CRMs say what the log says."""
    bodies = list(damaged(storm.golden_bases(), count=_POSTS, seed=1))
    verdict = await storm.play(tmp_path, bodies, timeout=240)
    assert verdict.troubles == []
    assert verdict.answers == {"200": _POSTS}
    assert sum(verdict.ended_as.values()) == verdict.updates > _POSTS
    # All of the ways out were taken, and enough survived to say something.
    assert {"event", "account event", "dead letter", "unknown, kept as account event"} <= set(
        verdict.ended_as
    )
    assert verdict.activities > 160
    assert verdict.contacts > 100


def test_damage_is_repeatable_and_of_every_kind() -> None:
    """The same seed gives the same bytes; among a thousand there are huge, deep, unreadable and repeated ones."""
    bodies = list(damaged(storm.golden_bases(), count=_POSTS, seed=1))
    assert bodies == list(damaged(storm.golden_bases(), count=_POSTS, seed=1))
    assert bodies != list(damaged(storm.golden_bases(), count=1_000, seed=2))
    assert any(len(body) > 500_000 for body in bodies)
    assert any(b"[" * 50 in body for body in bodies)
    assert any(b"timestamp" not in body for body in bodies)


def _verdict() -> judge.Verdict:
    return judge.Verdict(posts=1, answers={"200": 1})


def _log(*, update: Any = None, events: Any = ()) -> Any:
    updates = {}
    if update is not None:
        updates[PLACE] = WhatsAppUpdate(
            event_id="e",
            kind="unknown",
            field="",
            waba_id="",
            update=update,
            received_at=NOW,
            post_id=hashlib.sha256(BODY).hexdigest()[:32],
        )
    return judge.Log(updates=updates, conversation=list(events), account=[], dead=[])


@pytest.mark.parametrize(
    ("update", "lost"),
    [({"note": "hello", "count": 7}, 0), ({"note": "hello"}, 1), (None, 1)],
    ids=["whole", "a-number-less", "no-record"],
)
def test_a_text_that_is_on_no_record_is_noticed(update: Any, lost: int) -> None:
    """A POST of which a value did not come through is named."""
    verdict = _verdict()
    judge.judge_intake(verdict, [BODY], _log(update=update))
    assert len(verdict.texts_lost) == lost
    assert bool(verdict.troubles) == bool(lost)


def test_an_update_that_left_nothing_on_the_log_is_noticed() -> None:
    """Only what has an event, account event or dead letter of its place is accounted for."""
    origin = Origin(topic=PLACE[0], partition=PLACE[1], offset=PLACE[2], received_at=NOW)
    event = StatusChange(
        event_id="e", waba_id="1", at=NOW, person=Person(), origin=origin, wamid="w", status="sent"
    )
    for events, unaccounted in (([event], 0), ([], 1)):
        verdict = _verdict()
        judge.judge_ends(verdict, _log(update={}, events=events))
        assert len(verdict.unaccounted) == unaccounted


def _message(wamid: str, *people: str, status: str = "received") -> LoggedMessage:
    return LoggedMessage(
        record_id=f"r-{wamid}",
        wamid=wamid,
        people=people,
        direction="inbound",
        status=status,
        text="",
        created_at=NOW,
    )


@pytest.mark.parametrize(
    ("messages", "trouble"),
    [
        ([_message("a", "1"), _message("b", "2")], None),
        ([_message("a", "1")], "unwritten"),
        ([_message("a", "1"), _message("a", "1"), _message("b", "2")], "doubled"),
        ([_message("a", "1"), _message("b", "2", status="read")], "wrong_status"),
        ([_message("a", "1"), _message("b", "1")], "misplaced"),
    ],
    ids=["right", "absent", "twice", "another-status", "two-people-on-one-record"],
)
def test_a_crm_that_says_something_else_is_noticed(
    messages: list[LoggedMessage], trouble: str | None
) -> None:
    """Absent, doubled and misplaced messages and other statuses are found from the CRM's own records."""
    verdict = _verdict()
    judge.compare(
        verdict,
        "hubspot",
        CrmRecords(people=2, messages=messages),
        keys={"a": "a", "b": "b"},
        owners={"a": ANA, "b": BEA},
        statuses={"a": "received", "b": "received"},
        refused=set(),
    )
    found = {name for name in judge.CRM_TROUBLES if getattr(verdict, name)}
    assert found == ({trouble} if trouble else set())
