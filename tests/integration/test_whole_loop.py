"""The commands as a person runs them, on a whole deployment of their own, whose Kafka has TLS, SCRAM and ACLs."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Mapping
from random import Random
from typing import Any

import httpx
import pytest
from aiokafka import TopicPartition

from connector.embedded.deployment import (
    SANDBOX_APP_SECRET,
    SANDBOX_VERIFY_TOKEN,
    LocalDeployment,
    SandboxOptions,
)
from connector.errors import Terminal, Transient
from connector.sandbox.whatsapp import payloads
from connector.sandbox.whatsapp.payloads import BusinessNumber, Person
from connector.sandbox.whatsapp.sender import WebhookSender
from connector.settings import KafkaSettings
from connector.streams.codec import EncodedRecord
from connector.streams.lag import group_lags
from connector.streams.log_view import log_reader
from connector.streams.producer import DurableProducer
from connector.topics import CONVERSATION_EVENTS, CRM_TRIGGERS, WHATSAPP_UPDATES, Topic

pytestmark = pytest.mark.xdist_group("whole loop")  # one deployment serves them all

ANA = Person(name="Ana", wa_id="15551230001", bsuid="US.1180000000000001")
NUMBER = BusinessNumber()


@pytest.fixture(scope="module")
async def deployment(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LocalDeployment]:
    """Ingress, route and sync-hubspot, beside a simulated HubSpot."""
    started = LocalDeployment(
        tmp_path_factory.mktemp("whole loop"),
        roles=["ingress", "route", "sync-hubspot"],
        sandbox=SandboxOptions(hubspot={}),
        secure_kafka=True,
    )
    async with started:
        yield started


async def _connector(*words: str, env: Mapping[str, str]) -> tuple[int, str, str]:
    """Run the command as a process: (exit code, standard output, standard error)."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "connector",
        *words,
        env=dict(env),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def _trace(*words: str, env: Mapping[str, str], until: str) -> dict[str, Any]:
    """`connector trace --json`, again until a sink's stage is `until`."""
    async with asyncio.timeout(60):
        while True:
            code, out, _ = await _connector("trace", *words, "--json", env=env)
            if code == 0:
                found: dict[str, Any] = json.loads(out)
                sinks = found["sinks"] if "sinks" in found else found["records"]
                if [sink["stage"] for sink in sinks] == [until]:
                    return found


async def test_a_message_can_be_traced_from_the_webhook_to_the_crm_record(
    deployment: LocalDeployment,
) -> None:
    """`connector trace` shows where a message was received, whose it is, and its record in the CRM."""
    update = payloads.text(
        ANA,
        NUMBER,
        message_id=payloads.wamid("15551230001", Random(1)),
        at=1_790_000_000,
        body="Where is my order?",
    )
    async with WebhookSender(
        url=f"{deployment.ingress_url}/webhooks/whatsapp", app_secret=SANDBOX_APP_SECRET
    ) as sender:
        assert await sender.post([update]) == 200
    found = await _trace(str(update.wamid), env=deployment.env, until="written to hubspot")
    assert found["received"]["topic"] == "whatsapp.updates"
    assert found["sinks"][0]["text"] == "Where is my order?"
    async with httpx.AsyncClient(base_url=deployment.hubspot_url) as crm:
        state = (await crm.get("/_sandbox/hubspot/state")).json()
    assert found["sinks"][0]["record_id"] in {record["id"] for record in state["communications"]}
    for name in ("+1 (555) 123-0001", "US.1180000000000001", found["contact_id"]):
        person = await _trace("--contact", name, env=deployment.env, until="written to hubspot")
        assert person["contact_id"] == found["contact_id"]
        assert [message["wamid"] for message in person["messages"]] == [update.wamid]


async def test_an_unknown_message_is_an_error_that_says_what_to_do(deployment: LocalDeployment) -> None:
    """A wamid that no stage has seen: exit code 1, and where to look next."""
    code, _, err = await _connector("trace", "wamid.nowhere", env=deployment.env)
    assert code == 1
    assert "no stage has seen wamid.nowhere" in err
    assert "next" in err


async def test_a_deployment_that_works_is_found_to_work(deployment: LocalDeployment) -> None:
    """The doctor's own webhook is seen on the topic; what is only for development is a warning, nothing fails."""
    env = {**deployment.env, "CONNECTOR_INGRESS__PUBLIC_URL": deployment.ingress_url}
    code, out, err = await _connector("doctor", "--json", env=env)
    found = json.loads(out)
    levels = {(item["area"], item["what"]): item["level"] for item in found["findings"]}
    assert code == 1, (found, err)
    for line in (("webhook", "verification"), ("webhook", "signed post"), ("webhook", "seen on the topic")):
        assert levels[line] == "ok"
    for line in (
        ("database", "migrations"),
        ("kafka", "topics"),
        ("hubspot", "scopes"),
        ("whatsapp", "permissions"),
    ):
        assert levels[line] == "ok"
    assert levels["kafka", "replication"] == levels["webhook", "public url"] == "warn"


