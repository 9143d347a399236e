"""The link to a message's file, where a person reads the message."""

import copy
from typing import Any

import pytest
from conversation_events import message

from connector.events import ConversationEvent, Media, MessageEdited, MessageRevoked
from connector.media.files import noted_file
from connector.media.links import MediaLinks
from connector.sync.core.activities import merge_activity_facts, message_facts
from connector.sync.core.amendments import amendment_facts, without_deleted_text
from connector.sync.core.desired import activity_view
from connector.sync.core.file_links import with_file_links
from connector.sync.mapping import built_in

LINKS = MediaLinks(base_url="https://hooks.example", secret="s", lifetime=86_400)
IMAGE: dict[str, Any] = {
    "message_type": "image",
    "text": "look",
    "media": Media(id="77", mime_type="image/png"),
    "content": {},
}


def body(facts: dict[str, Any], *, wamid: str = "m", links: MediaLinks | None = LINKS) -> list[str]:
    return activity_view(
        with_file_links(facts, wamid=wamid, links=links), layout=built_in().layout
    ).body.split("\n")


def amended(event: Any, kind: type[MessageEdited | MessageRevoked], **fields: Any) -> dict[str, Any]:
    base = event.model_dump(include=set(kind.model_fields) - {"type"})
    return amendment_facts(kind.model_validate(base | {"target": "m"} | fields))


def link_of(event: ConversationEvent) -> str:
    """The link that leads to the file which the media role notes of this event."""
    file = noted_file(event)
    assert file is not None
    link = LINKS.link(wamid=file.wamid, media_id=file.media_id, at=int(file.at.timestamp() * 1000))
    assert f"/{file.key}?" in link
    return link


def test_a_file_is_followed_by_its_link() -> None:
    """Caption, what it is, where to get it: the link of the file that the media role notes."""
    event = message("m", "ana", **IMAGE)
    assert body(message_facts(event))[:4] == ["look", "Image · image/png", link_of(event), "—"]


def test_a_message_reads_as_before_where_links_are_not_set_up() -> None:
    """Without links the same text comes out, and the facts are never touched."""
    facts = message_facts(message("m", "ana", **IMAGE))
    before = copy.deepcopy(facts)
    assert body(facts, links=None)[:3] == ["look", "Image · image/png", "—"]
    body(facts)
    assert facts == before


@pytest.mark.parametrize(
    "fields",
    [{"direction": "outbound"}, {"media": Media(mime_type="image/png")}, {"media": None}],
    ids=["sent through the API", "without an id", "without a file"],
)
def test_no_link_where_nothing_will_be_fetched(fields: dict[str, Any]) -> None:
    """The link and the fetch are decided alike."""
    event = message("m", "ana", **(IMAGE | fields))
    assert noted_file(event) is None
    assert "https://" not in "\n".join(body(message_facts(event)))


@pytest.mark.parametrize("via", ["business_app", "history"])
def test_files_sent_from_the_phone_have_links(via: str) -> None:
    """What an employee sends from the app is fetched, so it is linked."""
    event = message("m", "ana", **IMAGE, direction="outbound", via=via)
    assert link_of(event) in body(message_facts(event))


@pytest.mark.parametrize("seen", [True, False], ids=["message seen", "message unseen"])
def test_the_file_of_an_edit_is_linked_under_the_edited_message(*, seen: bool) -> None:
    """After an edit the link is the new file's, whether or not the message itself was ever seen."""
    base = message("e", "ana", seconds=9, **IMAGE)
    edit = MessageEdited.model_validate(
        base.model_dump(include=set(MessageEdited.model_fields) - {"type"})
        | {"target": "m", "media": Media(id="78", mime_type="image/png")}
    )
    facts = amendment_facts(edit)
    if seen:
        facts = merge_activity_facts(message_facts(message("m", "ana", **IMAGE)), facts)
    (shown,) = [line for line in body(facts) if line.startswith("https://")]
    key = shown.partition("?")[0]
    assert key == link_of(edit).partition("?")[0]


def test_a_deleted_message_shows_no_link() -> None:
    """What its author deleted is not linked."""
    event = message("m", "ana", **IMAGE)
    facts = merge_activity_facts(message_facts(event), amended(event, MessageRevoked, wamid="d"))
    assert "https://" not in "\n".join(body(without_deleted_text(facts)))
