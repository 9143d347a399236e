"""Webhook updates as Meta sends them: one builder a kind, an envelope around many, and its bytes.

Shapes follow developers.facebook.com/docs/whatsapp/cloud-api/webhooks/reference and the BSUID pages of
2026: a phone that is not shared is an absent key, timestamps of messages are strings of Unix seconds,
account-level fields carry `time` and no metadata.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Literal

Status = Literal["sent", "delivered", "read", "played", "failed"]
MediaType = Literal["image", "video", "document", "audio", "sticker"]


@dataclass(frozen=True, kw_only=True)
class BusinessNumber:
    """A business's number and the WhatsApp Business Account it belongs to."""

    waba_id: str = "102290129340398"
    phone_number_id: str = "106540352242922"
    display_phone_number: str = "15550783881"


@dataclass(frozen=True, kw_only=True)
class Person:
    """Somebody on WhatsApp, as a business gets to see them."""

    name: str | None = None
    wa_id: str | None = None
    """Phone digits without "+"; None when not shared with the business."""
    bsuid: str | None = None
    """Business-scoped user id, `CC.` and up to 128 characters."""
    username: str | None = None

    def contact(self) -> dict[str, Any]:
        """Return the person's entry in `contacts[]`."""
        profile = {"name": self.name, "username": self.username}
        shown = {key: value for key, value in profile.items() if value is not None}
        return _present({"profile": shown or None, "wa_id": self.wa_id, "user_id": self.bsuid})


@dataclass(frozen=True, kw_only=True)
class Update:
    """One update of a webhook: a message, a status, or the value of an account-level field."""

    number: BusinessNumber
    field: str = "messages"
    kind: Literal["messages", "statuses", "message_echoes", "user_preferences", "history"] | None = "messages"
    """The list in `value` that holds it; None: `content` is the whole value."""
    content: Mapping[str, Any]
    contact: Mapping[str, Any] | None = None
    time: int | None = None
    """`entry[].time`, account-level fields only."""

    @property
    def wamid(self) -> str | None:
        """The WhatsApp message id that the update is or is about."""
        found = self.content.get("id") if self.kind is not None else None
        return None if found is None else str(found)

    @property
    def id(self) -> str:
        """Tells updates apart: the same for a redelivery, another for the next status of a message."""
        if self.kind == "statuses":
            return f"{self.wamid}:{self.content['status']}"
        if self.wamid is not None:
            return self.wamid
        digest = hashlib.sha256(json.dumps(self.content, sort_keys=True).encode()).hexdigest()
        return f"{self.field}:{digest[:16]}"


def wamid(peer: str, random: Random, *, outbound: bool = False) -> str:
    """Return a message id built as Meta builds them: base64 of the peer's digits and a hex serial."""
    length = 18 if outbound else 20
    serial = "".join(random.choices("0123456789ABCDEF", k=length)).encode()
    digits = peer.encode()
    head = b"\x1c\x18" + bytes([len(digits)]) + digits
    tail = b"\x15\x02\x00" + (b"\x11\x18\x12" if outbound else b"\x12\x18\x14") + serial + b"\x00"
    return "wamid." + base64.b64encode(head + tail).decode()


def message(
    person: Person,
    number: BusinessNumber,
    *,
    message_id: str,
    at: int,
    type: str,  # noqa: A002 - Meta's own word
    content: Any = None,
    reply_to: str | None = None,
    extra: Mapping[str, Any] | None = None,
) -> Update:
    """Return an inbound message of any type, also of one that nobody knows yet.

    `at` is Unix seconds. `content` is what stands under the type's own key; None: nothing does.
    """
    context = None if reply_to is None else {"from": number.display_phone_number, "id": reply_to}
    fields = {
        "context": context,
        "from": person.wa_id,
        "from_user_id": person.bsuid,
        "id": message_id,
        "timestamp": str(at),
        "type": type,
        type: content,
        **(extra or {}),
    }
    return Update(number=number, content=_present(fields), contact=person.contact())


def text(
    person: Person,
    number: BusinessNumber,
    *,
    message_id: str,
    at: int,
    body: str,
    reply_to: str | None = None,
    referral: Mapping[str, Any] | None = None,
) -> Update:
    """Return a text message; `referral` when it came from an ad."""
    return message(
        person,
        number,
        message_id=message_id,
        at=at,
        type="text",
        content={"body": body},
        reply_to=reply_to,
        extra=None if referral is None else {"referral": dict(referral)},
    )


