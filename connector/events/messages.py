"""Messages on a conversation, in either direction, and what is later done to them: edits, deletions, reactions."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from connector.events.base import Event, Model

Direction = Literal["inbound", "outbound"]
Via = Annotated[
    Literal["platform", "business_app", "history"],
    Field(
        description="platform: the Cloud API; business_app: typed in the WhatsApp Business app; "
        "history: imported when the number was connected."
    ),
]


class Media(Model):
    """A file that came with a message. The id lives 7 days at Meta."""

    id: str = ""
    mime_type: str = ""
    sha256: str = ""
    filename: str = ""
    caption: str = ""
    voice: bool = False
    size: int | None = Field(default=None, description="Bytes, where WhatsApp says so.")


class AdReferral(Model):
    """The click-to-WhatsApp ad or post that the person came from."""

    source_id: str = ""
    source_type: str = ""
    source_url: str = ""
    headline: str = ""
    body: str = ""
    ctwa_clid: str = ""


class Message(Event):
    """A message, inbound from the person or outbound to them. `wamid` names it for ever."""

    type: Literal["message"] = "message"
    direction: Direction
    wamid: str
    via: Via = "platform"
    message_type: str = Field(description="Meta's `type`; 'unknown' is one of them, and any new one passes.")
    text: str = Field(default="", description="What a person reads: body, caption, button title.")
    media: Media | None = None
    reply_to: str = Field(default="", description="wamid of the message this one answers.")
    referral: AdReferral | None = None
    content: dict[str, Any] = Field(
        default_factory=dict,
        description="The typed part of the message as sent, for types without a rendering.",
    )
    errors: list[dict[str, Any]] = Field(default_factory=list, description="Meta's errors[] on the message.")
    reported_status: str = Field(
        default="",
        description="What the app's history says became of it: sent, delivered, read, played, failed.",
    )


class Amendment(Event):
    """Something done to an earlier message, by whoever `direction` says. It may come before that message."""

    direction: Direction
    wamid: str = Field(description="Its own id.")
    via: Via = "platform"
    target: str = Field(description="wamid of the message that it is about.")


class MessageEdited(Amendment):
    """The author changed a message, within 15 minutes of sending it. What it says now is here, whole."""

    type: Literal["message.edited"] = "message.edited"
    message_type: str
    text: str = ""
    media: Media | None = None
    content: dict[str, Any] = Field(
        default_factory=dict, description="The edited message's typed part as sent."
    )


class MessageRevoked(Amendment):
    """The author deleted a message for everyone, within two days of sending it."""

    type: Literal["message.revoked"] = "message.revoked"


class MessageReacted(Amendment):
    """A reaction to a message; each person has one at most, and the latest counts."""

    type: Literal["message.reacted"] = "message.reacted"
    emoji: str = Field(default="", description="Empty: the reaction was taken back.")
    group_id: str = Field(default="", description="Set when the message is one of a group.")