async def test_the_webhook_is_verified_with_the_token(deployment: LocalDeployment) -> None:
    """Meta's GET is answered with the challenge as plain text, and refused with another token."""
    async with httpx.AsyncClient(base_url=deployment.ingress_url) as meta:
        query = {
            "hub.mode": "subscribe",
            "hub.challenge": "1158201444",
            "hub.verify_token": SANDBOX_VERIFY_TOKEN,
        }
        right = await meta.get("/webhooks/whatsapp", params=query)
        wrong = await meta.get("/webhooks/whatsapp", params=query | {"hub.verify_token": "guess"})
    assert (right.status_code, right.text) == (200, "1158201444")
    assert right.headers["content-type"].startswith("text/plain")
    assert wrong.status_code == 403


@pytest.mark.parametrize(
    "words",
    [("topics", "create"), ("setup", "hubspot"), ("state", "migrate"), ("topics", "list")],
    ids=" ".join,
)
async def test_a_setup_command_can_be_repeated(deployment: LocalDeployment, words: tuple[str, ...]) -> None:
    """Everything exists already: the command says so and ends with 0."""
    code, out, err = await _connector(*words, env=deployment.env)
    assert (code, err) == (0, "")
    assert out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"CONNECTOR_WHATSAPP__APP_SECRETS": "not json"}, "CONNECTOR_WHATSAPP__APP_SECRETS"),
        ({"CONNECTOR_HUBSPOT__BASE_URL": "https://api.example.com/path"}, "CONNECTOR_HUBSPOT__BASE_URL"),
        ({"CONNECTOR_HUBSPOT__ACCESS_TOKEN": ""}, "CONNECTOR_HUBSPOT__ACCESS_TOKEN"),
    ],
    ids=["not-json", "path-in-base-url", "no-token"],
)
async def test_a_wrong_setting_is_named(
    deployment: LocalDeployment, change: dict[str, str], message: str
) -> None:
    """A wrong setting ends the command with its variable's name and what to do, without a traceback."""
    code, _, err = await _connector("setup", "hubspot", env={**deployment.env, **change})
    assert code == 1
    assert message in err
    assert "Traceback" not in err


def _as_user(deployment: LocalDeployment, user: str) -> KafkaSettings:
    security = deployment.stack.kafka.security
    assert security is not None
    return security.settings(deployment.stack.bootstrap_servers, user=user)


@pytest.mark.parametrize(
    ("user", "topic"),
    [
        pytest.param("ingress", CONVERSATION_EVENTS, id="ingress-makes-events"),
        pytest.param("sync-hubspot", WHATSAPP_UPDATES, id="sink-makes-webhooks"),
        pytest.param("media", CRM_TRIGGERS, id="media-asks-for-sends"),
        pytest.param("route", CRM_TRIGGERS, id="route-asks-for-sends"),
    ],
)
async def test_a_role_that_writes_what_it_may_not_is_refused(
    deployment: LocalDeployment, user: str, topic: Topic
) -> None:
    """By the broker, whatever the process became: nothing is on the topic."""
    producer = DurableProducer(_as_user(deployment, user), client="taken-over")
    record = EncodedRecord(topic=topic, key=b"k", value=b"{}", headers=())
    try:
        with pytest.raises(Terminal, match="refuses us"):
            await producer.send_all([record], timeout=10)
    finally:
        await producer.stop()


async def test_a_role_that_reads_what_it_may_not_is_refused(deployment: LocalDeployment) -> None:
    """The ingress, which the internet sees, cannot read back what it wrote, nor see how far anybody is."""
    kafka = _as_user(deployment, "ingress")
    place = TopicPartition(WHATSAPP_UPDATES.name, 0)
    with pytest.raises(Transient, match="does not let the user ingress"):  # noqa: PT012 - the reader tells why
        async with asyncio.timeout(60), log_reader(kafka, group=None, client="taken-over") as consumer:
            consumer.assign([place])
            consumer.seek(place, 0)
            await consumer.getone()  # refused also while nothing is there
    with pytest.raises(Transient, match="does not let the user ingress"):
        await group_lags(kafka, [("route", WHATSAPP_UPDATES)])


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        pytest.param({"password": "wrong"}, "refuses our login by SCRAM-SHA-512", id="password"),
        pytest.param({"sasl_mechanism": "PLAIN"}, "does not know PLAIN", id="mechanism"),
        pytest.param({"ca_file": None}, "is not trusted", id="authority"),
        pytest.param(
            {
                "security_protocol": "PLAINTEXT",
                "sasl_mechanism": "",
                "username": "",
                "password": "",
                "ca_file": None,
            },
            "hangs up",
            id="plain",
        ),
    ],
)
async def test_who_cannot_connect_is_told_why(
    deployment: LocalDeployment, changed: dict[str, Any], said: str
) -> None:
    """The broker's reason and the setting to look at, not that it "does not answer"."""
    kafka = KafkaSettings.model_validate(_as_user(deployment, "operator").model_dump() | changed)
    with pytest.raises(Transient, match=said) as refused:
        await DurableProducer(kafka, client="test").start()
    assert "CONNECTOR_KAFKA__" in refused.value.advice
