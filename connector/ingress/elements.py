"""The lists of a webhook's `value` whose elements are updates, whose they are, and which contact is theirs. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from connector.events.updates import UpdateKind

MAX_ID_LENGTH = 512
"""A longer id is replaced by its hash in keys and event ids (a BSUID has at most 131 characters)."""


@dataclass(frozen=True, kw_only=True)
class ElementList:
    """How to read one list. The first of `user_ids`, then `phones`, is the key; with `more_ids` they find the contact."""

    kind: UpdateKind
    user_ids: tuple[str, ...] = ()
    phones: tuple[str, ...] = ()
    more_ids: tuple[str, ...] = ()


_MESSAGE = ElementList(
    kind="message", user_ids=("from_user_id",), phones=("from",), more_ids=("from_parent_user_id",)
)
_STATUS = ElementList(
    kind="status",
    user_ids=("recipient_user_id",),
    phones=("recipient_id",),
    # In a group recipient_id is the group; the participant is the person.
    more_ids=("recipient_participant_user_id", "recipient_participant_id", "recipient_parent_user_id"),
)
_ECHO = ElementList(kind="echo", user_ids=("to_user_id",), phones=("to",), more_ids=("to_parent_user_id",))
_ERROR = ElementList(kind="error")
# Media of an old message follow as `messages` under the field `history`: they are no live messages.
_LATE_MEDIA = ElementList(
    kind="history", user_ids=_MESSAGE.user_ids, phones=_MESSAGE.phones, more_ids=_MESSAGE.more_ids
)
# No kind of its own: the field tells. One update a person, so that an opt-out has the person's key.
_PREFERENCE = ElementList(kind="unknown", user_ids=("user_id",), phones=("wa_id",))
_NOT_AN_UPDATE = ElementList(kind="unknown")

ELEMENT_LISTS: Mapping[str, Mapping[str, ElementList]] = {
    "messages": {"messages": _MESSAGE, "statuses": _STATUS, "errors": _ERROR},
    "smb_message_echoes": {"message_echoes": _ECHO, "errors": _ERROR},
    "history": {"history": ElementList(kind="history"), "messages": _LATE_MEDIA, "errors": _ERROR},
    "user_preferences": {"user_preferences": _PREFERENCE, "errors": _ERROR},
}
"""By `changes[].field`. In other fields the same names mean other things: `statuses` of `calls` are of calls."""


@dataclass(frozen=True, kw_only=True)
class Element:
    """One update to be. `person`: the customer's id, empty when it shows none. `contact`: index in `contacts[]`."""

    kind: UpdateKind
    content: Any
    has_person: bool
    person: str = ""
    contact: int | None = None


def plain_id(value: Any) -> str:
    """An id as text that every system can hold: ids come as strings and integers, and may be anything at all."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return ""
    text = str(value).encode("utf-8", "backslashreplace").decode()  # lone surrogates
    if len(text) > MAX_ID_LENGTH:
        return "sha256-" + hashlib.sha256(text.encode()).hexdigest()
    return text


def elements_of(value: Mapping[str, Any], *, field: str, contacts: Sequence[Any]) -> list[Element]:
    """Every element of every list that the field splits, in the order of `value`.

    What stands where an element should and is none keeps the list's name around it and becomes `unknown`.
    """
    found = list(_walk(value, ELEMENT_LISTS.get(field, {})))
    people = [form for form, _ in found if form.phones]
    # Meta's own rule of thumb: a lone message's lone contact is its sender, even if the ids are spelled
    # differently (Brazilian numbers with and without the ninth digit).
    lone = len(people) == 1 and len(contacts) == 1
    owners = _owners(contacts)
    elements = []
    for form, content in found:
        contact = _contact_of(content, form, owners, contacts)
        if contact is None and lone and form.phones:
            contact = 0
        elements.append(
            Element(
                kind=form.kind,
                content=content,
                has_person=bool(form.phones),
                person=_person(content, form),
                contact=contact,
            )
        )
    return elements


def _walk(value: Mapping[str, Any], lists: Mapping[str, ElementList]) -> Iterator[tuple[ElementList, Any]]:
    for name, content in value.items():
        form = lists.get(name)
        if form is None or not content:
            continue
        if not isinstance(content, list):
            yield _NOT_AN_UPDATE, {name: content}
            continue
        for element in content:
            yield (form, element) if isinstance(element, dict) else (_NOT_AN_UPDATE, {name: element})


def _person(content: Mapping[str, Any], form: ElementList) -> str:
    ids = (plain_id(content.get(key)) for key in (*form.user_ids, *form.phones))
    return next((one for one in ids if one), "")


def _owners(contacts: Sequence[Any]) -> dict[str, int]:
    owners: dict[str, int] = {}
    for index, contact in enumerate(contacts):
        if isinstance(contact, dict):
            for key in ("user_id", "wa_id", "parent_user_id"):
                owners.setdefault(plain_id(contact.get(key)), index)
    owners.pop("", None)
    return owners


def _contact_of(
    content: Mapping[str, Any], form: ElementList, owners: Mapping[str, int], contacts: Sequence[Any]
) -> int | None:
    for key in (*form.user_ids, *form.phones, *form.more_ids):
        index = owners.get(plain_id(content.get(key)))
        if index is not None and not _other_person(content, form, contacts[index]):
            return index
    return None


def _other_person(content: Mapping[str, Any], form: ElementList, contact: Mapping[str, Any]) -> bool:
    """The phone fits and the user ids say otherwise: a number that changed hands."""
    ours = next((one for one in (plain_id(content.get(key)) for key in form.user_ids) if one), "")
    theirs = plain_id(contact.get("user_id"))
    return bool(ours and theirs and ours not in (theirs, plain_id(contact.get("parent_user_id"))))
