"""Templates as Graph and Meta's webhooks tell them, and the fold that keeps them current in any order."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from gate_facts import NOW, template
from hypothesis import given, strategies as st

from connector.events import AccountEvent, Origin
from connector.outbound.templates.reading import (
    CLOCKS_APART,
    GONE,
    gone,
    language_code,
    node_change,
    webhook_change,
)
from connector.outbound.templates.template import (
    Template,
    TemplateChange,
    TemplateKey,
    folded,
)

WABA = "102290129340398"
KEY = TemplateKey(waba_id=WABA, name="welcome_template", language="en_US")
NAMED = {
    "message_template_id": 278077987957091,
    "message_template_name": "welcome_template",
    "message_template_language": "en-US",
}


def event(field: str, content: dict[str, Any], *, at: datetime = NOW) -> AccountEvent:
    origin = Origin(topic="whatsapp.updates", partition=0, offset=1, received_at=at)
    return AccountEvent(
        event_id="e", waba_id=WABA, field=field, at=at, content={**NAMED, **content}, origin=origin
    )


def change(field: str, content: dict[str, Any], *, at: datetime = NOW) -> TemplateChange:
    found = webhook_change(event(field, content, at=at))
    assert found is not None
    return found


def read(at: datetime = NOW, **node: Any) -> TemplateChange:
    found = node_change(
        {
            "id": "278077987957091",
            "name": "welcome_template",
            "language": "en_US",
            "status": "APPROVED",
            "category": "UTILITY",
            "components": [{"type": "BODY", "text": "Hi {{1}}"}],
            **node,
        },
        waba_id=WABA,
        asked_at=at,
    )
    assert found is not None
    return found


def after(*changes: TemplateChange) -> Template:
    result: Template | None = None
    for item in changes:
        result = folded(result, item)
    assert result is not None
    return result


@pytest.mark.parametrize(
    ("written", "code"),
    [
        ("en-US", "en_US"),
        ("en_US", "en_US"),
        ("EN_us", "en_US"),
        ("pt-br", "pt_BR"),
        ("ar", "ar"),
        ("fil", "fil"),
        (None, ""),
    ],
)
def test_a_language_has_one_spelling(written: object, code: str) -> None:
    """Webhooks write en-US, the API en_US, HubSpot pt-br."""
    assert language_code(written) == code


def test_a_webhook_and_the_api_name_the_same_template() -> None:
    """The id is an integer in the one and a string in the other, the language differs in its dash."""
    told = change("message_template_status_update", {"event": "APPROVED", "reason": "NONE"})
    assert told.model_dump(include={"waba_id", "name", "language"}) == KEY.model_dump()
    assert told.values["id"] == read().values["id"] == "278077987957091"


@pytest.mark.parametrize(
    ("happened", "status", "sendable"),
    [
        ("APPROVED", "APPROVED", True),
        ("REINSTATED", "APPROVED", True),
        ("REJECTED", "REJECTED", False),
        ("PENDING", "PENDING", False),
        ("PAUSED", "PAUSED", False),
        ("DISABLED", "DISABLED", False),
        ("FLAGGED", "FLAGGED", False),
        ("IN_APPEAL", "IN_APPEAL", False),
        ("PENDING_DELETION", "PENDING_DELETION", False),
        ("DELETED", "DELETED", False),
        ("ARCHIVED", "ARCHIVED", False),
        ("LOCKED", "LOCKED", False),
        ("SOMETHING_OF_2027", "SOMETHING_OF_2027", False),
    ],
)
def test_only_approved_may_be_sent(happened: str, status: str, *, sendable: bool) -> None:
    """An event that nobody has heard of stops the template until Graph says it is approved."""
    told = change("message_template_status_update", {"event": happened, "reason": None})
    found = after(read(at=NOW - timedelta(hours=1)), told)
    assert (found.status, found.sendable, found.rejected_reason) == (status, sendable, "")


def test_a_rejection_and_a_pause_keep_what_meta_says() -> None:
    """For the sentence that a CRM admin reads."""
    rejected = after(
        change("message_template_status_update", {"event": "REJECTED", "reason": "INVALID_FORMAT"})
    )
    assert (rejected.status, rejected.rejected_reason) == ("REJECTED", "INVALID_FORMAT")
    paused = after(
        change("message_template_status_update", {"event": "PAUSED", "other_info": {"title": "FIRST_PAUSE"}})
    )
    assert (paused.status, paused.status_note) == ("PAUSED", "FIRST_PAUSE")


def test_a_quality_update_is_known_by_its_keys_not_by_its_field() -> None:
    """Meta's own example carries the field of a status update."""
    told = change(
        "message_template_status_update", {"previous_quality_score": "GREEN", "new_quality_score": "YELLOW"}
    )
    assert after(read(at=NOW - timedelta(hours=1)), told).quality == "YELLOW"
    assert "status" not in told.values


