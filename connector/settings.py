"""Every setting, with unit and default. Environment variables `CONNECTOR_<GROUP>__<NAME>`; lists are JSON.

Secrets come from the environment or from files (`CONNECTOR_SECRETS_DIR`, one file a variable, named like it in either
case; the environment wins) and are never printed. A wrong value is refused at start with the variable's name and what is valid.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from datetime import time
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    NestedSecretsSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)
from pydantic_settings.exceptions import SettingsError as SettingsParseError

from connector.errors import SettingsError

_SECRETS_DIR = "CONNECTOR_SECRETS_DIR"
_SHORTEST_SECRET = 16
_URL_SECRET = re.compile(rf"([A-Za-z0-9_-]{{{_SHORTEST_SECRET},}})?")
_ORIGIN = re.compile(r"^https?://[^/?#@\s]+$")


def _origin(value: str) -> str:
    value = value.rstrip("/")
    if value and not _ORIGIN.match(value):
        raise ValueError("must be scheme, host and optional port only, e.g. https://api.example.com")
    return value


def _url_secret(value: SecretStr) -> SecretStr:
    if not _URL_SECRET.fullmatch(value.get_secret_value()):
        raise ValueError(f"must be at least {_SHORTEST_SECRET} letters, digits, - or _")
    return value


BaseUrl = Annotated[str, AfterValidator(_origin)]
UrlSecret = Annotated[SecretStr, AfterValidator(_url_secret)]


class _Group(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class KafkaSettings(_Group):
    """Any Kafka 3.6-4.x."""

    bootstrap_servers: str = "127.0.0.1:9092"
    """Comma-separated host:port list."""
    topic_prefix: str = ""
    """Put before every topic and group name, so that several deployments share one cluster."""
    partitions: int = Field(default=12, ge=1)
    """Partitions of a topic that `connector topics create` makes (embedded: 4)."""
    replication_factor: int = Field(default=3, ge=1)
    """Replicas of a topic that `connector topics create` makes (embedded: 1)."""
    session_timeout: float = Field(default=10.0, gt=0)
    """Seconds without a heartbeat until a worker's partitions go to another; bounds the pause after a kill."""
    heartbeat_interval: float = Field(default=3.0, gt=0)
    """Seconds between heartbeats; a third of the session timeout."""
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    """How the brokers' listener is spoken to: SSL encrypts, SASL tells them who we are. Host names are always checked."""
    sasl_mechanism: Literal["", "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] = ""
    """With SASL_*: username and password (PLAIN, SCRAM), or a token of an OAuth 2.0 server (OAUTHBEARER)."""
    username: str = ""
    password: SecretStr = SecretStr("")
    ca_file: Path | None = None
    """PEM file of the authorities that sign the brokers' certificates; without it those of the system."""
    certificate_file: Path | None = None
    """PEM file with our certificate and what leads to its authority, where brokers ask for one (mutual TLS)."""
    key_file: Path | None = None
    """PEM file with the certificate's key, not encrypted."""
    token_url: str = Field(default="", pattern=r"^(https?://[^\s]+)?$")
    """OAUTHBEARER: where tokens are asked for, by client credentials."""
    token_client_id: str = ""
    token_client_secret: SecretStr = SecretStr("")
    token_scope: str = ""
    """What is asked for; some servers need none."""

    @model_validator(mode="after")
    def _security(self) -> Self:
        problems = list(_kafka_security_problems(self))
        if problems:
            raise ValueError("; ".join(problems))
        return self


def _kafka_security_problems(kafka: KafkaSettings) -> Iterator[str]:
    protocol, mechanism = kafka.security_protocol, kafka.sasl_mechanism

    def said(*names: str) -> list[str]:
        """Those of these settings that have a value, as variables."""
        values = {name: getattr(kafka, name) for name in names}
        return [
            f"CONNECTOR_KAFKA__{name.upper()}"
            for name, value in values.items()
            if (value.get_secret_value() if isinstance(value, SecretStr) else value)
        ]

    def missing(*names: str) -> list[str]:
        present = said(*names)
        return [variable for name in names if (variable := f"CONNECTOR_KAFKA__{name.upper()}") not in present]

    files = ("ca_file", "certificate_file", "key_file")
    if not protocol.endswith("SSL") and (unused := said(*files)):
        yield f"{' and '.join(unused)} would not be used: CONNECTOR_KAFKA__SECURITY_PROTOCOL is {protocol}, not SSL or SASL_SSL"
    if len(said("certificate_file", "key_file")) == 1:
        yield f"{missing('certificate_file', 'key_file')[0]} is needed as well: certificate and key go together"
    credentials = ("username", "password")
    token = ("token_url", "token_client_id", "token_client_secret")
    if not protocol.startswith("SASL"):
        if unused := said("sasl_mechanism", *credentials, *token):
            yield f"{' and '.join(unused)} would not be used: CONNECTOR_KAFKA__SECURITY_PROTOCOL is {protocol}, not SASL_SSL"
    elif not mechanism:
        yield f"CONNECTOR_KAFKA__SASL_MECHANISM is needed with {protocol}"
    elif lacking := missing(*(token if mechanism == "OAUTHBEARER" else credentials)):
        yield f"{' and '.join(lacking)} is needed for {mechanism}"


class DatabaseSettings(_Group):
    """PostgreSQL ≥ 15."""

    url: SecretStr = SecretStr("postgresql://postgres@127.0.0.1:5432/connector")
    """postgresql://user:password@host:port/database. TLS: …?sslmode=verify-full&sslrootcert=/path/ca.crt, and for a client
    certificate &sslcert=…&sslkey=…; PGSSLMODE, PGSSLROOTCERT and the like count where the URL is silent."""
    pool_size: int = Field(default=8, ge=1)
    """Connections a process may hold."""
    keep_days: Literal[0] | Annotated[int, Field(ge=60)] = 0
    """Days after which the roles forget rows that nothing asks for any more (docs/architecture.md); messages written to
    a CRM no sooner than the log does. 0: never. At least 60: Meta redelivers for 7 days, its statuses come for 30."""


class IngressSettings(_Group):
    """HTTP in."""

    host: str = "127.0.0.1"
    port: int = Field(default=8080, ge=0, le=65535)
    public_url: BaseUrl = ""
    """What Meta and the CRMs call us by: scheme, host, port. Signatures over URLs are checked against it."""
    max_body_bytes: int = Field(default=8 * 1024 * 1024, gt=0)
    """A larger POST is answered 413."""
    max_inflight_bytes: int = Field(default=64 * 1024 * 1024, gt=0)
    """Bytes accepted and not yet acknowledged by the broker; above it a POST is answered 503."""
    ack_timeout: float = Field(default=4.0, gt=0)
    """Seconds to wait for the broker before answering 503. Meta redelivers for 7 days."""


class WhatsAppSettings(_Group):
    """The Meta app and business accounts."""

    app_secrets: list[SecretStr] = []
    """App secrets, newest first; every one is tried, so that a secret can be rotated. A JSON list."""
    verify_token: SecretStr = SecretStr("")
    """The token typed into Meta's webhook form."""
    access_token: SecretStr = SecretStr("")
    """System-user token for the Cloud API."""
    base_url: BaseUrl = "https://graph.facebook.com"
    api_version: str = Field(default="v24.0", pattern=r"^v\d+\.\d+$")
    business_account_ids: list[str] = []
    default_phone_number_id: str = ""


class HubSpotSettings(_Group):
    """One HubSpot account."""

    enabled: bool = False
    access_token: SecretStr = SecretStr("")
    """A service key or private-app token with crm.objects.contacts.read/write and crm.schemas.contacts.read/write; with
    automation too where workflows send templates."""
    client_secret: SecretStr = SecretStr("")
    """Checks the signatures of HubSpot's webhooks and workflow actions, which are over CONNECTOR_INGRESS__PUBLIC_URL."""
    base_url: BaseUrl = "https://api.hubapi.com"
    api_version: str = Field(default="2026-09", pattern=r"^\d{4}-\d{2}$")
    """The dated path segment, one constant for all calls."""
    request_timeout: float = Field(default=10.0, gt=0)
    """Seconds until an answer counts as lost."""
    calls_in_flight: int = Field(default=4, ge=1, le=32)
    """Drains of one writer that may wait for HubSpot at the same time."""
    burst_calls: int = Field(default=100, ge=0)
    """Calls per 10 s until HubSpot's answers say what the account may. 0: no such limit is kept."""
    association_calls: int = Field(default=100, ge=0)
    """The same for the association endpoints, which HubSpot counts apart."""
    search_calls: int = Field(default=5, ge=0)
    """Searches per second and account; HubSpot's answers do not say it. 0: no such limit is kept."""
    daily_calls: int = Field(default=250_000, ge=0)
    """Calls per day until HubSpot's answers say what the account may. 0: no such limit is kept."""
    quota_share: float = Field(default=1.0, gt=0, le=1)
    """Part of the account's calls that the connector takes; the rest is left to other integrations."""
    auto_setup: bool = True
    """Let the role create its missing properties at start. False: it waits for `connector setup hubspot`."""


class SalesforceSettings(_Group):
    """One Salesforce org. With a private key JWT bearer is used, else client credentials.

    `domain` stands before .salesforce.com: login, test, or My Domain (acme.my), which client credentials need.
    """

    enabled: bool = False
    consumer_key: SecretStr = SecretStr("")
    consumer_secret: SecretStr = SecretStr("")
    private_key_file: Path | None = None
    username: str = ""
    domain: str = "login"
    base_url: BaseUrl = ""
    api_version: str = Field(default="67.0", pattern=r"^\d+\.\d$")
    person_object: Literal["Contact", "Lead"] = "Contact"
    lead_company: str = Field(default="[not provided]", min_length=1, max_length=255)
    """Company of a Lead that we create; Salesforce requires one and WhatsApp knows none."""
    request_timeout: float = Field(default=30.0, gt=0)
    """Seconds until an answer counts as lost. Flows and triggers of the org run within the call."""
    calls_in_flight: int = Field(default=4, ge=1, le=20)
    """Drains of one writer that may wait for Salesforce at the same time (orgs allow 25 long calls, trials 5)."""
    daily_calls: int = Field(default=15_000, ge=0)
    """Calls per 24 h until Salesforce's answers say what the org may. 0: no such limit is kept."""
    calls_at_once: int = Field(default=20, ge=0)
    """Calls of all processes that may be open at once: an org takes 25 that last 20 s or longer, a Developer Edition or
    trial 5 (set 4). 0: no such limit is kept."""
    quota_share: float = Field(default=1.0, gt=0, le=1)
    """Part of the org's daily calls that the connector takes; the rest is left to other integrations."""
    organization_id: str = Field(default="", pattern=r"^(00D[A-Za-z0-9]{12}([A-Za-z0-9]{3})?)?$")
    """The org whose outbound messages are taken: Setup, Company Information, 15 or 18 characters."""
    outbound_token: UrlSecret = SecretStr("")
    """The secret at the end of the outbound messages' URL: at least 16 letters, digits, - or _ that nobody can guess."""


class IdentitySettings(_Group):
    """Who is who."""

    parked_days: int = Field(default=30, ge=1)
    """Days that a status waits for its message or person. After that its message was sent before we listened."""


class SyncSettings(_Group):
    """Folding into desired state and writing it to a CRM."""

    fold_batch: int = Field(default=500, ge=1)
    """Records folded in one transaction."""
    drain_batch: int = Field(default=400, ge=1)
    """Waiting items claimed at once by a drain."""
    max_waiting: int = Field(default=200_000, ge=1)
    """Items waiting for the CRM above which the agent stops folding and Kafka holds the rest."""
    lost_write_margin: float = Field(default=30.0, ge=0)
    """Seconds added to the request timeout before a lost write that no unique key guards is looked up."""
    keep_deleted_text: bool = False
    """Let the CRM keep the text of messages that their author deleted. Applies to deletions folded from then on."""
    stopped_retry: float = Field(default=10.0, gt=0)
    """Seconds between looks at a CRM that refuses our credential."""
    mapping: Path | None = None
    """A YAML file that says which facts go to which CRM properties and how an activity reads (docs/mapping.md)."""
    create_contacts: Literal["always", "known_only"] = "always"
    """known_only: people whom the CRM does not have are not written; they wait, and are looked for once a day."""
    adoption_rule: Literal["oldest", "newest", "none"] = "oldest"
    """Which record is taken when several have a person's number: the first or last created, or none of them."""
    ignore: list[str] = []
    """Phones (with country code) and BSUIDs that are never written to a CRM. A JSON list."""


def _zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError):
        raise ValueError("must be a zone of the IANA database, e.g. Europe/London") from None
    return value


