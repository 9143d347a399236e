"""What a simulated Salesforce org is like: what differs between orgs, and what nobody documents."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

API_VERSION = "67.0"
"""The newest version served; Salesforce ships three a year and keeps the older ones."""

PERSON_TOKEN = "sandbox-person"  # noqa: S105 - a name, not a secret: it makes a request a person's own work
"""Session under which a request counts as a person's work in Salesforce's own screens: it meets no fault and
no limit, and records carry that person's user id."""

PERSON_USER_ID = "005000000000PERAAA"


class ConnectedApp(BaseModel):
    """An External Client App: who may ask for tokens, and as which user it then works."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    consumer_key: str = "sandbox-consumer-key"
    consumer_secret: str = "sandbox-consumer-secret"  # noqa: S105 - the simulator's own
    public_key: str | None = None
    """PEM of the certificate's public key; None: JWT bearer is refused."""
    username: str = "connector@sandbox.example"
    """The user that approved the app: a JWT's `sub`, and the run-as user of client credentials."""
    user_id: str = "005000000000APPAAA"


class DuplicateRule(BaseModel):
    """A duplicate rule: a live record of `sobject` with an equal, non-empty `field` is a match."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    sobject: str
    field: str
    action: Literal["block", "alert"] = "block"
    """alert: passes when the caller sends `Sforce-Duplicate-Rule-Header: allowSave=true`."""


class SalesforceConfig(BaseModel):
    """Switches of a simulated org. The defaults are the stricter reading wherever sources differ."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    organization_id: str = "00D000000000ORGAAA"
    api_version: str = API_VERSION
    apps: tuple[ConnectedApp, ...] = (ConnectedApp(),)
    host: Literal["my_domain", "login"] = "my_domain"
    """What a host that is not *.salesforce.com counts as. Client credentials pass on a My Domain only."""
    token_life: Annotated[float, Field(gt=0)] = 7_200.0
    """Seconds from login until INVALID_SESSION_ID."""
    outbound_token: str = "sandbox-outbound-token"  # noqa: S105 - the simulator's own
    """The end of the outbound messages' URL, as the admin typed it in."""
    outbound_duplicates: bool = False
    """Whether every outbound message is delivered twice."""
    seed: int = 0

    packaged: bool = True
    """Whether the connector's package (docs/crm/salesforce) was deployed; False: the org has none of its fields."""
    absent_fields: frozenset[str] = frozenset()
    """`SObject.Field`: missing, or hidden from the app's user, which looks the same."""
    read_only_fields: frozenset[str] = frozenset()
    """`SObject.Field`: the app's user may read it only (field-level security)."""
    absent_objects: frozenset[str] = frozenset()
    """Objects that the app's user may not read."""
    unknown_field: Literal["request", "record"] = "request"
    """Whether a field that does not exist refuses the whole Collections request or its records."""
    duplicate_rules: tuple[DuplicateRule, ...] = ()
    duplicate_key: Literal["duplicateResut", "duplicateResult"] = "duplicateResut"
    """How the details of a duplicate are spelt; live orgs were seen with both."""
    required_fields: frozenset[str] = frozenset()
    """`SObject.Field` that this org requires beyond the standard ones."""

    daily_limit: Annotated[int, Field(ge=1)] = 100_000
    """Calls per rolling 24 h (a Developer org has 15,000)."""
    concurrent_limit: Annotated[int, Field(ge=1)] = 25
    """Requests longer than `long_request` seconds at once (5 in a Developer org)."""
    long_request: Annotated[float, Field(gt=0)] = 20.0
    query_page: Annotated[int, Field(ge=1, le=2_000)] = 2_000
    """Most records in one answer of a query; the rest follows under nextRecordsUrl."""