def media(
    person: Person,
    number: BusinessNumber,
    *,
    message_id: str,
    at: int,
    type: MediaType = "image",  # noqa: A002
    caption: str | None = None,
    filename: str | None = None,
) -> Update:
    """Return a media message, with the `url` that webhooks carry since November 2025."""
    mime = {
        "image": "image/jpeg",
        "video": "video/mp4",
        "document": "application/pdf",
        "audio": "audio/ogg; codecs=opus",
        "sticker": "image/webp",
    }[type]
    digest = hashlib.sha256(message_id.encode()).digest()
    media_id = str(int.from_bytes(digest[:6], "big"))
    content = {
        "caption": caption,
        "filename": filename,
        "mime_type": mime,
        "sha256": base64.b64encode(digest).decode(),
        "id": media_id,
        "url": f"https://lookaside.fbsbx.com/whatsapp_business/attachments/?mid={media_id}&ext=1&hash=A",
        "voice": True if type == "audio" else None,
    }
    return message(person, number, message_id=message_id, at=at, type=type, content=_present(content))


def unsupported(
    person: Person, number: BusinessNumber, *, message_id: str, at: int, reason: str = "poll_creation"
) -> Update:
    """Return a message of a type that the Cloud API does not pass on (error 131051)."""
    error = {
        "code": 131051,
        "title": "Message type unknown",
        "message": "Message type unknown",
        "error_data": {"details": "Message type is currently not supported."},
    }
    return message(
        person,
        number,
        message_id=message_id,
        at=at,
        type="unsupported",
        content={"type": reason},
        extra={"errors": [error]},
    )


def changed_number(
    before: Person, after: Person, number: BusinessNumber, *, message_id: str, at: int
) -> Update:
    """Return the system message of a person who moved to another phone number.

    It comes without contacts[]; the BSUID is a new one, `previous_user_id` links the old
    (changelog of 11 August 2026).
    """
    system = {
        "body": f"User {before.name} changed from {before.wa_id} to {after.wa_id}",
        "wa_id": after.wa_id,
        "user_id": after.bsuid,
        "previous_user_id": before.bsuid,
        "type": "user_changed_number",
    }
    return _system(before, number, message_id=message_id, at=at, system=system)


def changed_user_id(
    before: Person, after: Person, number: BusinessNumber, *, message_id: str, at: int
) -> Update:
    """Return the system message of a BSUID that was replaced; usually it has no phone."""
    system = {
        "body": f"User {before.name} changed user id",
        "user_id": after.bsuid,
        "previous_user_id": before.bsuid,
        "type": "user_changed_user_id",
    }
    hidden = Person(name=before.name, bsuid=before.bsuid)
    return _system(hidden, number, message_id=message_id, at=at, system=system)


def status(
    person: Person,
    number: BusinessNumber,
    *,
    message_id: str,
    at: int,
    status: Status,
    category: str = "utility",
    callback_data: str | None = None,
    error: tuple[int, str] | None = None,
    details: str | None = None,
) -> Update:
    """Return a status of a message to this person; `error` (code, title) and its `details` for failed ones.

    `pricing` comes with sent and delivered; a failed status names its recipient by phone alone.
    """
    failed = status == "failed"
    fields = {
        "id": message_id,
        "status": status,
        "timestamp": str(at),
        "recipient_id": person.wa_id,
        "recipient_user_id": None if failed and person.wa_id else person.bsuid,
        "biz_opaque_callback_data": callback_data,
        "pricing": {"billable": True, "pricing_model": "PMP", "type": "regular", "category": category}
        if status in ("sent", "delivered")
        else None,
        "errors": [_error(*(error or (131026, "Message undeliverable")), details)] if failed else None,
    }
    contact = None if failed else person.contact()
    return Update(number=number, kind="statuses", content=_present(fields), contact=contact)


def echo(person: Person, number: BusinessNumber, *, message_id: str, at: int, body: str) -> Update:
    """Return what the business itself typed in the WhatsApp Business app (coexistence)."""
    fields = {
        "from": number.display_phone_number,
        "to": person.wa_id,
        "to_user_id": person.bsuid,
        "id": message_id,
        "timestamp": str(at),
        "type": "text",
        "text": {"body": body},
    }
    return Update(number=number, field="smb_message_echoes", kind="message_echoes", content=_present(fields))