def _wall_clock(value: time) -> time:
    if value.second or value.microsecond or value.tzinfo:
        raise ValueError("must be a whole minute without a zone, e.g. 21:00")
    return value


WallClock = Annotated[time, AfterValidator(_wall_clock)]
Weekday = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
ConsentNeeded = Literal["granted", "not_denied"]


class OutboundSettings(_Group):
    """What may be sent, to whom and when (docs/outbound.md)."""

    marketing_consent: ConsentNeeded = "granted"
    """granted: only to people who agreed; not_denied: to everybody who did not refuse."""
    utility_consent: ConsentNeeded = "not_denied"
    """The same for utility. Meta asks for an opt-in before any message; it may have been given elsewhere."""
    marketing_per_day: int = Field(default=1, ge=0)
    """Marketing messages to one person in any 24 hours; 0: as many as are asked for."""
    marketing_per_week: int = Field(default=3, ge=0)
    """Marketing messages to one person in any 7 days; 0: as many as are asked for."""
    utility_per_day: int = Field(default=10, ge=0)
    """Utility messages to one person in any 24 hours; 0: as many as are asked for."""
    quiet_from: WallClock = time(21, 0)
    """From then on, by the recipient's clock, marketing waits."""
    quiet_until: WallClock = time(8, 0)
    """Until then. The same time as quiet_from: no quiet hours."""
    quiet_days: list[Weekday] = []
    """Days of the recipient on which marketing waits, e.g. ["sunday"]. A JSON list."""
    quiet_for_utility: bool = False
    """Let utility wait, too. One-time passwords never do."""
    fallback_zone: Annotated[str, AfterValidator(_zone)] = "UTC"
    """The clock of people whose country is not known."""
    marketing_repeat_days: float = Field(default=7.0, ge=0)
    """Days in which one person gets the same marketing content once."""
    utility_repeat_hours: float = Field(default=1.0, ge=0)
    """Hours in which one person gets the same utility content once."""
    marketing_lag: float = Field(default=5.0, gt=0)
    """Seconds that reading opt-outs may be behind before marketing waits."""
    utility_lag: float = Field(default=60.0, gt=0)
    """Seconds that reading opt-outs may be behind before utility waits."""
    templates_every: float = Field(default=1_800.0, ge=30)
    """Seconds between readings of all templates and numbers from Meta. Webhooks tell changes at once; this finds what
    they did not."""
    templates_stale_after: float = Field(default=21_600.0, gt=0)
    """Seconds without a reading of all templates after which marketing and utility wait."""
    us_marketing: bool = False
    """Try marketing to United States numbers. WhatsApp does not deliver it since April 2025."""
    personalisation: Path | None = None
    """A YAML file that says which CRM properties fill which template parameters."""
    properties_fresh_for: float = Field(default=3_600.0, ge=0)
    """Seconds that what a CRM says of a person counts as current, if it was read after the send was asked for."""
    properties_usable_for: float = Field(default=86_400.0, ge=0)
    """Seconds that it may be used while the CRM does not answer, and that it is kept. Older, or never read: the send
    waits."""
    properties_patience: float = Field(default=30.0, gt=0)
    """Seconds without an answer of the CRM after which what was read before is used, and that a person's new record is
    waited for."""
    opt_out_words: list[str] = []
    """Messages beside the built-in ones that end all messages. A JSON list."""
    opt_out_marketing_words: list[str] = []
    """Messages beside the built-in ones that end marketing. A JSON list."""
    opt_in_words: list[str] = []
    """Messages beside the built-in ones that lift an opt-out. A JSON list."""
    opt_in_marketing_words: list[str] = []
    """Messages beside the built-in ones that agree to marketing. A JSON list."""
    request_timeout: float = Field(default=10.0, gt=0)
    """Seconds until an answer of WhatsApp counts as lost."""
    sends_in_flight: int = Field(default=200, ge=1, le=2_000)
    """Requests to WhatsApp that one process may have open: the rate times the answer's time, and some more."""
    rates: dict[str, Annotated[int, Field(ge=1, le=1_000)]] = {}
    """Messages a second of a number, instead of what Meta's throughput level says (80, upgraded 1,000, beside the
    WhatsApp Business app 20). A JSON object, phone number id to rate."""
    unknown_after: float = Field(default=900.0, gt=0)
    """Seconds without a status until a send whose answer was lost is reported as unknown."""
    stopped_retry: float = Field(default=10.0, gt=0)
    """Seconds between looks at a WhatsApp that refuses our credential: one send is tried."""


