"""One webhook POST → its updates, each with the metadata and the contact it belongs to. Pure.

`{object, entry: [{id, time?, changes: [{field, value}]}]}` may carry up to 1,000 updates of several accounts,
numbers and people (https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/overview).
Everything that arrives leaves again: what has no place of its own stays in `context`, and what does not have
the form of a webhook becomes an update of kind `unknown` with its content. Only bytes that are no JSON text,
nest too deeply or hold absurdly many updates are refused; their caller keeps the bytes.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, NoReturn

from connector.errors import Rejected
from connector.events.base import make_event_id
from connector.events.updates import UpdateKind, WhatsAppUpdate
from connector.ingress.elements import ELEMENT_LISTS, Element, elements_of, plain_id

MAX_UPDATES = 10_000
"""Meta sends at most 1,000. Above this a small body of empty updates would fill the memory."""
MAX_COPIED_BYTES = 4 * 1024 * 1024
"""What one POST may grow by repeating context on each update; past it the context is one record of its own."""
MAX_COPIED_ENVELOPE = 1024
"""Unknown keys of the envelope up to this many bytes of JSON are repeated on each update."""

ENVELOPE_KEY = "@envelope"
"""Where `context` holds the keys of the POST, the entry and the change that are not part of the known form."""

_OBJECT = "whatsapp_business_account"

KeyedUpdate = tuple[str, WhatsAppUpdate]
"""The record key (the customer's id, else the account's) and the update."""


def post_id_of(body: bytes) -> str:
    """128 bits of SHA-256 over the body: the same for each delivery of one POST."""
    return hashlib.sha256(body).hexdigest()[:32]


def split_updates(body: bytes, *, received_at: datetime) -> list[KeyedUpdate]:
    """All updates of one POST in the order they stand in it; at least one.

    Two equal updates get the same event id, in one POST as in two. Raises `Rejected` (cause `not_json`,
    `too_deep` or `too_many_updates`), and nothing else, when the body cannot be taken apart.
    """
    post = _Post(post_id=post_id_of(body), received_at=received_at)
    try:
        post.split_document(_document(body))
    except RecursionError:
        raise Rejected(
            "A signed POST nests too deeply to be taken apart.",
            cause="too_deep",
            advice="look at the original bytes; WhatsApp payloads nest about ten levels",
        ) from None
    return post.updates


def _document(body: bytes) -> Any:
    try:
        return json.loads(body.decode("utf-8"), parse_constant=_refuse_constant, parse_float=_finite)
    except ValueError as error:  # bad UTF-8 and integers of more than 4,300 digits are such, too
        raise Rejected(
            f"A signed POST is not JSON: {error}.",
            cause="not_json",
            advice="look at the original bytes; if they are a new format of Meta's, redrive after an upgrade",
        ) from None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON value")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):  # it would be written as null
        raise ValueError(f"the number {text[:40]} is too large")
    return number


@dataclass(frozen=True, kw_only=True)
class _Place:
    """Where in the POST an update stands, for those fields of it that say so."""

    waba_id: str = ""
    entry_time: Any = None
    field: str = ""
    envelope: dict[str, Any] | None = None


class _Post:
    """Takes one POST apart, level by level, and collects its updates."""

    def __init__(self, *, post_id: str, received_at: datetime) -> None:
        self.post_id = post_id
        self.received_at = received_at
        self.updates: list[KeyedUpdate] = []
        self.copies_left = MAX_COPIED_BYTES

    def split_document(self, document: Any) -> None:
        entries = _listed(document, "entry")
        if not entries or document.get("object", _OBJECT) != _OBJECT:
            self.add(document, place=_Place())
            return
        place = self._with_envelope(_Place(), "post", _without(document, "object", "entry"))
        for entry in entries:
            self._split_entry(entry, place)

    def _split_entry(self, entry: Any, place: _Place) -> None:
        changes = _listed(entry, "changes")
        if not changes:
            waba_id = plain_id(entry.get("id")) if isinstance(entry, dict) else ""
            self.add(entry, place=replace(place, waba_id=waba_id))
            return
        # An id or a time that is no plain number or text (an object, say) stays with the unknown keys.
        known = [key for key in ("id", "time") if plain_id(entry.get(key)) == str(entry.get(key))]
        known += ["time"] if entry.get("time") is None else []
        place = replace(
            place,
            waba_id=plain_id(entry.get("id")),
            entry_time=entry.get("time") if "time" in known else None,
        )
        place = self._with_envelope(place, "entry", _without(entry, "changes", *known))
        for change in changes:
            self._split_change(change, place)

    def _split_change(self, change: Any, place: _Place) -> None:
        if not isinstance(change, dict):
            self.add(change, place=place)
            return
        name, value = change.get("field"), change.get("value")
        place = replace(place, field=plain_id(name))
        if not isinstance(name, str) or name != place.field or not isinstance(value, dict):
            self.add(change, place=place)
            return
        place = self._with_envelope(place, "change", _without(change, "field", "value"))
        self._split_value(value, place)

    def _split_value(self, value: dict[str, Any], place: _Place) -> None:
        metadata = value.get("metadata")
        metadata = metadata if isinstance(metadata, dict) else None
        contacts = value.get("contacts")
        contacts = contacts if isinstance(contacts, list) else []
        elements = elements_of(value, field=place.field, contacts=contacts)
        if not elements or ENVELOPE_KEY in value:
            known = place.field in ELEMENT_LISTS or "metadata" in value
            self.add(value, place=place, kind="unknown" if known else "account", metadata=metadata)
            return
        rest = _without(value, *(name for name in ELEMENT_LISTS[place.field] if value.get(name)))
        if metadata is not None:
            rest.pop("metadata")
        if contacts:
            rest.pop("contacts")
        claimed = {element.contact for element in elements}
        unclaimed = [contact for index, contact in enumerate(contacts) if index not in claimed]
        with_unclaimed = {**rest, "contacts": unclaimed} if unclaimed else rest
        with_all = {**rest, "contacts": contacts} if contacts else rest
        belongings = [
            _Belongings(
                metadata=metadata,
                contact=contacts[element.contact] if element.contact is not None else None,
                context=with_all if element.has_person and element.contact is None else with_unclaimed,
            )
            for element in elements
        ]
        if len(elements) > 1 and not self._may_copy(belongings):
            once = with_all if metadata is None else {**with_all, "metadata": metadata}
            self.add(once, place=place, metadata=_number_only(metadata))
            belongings = [_Belongings(metadata=_number_only(metadata))] * len(elements)
        for element, belonging in zip(elements, belongings, strict=True):
            self._add_element(element, belonging, place)

    def _add_element(self, element: Element, belonging: _Belongings, place: _Place) -> None:
        self.add(
            element.content,
            place=place,
            kind=element.kind,
            person=element.person,
            metadata=belonging.metadata,
            contact=belonging.contact,
            context=belonging.context,
        )

    def _may_copy(self, belongings: list[_Belongings]) -> bool:
        sizes: dict[int, int] = {}
        for belonging in belongings:
            for content in (belonging.metadata, belonging.contact, belonging.context):
                if id(content) not in sizes:
                    sizes[id(content)] = _json_size(content)
                self.copies_left -= sizes[id(content)]
        return self.copies_left >= 0

    def _with_envelope(self, place: _Place, level: str, unknown: dict[str, Any]) -> _Place:
        """Keep the unknown keys of one level: on every update below it, or once when they are large."""
        if not unknown:
            return place
        envelope = {**(place.envelope or {}), level: unknown}
        if _json_size(envelope) <= MAX_COPIED_ENVELOPE:
            return replace(place, envelope=envelope)
        self.add({ENVELOPE_KEY: {level: unknown}}, place=place)
        return place

    def add(
        self,
        update: Any,
        *,
        place: _Place,
        kind: UpdateKind = "unknown",
        metadata: dict[str, Any] | None = None,
        contact: Any = None,
        context: dict[str, Any] | None = None,
        person: str = "",
    ) -> None:
        if len(self.updates) >= MAX_UPDATES:
            raise Rejected(
                f"A signed POST holds more than {MAX_UPDATES} updates.",
                cause="too_many_updates",
                advice="look at the original bytes; Meta documents at most 1,000 updates a POST",
            )
        number = plain_id((metadata or {}).get("phone_number_id")) or place.waba_id
        context = context or {}
        if place.envelope:
            context = {**context, ENVELOPE_KEY: place.envelope}
        record = WhatsAppUpdate(
            event_id=make_event_id(
                kind=kind, number=number, subject=_subject(kind, update), recipient=person, content=update
            ),
            kind=kind,
            field=place.field,
            waba_id=place.waba_id,
            entry_time=place.entry_time,
            metadata=metadata,
            contact=contact,
            context=context,
            update=update,
            received_at=self.received_at,
            post_id=self.post_id,
        )
        self.updates.append((person or place.waba_id or number or self.post_id, record))


@dataclass(frozen=True, kw_only=True)
class _Belongings:
    """What of a `value` goes with one of its elements."""

    metadata: dict[str, Any] | None = None
    contact: Any = None
    context: dict[str, Any] | None = None


def _number_only(metadata: dict[str, Any] | None) -> dict[str, Any] | None:
    """The one part of metadata that an update cannot do without, for when the whole is too large to repeat."""
    number = (metadata or {}).get("phone_number_id")
    return {"phone_number_id": number} if plain_id(number) and plain_id(number) == str(number) else None


def _subject(kind: UpdateKind, update: Any) -> str:
    wamid = plain_id(update.get("id")) if isinstance(update, dict) else ""
    return f"{wamid}:{plain_id(update.get('status'))}" if kind == "status" else wamid


def _listed(parent: Any, key: str) -> list[Any]:
    """The elements of `parent[key]`; a lone object is a list of one (seen in the wild). Empty when it is no list."""
    content = parent.get(key) if isinstance(parent, dict) else None
    if isinstance(content, dict):
        return [content]
    return content if isinstance(content, list) else []


def _without(content: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in content.items() if key not in keys}


def _json_size(content: Any) -> int:
    return len(json.dumps(content))
