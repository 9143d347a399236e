"""What a simulated HubSpot portal is like: what differs between portals, and what nobody documents."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

API_VERSION = "2026-09"
"""The date-based API version that is served; HubSpot ships one each March and September."""

PERSON_TOKEN = "sandbox-person"  # noqa: S105 - a name, not a secret: it makes a request a person's own click
"""Bearer token under which a request counts as a person's work in HubSpot's own screens: it meets no
fault and no rate limit, and the property history shows CRM_UI instead of INTEGRATION."""


class AppToken(BaseModel):
    """An access token of a private app or service key."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    token: str
    app_id: str
    scopes: frozenset[str] | None = None
    """Granted scopes; None: all of them."""


class HubSpotConfig(BaseModel):
    """Switches of a simulated portal. The defaults are the stricter reading wherever sources differ."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    portal_id: int = 24_680_135
    api_version: str = API_VERSION
    tokens: tuple[AppToken, ...] = (
        AppToken(token="pat-na1-sandbox", app_id="31415926"),  # noqa: S106 - the simulator's own
    )
    client_secret: str = "sandbox-client-secret"  # noqa: S105 - the simulator's own
    """Signs workflow actions and webhooks."""
    action_signature: Literal["v2", "v3"] = "v2"
    """How workflow actions are signed: the custom action guide says v2."""
    webhook_duplicate: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Chance that a batch of webhook events is posted once more although it was answered 2xx."""
    seed: int = 0
    """Seeds the order of results, which is never the order of the inputs."""

    unique_communications: bool = True
    """Whether a property with hasUniqueValue may be created on communications. The documentation does not
    say that activities accept one, so a client must live with either."""
    duplicate_answer: Literal["conflict_409", "value_400"] = "value_400"
    """How a repeated unique value is refused: 409 CONFLICT by the documentation, or the 400 "Cannot set
    PropertyValueCoordinates" that live portals send."""
    duplicate_scope: Literal["item", "batch"] = "batch"
    """Whether such a refusal spares the other records of a batch with trace ids, or rejects the whole."""
    partial_status: Literal["multi_status", "success"] = "success"
    """Status of a batch that failed in part: 207, or 200/201 with errors[]. The 2026-09 specification lists
    only the latter, older ones list both."""
    echo_trace_ids: bool = False
    """Whether successful results repeat objectWriteTraceId; the specification allows it, none promise it."""
    merged_unique_value: Literal["dropped", "followed"] = "dropped"
    """What the losing record's unique value leads to after a merge: nothing, or the merged record.
    Not documented."""

    custom_objects: tuple[str, ...] = ()
    """objectTypeIds of the portal's own objects, e.g. 2-123456."""
    absent_types: frozenset[str] = frozenset()
    """Types of HubSpot's own that this portal does not have, as its subscription lacks them."""

    burst_limit: Annotated[int, Field(ge=1)] | None = 100
    """Calls per rolling 10 s and app (Free and Starter: 100, Professional and Enterprise: 190)."""
    association_limit: Annotated[int, Field(ge=1)] | None = 150
    """Calls per rolling 10 s to the association endpoints, counted apart."""
    search_limit: Annotated[int, Field(ge=1)] | None = 5
    """Searches per second and account."""
    daily_limit: Annotated[int, Field(ge=1)] | None = 250_000
    """Calls per day and account, until midnight in the portal's time zone."""
    time_zone: str = "UTC"
    retry_after: Literal["absent", "seconds", "milliseconds"] = "absent"
    """Form of the Retry-After header on a 429; the documentation promises none."""

    search_lag: Annotated[float, Field(ge=0)] = 3.0
    """Seconds until a write is found by search."""
    association_page: Annotated[int, Field(ge=1, le=500)] = 500
    """Associations of one record in one page."""
