"""What a message says, type by type, as Meta sends them and as production has seen them."""

import json
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from connector.events import AdReferral, Media
from connector.whatsapp.messages import read_message

COMMON = {"from": "16505551234", "id": "wamid.A", "timestamp": "1749416383"}


@pytest.mark.parametrize(
    ("part", "message_type", "text"),
    [
        pytest.param({"type": "text", "text": {"body": "مرحبا 👋"}}, "text", "مرحبا 👋", id="text"),
        pytest.param(
            {"type": "image", "image": {"id": "1", "caption": "The leaf"}}, "image", "The leaf", id="caption"
        ),
        pytest.param({"type": "sticker", "sticker": {"id": "1"}}, "sticker", "", id="sticker"),
        pytest.param(
            {"type": "button", "button": {"payload": "STOP-1", "text": "Stop promotions"}},
            "button",
            "Stop promotions",
            id="template quick reply",
        ),
        pytest.param(
            {
                "type": "interactive",
                "interactive": {"type": "button_reply", "button_reply": {"id": "b", "title": "Cancel"}},
            },
            "interactive",
            "Cancel",
            id="button reply",
        ),
        pytest.param(
            {
                "type": "interactive",
                "interactive": {
                    "type": "list_reply",
                    "list_reply": {"id": "l", "title": "Express", "description": "x"},
                },
            },
            "interactive",
            "Express",
            id="list reply",
        ),
        pytest.param(
            {
                "type": "interactive",
                "interactive": {
                    "type": "nfm_reply",
                    "nfm_reply": {"body": "Sent", "name": "flow", "response_json": "[not json"},
                },
            },
            "interactive",
            "Sent",
            id="flow reply",
        ),
        pytest.param(
            {"type": "interactive", "errors": [{"code": 131000}]},
            "interactive",
            "",
            id="interactive without its part",
        ),
        pytest.param(
            {"type": "reaction", "reaction": {"message_id": "wamid.B", "emoji": "👍🏽"}},
            "reaction",
            "👍🏽",
            id="reaction",
        ),
        pytest.param(
            {"type": "reaction", "reaction": {"message_id": "wamid.B", "emoji": ""}},
            "reaction",
            "",
            id="reaction taken back",
        ),
        pytest.param(
            {
                "type": "location",
                "location": {
                    "latitude": 37.44,
                    "longitude": -122.16,
                    "name": "HQ",
                    "address": "1 Hacker Way",
                },
            },
            "location",
            "HQ, 1 Hacker Way (37.44, -122.16)",
            id="place",
        ),
        pytest.param(
            {"type": "location", "location": {"latitude": 0, "longitude": 0}},
            "location",
            "0, 0",
            id="bare point",
        ),
        pytest.param({"location": {"latitude": 1, "longitude": 2}}, "location", "1, 2", id="type missing"),
        pytest.param(
            {
                "type": "contacts",
                "contacts": [{"name": {"formatted_name": "Ada"}, "phones": [{"phone": "+44 20"}]}, "?"],
            },
            "contacts",
            "Ada: +44 20",
            id="shared contacts",
        ),
        pytest.param(
            {"type": "order", "order": {"catalog_id": "c", "text": "asap", "product_items": [{}]}},
            "order",
            "asap",
            id="order",
        ),
        pytest.param(
            {
                "type": "edit",
                "edit": {
                    "original_message_id": "wamid.B",
                    "message": {"type": "text", "text": {"body": "new"}},
                },
            },
            "edit",
            "new",
            id="edit",
        ),
        pytest.param(
            {"type": "system", "system": {"body": "Ada changed", "type": "user_changed_number"}},
            "system",
            "Ada changed",
            id="system",
        ),
        pytest.param({"type": "hologram", "hologram": {"depth": 3}}, "hologram", "", id="type of the future"),
        pytest.param({}, "unknown", "", id="nothing but the frame"),
        pytest.param({"type": "text", "text": "plain"}, "text", "", id="part of the wrong shape"),
    ],
)
def test_a_message_has_a_type_and_a_readable_text(part: dict[str, Any], message_type: str, text: str) -> None:
    """Every type passes, and those with words for a person have them in `text`."""
    parts = read_message({**COMMON, **part})
    assert (parts.message_type, parts.text, parts.wamid) == (message_type, text, "wamid.A")


def test_nothing_of_a_message_is_dropped() -> None:
    """What no field of the event says stays in `content`, unknown keys included; a plain text leaves none."""
    order = {"catalog_id": "c", "product_items": [{"quantity": "2"}]}
    raw = {
        **COMMON,
        "type": "order",
        "order": order,
        "group_id": "G",
        "context": {"forwarded": True},
        "new": [1],
    }
    assert read_message(raw).content == {
        "order": order,
        "group_id": "G",
        "context": {"forwarded": True},
        "new": [1],
    }
    plain = {**COMMON, "type": "text", "text": {"body": "x"}, "context": {"from": "1", "id": "wamid.B"}}
    assert read_message(plain).content == {}