class MediaSettings(_Group):
    """Files of messages: fetching, keeping, and links to them."""

    store: str = ".connector/media"
    """Where files are kept: a folder, or an fsspec URL (s3://bucket/folder, gs://…, az://…). Shared with the ingress."""
    signing_secret: SecretStr = SecretStr("")
    """Signs the links that the CRM shows. Without it, or without CONNECTOR_INGRESS__PUBLIC_URL, there are no links."""
    former_signing_secrets: list[SecretStr] = []
    """Secrets of before, whose links still work. A JSON list."""
    link_days: int = Field(default=30, ge=1, le=3650)
    """Days from a message until the link to its file ends."""
    max_bytes: int = Field(default=100 * 1024 * 1024, ge=1)
    """A larger file is not kept. WhatsApp's own limit is 100 MB."""
    downloads_in_flight: int = Field(default=4, ge=1, le=64)
    """Files that one process fetches at the same time."""
    request_timeout: float = Field(default=20.0, gt=0)
    """Seconds without a byte from WhatsApp until a request counts as failed."""
    download_timeout: float = Field(default=300.0, gt=0)
    """Seconds for one whole attempt. A file whose process died is tried again after this and 30 s."""
    first_retry: float = Field(default=5.0, gt=0)
    """Seconds until the second attempt; doubled for each further one."""
    longest_retry: float = Field(default=1800.0, gt=0)
    """Seconds between attempts at most. They end when WhatsApp forgets the file, 7 days after its webhook."""
    extra_hosts: list[str] = []
    """Hosts that files may come from beside Meta's, e.g. *.cdn.example.com. Our token is sent to them. A JSON list."""


