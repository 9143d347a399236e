"""What `connector doctor` makes of what it is told."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from connector.crm.quota import AccountQuota
from connector.events import AccountEvent, Origin
from connector.identity.reading import read_update
from connector.ingress.intake import take_in
from connector.outbound.store.numbers import NumberReading
from connector.outbound.templates.reading import webhook_change
from connector.recovery.doctor.broker import Cluster, judged_cluster
from connector.recovery.doctor.clocks import http_date, judged_clock
from connector.recovery.doctor.crms import (
    judged_hubspot_settings,
    judged_quota,
    judged_salesforce_settings,
    judged_scopes,
)
from connector.recovery.doctor.database import (
    AccountReading,
    judged_migrations,
    judged_readings,
    judged_version,
)
from connector.recovery.doctor.finding import Finding, Level, exit_code, fail, not_asked, ok, warn, worst
from connector.recovery.doctor.installation import examine_installation
from connector.recovery.doctor.webhook import FIELD, examine_webhook, harmless_post, judged_url
from connector.recovery.doctor.whatsapp import (
    judged_number,
    judged_settings,
    judged_subscription,
    judged_token,
)
from connector.settings import (
    HubSpotSettings,
    IngressSettings,
    KafkaSettings,
    SalesforceSettings,
    Settings,
    WhatsAppSettings,
)
from connector.streams.codec import decode
from connector.streams.topic_admin import PresentTopic
from connector.topics import ALL_TOPICS, WHATSAPP_UPDATES

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
KAFKA = KafkaSettings(topic_prefix="t.")
TOPICS = {
    topic.full_name("t."): PresentTopic(
        name=topic.full_name("t."), partitions=12, replicas=3, in_sync_needed=2, configs=dict(topic.configs)
    )
    for topic in ALL_TOPICS
}
CLUSTER = Cluster(brokers=3, fetch_version=17, topics=TOPICS)
NUMBER = NumberReading(
    phone_number_id="106",
    waba_id="102",
    display_phone="+1 555",
    verified_name="n",
    quality="GREEN",
    status="CONNECTED",
    throughput="",
    coexistence=False,
    limit_tier="TIER_2K",
    read_at=NOW,
)


def levels(findings: Iterable[Finding]) -> dict[str, Level]:
    """What → level; each line that is not fine says what mends it."""
    found = list(findings)
    for item in found:
        assert bool(item.mend) == (item.level in (Level.WARN, Level.FAIL))
    return {item.what: item.level for item in found}


def test_the_exit_code_is_that_of_the_worst() -> None:
    """0 also with what was not asked, 1 with a warning, 2 with a failure, whatever the order."""
    fine, skipped = ok("a", "b", "c"), not_asked("a", "b", "c")
    look, bad = warn("a", "b", "c", mend="d"), fail("a", "b", "c", mend="d")
    assert [exit_code(worst(case)) for case in ([], [fine, skipped], [look, fine], [bad, look, fine])] == [
        0,
        0,
        1,
        2,
    ]


def test_a_cluster_as_it_should_be_has_nothing_to_mend() -> None:
    """Three brokers, three replicas, two in sync, every topic as declared."""
    assert set(levels(judged_cluster(CLUSTER, KAFKA)).values()) == {Level.OK}


def changed_topic(**changes: Any) -> Cluster:
    name = WHATSAPP_UPDATES.full_name("t.")
    return replace(CLUSTER, topics={**TOPICS, name: replace(TOPICS[name], **changes)})


@pytest.mark.parametrize(
    ("cluster", "what", "level"),
    [
        pytest.param(replace(CLUSTER, fetch_version=11), "version", Level.FAIL, id="old-brokers"),
        pytest.param(replace(CLUSTER, topics={}), "topics", Level.FAIL, id="no-topics"),
        pytest.param(replace(CLUSTER, brokers=1), "replication", Level.WARN, id="one-broker"),
        pytest.param(changed_topic(replicas=2), "replication", Level.WARN, id="two-replicas"),
        pytest.param(changed_topic(in_sync_needed=1), "replication", Level.WARN, id="one-in-sync"),
        pytest.param(changed_topic(in_sync_needed=3), "replication", Level.WARN, id="a-restart-stops-writes"),
        pytest.param(changed_topic(in_sync_needed=4), "replication", Level.FAIL, id="unwritable"),
        pytest.param(
            changed_topic(configs={**WHATSAPP_UPDATES.configs, "retention.ms": "1000"}),
            "t.whatsapp.updates",
            Level.WARN,
            id="short-retention",
        ),
    ],
)
def test_a_broker_s_faults_are_told(cluster: Cluster, what: str, level: Level) -> None:
    """Age, missing topics, copies, what stops writes, and settings that differ from the declaration."""
    assert levels(judged_cluster(cluster, KAFKA))[what] is level


@pytest.mark.parametrize(
    ("away", "took", "level"),
    [
        pytest.param(0, 0, Level.OK, id="exact"),
        pytest.param(4, 0, Level.OK, id="seconds"),
        pytest.param(-30, 0, Level.WARN, id="half-a-minute-behind"),
        pytest.param(120, 0, Level.FAIL, id="minutes-ahead"),
        pytest.param(8, 20, Level.OK, id="a-slow-answer-proves-nothing"),
    ],
)
def test_a_clock_is_judged_by_what_can_be_known(away: float, took: float, level: Level) -> None:
    """The time that the question took is not held against the clock."""
    middle = NOW + timedelta(seconds=took / 2)
    found = judged_clock(
        "HubSpot", middle - timedelta(seconds=away), sent=NOW, received=NOW + timedelta(seconds=took)
    )
    assert found.level is level
    if level is not Level.OK:
        assert ("ahead of" in found.says) == (away > 0)


def test_a_peer_that_tells_no_time_proves_nothing() -> None:
    """No header, or one that is no date, is not asked."""
    assert http_date("Sun, 01 Mar 2026 12:00:00 GMT") == NOW
    assert judged_clock("x", http_date("soon"), sent=NOW, received=NOW).level is Level.NOT_ASKED


@pytest.mark.parametrize(
    ("applied", "level"),
    [(None, Level.FAIL), ("0004", Level.FAIL), ("0012", Level.OK), ("0013", Level.WARN)],
    ids=["none", "older", "same", "newer"],
)
def test_migrations_are_compared(applied: str | None, level: Level) -> None:
    """Missing and older tables are to be migrated; newer ones are another release's."""
    assert judged_migrations(applied, "0012").level is level


