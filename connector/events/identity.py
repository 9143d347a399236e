"""Who is who: decisions of the identity role, put on the log so that every fold can follow them."""

from __future__ import annotations

from typing import Literal
from uuid import UUID

from pydantic import Field

from connector.events.base import Event


class ContactMerged(Event):
    """Two contact ids turned out to be one person. `person.contact_id` is the winner, `loser_id` redirects to it."""

    type: Literal["contact.merged"] = "contact.merged"
    loser_id: UUID
    reason: str = Field(description="user_changed_number | user_changed_user_id | phone_claimed | crm_merge")


class ContactChanged(Event):
    """The aliases of one person changed without a message: a new number, a new BSUID, a released phone."""

    type: Literal["contact.changed"] = "contact.changed"
    reason: str
    phone_lost: bool = Field(default=False, description="The phone now belongs to somebody else.")
