"""`history`: the chats of a number from before it was connected, up to 180 days, in chunks of many messages.

https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/reference/history
A chunk is `{metadata: {phase, chunk_order, progress}, threads: [{id, messages: […]}]}`; a thread's id is the
customer. Files of the last 14 days follow as single messages, with the id of the placeholder that stood for them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from connector.events import Direction, WhatsAppUpdate, make_event_id
from connector.whatsapp.lenient import as_object
from connector.whatsapp.numbers import bare_number
from connector.whatsapp.text import identifier

THREAD, CHUNK = "@thread", "@chunk"
"""Where `context` of a message holds what its thread and its chunk say beside the messages."""

# Meta's words in capitals, seen with the small ones of statuses[]. What is pending was accepted.
_STATUSES = {"error": "failed", "pending": "accepted"}


@dataclass(frozen=True, kw_only=True, slots=True)
class PastMessage:
    """Who a message of the history was with, in which direction, and what became of it ("" when not told)."""

    direction: Direction
    user_id: object
    phone: object
    status: str


def is_past_message(update: object) -> bool:
    """Whether an update of the field is one message, not a chunk and not news about the import."""
    return isinstance(update, dict) and "threads" not in update and not {"id", "from"}.isdisjoint(update)


def past_updates(update: WhatsAppUpdate) -> Iterator[WhatsAppUpdate]:
    """The messages of a chunk, then what is left of it: nothing is dropped. Anything else is given back as it is.

    Ids are made of the message, not of its place: a chunk that comes again cut otherwise has the same messages.
    """
    chunk = as_object(update.update)
    threads = chunk.get("threads")
    if not isinstance(threads, list):
        yield update
        return
    rest = {key: value for key, value in chunk.items() if key != "threads"}
    left: list[Any] = []
    for thread in threads:
        messages = as_object(thread).get("messages")
        if not isinstance(messages, list):
            left.append(thread)
            continue
        about = {key: value for key, value in thread.items() if key != "messages"}
        odd = [message for message in messages if not is_past_message(message)]
        if odd or not messages:
            left.append({**about, "messages": odd})
        for message in messages:
            if is_past_message(message):
                yield _one(update, message, thread=about, chunk=rest)
    # Under a name of its own: the chunk's `metadata` is the import's progress, the update's is the number.
    yield update.model_copy(update={"update": {"history": {**rest, "threads": left} if left else rest}})


def _one(
    update: WhatsAppUpdate, message: dict[str, Any], *, thread: dict[str, Any], chunk: dict[str, Any]
) -> WhatsAppUpdate:
    number = identifier(as_object(update.metadata).get("phone_number_id")) or identifier(update.waba_id)
    event_id = make_event_id(
        kind="history",
        number=number,
        subject=identifier(message.get("id")),
        recipient=identifier(thread.get("id")),
        content=message,
    )
    context = {**update.context, THREAD: thread, CHUNK: chunk}
    return update.model_copy(update={"event_id": event_id, "update": message, "context": context})


def read_past_message(raw: Mapping[str, Any], *, thread: object, business_phone: str) -> PastMessage:
    """Never raises. `to` stands on the business's own messages only; `from` is whoever wrote."""
    chat = as_object(thread)
    customer = bare_number(identifier(chat.get("id")))
    business = bare_number(business_phone)
    sender = bare_number(identifier(raw.get("from")))
    addressed = bool(identifier(raw.get("to")) or identifier(raw.get("to_user_id")))
    from_other = bool(customer and sender and sender != customer and not business)
    outbound = addressed or from_other or bool(sender and sender == business)
    status = identifier(as_object(raw.get("history_context")).get("status")).lower()
    side = "to" if outbound else "from"
    # The thread's id goes before `from`: a number may be spelled in two ways (Brazil's ninth digit).
    phone = chat.get("id") or raw.get(side)
    return PastMessage(
        direction="outbound" if outbound else "inbound",
        user_id=raw.get(f"{side}_user_id") or chat.get("user_id"),
        phone=phone,
        status=_STATUSES.get(status, status),
    )
