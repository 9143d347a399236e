"""How single messages read, where the golden conversations do not go: bounds, odd shapes, deleted texts."""

import json
from typing import Any

import pytest
from conversation_events import at, contact, message
from pure_pipeline import Pipeline

from connector.events import ConversationEvent, MessageEdited, MessageReacted, MessageRevoked, Person
from connector.sync.core.activities import message_facts
from connector.sync.core.amendments import amendment_facts
from connector.sync.core.desired import BODY_LIMIT, activity_view
from connector.sync.core.excerpt import TOTAL, excerpt
from connector.sync.mapping import built_in

LAYOUT = built_in().layout


def lines(message_type: str, part: Any = None, **fields: Any) -> list[str]:
    """What a message of a type says above the line."""
    content = {} if part is None else {message_type: part}
    event = message("m", "ana", **{"message_type": message_type, "text": "", "content": content} | fields)
    return activity_view(message_facts(event), layout=LAYOUT).body.split("\n—\n")[0].split("\n")


def amended(kind: type[Any], *, who: str = "ana", seconds: float = 1, **fields: Any) -> Any:
    """Something done to message `m`."""
    return kind(
        event_id=f"{kind.__name__}:{who}:{seconds}",
        waba_id="waba",
        at=at(seconds),
        person=Person(contact_id=contact(who), name=who),
        origin=message("m", "ana").origin,
        wamid=f"own:{who}:{seconds}",
        target="m",
        **{"direction": "inbound"} | fields,
    )


def told(*events: ConversationEvent, **options: Any) -> str:
    """The body of the only activity that these events make."""
    pipeline = Pipeline(**options)
    for event in events:
        pipeline.fold([event])
    (view,) = pipeline.timeline()
    return view.body


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        pytest.param({"latitude": 91, "longitude": 0}, "No point on the map: 91, 0", id="beyond the pole"),
        pytest.param({"latitude": "nan", "longitude": 0}, "No point on the map: nan, 0", id="not a number"),
        pytest.param({"latitude": True, "longitude": 1}, "No point on the map: yes, 1", id="a boolean"),
        pytest.param({"latitude": 1}, "No point on the map: 1", id="half a point"),
        pytest.param("here", "No point on the map was given", id="a text"),
        pytest.param(
            {"latitude": 1e-7, "longitude": "-0.5"},
            "https://maps.google.com/?q=0.0000001,-0.5",
            id="no exponent in a link",
        ),
    ],
)
def test_only_a_point_on_earth_becomes_a_link(part: Any, expected: str) -> None:
    """What is no pair of angles is shown as it came."""
    assert lines("location", part)[1] == expected


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        pytest.param(
            [{"quantity": 3, "item_price": 0.1, "currency": "USD", "product_retailer_id": "a"}],
            ["  3 × a at 0.10 USD = 0.30 USD", "Total: 0.30 USD"],
            id="decimal, not binary, money",
        ),
        pytest.param(
            [{"quantity": 2, "item_price": "1.2345", "product_retailer_id": "a"}],
            ["  2 × a at 1.2345 = 2.469", "Total: 2.469"],
            id="no currency, more than two decimals",
        ),
        pytest.param(
            [{"quantity": 1, "item_price": 1e300, "product_retailer_id": "a"}],
            ["  a · 1 × 1e+300"],
            id="an absurd price",
        ),
        pytest.param(
            [{"quantity": True, "item_price": "-4", "product_retailer_id": "a"}],
            ["  a · yes × -4"],
            id="a boolean and a negative",
        ),
        pytest.param(["x"], ["  a product without an id"], id="not an object"),
    ],
)
def test_an_order_adds_up(items: Any, expected: list[str]) -> None:
    """Lines and totals are exact; what cannot be counted is shown and left out of the total."""
    assert lines("order", {"product_items": items})[1:] == expected


def test_many_items_are_counted_not_listed() -> None:
    """A cart, a pile of cards and a new type's content stay readable; what is not shown is said."""
    item = {"quantity": 1, "item_price": 1, "currency": "USD", "product_retailer_id": "a"}
    assert "… and 20 more products" in lines("order", {"product_items": [item] * 70})
    assert lines("order", {"product_items": [item] * 70})[-1] == "Total: 70 USD"
    assert lines("contacts", [{"name": {"formatted_name": "A"}}] * 25)[-1] == "… and 5 more contacts"
    assert lines("hologram", {f"k{n}": n for n in range(90)})[-1] == "… and more, not shown"


@pytest.mark.parametrize(
    ("message_type", "part"),
    [
        ("contacts", "?"),
        ("contacts", [[], None, {"name": "Ada", "phones": {"phone": 5}}]),
        ("interactive", {"nfm_reply": {"response_json": "[" * 2_000}}),
        ("interactive", {"nfm_reply": {"response_json": {"already": "parsed"}}}),
        ("interactive", {"list_reply": {}}),
        ("interactive", {"of_the_future": {"a": 1}}),
        ("interactive", ["?"]),
        ("button", {"payload": {}}),
        ("system", {"type": "customer_identity_changed"}),
        ("unsupported", {"type": "hologram_v2"}),
        ("media_placeholder", 5),
        ("revoke", {}),
        ("edit", {"original_message_id": 5}),
        ("reaction", {"emoji": "x"}),
        ("request_welcome", None),
        ("", {"a": None}),
    ],
)
def test_a_part_of_any_shape_says_something(message_type: str, part: Any) -> None:
    """No shape of a typed part leaves an activity without a text."""
    assert "".join(lines(message_type, part)).strip()