class StreamSettings(_Group):
    """The batch agents."""

    stalled_after: float = Field(default=30.0, gt=0)
    """Seconds without progress, while there is work, until a role reports itself unready."""
    exit_after: float = Field(default=90.0, gt=0)
    """Seconds without progress, while there is work, until a role exits to be restarted."""
    dead_letter_run: int = Field(default=200, ge=1)
    """Dead letters in a row that stop a stage: a bad deploy must not empty a topic into dead.letters."""
    dead_letter_share: float = Field(default=0.2, gt=0, le=1)
    """Share of the last 1,000 records that may become dead letters before the stage stops; not counted are updates
    that came in without a known form."""


class TriggerClient(_Group):
    """A caller of /triggers."""

    name: str = Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")
    """Stays when the secret changes: idempotency keys are remembered under it."""
    secret: SecretStr = Field(min_length=_SHORTEST_SECRET)
    """Sent as a bearer token, or the key of the signature."""
    former_secrets: list[SecretStr] = []
    """Secrets of before, which still count while the caller is moved to the new one."""
    scopes: list[Literal["send", "consent"]] = ["send"]
    """send: POST /triggers/templates. consent: POST /triggers/consent."""


class TriggerSettings(_Group):
    """Who may trigger sends and report consent."""

    clients: list[TriggerClient] = []
    """A JSON list: [{"name": "shop", "secret": "at least 16 characters", "scopes": ["send", "consent"]}]; a client may
    also have "former_secrets"."""

    @model_validator(mode="after")
    def _tell_apart(self) -> Self:
        names = [client.name for client in self.clients]
        secrets = [
            secret.get_secret_value()
            for client in self.clients
            for secret in (client.secret, *client.former_secrets)
        ]
        if len(set(names)) < len(names):
            raise ValueError("two clients have the same name")
        if len(set(secrets)) < len(secrets):
            raise ValueError("a secret is there twice: it must tell which client is calling")
        if any(len(secret) < _SHORTEST_SECRET for secret in secrets):
            raise ValueError(f"a former secret has fewer than {_SHORTEST_SECRET} characters")
        return self


