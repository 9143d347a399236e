"""What a person allows, as it stands after an act of theirs or a decision about them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from connector.events.base import Event
from connector.events.triggers import ConsentState


class ConsentChanged(Event):
    """The ledger's state for one purpose changed. `at` is the time of the act."""

    type: Literal["consent.changed"] = "consent.changed"
    purpose: Literal["marketing", "utility"]
    state: ConsentState
    source: str = Field(
        description="keyword | button | user_preferences | error_131050 | crm_property | api | import | operator | click"
    )
    evidence: str = Field(default="", description="wamid, wording, form: where it can be seen again.")
