"""Every kind of webhook update by name: what `connector trigger` and the sandbox make on request.

Shapes follow developers.facebook.com/docs/whatsapp/cloud-api/webhooks/reference, as `payloads` does.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from connector.sandbox.whatsapp import payloads
from connector.sandbox.whatsapp.payloads import BusinessNumber, Person, Status, Update
from connector.sandbox.whatsapp.people import bsuid_of

_CATALOG = "194836987003835"


@dataclass(frozen=True, kw_only=True)
class Occasion:
    """Who, where and when; `text` and `about` where the kind has use for them."""

    person: Person
    number: BusinessNumber
    at: int
    """Unix seconds."""
    random: Random = field(default_factory=Random)
    text: str | None = None
    about: str | None = None
    """wamid of the message that a reply, reaction, edit, deletion or status is about; None: one nobody knows."""

    def wamid(self, *, outbound: bool = False) -> str:
        """Return a new message id."""
        return payloads.wamid(self.person.wa_id or "0", self.random, outbound=outbound)

    def target(self, *, outbound: bool) -> str:
        """Return the id of the message that this is about."""
        return self.about or self.wamid(outbound=outbound)

    def message(
        self,
        type: str,  # noqa: A002 - Meta's own word
        content: Any,
        *,
        reply_to: str | None = None,
        **extra: Any,
    ) -> Update:
        """Return a message of the person."""
        return payloads.message(
            self.person,
            self.number,
            message_id=self.wamid(),
            at=self.at,
            type=type,
            content=content,
            reply_to=reply_to,
            extra=extra,
        )

    def account(self, field: str, **value: Any) -> Update:
        """Return an update about the account."""
        return payloads.account(self.number, at=self.at, field=field, value=value)


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of update."""

    name: str
    says: str
    build: Callable[[Occasion], Update]


def _text(on: Occasion) -> Update:
    return on.message("text", {"body": on.text or "Hi! Is the blue one still in stock?"})


def _media(type: payloads.MediaType, **extra: str) -> Callable[[Occasion], Update]:  # noqa: A002
    def build(on: Occasion) -> Update:
        captioned = type in ("image", "video", "document")
        update = payloads.media(
            on.person,
            on.number,
            message_id=on.wamid(),
            at=on.at,
            type=type,
            caption=on.text if captioned else None,
            **extra,
        )
        # Nobody may be led to ask Meta's servers for a file that is not there; the sandbox adds a URL of its own.
        file = {name: value for name, value in update.content[type].items() if name != "url"}
        return replace(update, content={**update.content, type: file})

    return build


def _location(on: Occasion) -> Update:
    place = {
        "latitude": 24.7136,
        "longitude": 46.6753,
        "name": on.text or "Kingdom Centre",
        "address": "King Fahd Rd, Riyadh",
    }
    return on.message("location", place)


def _contacts(on: Occasion) -> Update:
    card = {
        "name": {"formatted_name": on.text or "Karim Haddad", "first_name": "Karim", "last_name": "Haddad"},
        "phones": [{"phone": "+966 50 000 0002", "wa_id": "966500000002", "type": "CELL"}],
        "origin": "other",
    }
    return on.message("contacts", [card])


def _reply(on: Occasion) -> Update:
    return on.message("text", {"body": on.text or "Yes, please!"}, reply_to=on.target(outbound=True))


def _reaction(on: Occasion) -> Update:
    content = {"message_id": on.target(outbound=True), "emoji": on.text or "👍"}
    return on.message("reaction", content)


def _unreaction(on: Occasion) -> Update:
    return on.message("reaction", {"message_id": on.target(outbound=True)})


def _button(on: Occasion) -> Update:
    label = on.text or "Stop promotions"
    return on.message("button", {"payload": label, "text": label}, reply_to=on.target(outbound=True))


def _choice(kind: str, **extra: str) -> Callable[[Occasion], Update]:
    def build(on: Occasion) -> Update:
        chosen = {"id": "express", "title": on.text or "Express delivery", **extra}
        return on.message("interactive", {"type": kind, kind: chosen}, reply_to=on.target(outbound=True))

    return build


def _form(on: Occasion) -> Update:
    answers = {"flow_token": "f-81", "delivery_date": "2026-12-04", "floor": 3, "lift": True}
    reply = {"name": "flow", "body": on.text or "Sent", "response_json": json.dumps(answers)}
    return on.message(
        "interactive", {"type": "nfm_reply", "nfm_reply": reply}, reply_to=on.target(outbound=True)
    )