class HealthSettings(_Group):
    """The port of /healthz, /readyz and /metrics of a role other than the ingress."""

    host: str = "127.0.0.1"
    port: int = Field(default=0, ge=0, le=65535)
    """0: any free port, logged at start."""
    roles: dict[str, BaseUrl] = {}
    """Where `connector status` asks roles: a JSON object, name to scheme, host and port of its health endpoint."""


class LogSettings(_Group):
    """Logs go to stderr."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    format: Literal["auto", "json", "console"] = "auto"
    """auto: console on a terminal, else JSON."""


class TracingSettings(_Group):
    """Traces of messages and sends, to an OpenTelemetry collector. Needs whatsapp-crm-connector[tracing]; in the image."""

    endpoint: BaseUrl = ""
    """Where OTLP over HTTP is taken: scheme, host, port, e.g. http://collector:4318. Empty: nothing is traced."""
    share: float = Field(default=1.0, ge=0, le=1)
    """Part of the messages and sends that are traced, the same ones in every role."""


class Settings(BaseSettings):
    """All settings, frozen. Read once by the command line and handed down."""

    model_config = SettingsConfigDict(
        env_prefix="CONNECTOR_",
        env_nested_delimiter="__",
        frozen=True,
        extra="ignore",
        use_attribute_docstrings=True,
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - pydantic's signature
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, then the environment, then the files of CONNECTOR_SECRETS_DIR."""
        folder = os.environ.get(_SECRETS_DIR)
        if not folder:
            return init_settings, env_settings
        return (
            init_settings,
            env_settings,
            NestedSecretsSettingsSource(file_secret_settings, secrets_dir=folder),
        )

    kafka: KafkaSettings = KafkaSettings()
    database: DatabaseSettings = DatabaseSettings()
    ingress: IngressSettings = IngressSettings()
    whatsapp: WhatsAppSettings = WhatsAppSettings()
    hubspot: HubSpotSettings = HubSpotSettings()
    salesforce: SalesforceSettings = SalesforceSettings()
    triggers: TriggerSettings = TriggerSettings()
    identity: IdentitySettings = IdentitySettings()
    sync: SyncSettings = SyncSettings()
    outbound: OutboundSettings = OutboundSettings()
    media: MediaSettings = MediaSettings()
    streams: StreamSettings = StreamSettings()
    health: HealthSettings = HealthSettings()
    log: LogSettings = LogSettings()
    tracing: TracingSettings = TracingSettings()
    default_region: str = Field(default="", pattern=r"^([A-Z]{2})?$")
    """Country of phone numbers that people typed into the CRM without a country code, e.g. BR."""


# What Kubernetes puts into every container for a Service whose name begins with "connector".
_OF_KUBERNETES = re.compile(r"_SERVICE_(HOST|PORT(_[A-Z0-9_]+)?)$|_PORT(_\d+_(TCP|UDP|SCTP)(_[A-Z]+)?)?$")


def unknown_variables(names: Iterable[str]) -> dict[str, str]:
    """CONNECTOR_* names that are no settings → the nearest that is one, "" when none is near."""
    known = {_SECRETS_DIR}
    for name, field in Settings.model_fields.items():
        known.add(f"CONNECTOR_{name.upper()}")
        group = field.annotation
        if isinstance(group, type) and issubclass(group, BaseModel):
            known.update(f"CONNECTOR_{name.upper()}__{part.upper()}" for part in group.model_fields)
    found = {}
    for name in sorted(names):
        if not name.startswith("CONNECTOR_") or name in known or _OF_KUBERNETES.search(name):
            continue
        if any(name.startswith(f"{prefix}__") for prefix in known):
            continue  # a part of a known one: the settings themselves judge it
        # Without the prefix that all share, or all would be near.
        said = {item.removeprefix("CONNECTOR_"): item for item in known}
        near = get_close_matches(name.removeprefix("CONNECTOR_"), said, n=1, cutoff=0.7)
        found[name] = said[near[0]] if near else ""
    return found


def _secret_files() -> dict[str, Path]:
    """Variable → the file of CONNECTOR_SECRETS_DIR that holds it. Kubernetes' own hidden entries are none."""
    folder = os.environ.get(_SECRETS_DIR)
    if not folder:
        return {}
    if not Path(folder).is_dir():
        raise SettingsError(
            f"{_SECRETS_DIR} is {folder}: there is no such folder.",
            advice="mount it, or unset the variable and give secrets as environment variables",
        )
    return {path.name.upper(): path for path in sorted(Path(folder).iterdir()) if path.name[0] != "."}


def _refuse_unknown() -> None:
    unknown = unknown_variables([*os.environ, *_secret_files()])
    if unknown:
        named = "; ".join(f"{name}{f' (is it {near}?)' if near else ''}" for name, near in unknown.items())
        raise SettingsError(
            f"There is no such setting: {named}.",
            advice="correct or unset it; docs/configuration.md lists every setting",
        )


def _source(variable: str) -> str:
    """Where a value came from, for a person who has to correct it."""
    if variable in os.environ:
        return "environment"
    file = _secret_files().get(variable)
    return str(file) if file else "default or nested value"


def load_settings(**overrides: Any) -> Settings:
    """Read the environment. Raises `SettingsError` that names every wrong variable and what is valid."""
    _refuse_unknown()
    try:
        return Settings(**overrides)
    except ValidationError as error:
        lines = []
        for item in error.errors():
            variable = "CONNECTOR_" + "__".join(str(part) for part in item["loc"]).upper()
            lines.append(f"{variable} ({_source(variable)}): {item['msg']}")
        raise SettingsError(
            "The settings are not valid: " + "; ".join(lines),
            advice="correct the variables named above; docs/configuration.md lists every setting",
        ) from None
    except SettingsParseError as error:
        raise SettingsError(
            f"The settings could not be read: {error}",
            advice="lists are JSON, e.g. CONNECTOR_WHATSAPP__APP_SECRETS='[\"secret\"]'",
        ) from None
