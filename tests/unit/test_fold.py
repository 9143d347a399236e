"""The fold: any order and any repetition of the same events ends in the same facts."""

from datetime import UTC, datetime
from itertools import pairwise
from typing import Any
from uuid import UUID

import pytest
from conversation_events import changed, contact, merged, message, status
from hypothesis import given, settings, strategies as st

from connector.events import ConversationEvent
from connector.sync.core.activities import merge_activity_facts, message_facts
from connector.sync.core.contacts import contact_facts, merge_contact_facts
from connector.sync.core.desired import BODY_LIMIT, activity_view, contact_profile, cut
from connector.sync.core.fold import ActivityState, ContactState, Position, contacts_named, fold
from connector.sync.mapping import built_in

LAYOUT = built_in().layout
NOW = datetime(2026, 3, 2, tzinfo=UTC)
PLACE = Position("conversation.events", 0, 0)


class Tables:
    """What the sink's tables hold, in memory."""

    def __init__(self) -> None:
        self.contacts: dict[UUID, ContactState] = {}
        self.activities: dict[str, ActivityState] = {}

    def fold(self, *events: ConversationEvent) -> int:
        """Fold one batch; the number of rows that changed."""
        result = fold(
            [(event, PLACE) for event in events],
            contacts=self._named(events),
            activities=self.activities,
            now=NOW,
        )
        for person in result.contacts:
            self.contacts[person.contact_id] = _stored(person)
        for item in result.activities:
            self.activities[item.wamid] = _stored(item)
        for wamid, item in self.activities.items():  # all at once, as one UPDATE does
            if item.contact_id is not None and item.contact_id in result.moved:
                self.activities[wamid] = _replaced(item, contact_id=result.moved[item.contact_id])
        return len(result.contacts) + len(result.activities)

    def _named(self, events: tuple[ConversationEvent, ...]) -> dict[UUID, ContactState]:
        """Only what the tables would be asked for: the contacts that are named, and where they redirect to."""
        found: dict[UUID, ContactState] = {}
        wanted = contacts_named(events)
        while wanted:
            found.update({key: self.contacts[key] for key in wanted if key in self.contacts})
            targets = {state.redirect_to for state in found.values() if state.redirect_to}
            wanted = {target for target in targets if target in self.contacts and target not in found}
        return found

    def meaning(self) -> tuple[dict[UUID, Any], dict[str, Any]]:
        """What a CRM would be told: live people and messages on their person of today."""
        people = {
            key: contact_profile(state.facts) for key, state in self.contacts.items() if not state.redirect_to
        }
        messages = {
            wamid: (item.contact_id, activity_view(item.facts, layout=LAYOUT))
            for wamid, item in self.activities.items()
        }
        return people, messages


def _stored(state: Any) -> Any:
    return _replaced(state, stored=True)


def _replaced(state: Any, **changes: Any) -> Any:
    from dataclasses import replace

    return replace(state, **changes)


@st.composite
def histories(draw: st.DrawFn) -> list[ConversationEvent]:
    """A handful of people who write, hear, change and turn out to be one another, statuses by either name."""
    people = ["ana", "bo", "cy", "di"]
    events: list[ConversationEvent] = []
    for number in range(draw(st.integers(1, 12))):
        who = draw(st.sampled_from(people))
        seconds = draw(st.integers(0, 50))
        kind = draw(st.sampled_from(["message", "status", "changed", "richer"]))
        if kind == "message":
            shown = {"name": draw(st.sampled_from(["A", "B"])), "wa_id": draw(st.sampled_from(["1", "2"]))}
            events.append(message(f"m{number}", who, seconds=seconds, shown=shown))
        elif kind == "richer":
            events.append(message(f"r{number}", who, seconds=seconds, message_type="unsupported", text=""))
            events.append(message(f"r{number}", who, seconds=seconds, message_type="image", text="caption"))
        elif kind == "status":
            words = draw(
                st.lists(st.sampled_from(["sent", "delivered", "read", "failed"]), min_size=1, max_size=4)
            )
            events.extend(
                status(f"o{number}", word, draw(st.sampled_from([who, "ana"])), seconds=seconds + place)
                for place, word in enumerate(words)
            )
        else:
            events.append(changed(who, seconds=seconds, phone_lost=draw(st.booleans()), wa_id="9"))
    order = draw(st.permutations(people))
    for loser, winner in pairwise(order[: draw(st.integers(1, 3))]):
        events.append(merged(loser, winner, seconds=draw(st.integers(0, 50))))
    return events


