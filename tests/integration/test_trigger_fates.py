"""GET /triggers/{id} on a real PostgreSQL: what a caller reads about its own request."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from connector.ingress.app import create_app
from connector.ingress.inflight import InflightBytes
from connector.ingress.trigger_fates import open_fates
from connector.outbound.decisions import PASS, Block, Hold
from connector.outbound.gate import Line, Verdict
from connector.settings import Settings
from connector.state.database import connect
from connector.telemetry.health import StageHealth

NOW = datetime(2026, 3, 1, 9, 0, tzinfo=UTC)
SHOP, MAILER = "the-secret-of-the-shop", "the-secret-of-the-mailer"
CLIENTS = [{"name": "shop", "secret": SHOP}, {"name": "mailer", "secret": MAILER}]


class NoPublisher:
    """These tests post nothing."""

    inflight = InflightBytes(1)

    async def publish(self, records: object, *, timeout: float) -> None:
        raise AssertionError(records, timeout)


def settings_for(database_url: str) -> Settings:
    return Settings.model_validate({"database": {"url": database_url}, "triggers": {"clients": CLIENTS}})


@asynccontextmanager
async def client_for(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    fates = await open_fates(settings)
    assert fates is not None
    app = create_app(settings, NoPublisher(), StageHealth("ingress"), fates=fates)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://ingress") as client:
        yield client
    await fates.close()


@pytest.fixture
async def client(database_url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with client_for(settings_for(database_url)) as client:
        yield client


@pytest.fixture
async def tables(database_url: str) -> AsyncIterator[Any]:
    """A connection of the outbound role's, with one trigger of the shop's and one of a workflow's."""
    connection = await connect(database_url)
    await connection.executemany(
        "INSERT INTO outbound.triggers (trigger_id, request_hash, source, client, template, recipients, received_at) "
        "VALUES ($1, 'h', $2, $3, 'order_update', 11, $4)",
        [("trg_a", "api", "shop", NOW), ("trg_w", "hubspot_workflow", "shop", NOW)],
    )
    yield connection
    await connection.close()


async def add_send(tables: Any, place: int, state: str, **values: Any) -> None:
    columns = {
        "send_id": f"trg_a.{place}",
        "trigger_id": "trg_a",
        "state": state,
        "recipient": {"phone": f"+155512300{place:02}", "bsuid": ""},
        "created_at": NOW,
        **values,
    }
    marks = ", ".join(f"${number}" for number in range(1, len(columns) + 1))
    await tables.execute(
        f"INSERT INTO outbound.sends ({', '.join(columns)}) VALUES ({marks})", *columns.values()
    )


async def read(client: httpx.AsyncClient, trigger_id: str = "trg_a", *, secret: str = SHOP) -> httpx.Response:
    return await client.get(f"/triggers/{trigger_id}", headers={"Authorization": f"Bearer {secret}"})


def verdict(decision: Block | Hold) -> dict[str, Any]:
    lines = (Line(policy="expiry", decision=PASS), Line(policy="consent", decision=decision))
    return Verdict(send_id="x", at=NOW, lines=lines).to_json()


async def test_every_recipient_is_told_with_its_state_and_reason(
    client: httpx.AsyncClient, tables: Any
) -> None:
    """In the order of the request: sent with its message, blocked and held as the gate said, failed as WhatsApp did."""
    later = NOW + timedelta(hours=2)
    blocked = verdict(Block(reason="The person opted out of marketing", advice="ask them"))
    held = verdict(Hold(until=later, reason="It is night there"))
    refused = {"code": 131026, "cause": "undeliverable", "reason": "Message undeliverable"}
    await add_send(tables, 10, "failed", problem=refused, settled_at=NOW)
    await add_send(tables, 2, "held", verdict=held, not_before=later)
    await add_send(tables, 1, "blocked", verdict=blocked)
    await add_send(
        tables, 0, "delivered", wamid="wamid.1", category="utility", rendered="Hi", reference="order 7"
    )

    answer = await read(client)

    assert answer.status_code == 200
    said = answer.json()
    assert (said["trigger_id"], said["template"], said["rejected"]) == ("trg_a", "order_update", [])
    delivered, no, later_on, failed = said["recipients"]
    assert delivered == {
        "send_id": "trg_a.0",
        "status": "delivered",
        "to": {"phone": "+15551230000"},
        "reference": "order 7",
        "message_id": "wamid.1",
        "category": "utility",
        "text": "Hi",
    }
    assert (no["status"], no["cause"]) == ("blocked", "consent")
    assert "The person opted out of marketing" in no["reason"]
    assert (later_on["status"], later_on["not_before"]) == ("held", later.isoformat())
    assert "It is night there" in later_on["reason"]
    assert (failed["status"], failed["code"], failed["reason"]) == ("failed", 131026, "Message undeliverable")


async def test_a_key_that_was_used_again_is_told(client: httpx.AsyncClient, tables: Any) -> None:
    """What became of the first, and that the second was rejected."""
    await add_send(tables, 0, "queued")
    await tables.execute(
        "INSERT INTO outbound.rejections (event_id, trigger_id, request_hash, at, reason) "
        "VALUES ('e', 'trg_a', 'other', $1, 'The key was used before for another request.')",
        NOW,
    )

    said = (await read(client)).json()

    assert [item["status"] for item in said["recipients"]] == ["queued"]
    assert said["rejected"] == [
        {"at": NOW.isoformat(), "reason": "The key was used before for another request."}
    ]


@pytest.mark.parametrize(
    ("trigger_id", "secret"),
    [
        pytest.param("trg_a", MAILER, id="another client's"),
        pytest.param("trg_w", SHOP, id="a workflow's of the same name"),
        pytest.param("trg_b", SHOP, id="nobody's"),
    ],
)
async def test_what_is_not_the_callers_is_unknown(
    client: httpx.AsyncClient, tables: Any, trigger_id: str, secret: str
) -> None:
    """A caller learns nothing about others', not even that they are there."""
    await add_send(tables, 0, "queued")

    assert (await read(client, trigger_id, secret=secret)).status_code == 404


async def test_a_database_that_is_away_is_503(database_url: str) -> None:
    """And the answer says nothing of where it is."""
    elsewhere = database_url.rsplit("/", 1)[0] + "/no_such_database"
    async with client_for(settings_for(elsewhere)) as client:
        answer = await read(client)

    assert answer.status_code == 503
    assert answer.headers["Retry-After"]
    assert "no_such_database" not in answer.text