def test_a_postgresql_that_is_too_old_fails() -> None:
    """15 is the oldest."""
    assert [judged_version(number).level for number in (140_012, 150_004, 180_000)] == [
        Level.FAIL,
        Level.OK,
        Level.OK,
    ]


def test_templates_are_judged_by_their_age() -> None:
    """Never read is a warning, read too long ago holds sends up."""
    settings = Settings(whatsapp=WhatsAppSettings(business_account_ids=["1"]))
    stale = settings.outbound.templates_stale_after

    def judged(age: float | None) -> Level:
        asked_at = None if age is None else NOW - timedelta(seconds=age)
        reading = AccountReading(waba_id="1", asked_at=asked_at, templates=3, problem="no access")
        return levels(judged_readings([reading], settings, now=NOW))["templates"]

    assert [judged(None), judged(stale - 1), judged(stale + 1)] == [Level.WARN, Level.OK, Level.FAIL]
    assert levels(judged_readings([], settings, now=NOW)) == {"templates": Level.WARN}
    assert levels(judged_readings([], Settings(), now=NOW)) == {"templates": Level.NOT_ASKED}


SCOPES = ["whatsapp_business_management", "whatsapp_business_messaging"]


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        pytest.param(
            {"data": {"is_valid": True, "scopes": SCOPES, "expires_at": 0}},
            (Level.OK, Level.OK),
            id="lasting",
        ),
        pytest.param(
            {"data": {"is_valid": True, "scopes": SCOPES[:1]}}, (Level.OK, Level.FAIL), id="no-messaging"
        ),
        pytest.param({"data": {"is_valid": False}}, (Level.FAIL, None), id="not-valid"),
        pytest.param({"error": {"code": 190, "message": "expired"}}, (Level.FAIL, None), id="refused"),
        pytest.param(
            {"error": {"code": 100, "message": "needs an app token"}}, (Level.NOT_ASKED, None), id="not-told"
        ),
        pytest.param({}, (Level.NOT_ASKED, None), id="nothing"),
    ],
)
def test_a_token_is_judged_by_what_meta_tells(document: Any, expected: tuple[Level, Level | None]) -> None:
    """Validity and end, then permissions; what Meta does not tell is no fault."""
    found = levels(judged_token(document, now=NOW))
    assert (found["access token"], found.get("permissions")) == expected


@pytest.mark.parametrize(("days", "level"), [(-1, Level.FAIL), (3, Level.WARN), (60, Level.OK)])
def test_a_token_that_ends_is_told_in_time(days: int, level: Level) -> None:
    """From two weeks before its end on."""
    end = int((NOW + timedelta(days=days)).timestamp())
    document = {"data": {"is_valid": True, "scopes": SCOPES, "expires_at": end}}
    assert levels(judged_token(document, now=NOW))["access token"] is level


def test_an_account_without_a_subscribed_app_gets_no_webhooks() -> None:
    """None is a failure, an account that is not shown to us too."""
    app = {"whatsapp_business_api_data": {"name": "Shop"}}
    cases: tuple[dict[str, Any], ...] = ({"data": [app]}, {"data": []}, {"error": {"message": "no access"}})
    assert [judged_subscription(case, "102").level for case in cases] == [Level.OK, Level.FAIL, Level.FAIL]


@pytest.mark.parametrize(
    ("status", "quality", "level"),
    [
        ("CONNECTED", "GREEN", Level.OK),
        ("CONNECTED", "RED", Level.WARN),
        ("FLAGGED", "YELLOW", Level.WARN),
        ("BANNED", "GREEN", Level.FAIL),
    ],
)
def test_a_number_is_judged_by_state_and_quality(status: str, quality: str, level: Level) -> None:
    """Banned and disconnected numbers send nothing; low quality is a warning before that."""
    assert judged_number(replace(NUMBER, status=status, quality=quality)).level is level


