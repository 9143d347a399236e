"""What the connector did about a request to send. The message itself is a `Message` of its own, once accepted."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from connector.events.base import Event


class SendEvent(Event):
    """One step of one send. `at` is our time."""

    send_id: str
    trigger_id: str = ""
    template: str
    language: str = ""
    category: str = Field(default="", description="Meta's category of the template when it was judged.")
    purpose: str = ""
    reference: str = ""


class SendAttempted(SendEvent):
    """On the log, and awaited, before the request leaves: whatever happens afterwards, it may have been sent."""

    type: Literal["send.attempted"] = "send.attempted"
    attempt: int = Field(description="1, 2, …: an attempt that certainly did nothing is followed by another.")


class SendAccepted(SendEvent):
    """WhatsApp took it. Not delivered yet; `held_for_quality_assessment` may still be dropped."""

    type: Literal["send.accepted"] = "send.accepted"
    wamid: str
    message_status: str = Field(
        default="accepted", description="accepted | held_for_quality_assessment | paused"
    )


class SendBlocked(SendEvent):
    """It was not sent because it may not be. `policy` names the first rule that said so."""

    type: Literal["send.blocked"] = "send.blocked"
    policy: str
    reason: str = Field(description="One sentence for a person.")
    verdict: dict[str, Any] = Field(default_factory=dict, description="Every policy's line.")


class SendFailed(SendEvent):
    """WhatsApp refused it, or its time ran out."""

    type: Literal["send.failed"] = "send.failed"
    code: int = Field(default=0, description="Meta's error code; 0: ours.")
    cause: str = Field(description="Stable, countable name.")
    reason: str


class SendUnknown(SendEvent):
    """The answer was lost and no status came: it may or may not have been sent. Only an operator sends it again."""

    type: Literal["send.unknown"] = "send.unknown"
    reason: str
