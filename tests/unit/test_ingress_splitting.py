"""What becomes of a webhook's body. Payloads are written for these tests."""

import itertools
import json
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from connector.errors import Rejected
from connector.ingress import splitting
from connector.ingress.splitting import ENVELOPE_KEY, KeyedUpdate, post_id_of, split_updates
from connector.streams.codec import decode, encode
from connector.topics import WHATSAPP_UPDATES

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
METADATA = {"display_phone_number": "+1 555-078-3881", "phone_number_id": "1065"}
ANNA = {"profile": {"name": "Anna"}, "wa_id": "491700000001", "user_id": "DE.anna"}
OMAR = {"profile": {"name": "عمر"}, "wa_id": "966500000002", "user_id": "SA.omar"}


def body_of(*changes: Any, **envelope: Any) -> bytes:
    entry = {"id": "WABA", "changes": list(changes)}
    return json.dumps({"object": "whatsapp_business_account", "entry": [entry], **envelope}).encode()


def change(field: Any = "messages", **value: Any) -> dict[str, Any]:
    return {
        "field": field,
        "value": {"messaging_product": "whatsapp", "metadata": METADATA, **value},
    }


def message(person: Any = ANNA, wamid: Any = "wamid.1", **more: Any) -> dict[str, Any]:
    return {
        "from": person["wa_id"],
        "from_user_id": person["user_id"],
        "id": wamid,
        "timestamp": "1760000000",
        "type": "text",
        "text": {"body": "hello"},
        **more,
    }


def split(body: Any) -> list[KeyedUpdate]:
    return split_updates(body, received_at=NOW)


def only(body: Any) -> KeyedUpdate:
    ((key, update),) = split(body)
    return key, update


def test_a_message_becomes_one_update_with_its_metadata_and_contact() -> None:
    """The ordinary case: one message, verbatim, and what it belongs to."""
    body = body_of(change(contacts=[ANNA], messages=[message()]))

    key, update = only(body)

    assert key == "DE.anna"
    assert update.kind == "message"
    assert update.field == "messages"
    assert update.waba_id == "WABA"
    assert update.update == message()
    assert update.metadata == METADATA
    assert update.contact == ANNA
    assert update.context == {"messaging_product": "whatsapp"}
    assert update.received_at == NOW
    assert update.post_id == post_id_of(body)
    assert update.event_id.startswith("message:1065:wamid.1:DE.anna:")


@pytest.mark.parametrize(
    ("field", "element", "kind", "key", "id_start"),
    [
        pytest.param(
            "messages",
            ("messages", {"from": "49", "id": "w"}),
            "message",
            "49",
            "message:1065:w:49:",
            id="phone",
        ),
        pytest.param(
            "messages",
            ("messages", {"from": "", "from_user_id": "DE.x", "id": "w"}),
            "message",
            "DE.x",
            "message:1065:w:DE.x:",
            id="BSUID, phone hidden",
        ),
        pytest.param(
            "messages",
            ("messages", {"from": 4917, "id": 12}),
            "message",
            "4917",
            "message:1065:12:4917:",
            id="integers",
        ),
        pytest.param(
            "messages",
            ("messages", {"type": "system", "system": {}}),
            "message",
            "WABA",
            "message:1065:::",
            id="neither sender nor id",
        ),
        pytest.param(
            "messages",
            ("statuses", {"id": "w", "status": "read", "recipient_id": "49", "recipient_user_id": "DE.x"}),
            "status",
            "DE.x",
            "status:1065:w:read:DE.x:",
            id="status, BSUID first",
        ),
        pytest.param(
            "messages",
            ("statuses", {"id": "w", "status": "in_orbit", "recipient_id": "49"}),
            "status",
            "49",
            "status:1065:w:in_orbit:49:",
            id="unheard-of status",
        ),
        pytest.param("messages", ("errors", {"code": 131000}), "error", "WABA", "error:1065:::", id="error"),
        pytest.param(
            "smb_message_echoes",
            ("message_echoes", {"from": "1555", "to": "49", "id": "w"}),
            "echo",
            "49",
            "echo:1065:w:49:",
            id="echo",
        ),
        pytest.param(
            "smb_message_echoes",
            ("message_echoes", {"from": "1555", "to": "49", "to_user_id": "DE.x", "id": "w"}),
            "echo",
            "DE.x",
            "echo:1065:w:DE.x:",
            id="echo, BSUID first",
        ),
        pytest.param(
            "history",
            ("history", {"metadata": {"phase": 0}, "threads": [{"id": "49", "messages": [{"id": "w"}]}]}),
            "history",
            "WABA",
            "history:1065:::",
            id="history chunk, whole",
        ),
        pytest.param(
            "history",
            ("messages", {"from": "49", "id": "w", "type": "image"}),
            "history",
            "49",
            "history:1065:w:49:",
            id="late media of history",
        ),
        pytest.param(
            "user_preferences",
            ("user_preferences", {"wa_id": "49", "user_id": "DE.x", "value": "stop"}),
            "unknown",
            "DE.x",
            "unknown:1065::DE.x:",
            id="preference",
        ),
    ],
)
def test_each_list_gives_its_kind_key_and_event_id(
    field: Any, element: Any, kind: Any, key: Any, id_start: Any
) -> None:
    """Kind, record key and event id follow from the list and the ids that are present."""
    name, content = element

    actual_key, update = only(body_of(change(field, **{name: [content]})))

    assert (update.kind, actual_key, update.update) == (kind, key, content)
    assert update.event_id.startswith(id_start)
    assert update.metadata == METADATA