def test_details_stay_when_a_text_is_cut() -> None:
    """A long text is cut at the limit, who wrote and what is answered stay below it."""
    view = activity_view(
        message_facts(message("m", "ana", text="x" * 60_000, reply_to="wamid.of-the-other")), layout=LAYOUT
    )
    assert len(view.body) <= BODY_LIMIT
    assert "[cut: 60,000 characters in all]\n—\nReceived by" in view.body
    assert "In reply to …-the-other" in view.body


def test_of_a_deleted_message_no_text_is_kept() -> None:
    """Whichever comes first, neither the facts nor the activity hold what was deleted, or an edit of it."""
    secret = "4000 0000 0000 0002"
    text = message("m", "ana", text=secret, content={"note": secret}, message_type="hologram")
    edit = amended(MessageEdited, message_type="text", text=secret, content={"note": secret})
    deletion = amended(MessageRevoked, seconds=2)
    for events in ([text, edit, deletion], [deletion, edit, text], [edit, deletion, text]):
        pipeline = Pipeline()
        for event in events:
            pipeline.fold([event])
        (state,) = pipeline.activities.values()
        assert secret not in json.dumps(state.facts)
        assert activity_view(state.facts, layout=LAYOUT).body.startswith(
            "Deleted by ana, 1 Mar 2026, 12:00 UTC\n—\n"
        )


def test_a_deleted_text_is_kept_where_that_is_configured() -> None:
    """The activity says that it was deleted, and what it said."""
    body = told(message("m", "ana", text="hello"), amended(MessageRevoked), keep_deleted_text=True)
    assert body.startswith("Deleted by ana, 1 Mar 2026, 12:00 UTC\n\nhello\n—\n")


def test_the_latest_edit_counts() -> None:
    """Two edits in the wrong order leave the later text; an edited caption keeps the file it belongs to."""
    first = amended(MessageEdited, seconds=1, message_type="text", text="one")
    second = amended(MessageEdited, seconds=2, message_type="text", text="two")
    assert told(second, message("m", "ana"), first).startswith("two\n—\n")
    assert told(first, second).startswith("two\n—\n")


def test_a_person_has_one_reaction_and_a_group_many() -> None:
    """In a chat of two the latest reaction replaces the one before, in a group each member has their own."""
    alone = [amended(MessageReacted, seconds=n, emoji=emoji) for n, emoji in enumerate("👍👎")]
    assert told(message("m", "ana"), *alone).count("Reaction") == 1
    assert "Reaction 👎 from ana" in told(message("m", "ana"), *reversed(alone))
    group = [amended(MessageReacted, who=who, emoji="👍", group_id="g") for who in ("ana", "bo")]
    assert told(message("m", "ana"), *group).count("Reaction 👍") == 2
    taken = amended(MessageReacted, seconds=9, emoji="")
    assert "eaction" not in told(message("m", "ana"), *alone, taken)


def test_a_reaction_makes_no_activity_beside_its_message() -> None:
    """It stands alone only while its message is unknown, and moves to it when that arrives."""
    pipeline = Pipeline()
    pipeline.fold([amended(MessageReacted, emoji="👍")])
    (view,) = pipeline.timeline()
    assert view.body.startswith("Reaction 👍 from ana")
    assert view.direction == "inbound"
    pipeline.fold([message("m", "ana", direction="outbound", text="hello")])
    (view,) = pipeline.timeline()
    assert view.body.startswith("hello\n—\n")
    assert view.direction == "outbound"
    assert "Reaction 👍 from ana" in view.body


def test_an_excerpt_is_bounded_and_the_same_for_any_order_of_keys() -> None:
    """Text is cut visibly, deep nesting and long lists end in a note, and the bound holds for all of it."""
    huge: dict[str, Any] = {f"key{n}": ["x" * 900] * 30 for n in range(30)}
    kept = excerpt(huge)
    assert kept == excerpt(dict(reversed(huge.items())))
    assert len(json.dumps(kept)) < TOTAL * 1.5
    assert "…" in kept
    deep: Any = "end"
    for _ in range(50):
        deep = {"a": deep}
    assert "end" not in json.dumps(excerpt(deep))
    assert excerpt({"n": 10**400})["n"].startswith("1000")
    assert excerpt({"a": {"b": [1, None, True, "t"]}}) == {"a": {"b": [1, None, True, "t"]}}


def test_amendments_name_the_number_and_the_person_even_when_nothing_else_is_known() -> None:
    """A person without a name is shown by number, one without either by user id."""
    shown = Person(contact_id=contact("ana"), bsuid="US.1", wa_id="15551230000")
    facts = amendment_facts(amended(MessageRevoked).model_copy(update={"person": shown}))
    assert activity_view(facts, layout=LAYOUT).body.startswith("Deleted by 15551230000, ")
    facts = amendment_facts(
        amended(MessageRevoked).model_copy(update={"person": Person(bsuid="US.1")}),
    )
    assert activity_view(facts, layout=LAYOUT).subject == "WhatsApp message from US.1"


def test_a_template_reads_as_the_person_read_it() -> None:
    """Its words are the message; which template it was stands under the line, and why it was not sent, in our words."""
    event = message(
        "m",
        "ana",
        direction="outbound",
        message_type="template",
        text="Hi Ana, #7 is on its way.\n[Track: https://shop.example/7]",
        content={"template": {"name": "order_shipped", "language": "pt_BR"}},
        errors=[{"title": "Not sent", "message": "It is not sent: they opted out."}],
    )
    body = activity_view(message_facts(event), layout=LAYOUT).body
    text, _, below = body.partition("\n—\n")
    assert text.split("\n") == ["Hi Ana, #7 is on its way.", "[Track: https://shop.example/7]"]
    assert "Template: order_shipped (pt_BR)" in below
    assert "Not sent: It is not sent: they opted out." in below
    assert lines("template", {"name": "order_shipped"}) == ["Template: order_shipped"]
    assert lines("template", ["of another shape"]) == ["A template"]
