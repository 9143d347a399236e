"""Messages on a conversation, in either direction."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from connector.events.base import Event, Model


class Media(Model):
    """A file that came with a message. The id lives 7 days at Meta."""

    id: str = ""
    mime_type: str = ""
    sha256: str = ""
    filename: str = ""
    caption: str = ""
    voice: bool = False


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
    direction: Literal["inbound", "outbound"]
    wamid: str
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
