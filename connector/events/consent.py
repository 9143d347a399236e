"""What a person allows, as it stands after an act of theirs or a decision about them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from connector.events.base import Event, UtcDatetime
from connector.events.triggers import ConsentState


class ConsentChanged(Event):
    """The ledger's state for one purpose changed. `at`: since when it counts; of two changes the later one does.

    The act that decided is told whole, so that a ledger that was lost can be made anew from here: acts that came through
    the API are kept on crm.triggers for a shorter time.
    """

    type: Literal["consent.changed"] = "consent.changed"
    purpose: Literal["marketing", "utility"]
    state: ConsentState
    source: str = Field(
        description="keyword | button | user_preferences | error_131050 | crm_property | api | import | operator | click"
    )
    evidence: str = Field(default="", description="wamid, wording, form: where it can be seen again.")
    act_id: str = Field(default="", description="Names the act: the same act is recorded once.")
    acted_at: UtcDatetime | None = Field(default=None, description="When the person acted.")
    by_person: bool = Field(
        default=False, description="Whether the person did it, and not somebody for them."
    )
    resumes: bool = Field(
        default=False, description="A START: it lifts an opt-out and agrees to nothing new."
    )