@settings(max_examples=150, deadline=None)
@given(histories(), st.data())
def test_any_order_repetition_and_batching_ends_the_same(
    history: list[ConversationEvent], data: st.DataObject
) -> None:
    """However events are shuffled, repeated and cut into batches, a CRM is told the same."""
    straight = Tables()
    straight.fold(*history)
    shuffled = Tables()
    order = data.draw(st.permutations([*history, *history[: len(history) // 2]]))
    while order:
        size = data.draw(st.integers(1, len(order)))
        shuffled.fold(*order[:size])
        order = order[size:]
    assert shuffled.meaning() == straight.meaning()


@settings(max_examples=60, deadline=None)
@given(histories())
def test_a_second_fold_of_the_same_events_changes_no_row(history: list[ConversationEvent]) -> None:
    """Folding again what was folded moves no version, so nothing is written."""
    tables = Tables()
    tables.fold(*history)
    assert tables.fold(*history) == 0


@pytest.mark.parametrize(
    ("words", "final"),
    [
        (["sent", "delivered", "read"], "read"),
        (["read", "delivered", "sent"], "read"),
        (["failed", "sent"], "failed"),
        (["delivered", "failed"], "delivered"),
        (["failed", "delivered"], "delivered"),
        (["read", "played"], "played"),
        (["sent", "in_orbit"], "sent"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else value,
)
def test_a_status_is_the_furthest_seen(words: list[str], final: str) -> None:
    """Statuses only move forward; delivered beats failed; an unknown word decides nothing."""
    tables = Tables()
    tables.fold(*(status("out", word, "ana", seconds=place) for place, word in enumerate(words)))
    assert activity_view(tables.activities["out"].facts, layout=LAYOUT).status == final


def test_the_reason_of_a_failure_is_kept_beside_delivered() -> None:
    """One device failed and another got it: the status is delivered and the reason can be read."""
    from connector.events import StatusError

    tables = Tables()
    error = StatusError(code=131026, title="Message undeliverable")
    tables.fold(status("out", "failed", "ana", errors=[error]), status("out", "delivered", "ana", seconds=1))
    view = activity_view(tables.activities["out"].facts, layout=LAYOUT)
    assert view.status == "delivered"
    assert "131026 Message undeliverable" in view.body


def test_a_status_without_a_person_waits_for_its_message() -> None:
    """A status of an unknown person makes no contact; its message gives it one."""
    tables = Tables()
    tables.fold(status("out", "read", None))
    assert tables.contacts == {}
    assert tables.activities["out"].contact_id is None
    tables.fold(message("out", "ana", direction="outbound"))
    assert tables.activities["out"].contact_id == contact("ana")
    assert activity_view(tables.activities["out"].facts, layout=LAYOUT).status == "read"


def test_a_message_knows_its_person_better_than_a_status() -> None:
    """A status found its person by alias only; the message's own person wins, whichever came first."""
    for order in ((0, 1), (1, 0)):
        events: list[ConversationEvent] = [
            status("out", "sent", "bo"),
            message("out", "ana", direction="outbound"),
        ]
        tables = Tables()
        for place in order:
            tables.fold(events[place])
        assert tables.activities["out"].contact_id == contact("ana")


def test_a_lost_phone_is_cleared_and_a_newer_one_stays() -> None:
    """A number that moved to somebody else is gone; a number shown after that is the person's."""
    facts = contact_facts(message("a", "ana", shown={"phone": "+1", "wa_id": "1"}))
    lost = merge_contact_facts(facts, contact_facts(changed("ana", seconds=5, phone_lost=True, phone="+1")))
    assert contact_profile(lost).phone == ""
    newer = contact_facts(message("b", "ana", seconds=9, shown={"phone": "+2", "wa_id": "2"}))
    assert contact_profile(merge_contact_facts(newer, lost)).phone == "+2"


def test_a_fact_that_a_newer_version_told_of_both_is_kept_when_two_people_are_one() -> None:
    """A release works beside the next one: a merge that it hears of must not die of a fact that it does not know."""
    tables = Tables()
    tables.fold(message("a", "ana", seconds=1), message("b", "bob", seconds=2))
    for who, told in (("ana", ["x", 1]), ("bob", ["y", 2])):
        state = tables.contacts[contact(who)]
        tables.contacts[contact(who)] = _replaced(state, facts={**state.facts, "of_tomorrow": told})
    tables.fold(merged("bob", "ana", seconds=3))
    assert tables.contacts[contact("ana")].facts["of_tomorrow"] == ["y", 2]
    one, other = {"of_tomorrow": ["x", 1]}, {"of_tomorrow": ["y", 2]}
    assert merge_contact_facts(one, other) == merge_contact_facts(other, one)


def test_a_long_text_is_cut_visibly() -> None:
    """What is left out of a body is said, and the limit holds."""
    facts = merge_activity_facts({}, message_facts(message("a", "ana", text="x" * 50_000)))
    body = activity_view(facts, layout=LAYOUT).body
    assert len(body) <= BODY_LIMIT
    assert "[cut: 50," in body
    assert cut("short", 10) == "short"


@pytest.mark.parametrize(("loser", "winner"), [("new", "old"), ("old", "new")])
def test_a_merged_persons_message_stays_with_the_winner(loser: str, winner: str) -> None:
    """A later status that names only the winner does not move the message back to the merged contact."""
    tables = Tables()
    tables.fold(status("out", "sent", loser))
    tables.fold(merged(loser, winner, seconds=1))
    tables.fold(status("out", "read", winner, seconds=2))
    assert tables.activities["out"].contact_id == contact(winner)


def test_a_winner_who_loses_in_the_same_batch_leaves_no_message_behind() -> None:
    """Two merges in one batch, one after the other: the first person's messages go to the last."""
    tables = Tables()
    tables.fold(message("a", "ana"))
    tables.fold(merged("ana", "bo"), merged("bo", "cy"))
    assert tables.activities["a"].contact_id == contact("cy")
    assert tables.contacts[contact("ana")].redirect_to == contact("cy")
