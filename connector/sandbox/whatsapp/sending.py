"""`POST /{phone number id}/messages`: what is accepted, and what becomes of it.

A 200 means accepted and no more; the outcome comes as statuses. developers.facebook.com/docs/whatsapp/cloud-api:
guides/send-messages (recipients, windows), reference/messages (fields), overview (pair and throughput limits),
webhooks/reference/messages/status.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import phonenumbers

from connector.sandbox.whatsapp import payloads
from connector.sandbox.whatsapp.business import Business
from connector.sandbox.whatsapp.config import Number
from connector.sandbox.whatsapp.graph_errors import GraphError, missing, title
from connector.sandbox.whatsapp.payloads import Update
from connector.sandbox.whatsapp.people import Acquaintance
from connector.sandbox.whatsapp.templates import Template, check_filled, check_sendable, not_there
from connector.whatsapp.numbers import is_bsuid

LONGEST_TEXT = 4_096
LONGEST_CALLBACK_DATA = 512

_MEDIA = ("image", "video", "audio", "document", "sticker")
_TYPES = ("text", "template", "location", "contacts", "interactive", "reaction", *_MEDIA)
_PUNCTUATION = re.compile(r"[\s().\-]")
_DIGITS = re.compile(r"\+?[0-9]{5,15}", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Accepted:
    """The answer to a send, and the statuses that follow it: (seconds from now, update)."""

    document: dict[str, Any]
    outcome: list[tuple[float, Update]] = field(default_factory=list)


def send(business: Business, number: Number, body: Mapping[str, Any]) -> Accepted:
    """Accept a message, or raise the `GraphError` that refuses it; nothing was counted then.

    A read receipt (`status: read`) is accepted for a message that a person sent, and for no other.
    """
    if body.get("messaging_product") != "whatsapp":
        raise missing("messaging_product")
    if number.status != "CONNECTED":
        raise GraphError(code=133010, details=f"The number is {number.status}.")
    if body.get("status") == "read":
        return _read_receipt(business, body)
    kind = body.get("type", "text")
    if kind not in _TYPES:
        raise GraphError(code=100, details=f"Param type must be one of {{{', '.join(sorted(_TYPES))}}}")
    content = body.get(kind)
    if not isinstance(content, (dict, list)) or not content:
        raise missing(str(kind))
    callback = body.get("biz_opaque_callback_data")
    if callback is not None and (not isinstance(callback, str) or len(callback) > LONGEST_CALLBACK_DATA):
        raise GraphError(
            code=100,
            details=f"Param biz_opaque_callback_data must be at most {LONGEST_CALLBACK_DATA} characters",
        )
    given, recipient = _recipient(business, number, body)
    template = _template(business, number, content, by_bsuid=is_bsuid(given)) if kind == "template" else None
    if template is None:
        _check_content(str(kind), content)
    open_window = business.window_open(number, recipient)
    if template is None and not open_window and business.config.closed_window == "answer":
        raise GraphError(code=131047, details=_WINDOW_CLOSED)
    code = business.refused("answer", number, recipient, template)
    if code is not None:
        raise GraphError(code=code, details=_FAILURES.get(code, _ASKED_FOR))
    business.count_message(number, recipient)
    return _accepted(
        business,
        number,
        recipient,
        given=given,
        template=template,
        callback=callback,
        open_window=open_window,
    )


_WINDOW_CLOSED = "Message failed to send because more than 24 hours have passed since the customer last replied to this number."
_ASKED_FOR = "The sandbox was asked to refuse this message."
_FAILURES = {
    131026: "Message Undeliverable.",
    131047: _WINDOW_CLOSED,
    131050: "Recipient has chosen to stop receiving marketing messages on WhatsApp from your business",
}


def _accepted(
    business: Business,
    number: Number,
    recipient: Acquaintance,
    *,
    given: str,
    template: Template | None,
    callback: str | None,
    open_window: bool,
) -> Accepted:
    person = recipient.person
    wamid = business.new_wamid(person.wa_id or "0")
    if is_bsuid(given):
        person = replace(person, wa_id=None)  # statuses show the phone only of a message sent to it
    category = "service" if template is None else template.category.lower()
    business.record(
        wamid=wamid,
        number=number,
        recipient=recipient,
        template=None if template is None else template.key,
        callback_data=callback,
    )
    failure = business.refused("status", number, recipient, template)
    if failure is None:
        failure = _failure(business, recipient, template, open_window=open_window)
    held = template is not None and template.name in business.config.held
    if held and failure is None and business.config.held_end == "dropped":
        failure = 132015

    def status(word: payloads.Status, after: float) -> tuple[float, Update]:
        update = payloads.status(
            person,
            number.business,
            message_id=wamid,
            at=int(business.now() + after),
            status=word,
            category=category,
            callback_data=callback,
            error=None if word != "failed" or failure is None else (failure, title(failure)),
            details=None if failure is None else _FAILURES.get(failure, title(failure)),
        )
        return after, update

    config = business.config
    first = config.sent_after + (config.held_for if held else 0)
    outcome = [status("sent" if failure is None else "failed", first)]
    if failure is None and config.delivered_after is not None and not business.blocks(recipient):
        delivered = first + config.delivered_after
        outcome.append(status("delivered", delivered))
        if config.read_after is not None:
            outcome.append(status("read", delivered + config.read_after))
    contact = {"input": given}
    contact |= {"user_id": given} if is_bsuid(given) else {"wa_id": person.wa_id or ""}
    message = {"id": wamid}
    if template is not None:
        message["message_status"] = "held_for_quality_assessment" if held else "accepted"
    return Accepted(
        document={"messaging_product": "whatsapp", "contacts": [contact], "messages": [message]},
        outcome=outcome,
    )


def _failure(
    business: Business, recipient: Acquaintance, template: Template | None, *, open_window: bool
) -> int | None:
    if business.is_unreachable(recipient):
        return 131026
    if template is None:
        return None if open_window else 131047
    return 131050 if template.category == "MARKETING" and recipient.opted_out else None


def _recipient(business: Business, number: Number, body: Mapping[str, Any]) -> tuple[str, Acquaintance]:
    """What was given, and who that is. `to` wins over `recipient`, as the reference says."""
    if body.get("recipient_type", "individual") != "individual":
        raise GraphError(
            code=100, details="Param recipient_type must be one of {individual}: groups are not simulated"
        )
    to, bsuid = body.get("to"), body.get("recipient")
    if isinstance(to, str) and to:
        digits = _called(number, to)
        if digits == number.digits:
            raise GraphError(code=131021, details="The sender and the recipient are the same number.")
        return to, business.people.by_phone(digits)
    if not isinstance(bsuid, str) or not bsuid:
        raise missing("to")
    found = business.people.by_bsuid(bsuid)
    if found is None:
        raise GraphError(code=131009, details="Param recipient is not a user id of this business portfolio.")
    return bsuid, found


def _called(number: Number, to: str) -> str:
    """The phone that WhatsApp calls: without a plus sign it takes the digits as a national number of the business's
    own country ("can result in undelivered or misdelivered messages", send-messages guide).
    """
    plain = _PUNCTUATION.sub("", to)
    if not _DIGITS.fullmatch(plain):
        raise GraphError(code=131009, details=f"Param to is not a phone number: {to[:20]!r}")
    if plain.startswith("+"):
        return plain[1:]
    own = phonenumbers.parse(f"+{number.digits}")
    return f"{own.country_code}{plain}"


def _template(business: Business, number: Number, content: Any, *, by_bsuid: bool) -> Template:
    if not isinstance(content, dict) or not isinstance(content.get("name"), str):
        raise missing("template.name")
    language = content.get("language")
    if not isinstance(language, dict) or not isinstance(language.get("code"), str):
        raise missing("template.language.code")
    if language.get("policy", "deterministic") != "deterministic":
        raise GraphError(code=100, details="Param template.language.policy must be deterministic")
    components = content.get("components", [])
    if not isinstance(components, list) or not all(isinstance(item, dict) for item in components):
        raise GraphError(code=100, details="Param template.components must be a list of objects")
    template = business.template(number.waba_id, content["name"], language["code"])
    if template is None:
        raise not_there(content["name"], language["code"])
    check_sendable(template)
    if template.category == "AUTHENTICATION" and by_bsuid:
        raise GraphError(code=131062, details="Authentication templates need a phone number.")
    check_filled(template, components)
    return template


def _check_content(kind: str, content: Any) -> None:
    if kind == "text":
        text = content.get("body") if isinstance(content, dict) else None
        if not isinstance(text, str) or not text:
            raise missing("text.body")
        if len(text) > LONGEST_TEXT:
            raise GraphError(
                code=100, details=f"Param text['body'] must be at most {LONGEST_TEXT} characters long."
            )
    elif kind in _MEDIA and (not isinstance(content, dict) or not (content.get("id") or content.get("link"))):
        raise missing(f"{kind}.id or {kind}.link")


def _read_receipt(business: Business, body: Mapping[str, Any]) -> Accepted:
    wamid = body.get("message_id")
    if not isinstance(wamid, str) or not business.has_received(wamid):
        raise GraphError(code=131009, details="Param message_id is not a message that was received.")
    return Accepted(document={"success": True})