def preference(
    person: Person, number: BusinessNumber, *, at: int, value: Literal["stop", "resume"]
) -> Update:
    """Return a marketing opt-out or its end; its timestamp is an integer, unlike a message's."""
    fields = {
        "wa_id": person.wa_id,
        "user_id": person.bsuid,
        "detail": f"User requested to {value} marketing messages",
        "category": "marketing_messages",
        "value": value,
        "timestamp": at,
    }
    return Update(
        number=number,
        field="user_preferences",
        kind="user_preferences",
        content=_present(fields),
        contact=person.contact(),
    )


def account(number: BusinessNumber, *, at: int, field: str, value: Mapping[str, Any]) -> Update:
    """Return an update about the account: no metadata, routed by the WABA id alone."""
    return Update(number=number, field=field, kind=None, content=dict(value), time=at)


def envelope(updates: Sequence[Update]) -> dict[str, Any]:
    """Return the webhook that carries these updates, in order.

    Neighbours of one account share an entry, neighbours of one field and number share a change; at most
    1,000 updates fit (webhooks overview page).
    """
    if not 1 <= len(updates) <= 1_000:
        msg = f"a webhook carries 1 to 1,000 updates, not {len(updates)}"
        raise ValueError(msg)
    entries: list[dict[str, Any]] = []
    last: Update | None = None
    for update in updates:
        same_account = (
            last is not None and last.number.waba_id == update.number.waba_id and last.time == update.time
        )
        if not same_account:
            entries.append(_present({"id": update.number.waba_id, "time": update.time, "changes": []}))
        changes = entries[-1]["changes"]
        if update.kind is None:
            changes.append({"value": dict(update.content), "field": update.field})
        else:
            joined = (
                same_account
                and last is not None
                and last.kind is not None
                and (last.field, last.number) == (update.field, update.number)
            )
            if not joined:
                changes.append({"value": _value(update.number), "field": update.field})
            _put(changes[-1]["value"], update)
        last = update
    return {"object": "whatsapp_business_account", "entry": entries}


def serialise(document: Any) -> bytes:
    r"""Return a webhook's bytes as Meta writes them: `\uXXXX` in lower case, `\/`, and `@` escaped.

    The signature covers these bytes: a receiver that parses and writes the JSON anew cannot verify it.
    """
    plain = json.dumps(document, ensure_ascii=True, separators=(",", ":"))
    return plain.replace("/", r"\/").replace("@", r"\u0040").encode("ascii")


def signature(body: bytes, app_secret: str) -> str:
    """Return the X-Hub-Signature-256 header: HMAC-SHA256 of the bytes, keyed by the app's secret."""
    return "sha256=" + hmac.new(app_secret.encode(), body, hashlib.sha256).hexdigest()


def _value(number: BusinessNumber) -> dict[str, Any]:
    return {
        "messaging_product": "whatsapp",
        "metadata": {
            "display_phone_number": number.display_phone_number,
            "phone_number_id": number.phone_number_id,
        },
    }


def _put(value: dict[str, Any], update: Update) -> None:
    if update.contact is not None:
        contacts = value.setdefault("contacts", [])
        if update.contact not in contacts:
            contacts.append(dict(update.contact))
    value.setdefault(str(update.kind), []).append(dict(update.content))


def _system(
    person: Person, number: BusinessNumber, *, message_id: str, at: int, system: Mapping[str, Any]
) -> Update:
    fields = {
        "from": person.wa_id,
        "from_user_id": person.bsuid,
        "id": message_id,
        "timestamp": str(at),
        "system": _present(system),
        "type": "system",
    }
    return Update(number=number, content=_present(fields))


def _error(code: int, title: str, details: str | None = None) -> dict[str, Any]:
    return {
        "code": code,
        "title": title,
        "message": title,
        "error_data": {"details": details or title},
        "href": "/documentation/business-messaging/whatsapp/support/error-codes",
    }


def _present(fields: Mapping[str, Any] | Iterable[tuple[str, Any]]) -> dict[str, Any]:
    return {key: value for key, value in dict(fields).items() if value is not None}