def test_every_element_of_every_entry_change_and_list_is_an_update() -> None:
    """Batches are taken apart whole: not only the first message is seen."""
    first = {
        "id": "WABA-1",
        "changes": [
            change(
                messages=[message(wamid="a"), message(OMAR, wamid="b")],
                statuses=[{"id": "c", "status": "sent", "recipient_id": "49"}],
                errors=[{"code": 1}],
            ),
            change(messages=[message(wamid="d")]),
        ],
    }
    second = {"id": "WABA-2", "changes": [change(messages=[message(wamid="e")])]}

    updates = split(json.dumps({"object": "whatsapp_business_account", "entry": [first, second]}).encode())

    assert [(update.waba_id, update.kind, update.update.get("id")) for _, update in updates] == [
        ("WABA-1", "message", "a"),
        ("WABA-1", "message", "b"),
        ("WABA-1", "status", "c"),
        ("WABA-1", "error", None),
        ("WABA-1", "message", "d"),
        ("WABA-2", "message", "e"),
    ]


@pytest.mark.parametrize(
    ("value", "entry_time"),
    [
        pytest.param(
            {"event": "DISABLED_UPDATE", "ban_info": {"waba_ban_state": "DISABLE"}}, 1760000000, id="object"
        ),
        pytest.param({}, "1760000000", id="empty"),
        pytest.param(
            {"event": "ENDPOINT_ERROR_RATE", "errors": [{"error_type": "x"}]}, None, id="with errors"
        ),
    ],
)
def test_a_field_without_metadata_is_one_account_update(value: Any, entry_time: Any) -> None:
    """Account-level fields stay whole and take the account's key."""
    entry = {"id": "WABA", "time": entry_time, "changes": [{"field": "account_update", "value": value}]}

    key, update = only(json.dumps({"object": "whatsapp_business_account", "entry": [entry]}).encode())

    assert (key, update.kind, update.field, update.update) == ("WABA", "account", "account_update", value)
    assert update.entry_time == entry_time
    assert update.metadata is None
    assert update.context == {}


def test_an_unknown_field_with_metadata_stays_whole() -> None:
    """A field of tomorrow is one update with all of its value, even if it holds a list named messages."""
    tomorrow = change("standby", contacts=[ANNA], messages=[message()])

    key, update = only(body_of(tomorrow))

    assert (key, update.kind, update.field, update.update) == (
        "WABA",
        "unknown",
        "standby",
        tomorrow["value"],
    )


def test_each_update_gets_its_own_contact() -> None:
    """Contacts are matched by BSUID, then phone, wherever they stand in the list."""
    no_ids = {"id": "w3", "type": "system", "system": {"type": "user_changed_user_id"}}
    by_phone = {"id": "s", "status": "read", "recipient_id": OMAR["wa_id"]}
    hidden = {"from_user_id": "DE.anna", "id": "w2"}

    updates = split(
        body_of(change(contacts=[OMAR, ANNA], messages=[message(), hidden, no_ids], statuses=[by_phone]))
    )

    assert [update.contact for _, update in updates] == [ANNA, ANNA, None, OMAR]
    assert ["contacts" in update.context for _, update in updates] == [False, False, True, False]
    assert updates[2][1].context["contacts"] == [OMAR, ANNA]