def test_missing_settings_of_meta_are_named() -> None:
    """Without secrets nothing comes in, without a token nothing goes out."""
    empty = levels(judged_settings(WhatsAppSettings()))
    assert empty == {"app secret": Level.FAIL, "verify token": Level.FAIL, "access token": Level.WARN}
    full = WhatsAppSettings(
        app_secrets=[SecretStr("s")],
        verify_token=SecretStr("v"),
        access_token=SecretStr("a"),
        business_account_ids=["102"],
    )
    assert set(levels(judged_settings(full)).values()) == {Level.OK}


def test_a_hubspot_token_is_judged_by_its_scopes() -> None:
    """What is missing fails, automation is for workflows only, and a key that is not told about is no fault."""
    needed = [
        "crm.objects.contacts.read",
        "crm.objects.contacts.write",
        "crm.schemas.contacts.read",
        "crm.schemas.contacts.write",
    ]
    cases: tuple[list[str], ...] = ([*needed, "automation"], needed, needed[1:], [])
    assert [judged_scopes({"scopes": case}).level for case in cases] == [
        Level.OK,
        Level.WARN,
        Level.FAIL,
        Level.NOT_ASKED,
    ]


def test_what_the_crms_calls_to_us_need_is_a_warning() -> None:
    """Who has no workflows needs neither."""
    assert levels(judged_hubspot_settings(Settings()))["callbacks"] is Level.WARN
    hubspot = HubSpotSettings(client_secret=SecretStr("c"))
    whole = Settings(hubspot=hubspot, ingress=IngressSettings(public_url="https://c.example"))
    assert levels(judged_hubspot_settings(whole))["callbacks"] is Level.OK
    assert levels(judged_salesforce_settings(SalesforceSettings()))["outbound messages"] is Level.WARN


def test_a_day_s_calls_are_told_before_they_are_gone() -> None:
    """From a tenth left on a warning, then a failure; what nobody was told yet is not asked."""
    quota = AccountQuota(
        crm="hubspot",
        account="a",
        day_calls=1_000,
        day_left=500,
        look_again_at=None,
        refused_until=None,
        at_once=None,
        open_calls=0,
        buckets=[],
    )
    left = [judged_quota(replace(quota, day_left=number)).level for number in (500, 99, 0)]
    assert left == [Level.OK, Level.WARN, Level.FAIL]
    assert judged_quota(replace(quota, day_calls=None)).level is Level.NOT_ASKED


def test_this_installation_is_the_one_that_the_stages_are_written_for() -> None:
    """Faust in its version, with its compiled parts."""
    assert levels(examine_installation()) == {"python": Level.OK, "faust": Level.OK}


def test_the_test_webhook_changes_nothing() -> None:
    """It becomes one account event in a field that nobody reads."""
    (record,) = take_in(harmless_post("n-1"), received_at=NOW).records
    assert record.topic is WHATSAPP_UPDATES
    update = decode(WHATSAPP_UPDATES, record.value)
    event = read_update(update, Origin(topic="t", partition=0, offset=0, received_at=NOW))
    assert isinstance(event, AccountEvent)
    assert (event.field, webhook_change(event)) == (FIELD, None)


class Ingress(httpx.AsyncBaseTransport):
    """Answers as told: to the verification, then to the post."""

    def __init__(self, verification: httpx.Response | None, post: int) -> None:
        self._verification = verification
        self._post = post

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            return httpx.Response(self._post, text="refused")
        if self._verification is None:
            raise httpx.ConnectError("refused")
        return self._verification


@pytest.mark.parametrize(
    ("verification", "post", "what"),
    [
        pytest.param(None, 200, "reachable", id="nobody-listens"),
        pytest.param(httpx.Response(403), 403, "verification", id="another-verify-token"),
        pytest.param(httpx.Response(200, text="<html>"), 200, "verification", id="another-site"),
        pytest.param(httpx.Response(200, text="n-1"), 403, "signed post", id="another-secret"),
        pytest.param(httpx.Response(200, text="n-1"), 503, "signed post", id="no-broker"),
    ],
)
async def test_a_webhook_that_does_not_arrive_is_told_where_it_ends(
    verification: httpx.Response | None, post: int, what: str
) -> None:
    """Reachability, the challenge, the signature: the first that fails names what to correct."""
    settings = Settings(
        ingress=IngressSettings(public_url="https://c.example"),
        whatsapp=WhatsAppSettings(app_secrets=[SecretStr("s")], verify_token=SecretStr("v")),
        kafka=KafkaSettings(bootstrap_servers="127.0.0.1:1"),
    )
    found = await examine_webhook(
        settings, nonce="n-1", post=what == "signed post", transport=Ingress(verification, post)
    )
    assert levels(found)[what] is Level.FAIL


def test_a_url_that_meta_does_not_take_is_told() -> None:
    """None and plain http are for this machine only."""
    cases = ("", "http://c.example", "https://c.example")
    assert [judged_url(case).level for case in cases] == [Level.WARN, Level.WARN, Level.OK]