def test_media_keep_what_is_needed_to_fetch_them() -> None:
    """Id, type, hash and name; a voice note is told from a sound file, in its old spelling too."""
    raw = {
        "type": "document",
        "document": {"id": 7, "mime_type": "a/b", "sha256": "h", "filename": "f.pdf", "caption": "c"},
    }
    assert read_message(COMMON | raw).media == Media(
        id="7", mime_type="a/b", sha256="h", filename="f.pdf", caption="c"
    )
    for voice in ({"type": "voice", "voice": {"id": "1"}}, {"type": "audio", "audio": {"voice": True}}):
        media = read_message(COMMON | voice).media
        assert media is not None
        assert media.voice


@pytest.mark.parametrize(
    ("part", "reply_to"),
    [
        pytest.param({"type": "text", "context": {"from": "1", "id": "wamid.B"}}, "wamid.B", id="reply"),
        pytest.param({"type": "text", "context": {"forwarded": True}}, "", id="forwarded"),
        pytest.param({"type": "reaction", "reaction": {"message_id": "wamid.B"}}, "wamid.B", id="reaction"),
        pytest.param(
            {"type": "revoke", "revoke": {"original_message_id": "wamid.B"}}, "wamid.B", id="revoke"
        ),
    ],
)
def test_a_message_names_the_one_it_answers(part: dict[str, Any], reply_to: str) -> None:
    """Replies, reactions, edits and deletions point at their message."""
    assert read_message({**COMMON, **part}).reply_to == reply_to


def test_the_ad_that_a_person_came_from_is_read() -> None:
    """A click-to-WhatsApp referral is typed, and kept whole beside it."""
    referral = {
        "source_id": "1",
        "source_type": "ad",
        "headline": "H",
        "ctwa_clid": "C",
        "media_type": "image",
    }
    parts = read_message({**COMMON, "type": "text", "text": {"body": "hi"}, "referral": referral})
    assert parts.referral == AdReferral(source_id="1", source_type="ad", headline="H", ctwa_clid="C")
    assert parts.content["referral"] == referral


def test_a_message_without_id_is_named_by_its_content() -> None:
    """A redelivery of it has the same name; another message has another."""
    first = read_message({"from": "1", "text": {"body": "a"}}).wamid
    assert first.startswith("noid.")
    assert read_message({"text": {"body": "a"}, "from": "1"}).wamid == first
    assert read_message({"from": "1", "text": {"body": "b"}}).wamid != first


def test_what_no_database_stores_is_replaced_visibly() -> None:
    """NUL and half an emoji become U+FFFD, in texts, keys and nested content."""
    raw = json.loads(
        r'{"id": "wamid.\u0000", "type": "text", "text": {"body": "a\u0000b \ud83d"}, "x": {"\ud83d": ["\u0000"]}}'
    )
    parts = read_message(raw)
    assert parts.wamid == "wamid.\ufffd"
    assert parts.text == "a\ufffdb \ufffd"
    assert parts.content == {"x": {"\ufffd": ["\ufffd"]}}


def test_lengths_are_cut_visibly() -> None:
    """A text says how much was cut; an id too long for an index stays distinct."""
    assert read_message({**COMMON, "type": "text", "text": {"body": "x" * 70_000}}).text.endswith(
        "… [4464 characters cut]"
    )
    long_ids = {read_message({"id": "w" * 5000 + end}).wamid for end in "ab"}
    assert len(long_ids) == 2
    assert max(map(len, long_ids)) <= 255


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
KEYS = st.sampled_from(
    [
        "id",
        "type",
        "from",
        "timestamp",
        "text",
        "image",
        "interactive",
        "reaction",
        "location",
        "contacts",
        "order",
        "system",
        "context",
        "referral",
        "errors",
        "button",
        "edit",
        "voice",
        "body",
        "name",
        "phones",
    ]
)
TYPES = st.sampled_from(["text", "image", "interactive", "location", "contacts", "edit", "system", "order"])


@given(raw=st.dictionaries(KEYS, ANY_JSON | TYPES | st.dictionaries(KEYS, ANY_JSON, max_size=4), max_size=8))
@settings(max_examples=300, deadline=None)
def test_no_message_is_unreadable(raw: dict[str, Any]) -> None:
    """Any JSON object in a message's place is read without an error into something that can be stored."""
    parts = read_message(raw)
    stored = json.dumps([parts.text, parts.wamid, parts.content, parts.errors], ensure_ascii=False)
    stored.encode()
    assert "\x00" not in stored
    assert parts.wamid
    assert parts.message_type