@pytest.mark.parametrize(
    ("contact", "element"),
    [
        pytest.param({"wa_id": 491700000001}, {"from": "491700000001"}, id="integer against text"),
        pytest.param({"wa_id": "DE.anna"}, {"from": "DE.anna"}, id="BSUID in the phone's place"),
        pytest.param(
            {"user_id": "DE.a", "parent_user_id": "DE.ENT.a"},
            {"from_parent_user_id": "DE.ENT.a"},
            id="parent",
        ),
    ],
)
def test_ids_in_odd_places_still_find_the_contact(contact: Any, element: Any) -> None:
    """Two people, so that the lone-contact rule cannot hide a failed match."""
    updates = split(
        body_of(change(contacts=[OMAR, contact], messages=[{"id": "1", **element}, message(OMAR)]))
    )

    assert [update.contact for _, update in updates] == [contact, OMAR]


def test_a_lone_contact_belongs_to_a_lone_message() -> None:
    """A Brazilian wa_id without the ninth digit is the sender's all the same."""
    contact = {"profile": {"name": "Bia"}, "wa_id": "551187654321"}

    _, update = only(body_of(change(contacts=[contact], messages=[{"from": "5511987654321", "id": "w"}])))

    assert update.contact == contact
    assert "contacts" not in update.context


def test_a_phone_that_changed_hands_is_not_matched() -> None:
    """When the phone fits and the BSUIDs differ, the contact is another person's."""
    other = {"wa_id": ANNA["wa_id"], "user_id": "DE.somebody"}

    updates = split(body_of(change(contacts=[other], messages=[message(), message(OMAR)])))

    assert [update.contact for _, update in updates] == [None, None]
    assert updates[0][1].context["contacts"] == [other]


def test_contacts_of_nobody_stay_in_the_context() -> None:
    """A contact that belongs to no update is kept with each."""
    _, update = split(body_of(change(contacts=[ANNA, OMAR], messages=[message(), message(wamid="2")])))[0]

    assert update.contact == ANNA
    assert update.context["contacts"] == [OMAR]


def test_unknown_keys_of_the_envelope_stay_in_the_context() -> None:
    """What Meta adds to the POST, the entry or the change tomorrow is kept."""
    entry = {"id": "WABA", "uid": 7, "changes": [{**change(messages=[message()]), "seq": 3}]}

    _, update = only(json.dumps({"object": "whatsapp_business_account", "v": "x", "entry": [entry]}).encode())

    assert update.context[ENVELOPE_KEY] == {"post": {"v": "x"}, "entry": {"uid": 7}, "change": {"seq": 3}}


@pytest.mark.parametrize(
    "document",
    [
        pytest.param([], id="list"),
        pytest.param({}, id="empty object"),
        pytest.param(None, id="null"),
        pytest.param("text", id="text"),
        pytest.param(0, id="number"),
        pytest.param(
            {"object": "page", "entry": [{"id": "1", "changes": [change(messages=[message()])]}]}, id="page"
        ),
        pytest.param({"object": "whatsapp_business_account"}, id="no entry"),
        pytest.param({"object": "whatsapp_business_account", "entry": []}, id="empty entry list"),
        pytest.param({"object": "whatsapp_business_account", "entry": "x"}, id="entry is a text"),
    ],
)
def test_json_of_another_form_is_one_unknown_update(document: Any) -> None:
    """It is kept whole, under the POST's own key."""
    body = json.dumps(document).encode()

    key, update = only(body)

    assert (key, update.kind, update.update) == (post_id_of(body), "unknown", document)


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        pytest.param("x", "x", id="entry is a text"),
        pytest.param({"id": 5}, {"id": 5}, id="changes missing"),
        pytest.param({"id": "5", "changes": []}, {"id": "5", "changes": []}, id="changes empty"),
        pytest.param({"id": "5", "changes": ["x"]}, "x", id="change is a text"),
        pytest.param(
            {"id": "5", "changes": [{"field": "messages"}]}, {"field": "messages"}, id="value missing"
        ),
        pytest.param({"id": "5", "changes": [{"value": {"a": 1}}]}, {"value": {"a": 1}}, id="field missing"),
        pytest.param(
            {"id": "5", "changes": [{"field": "messages", "value": {"metadata": METADATA}}]},
            {"metadata": METADATA},
            id="no list",
        ),
        pytest.param(
            {"id": "5", "changes": [change(messages={"id": "w"})]},
            {"messages": {"id": "w"}},
            id="messages an object",
        ),
        pytest.param(
            {"id": "5", "changes": [change(messages=[7])]}, {"messages": 7}, id="message is a number"
        ),
    ],
)
def test_an_odd_piece_is_an_unknown_update_with_its_content(entry: Any, expected: Any) -> None:
    """Whatever does not have its form is kept as it is, with the account it came under."""
    _, update = only(json.dumps({"object": "whatsapp_business_account", "entry": [entry]}).encode())

    assert (update.kind, update.update) == ("unknown", expected)
    assert update.waba_id == ("5" if isinstance(entry, dict) else "")


