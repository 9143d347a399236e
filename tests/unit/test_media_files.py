"""What an event says about a file, and what of it may be told to a browser."""

import base64
import hashlib
from typing import Any

import pytest
from conversation_events import at, contact, message, status

from connector.events import Media, MessageEdited
from connector.media.files import ID_LIFE, content_type, file_name, noted_file, sha256_hex
from connector.media.links import media_key

DIGEST = hashlib.sha256(b"x").digest()
IMAGE: dict[str, Any] = {
    "message_type": "image",
    "media": Media(id="77", mime_type="image/png", filename="a.png"),
}


def test_a_file_is_noted_with_all_that_its_fetch_needs() -> None:
    """Id, number, hash, the webhook's URL and both times come along."""
    media = Media(id="77", mime_type="image/png", sha256=base64.b64encode(DIGEST).decode())
    event = message(
        "m", "ana", message_type="image", media=media, content={"image": {"id": "77", "url": "https://u"}}
    )
    file = noted_file(event)
    assert file is not None
    assert (file.key, file.wamid, file.contact_id) == (media_key("m", "77"), "m", contact("ana"))
    assert (file.media_id, file.phone_number_id, file.url, file.sha256) == (
        "77",
        "1000",
        "https://u",
        DIGEST.hex(),
    )
    assert file.fetch_until == event.origin.received_at + ID_LIFE


def test_the_file_of_an_edit_belongs_to_the_edited_message() -> None:
    """Its key is made of the original wamid, as the link on that message is."""
    base = message("e", "ana").model_dump(
        exclude={"type", "wamid", "reply_to", "referral", "errors", "reported_status"}
    )
    edit = MessageEdited.model_validate(base | IMAGE | {"wamid": "e", "target": "m"})
    file = noted_file(edit)
    assert file is not None
    assert file.key == media_key("m", "77")


@pytest.mark.parametrize(
    ("fields", "noted"),
    [
        ({}, True),
        ({"direction": "outbound"}, False),
        ({"direction": "outbound", "via": "business_app"}, True),
        ({"direction": "outbound", "via": "history"}, True),
        ({"media": None}, False),
        ({"media": Media()}, False),
        ({"content": {"image": ["not an object"]}}, True),
    ],
    ids=["inbound", "sent by API", "sent by app", "history", "no file", "no id", "odd content"],
)
def test_which_messages_bring_a_file(*, fields: dict[str, Any], noted: bool) -> None:
    """What the business sends through the API is its own file; everything else with an id is noted."""
    assert (noted_file(message("m", "ana", **(IMAGE | fields))) is not None) is noted


def test_a_status_brings_no_file() -> None:
    """Other events are passed over."""
    assert noted_file(status("m", "read", "ana")) is None
    assert at(0) == message("m", "ana").at


@pytest.mark.parametrize(
    ("said", "read"),
    [
        (base64.b64encode(DIGEST).decode(), DIGEST.hex()),
        (DIGEST.hex(), DIGEST.hex()),
        (DIGEST.hex().upper(), DIGEST.hex()),
        ("IMAGE_HASH", ""),
        ("z" * 64, ""),
        (base64.b64encode(b"short").decode(), ""),
        ("é" * 44, ""),
        ("", ""),
    ],
)
def test_a_sha256_is_read_in_both_forms(said: str, read: str) -> None:
    """Base64 and hex are read; what is neither counts as not said."""
    assert sha256_hex(said) == read


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("image/jpeg", "image/jpeg"),
        ("Audio/OGG; codecs=opus", "audio/ogg; codecs=opus"),
        ("application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",) * 2,
        ("text/plain; charset=utf-8", "text/plain; charset=utf-8"),
        ("text/html", "application/octet-stream"),
        ("TEXT/HTML;charset=utf-8", "application/octet-stream"),
        ("image/svg+xml", "application/octet-stream"),
        ("application/xhtml+xml", "application/octet-stream"),
        ("text/javascript", "application/octet-stream"),
        ("image/png\r\nSet-Cookie: a=b", "application/octet-stream"),
        ("image/png\n", "image/png"),
        ("image", "application/octet-stream"),
        ("", "application/octet-stream"),
    ],
)
def test_a_type_is_told_unless_a_browser_would_run_it(said: str, told: str) -> None:
    """Pages, scripts and drawings with scripts are bytes; so is what is no type."""
    assert content_type(said) == told


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("receipt.pdf", "receipt.pdf"),
        ("Rechnung März.pdf", "Rechnung_März.pdf"),
        ("فاتورة.pdf", "فاتورة.pdf"),
        ("../../etc/passwd", "etc_passwd"),
        ("C:\\Windows\\system.ini", "C_Windows_system.ini"),
        ("a\r\nSet-Cookie: b.pdf", "aSet-Cookie_b.pdf"),
        ("invoice\u202efdp.exe", "invoicefdp.exe"),
        ("nul.txt", "_nul.txt"),
        (".htaccess", "htaccess"),
        ("", "whatsapp-document-0123abcd.pdf"),
        ("...", "whatsapp-document-0123abcd.pdf"),
        ("\u200d", "whatsapp-document-0123abcd.pdf"),
        ("x" * 300 + ".pdf", "x" * 116 + ".pdf"),
    ],
    ids=lambda value: repr(value)[:24],
)
def test_a_name_is_safe_and_still_the_senders(said: str, name: str) -> None:
    """Nothing of a name leads out of a folder or turns the reading direction; letters of any script stay."""
    assert file_name(said, kind="document", mime_type="application/pdf", key="0123abcd" * 4) == name