def test_a_coming_category_is_not_the_current_one() -> None:
    """Before a change `new_category` is what it still is, and `correct_category` what it will be."""
    told = change(
        "template_category_update",
        {"new_category": "UTILITY", "correct_category": "MARKETING", "category_update_timestamp": 1746169200},
        at=datetime.fromtimestamp(1746082800, UTC),
    )
    found = after(told)
    due = datetime.fromtimestamp(1746169200, UTC)
    assert found.category_on(due - timedelta(seconds=1)) == "UTILITY"
    assert found.category_on(due) == "MARKETING"


def test_a_completed_change_of_category_ends_the_notice() -> None:
    """And a notice that was followed by an appeal that won counts no more."""
    notice = change("template_category_update", {"new_category": "UTILITY", "correct_category": "MARKETING"})
    done = change(
        "template_category_update",
        {"previous_category": "UTILITY", "new_category": "MARKETING"},
        at=NOW + timedelta(days=1),
    )
    assert after(notice, done).category == "MARKETING"
    assert after(notice, done).coming is None
    kept = read(at=NOW + timedelta(days=2))
    assert after(notice, kept).category_on(NOW + timedelta(days=3)) == "UTILITY"


def test_an_approval_can_bring_another_category() -> None:
    """Since April 2025 Meta approves what was asked for as utility as marketing."""
    told = change(
        "message_template_status_update", {"event": "APPROVED", "message_template_category": "MARKETING"}
    )
    assert after(read(at=NOW - timedelta(hours=1)), told).category == "MARKETING"


def test_an_edit_told_by_a_webhook_replaces_texts_and_keeps_a_media_header() -> None:
    """The webhook is silent about media, so the template is read again, and may be sent meanwhile."""
    before = read(
        at=NOW - timedelta(hours=1),
        components=[
            {"type": "HEADER", "format": "IMAGE"},
            {"type": "BODY", "text": "Hi {{1}}"},
            {"type": "FOOTER", "text": "Old"},
        ],
    )
    told = change(
        "message_template_components_update",
        {
            "message_template_element": "Hello {{1}}, order {{2}}",
            "message_template_buttons": [
                {
                    "message_template_button_type": "URL",
                    "message_template_button_text": "Track",
                    "message_template_button_url": "https://shop.example/{{1}}",
                }
            ],
        },
    )
    found = after(before, told)
    assert [(item["type"], item.get("format")) for item in found.current_components] == [
        ("HEADER", "IMAGE"),
        ("BODY", None),
        ("BUTTONS", None),
    ]
    assert found.component("BODY") == {"type": "BODY", "text": "Hello {{1}}, order {{2}}"}
    assert found.incomplete
    assert not after(before, told, read(at=NOW + timedelta(hours=1))).incomplete


def test_a_template_known_from_a_webhook_alone_is_incomplete() -> None:
    """Approved a second ago, and nobody has read what it says."""
    assert after(change("message_template_status_update", {"event": "APPROVED"})).incomplete


def test_a_pause_beats_a_reading_that_was_asked_for_at_about_the_same_time() -> None:
    """A webhook carries Meta's clock and a reading ours: 30 seconds apart the pause wins, whichever comes last."""
    pause = change("message_template_status_update", {"event": "PAUSED"}, at=NOW - timedelta(seconds=30))
    assert after(pause, read(at=NOW)).status == "PAUSED"
    assert after(read(at=NOW), pause).status == "PAUSED"
    assert after(pause, read(at=NOW + CLOCKS_APART)).status == "APPROVED"


def test_what_a_complete_listing_lacks_is_gone() -> None:
    """Deleted in WhatsApp Manager while the webhook was lost."""
    later = NOW + timedelta(hours=1)
    assert after(read(), gone(KEY, asked_at=later)).status == GONE
    assert after(gone(KEY, asked_at=later), read(at=later + timedelta(hours=1))).sendable