def test_an_entry_that_is_an_object_counts_as_a_list_of_one() -> None:
    """`entry: {…}` and `changes: {…}` are seen in the wild."""
    document = {
        "object": "whatsapp_business_account",
        "entry": {"id": 5, "changes": change(messages=[message()])},
    }

    key, update = only(json.dumps(document).encode())

    assert (key, update.kind, update.waba_id) == ("DE.anna", "message", "5")


@pytest.mark.parametrize(
    "value",
    [
        pytest.param({"messages": [message()]}, id="missing"),
        pytest.param({"metadata": "x", "messages": [message()]}, id="a text"),
    ],
)
def test_a_message_without_metadata_is_still_a_message(value: Any) -> None:
    """Its number is not known; nothing else is lost."""
    key, update = only(body_of({"field": "messages", "value": value}))

    assert (key, update.kind, update.metadata, update.update) == ("DE.anna", "message", None, message())
    assert update.context == {key: content for key, content in value.items() if key != "messages"}


def test_equal_updates_get_equal_event_ids_whatever_the_order_of_keys() -> None:
    """A redelivery, and a message twice in one POST, are recognised downstream."""
    again = dict(reversed(message().items()))

    updates = split(body_of(change(messages=[message(), again, message(type="image")])))

    ids = [update.event_id for _, update in updates]
    assert ids[0] == ids[1] != ids[2]


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"<html>", id="HTML"),
        pytest.param(b'{"a":1', id="cut off"),
        pytest.param(b'{"a":NaN}', id="NaN"),
        pytest.param(b'{"a":-Infinity}', id="Infinity"),
        pytest.param(b'{"a":1e999}', id="a float beyond floats"),
        pytest.param(b'{"a":"\xff"}', id="not UTF-8"),
        pytest.param('{"a":1}'.encode("utf-16"), id="UTF-16"),
        pytest.param(b"1" * 5000, id="an integer of 5,000 digits"),
    ],
)
def test_what_is_not_json_is_rejected(body: Any) -> None:
    """The caller keeps the bytes as a dead letter."""
    with pytest.raises(Rejected) as caught:
        split(body)

    assert caught.value.cause == "not_json"


def test_nesting_without_end_is_rejected() -> None:
    """100,000 brackets are refused, not a crash."""
    with pytest.raises(Rejected) as caught:
        split(b"[" * 100_000 + b"]" * 100_000)

    assert caught.value.cause == "too_deep"


def test_an_absurd_number_of_updates_is_rejected() -> None:
    """A body of 8 MB could otherwise become gigabytes of records."""
    body = body_of(change(messages=[0] * (splitting.MAX_UPDATES + 1)))

    with pytest.raises(Rejected) as caught:
        split(body)

    assert caught.value.cause == "too_many_updates"


@pytest.mark.parametrize(
    "value",
    [
        pytest.param({"contacts": [{"wa_id": "1", "note": "x" * 10_000}, ANNA]}, id="contacts of nobody"),
        pytest.param({"contacts": [{**ANNA, "note": "x" * 10_000}]}, id="one contact of all"),
        pytest.param({"news": "x" * 10_000}, id="an unknown key"),
        pytest.param({"metadata": {**METADATA, "note": "x" * 10_000}}, id="metadata"),
    ],
)
def test_a_large_context_is_kept_once(value: Any) -> None:
    """1,000 messages do not repeat 10 KB each; the context is a record of the same POST, and the number stays."""
    body = body_of(change(**value, messages=[message(wamid=str(index)) for index in range(1000)]))

    updates = [update for _, update in split(body)]

    assert sum(len(update.model_dump_json()) for update in updates) < len(body) + 1000 * 700
    kept = {**change(**value)["value"]}
    assert updates[0].kind == "unknown"
    assert updates[0].update == kept
    assert [update.update["id"] for update in updates[1:]] == [str(index) for index in range(1000)]
    assert all((update.metadata or {}).get("phone_number_id") == "1065" for update in updates)


