"""`messages[]` and `message_echoes[]`: the typed parts of a message, and a text that a person can read.

Every type passes. One that has no rendering keeps its whole content; one whose `type` is missing is named
after the part it carries. (https://developers.facebook.com/docs/whatsapp/cloud-api/webhooks/components)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from connector.events import AdReferral, Media, content_hash
from connector.whatsapp.lenient import as_int, as_list, as_object, as_text
from connector.whatsapp.text import NAME_LIMIT, identifier, storable_json

_MEDIA = frozenset({"image", "video", "audio", "voice", "document", "sticker"})
# WhatsApp takes files of up to 2 GB.
_IMPLAUSIBLE_SIZE = 10**12
# Said by other fields of the event; everything else that Meta sent stays in `content`.
_LIFTED = frozenset({"id", "from", "from_user_id", "to", "to_user_id", "timestamp", "type", "errors"})


@dataclass(frozen=True, kw_only=True, slots=True)
class MessageParts:
    """The parts of one message; who, when and in which direction are read elsewhere.

    `edited`: what the message named by `reply_to` says from now on, when this one is an edit.
    """

    wamid: str
    message_type: str
    text: str
    media: Media | None
    reply_to: str
    referral: AdReferral | None
    content: dict[str, Any]
    errors: list[dict[str, Any]]
    edited: MessageParts | None = None


def read_message(raw: Mapping[str, Any]) -> MessageParts:
    """Never raises, and drops nothing."""
    message_type = _type(raw)
    return MessageParts(
        wamid=wamid_of(raw),
        message_type=message_type,
        text=_text(message_type, raw),
        media=_media(message_type, raw.get(message_type)) if message_type in _MEDIA else None,
        reply_to=_reply_to(message_type, raw),
        referral=_referral(raw.get("referral")),
        content=_content(message_type, raw),
        errors=[storable_json(error) for error in as_list(raw.get("errors")) if isinstance(error, dict)],
        edited=_edited(raw.get("edit")) if message_type == "edit" else None,
    )


def _edited(part: object) -> MessageParts | None:
    """`edit` inside `edit` is not a thing: one level, whatever is nested."""
    inner = as_object(as_object(part).get("message"))
    return read_message(inner) if inner and _type(inner) != "edit" else None


def wamid_of(raw: Mapping[str, Any]) -> str:
    """The message's id. One that came without (seen in production) is named by its content.

    A redelivery has the same content, hence the same name, so the message still appears once.
    """
    return identifier(raw.get("id")) or f"noid.{content_hash(dict(raw))}"


def _type(raw: Mapping[str, Any]) -> str:
    stated = identifier(raw.get("type"))
    if stated:
        return stated
    parts = [key for key in raw if key in _RENDERINGS or key in _MEDIA]
    return parts[0] if len(parts) == 1 else "unknown"


def _text(message_type: str, raw: Mapping[str, Any]) -> str:
    part = raw.get(message_type)
    if message_type in _MEDIA:
        return as_text(as_object(part).get("caption"))
    rendering = _RENDERINGS.get(message_type)
    return rendering(part) if rendering is not None else ""


def _body(part: object) -> str:
    return as_text(as_object(part).get("body"))


def _button(part: object) -> str:
    button = as_object(part)
    return as_text(button.get("text")) or as_text(button.get("payload"))


def _interactive(part: object) -> str:
    interactive = as_object(part)
    for reply in ("button_reply", "list_reply"):
        title = as_text(as_object(interactive.get(reply)).get("title"))
        if title:
            return title
    flow = as_object(interactive.get("nfm_reply"))
    return as_text(flow.get("body")) or as_text(flow.get("name"))


def _reaction(part: object) -> str:
    # A reaction taken back has no emoji, or an empty one.
    return as_text(as_object(part).get("emoji"))


def _location(part: object) -> str:
    location = as_object(part)
    latitude, longitude = as_text(location.get("latitude")), as_text(location.get("longitude"))
    place = ", ".join(
        text for text in (as_text(location.get("name")), as_text(location.get("address"))) if text
    )
    point = f"{latitude}, {longitude}" if latitude and longitude else ""
    return f"{place} ({point})" if place and point else place or point


def _contacts(part: object) -> str:
    lines = []
    for item in as_list(part):
        card = as_object(item)
        name = as_object(card.get("name"))
        label = as_text(name.get("formatted_name")) or as_text(name.get("first_name"))
        phones = [as_text(as_object(phone).get("phone")) for phone in as_list(card.get("phones"))]
        line = ": ".join(text for text in (label, ", ".join(filter(None, phones))) if text)
        if line:
            lines.append(line)
    return as_text("\n".join(lines))


def _order(part: object) -> str:
    return as_text(as_object(part).get("text"))


def _edit(part: object) -> str:
    """The new text of a message that its author edited. `edit` inside `edit` is not a thing: one level."""
    inner = as_object(as_object(part).get("message"))
    kind = _type(inner)
    return "" if kind == "edit" else _text(kind, inner)


_RENDERINGS: dict[str, Callable[[object], str]] = {
    "text": _body,
    "button": _button,
    "interactive": _interactive,
    "reaction": _reaction,
    "location": _location,
    "contacts": _contacts,
    "order": _order,
    "system": _body,
    "edit": _edit,
}


def _media(message_type: str, part: object) -> Media:
    media = as_object(part)
    return Media(
        id=identifier(media.get("id")),
        mime_type=as_text(media.get("mime_type"), limit=NAME_LIMIT),
        sha256=identifier(media.get("sha256")),
        filename=as_text(media.get("filename"), limit=NAME_LIMIT),
        caption=as_text(media.get("caption")),
        voice=message_type == "voice" or media.get("voice") is True,
        size=_size(media.get("file_size")),
    )


def _size(value: object) -> int | None:
    """Bytes; seen as text and as a number."""
    size = as_int(value)
    return size if size is not None and 0 <= size < _IMPLAUSIBLE_SIZE else None


def _reply_to(message_type: str, raw: Mapping[str, Any]) -> str:
    if message_type == "reaction":
        return identifier(as_object(raw.get("reaction")).get("message_id"))
    if message_type in {"edit", "revoke"}:
        return identifier(as_object(raw.get(message_type)).get("original_message_id"))
    return identifier(as_object(raw.get("context")).get("id"))


def _referral(part: object) -> AdReferral | None:
    referral = as_object(part)
    if not referral:
        return None
    return AdReferral(
        source_id=identifier(referral.get("source_id")),
        source_type=identifier(referral.get("source_type")),
        source_url=as_text(referral.get("source_url")),
        headline=as_text(referral.get("headline")),
        body=as_text(referral.get("body")),
        ctwa_clid=as_text(referral.get("ctwa_clid")),
    )


def _content(message_type: str, raw: Mapping[str, Any]) -> dict[str, Any]:
    """Everything that no other field of the event says. Empty for a plain text."""
    content = {}
    for key, value in raw.items():
        if key in _LIFTED:
            continue
        if key == "text" and message_type == "text" and isinstance(value, dict) and value.keys() <= {"body"}:
            continue
        if key == "context" and isinstance(value, dict) and value.keys() <= {"from", "id"}:
            continue
        content[key] = value
    cleaned: dict[str, Any] = storable_json(content)
    return cleaned