def _order(on: Occasion) -> Update:
    items = [
        {"product_retailer_id": "ARMCHAIR-BLUE", "quantity": 2, "item_price": 199.5, "currency": "USD"},
        {"product_retailer_id": "CUSHION", "quantity": 1, "item_price": 12.25, "currency": "USD"},
    ]
    content = {"catalog_id": _CATALOG, "text": on.text or "Please call first", "product_items": items}
    return on.message("order", content)


def _ad(on: Occasion) -> Update:
    referral = {
        "source_url": "https://fb.me/spring26",
        "source_id": "120226305854810726",
        "source_type": "ad",
        "headline": "Spring sale",
        "body": "Armchairs from 199 USD",
        "media_type": "image",
        "image_url": "https://example.com/chair.jpg",
        "ctwa_clid": "ARAkLkA8rmlFeiCktEJQ",
    }
    return on.message("text", {"body": on.text or "I saw your ad"}, referral=referral)


def _edit(on: Occasion) -> Update:
    said = {"type": "text", "text": {"body": on.text or "I meant the red one"}}
    return on.message("edit", {"original_message_id": on.target(outbound=False), "message": said})


def _revoke(on: Occasion) -> Update:
    return on.message("revoke", {"original_message_id": on.target(outbound=False)})


def _unsupported(on: Occasion) -> Update:
    return payloads.unsupported(on.person, on.number, message_id=on.wamid(), at=on.at)


def _unknown(on: Occasion) -> Update:
    return on.message("hologram", {"depth": 3, "note": on.text or "kept as it came"})


def _status(word: Status) -> Callable[[Occasion], Update]:
    def build(on: Occasion) -> Update:
        return payloads.status(
            on.person, on.number, message_id=on.target(outbound=True), at=on.at, status=word
        )

    return build


def _echo(on: Occasion) -> Update:
    body = on.text or "Yes, two left."
    wamid = on.wamid(outbound=True)
    return payloads.echo(on.person, on.number, message_id=wamid, at=on.at, body=body)


def _username(on: Occasion) -> Update:
    name = on.person.username or "".join(filter(str.isalnum, on.person.name or "")).lower() or "someone"
    hidden = replace(on.person, wa_id=None, username=name)
    return _text(replace(on, person=hidden, text=on.text or "I have a username now"))


def _phone_shared(on: Occasion) -> Update:
    vcard = f"BEGIN:VCARD\nVERSION:3.0\nFN:{on.person.name}\nTEL;TYPE=CELL:+{on.person.wa_id}\nEND:VCARD"
    card = {
        "name": {"formatted_name": on.person.name},
        "phones": [{"phone": f"+{on.person.wa_id}", "wa_id": on.person.wa_id, "type": "CELL"}],
        "vcard": vcard,
        "origin": "contact_request",
    }
    return on.message("contacts", [card])


def moved(person: Person) -> Person:
    """Return the person with the number and user id that `number.changed` moves them to: always the same."""
    digits = person.wa_id or ""
    after = f"{digits[:-4]}{(int(digits[-4:] or 0) + 5_000) % 10_000:04d}" if len(digits) > 4 else digits
    country = (person.bsuid or "US.").split(".", 1)[0]
    return replace(
        person, wa_id=after or None, bsuid=bsuid_of(f"{digits} {person.bsuid} moved", country=country)
    )


def _number_changed(on: Occasion) -> Update:
    return payloads.changed_number(on.person, moved(on.person), on.number, message_id=on.wamid(), at=on.at)


def _user_id_changed(on: Occasion) -> Update:
    after = replace(on.person, bsuid=moved(on.person).bsuid)
    return payloads.changed_user_id(on.person, after, on.number, message_id=on.wamid(), at=on.at)


def _stopped(on: Occasion) -> Update:
    return payloads.preference(on.person, on.number, at=on.at, value="stop")


def _resumed(on: Occasion) -> Update:
    return payloads.preference(on.person, on.number, at=on.at, value="resume")


def _template(event: str, **extra: Any) -> Callable[[Occasion], Update]:
    def build(on: Occasion) -> Update:
        return on.account(
            "message_template_status_update",
            event=event,
            message_template_id=1200000000000001,
            message_template_name=on.text or "order_shipped",
            message_template_language="en-US",
            **{"reason": "NONE", **extra},
        )

    return build


def _recategorised(on: Occasion) -> Update:
    return on.account(
        "template_category_update",
        message_template_id=1200000000000001,
        message_template_name=on.text or "order_shipped",
        message_template_language="en-US",
        previous_category="UTILITY",
        new_category="MARKETING",
    )


