"""What a simulated WhatsApp Business portfolio is like: its numbers and templates, its limits, and how phones behave."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from connector.sandbox.whatsapp.payloads import BusinessNumber
from connector.sandbox.whatsapp.templates import Template, standard_templates

API_VERSION = "v24.0"
"""The newest version that is served; Graph ships about three a year and keeps each for two years."""

APP_SECRET = "sandbox-app-secret"  # noqa: S105 - the simulator's own
VERIFY_TOKEN = "sandbox-verify-token"  # noqa: S105
ACCESS_TOKEN = "sandbox-access-token"  # noqa: S105

_STANDARD = BusinessNumber()


class Number(BaseModel):
    """One business number, as `GET /{WABA}/phone_numbers` shows it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = _STANDARD.phone_number_id
    waba_id: str = _STANDARD.waba_id
    display_phone_number: str = "+1 555-078-3881"
    verified_name: str = "Sandbox Store"
    quality_rating: Literal["GREEN", "YELLOW", "RED", "UNKNOWN"] = "GREEN"
    status: Literal["CONNECTED", "DISCONNECTED", "FLAGGED", "RESTRICTED", "BANNED"] = "CONNECTED"
    throughput: Annotated[int, Field(ge=1)] = 80
    """Messages per second; 1,000 after an upgrade, 20 beside the WhatsApp Business app (throughput page)."""
    messaging_limit: Literal["TIER_250", "TIER_2K", "TIER_10K", "TIER_100K", "TIER_UNLIMITED"] = "TIER_2K"
    """The portfolio's limit. It is shown, not enforced: Meta documents no answer for it."""

    @property
    def digits(self) -> str:
        """The number as webhooks write it."""
        return "".join(filter(str.isdigit, self.display_phone_number))

    @property
    def business(self) -> BusinessNumber:
        """The number as the payload builders take it."""
        return BusinessNumber(waba_id=self.waba_id, phone_number_id=self.id, display_phone_number=self.digits)


class WhatsAppConfig(BaseModel):
    """Switches of the simulated WhatsApp. The defaults are the stricter reading wherever sources differ."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    api_version: Annotated[str, Field(pattern=r"^v\d+\.\d$")] = API_VERSION
    access_tokens: tuple[str, ...] = (ACCESS_TOKEN,)
    token_scopes: frozenset[str] = frozenset({"whatsapp_business_management", "whatsapp_business_messaging"})
    """Permissions of the tokens, as `debug_token` tells them. They are told, not enforced."""
    token_expires_at: Annotated[int, Field(ge=0)] = 0
    """When the tokens end, seconds since the epoch; 0: never, as those of system users made to last."""
    app_secret: str = APP_SECRET
    """Signs the webhooks."""
    numbers: Annotated[tuple[Number, ...], Field(min_length=1)] = (Number(),)
    templates: tuple[Template, ...] = Field(default_factory=standard_templates)
    seed: int = 0

    window: Annotated[float, Field(gt=0)] = 24 * 3600.0
    """Seconds from a person's message in which they may be sent anything, not templates only."""
    closed_window: Literal["status", "answer"] = "status"
    """Where 131047 is told: as a failed status after a 200, or at once. Meta announces both for any error."""
    unreachable: frozenset[str] = frozenset()
    """Phones (digits) and BSUIDs that get nothing: not on WhatsApp, an old client (131026)."""
    blocking: frozenset[str] = frozenset()
    """Phones (digits) and BSUIDs that blocked the business: their messages stay at `sent`, and nobody says why."""
    sent_after: Annotated[float, Field(ge=0)] = 0.05
    """Seconds from acceptance to the status `sent`, or to `failed`."""
    delivered_after: Annotated[float, Field(ge=0)] | None = 0.1
    """Seconds from `sent`; None: never delivered."""
    read_after: Annotated[float, Field(ge=0)] | None = 0.2
    """Seconds from `delivered`; None: never read."""

    held: frozenset[str] = frozenset()
    """Templates whose messages are accepted as held_for_quality_assessment (template pacing)."""
    held_for: Annotated[float, Field(ge=0)] = 1.0
    """Seconds for which they are held; Meta aims at less than an hour."""
    held_end: Literal["released", "dropped"] = "released"
    """dropped: they fail with 132015 then."""

    pair_interval: Annotated[float, Field(gt=0)] = 6.0
    """Seconds for which one message to one person uses up its place (131056)."""
    pair_burst: Annotated[int, Field(ge=1)] = 45
    """Messages to one person that may be borrowed ahead."""
    management_limit: Annotated[int, Field(ge=1)] = 5_000
    """Calls per hour and account to everything but /messages: 5,000 with a registered number, else 200 (80007)."""
    template_page: Annotated[int, Field(ge=1, le=1_000)] = 25
    """Templates in a page when the caller names no limit."""