@pytest.mark.parametrize(
    ("wamid", "sender"),
    [
        pytest.param("\ud800", "\udfff", id="lone surrogates"),
        pytest.param("a\x00b", "\x00", id="NUL"),
        pytest.param("w" * 100_000, "4" * 100_000, id="endless ids"),
        pytest.param({"a": 1}, ["x"], id="structures"),
        pytest.param(True, False, id="booleans"),
    ],
)
def test_hostile_ids_can_be_written_and_read_back(wamid: Any, sender: Any) -> None:
    """Keys and event ids stay short, valid text; the update itself is untouched."""
    hostile = {"id": wamid, "from": sender, "text": {"body": "\ud83d"}, "\udc00": 1}

    key, update = only(body_of(change(messages=[hostile])))
    record = encode(WHATSAPP_UPDATES, key=key, value=update, origin="ingress")

    assert decode(WHATSAPP_UPDATES, record.value).update == hostile
    assert 0 < len(record.key) < 600
    assert len(update.event_id) < 1300


texts = st.text(st.characters(codec=None), max_size=8)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts
json_values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
ids = st.sampled_from(["1", "2", 1, "", None]) | json_values
element = (
    st.fixed_dictionaries(
        {},
        optional={
            "id": ids,
            "from": ids,
            "from_user_id": ids,
            "recipient_id": ids,
            "wa_id": ids,
            "status": ids,
            "text": json_values,
        },
    )
    | json_values
)
elements = st.lists(element, max_size=4) | json_values
value = (
    st.fixed_dictionaries(
        {},
        optional={
            "metadata": st.just(METADATA) | json_values,
            "contacts": elements,
            "messages": elements,
            "statuses": elements,
            "errors": elements,
            "message_echoes": elements,
            "history": elements,
            "user_preferences": elements,
            "new": json_values,
            ENVELOPE_KEY: json_values,
        },
    )
    | json_values
)
fields = (
    st.sampled_from(["messages", "history", "smb_message_echoes", "user_preferences", "calls"]) | json_values
)
changes = (
    st.fixed_dictionaries({}, optional={"field": fields, "value": value, "extra": json_values}) | json_values
)
entry = (
    st.fixed_dictionaries(
        {},
        optional={
            "id": ids,
            "time": ids,
            "changes": st.lists(changes, max_size=3) | changes,
            "extra": json_values,
        },
    )
    | json_values
)
document = st.fixed_dictionaries(
    {"object": st.just("whatsapp_business_account")},
    optional={"entry": st.lists(entry, max_size=3) | entry, "extra": json_values},
)


def leaves(content: Any) -> Iterator[str]:
    """Every scalar of a document, as JSON."""
    if isinstance(content, dict) and content:
        for inner in content.values():
            yield from leaves(inner)
    elif isinstance(content, list) and content:
        for inner in content:
            yield from leaves(inner)
    elif content not in ([], {}):
        yield json.dumps(content)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(document=document)
def test_no_document_raises_and_no_leaf_is_lost(document: Any) -> None:
    """Whatever JSON stands wherever in the envelope: it is in the output, and every record can be written and read."""
    body = json.dumps(document).encode()

    updates = split(body)

    output: Counter[str] = Counter()
    for key, update in updates:
        record = encode(WHATSAPP_UPDATES, key=key, value=update, origin="ingress")
        assert decode(WHATSAPP_UPDATES, record.value) == update
        for part in (update.update, update.metadata, update.contact, update.context, update.entry_time):
            output.update(leaves(part))
        output.update([json.dumps(update.field), json.dumps(update.waba_id), update.waba_id])
    missing = set(leaves(document)) - set(output) - {json.dumps("whatsapp_business_account")}
    assert not missing


@settings(max_examples=200, deadline=None)
@given(contents=st.lists(st.lists(json_values, min_size=1, max_size=5), min_size=1, max_size=5))
def test_every_element_is_found_exactly_once(contents: Any) -> None:
    """Elements marked one by one come out one by one, none twice, whatever else they hold."""
    marks = itertools.count()
    groups = [[{"mark": next(marks), "content": content} for content in group] for group in contents]
    entries = [{"id": "WABA", "changes": [change(messages=group)]} for group in groups]

    updates = split(json.dumps({"object": "whatsapp_business_account", "entry": entries}).encode())

    assert [update.update for _, update in updates] == [message for group in groups for message in group]