def _quality(on: Occasion) -> Update:
    return on.account(
        "phone_number_quality_update",
        display_phone_number=on.number.display_phone_number,
        event="DOWNGRADE",
        current_limit="TIER_2K",
    )


def _restricted(on: Occasion) -> Update:
    restriction = {"restriction_type": "RESTRICTED_BIZ_INITIATED_MESSAGING", "expiration": on.at + 86_400}
    return on.account("account_update", event="ACCOUNT_RESTRICTION", restriction_info=[restriction])


def _history(on: Occasion) -> Update:
    phone = on.person.wa_id or ""
    ours = on.number.display_phone_number
    past: Sequence[Mapping[str, Any]] = [
        {
            "from": phone,
            "id": on.wamid(),
            "timestamp": str(on.at - 90_000),
            "type": "text",
            "text": {"body": on.text or "Are you open today?"},
            "history_context": {"status": "READ"},
        },
        {
            "from": ours,
            "to": phone,
            "id": on.wamid(outbound=True),
            "timestamp": str(on.at - 89_000),
            "type": "text",
            "text": {"body": "Until six."},
            "history_context": {"status": "READ"},
        },
    ]
    chunk = {
        "metadata": {"phase": 0, "chunk_order": 1, "progress": 100},
        "threads": [{"id": phone, "messages": list(past)}],
    }
    return Update(number=on.number, field="history", kind="history", content=chunk)


_FAMILIES: Sequence[tuple[str, str, Callable[[Occasion], Update]]] = (
    ("inbound.text", "a text message", _text),
    ("inbound.image", "a picture; the text is its caption", _media("image")),
    ("inbound.video", "a video; the text is its caption", _media("video")),
    ("inbound.document", "a PDF; the text is its caption", _media("document", filename="invoice.pdf")),
    ("inbound.audio", "a voice message", _media("audio")),
    ("inbound.sticker", "a sticker", _media("sticker")),
    ("inbound.location", "a place", _location),
    ("inbound.contacts", "a contact card of somebody else", _contacts),
    ("inbound.reply", "an answer to the message in --about", _reply),
    ("inbound.reaction", "an emoji on the message in --about", _reaction),
    ("inbound.unreaction", "the reaction to --about is taken back", _unreaction),
    ("inbound.button", "a tap on a template's quick reply", _button),
    ("inbound.quick_reply", "a tap on a reply button", _choice("button_reply")),
    ("inbound.list", "a choice from a list", _choice("list_reply", description="Tomorrow before noon")),
    ("inbound.form", "a form (flow) that was filled in", _form),
    ("inbound.order", "an order from the catalogue", _order),
    ("inbound.ad", "a message that came from an ad", _ad),
    ("inbound.edit", "the person changed their message in --about", _edit),
    ("inbound.revoke", "the person deleted their message in --about", _revoke),
    ("inbound.unsupported", "a type that WhatsApp does not pass on", _unsupported),
    ("inbound.unknown", "a type that nobody has heard of", _unknown),
    ("status.sent", "the message in --about left", _status("sent")),
    ("status.delivered", "the message in --about arrived", _status("delivered")),
    ("status.read", "the message in --about was read", _status("read")),
    ("status.played", "the voice message in --about was played", _status("played")),
    ("status.failed", "the message in --about failed (131026)", _status("failed")),
    ("echo.text", "the business wrote in the WhatsApp Business app", _echo),
    ("username.adopted", "the person writes under a username, their phone hidden", _username),
    ("phone.shared", "the person shares their phone when asked", _phone_shared),
    ("number.changed", "the person moved to another number and user id", _number_changed),
    ("user_id.changed", "the person's user id was replaced", _user_id_changed),
    ("marketing.stopped", "the person stopped marketing messages", _stopped),
    ("marketing.resumed", "the person wants marketing messages again", _resumed),
    ("template.approved", "Meta approved a template; the text is its name", _template("APPROVED")),
    ("template.rejected", "Meta rejected a template", _template("REJECTED", reason="PROMOTIONAL")),
    (
        "template.paused",
        "Meta paused a template for low quality",
        _template("PAUSED", reason="LOW_QUALITY", other_info={"title": "FIRST_PAUSE"}),
    ),
    ("template.recategorised", "Meta moved a template to another category", _recategorised),
    ("number.quality", "the business number's limit went down", _quality),
    ("account.restricted", "the account may not start conversations for a day", _restricted),
    ("history.imported", "earlier chats of a number that was just connected", _history),
)

KINDS: Mapping[str, Kind] = {name: Kind(name=name, says=says, build=build) for name, says, build in _FAMILIES}
"""By name, in the order to show them."""
