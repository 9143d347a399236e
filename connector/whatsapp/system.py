"""`messages[]` of type `system`: Meta says that a person has another number or another BSUID.

They have no `contacts[]`, and may come after the first message of the new identity.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from connector.whatsapp.lenient import as_object
from connector.whatsapp.numbers import bare_number, is_bsuid
from connector.whatsapp.text import identifier

# Meta's webhook reference, and its older name for the same fact.
_NUMBER_CHANGED = {"user_changed_number", "customer_changed_number"}
_USER_ID_CHANGED = "user_changed_user_id"

ChangeReason = Literal["user_changed_number", "user_changed_user_id"]


@dataclass(frozen=True, kw_only=True, slots=True)
class IdentityChange:
    """One person before and after. None: Meta did not say. Phones are digits as WhatsApp wrote them."""

    reason: ChangeReason
    old_bsuid: str | None = None
    old_phone: str | None = None
    new_bsuid: str | None = None
    new_phone: str | None = None


def read_identity_change(message: Mapping[str, Any]) -> IdentityChange | None:
    """The change that a system message states; None for other messages and for system messages without one.

    `customer_identity_changed` (a new device) changes no alias. An alias that is named as old and as new did
    not change.
    """
    if message.get("type") != "system":
        return None
    system = as_object(message.get("system"))
    kind = identifier(system.get("type"))
    sender = bare_number(identifier(message.get("from")))
    sender_bsuid = identifier(message.get("from_user_id"))
    if is_bsuid(sender):
        sender, sender_bsuid = "", sender_bsuid or sender
    new_phone = bare_number(identifier(system.get("wa_id") or system.get("new_wa_id")))
    new_bsuid = identifier(system.get("user_id"))
    old_bsuid = identifier(system.get("previous_user_id"))
    if is_bsuid(new_phone):
        new_phone, new_bsuid = "", new_bsuid or new_phone
    if kind in _NUMBER_CHANGED:
        # `customer` is the old id in the older form; `from` is the old number in every form.
        old_phone = sender or bare_number(identifier(system.get("customer")))
        old_bsuid = old_bsuid or sender_bsuid
        reason: ChangeReason = "user_changed_number"
    elif kind == _USER_ID_CHANGED:
        # The phone, when it is shown at all, is the same before and after.
        old_phone = ""
        new_phone = new_phone or sender
        reason = "user_changed_user_id"
    else:
        return None
    if old_bsuid == new_bsuid:
        old_bsuid = ""
    if old_phone == new_phone:
        old_phone = ""
    if not (old_bsuid or old_phone) or not (new_bsuid or new_phone):
        return None
    return IdentityChange(
        reason=reason,
        old_bsuid=old_bsuid or None,
        old_phone=old_phone or None,
        new_bsuid=new_bsuid or None,
        new_phone=new_phone or None,
    )