@pytest.mark.parametrize(
    "node",
    [
        {"quality_score": {"score": "RED", "date": 1}},
        {"quality_score": "RED"},
        {"components": "none", "quality_score": {"score": "RED"}},
        {"components": [None, 7, {"type": "BODY"}], "quality_score": {"score": "red"}},
        {"parameter_format": None, "rejected_reason": "NONE", "quality_score": {"score": "RED"}},
    ],
)
def test_a_node_is_read_leniently(node: dict[str, Any]) -> None:
    """What is missing or of another shape does not stop the sync of 6,000 templates."""
    assert after(read(**node)).quality == "RED"


@pytest.mark.parametrize(
    ("field", "content"),
    [
        ("account_update", {"event": "APPROVED"}),
        ("message_template_status_update", {}),
        ("message_template_status_update", {"event": "APPROVED", "message_template_name": None}),
        ("message_template_status_update", {"event": "APPROVED", "message_template_language": {}}),
        ("template_category_update", {"new_category": None}),
    ],
)
def test_what_says_nothing_about_a_template_is_none(field: str, content: dict[str, Any]) -> None:
    """And does not raise."""
    assert webhook_change(event(field, content)) is None


minutes = st.integers(0, 4).map(lambda minute: NOW + timedelta(minutes=minute))
changes = st.one_of(
    st.builds(
        lambda at, happened: change("message_template_status_update", {"event": happened}, at=at),
        minutes,
        st.sampled_from(["APPROVED", "PAUSED", "REJECTED", "DISABLED"]),
    ),
    st.builds(
        lambda at, category: change("template_category_update", {"new_category": category}, at=at),
        minutes,
        st.sampled_from(["UTILITY", "MARKETING"]),
    ),
    st.builds(
        lambda at, coming: change(
            "template_category_update",
            {"new_category": "UTILITY", "correct_category": coming, "category_update_timestamp": 1790000000},
            at=at,
        ),
        minutes,
        st.sampled_from(["MARKETING", "AUTHENTICATION"]),
    ),
    st.builds(
        lambda at, text: change(
            "message_template_components_update", {"message_template_element": text}, at=at
        ),
        minutes,
        st.sampled_from(["a", "b {{1}}"]),
    ),
    st.builds(
        lambda at, status: read(at=at + CLOCKS_APART, status=status),
        minutes,
        st.sampled_from(["APPROVED", "PAUSED", "PENDING"]),
    ),
)


@given(st.lists(changes, min_size=1, max_size=7), st.randoms(use_true_random=False))
def test_any_order_and_any_repetition_ends_in_the_same_template(
    told: list[TemplateChange], random: Any
) -> None:
    """Webhooks come late and twice, and a sync runs beside them."""
    again = [*told, *random.sample(told, k=random.randint(0, len(told)))]
    random.shuffle(again)
    assert after(*again) == after(*told)


@given(st.lists(changes, min_size=1, max_size=5))
def test_a_template_comes_back_from_json_as_it_was(told: list[TemplateChange]) -> None:
    """It is kept as JSON."""
    found = after(*told)
    assert Template.model_validate_json(found.model_dump_json()) == found


def test_of_two_notices_of_the_same_second_the_same_one_counts_in_either_order() -> None:
    """Found by the test above: a value just read and one kept before were compared in two spellings."""
    current = {"new_category": "UTILITY", "category_update_timestamp": 1790000000}
    first, second = (
        change("template_category_update", {**current, "correct_category": coming})
        for coming in ("MARKETING", "AUTHENTICATION")
    )
    assert after(first, second) == after(second, first)


def test_of_two_statuses_of_the_same_second_the_one_that_forbids_counts() -> None:
    """Meta's times are whole seconds."""
    pause = change("message_template_status_update", {"event": "PAUSED"})
    approval = change("message_template_status_update", {"event": "APPROVED"})
    assert after(pause, approval).status == after(approval, pause).status == "PAUSED"


def test_parameters_have_names_when_graph_says_so_or_the_text_shows_it() -> None:
    """A webhook does not say which format it is."""
    assert template(parameter_format="NAMED").named
    assert not template().named
    told = {"message_template_element": "Hello {{first_name}}"}
    assert after(change("message_template_components_update", told)).named
