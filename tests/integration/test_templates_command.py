"""`connector templates` on a real PostgreSQL that holds the simulated account's templates."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from listed_templates import list_templates
from operator_shell import Operator

from connector.outbound.store.account_syncs import note_failure, note_read
from connector.sandbox import HubSpotConfig, SandboxServer
from connector.sandbox.hubspot.records import PERSON
from connector.sandbox.whatsapp.templates import standard_templates
from connector.state.database import connect

ACCOUNT = "102290129340398"


@pytest.fixture
def operator(monkeypatch: pytest.MonkeyPatch, database_url: str) -> Operator:
    return Operator(monkeypatch, database__url=database_url, whatsapp__business_account_ids=f'["{ACCOUNT}"]')


@pytest.fixture
async def tables(database_url: str) -> AsyncIterator[Any]:
    connection = await connect(database_url)
    yield connection
    await connection.close()


@pytest.fixture
async def listed(tables: Any) -> datetime:
    at = datetime.now(UTC) - timedelta(hours=1)
    await list_templates(tables, account=ACCOUNT, at=at)
    return at


async def test_the_list_says_what_may_be_sent_and_what_it_takes(operator: Operator, listed: datetime) -> None:
    """A row a language with Meta's status and category, and the parameters that a send has to bring."""
    shown = await operator.json("templates", "list")
    assert [(item["account"], item["templates"]) for item in shown["accounts"]] == [
        (ACCOUNT, len(standard_templates()))
    ]
    assert datetime.fromisoformat(shown["accounts"][0]["read_at"]) == listed
    status = {(item["name"], item["language"]): item["status"] for item in shown["templates"]}
    assert status["order_shipped", "pt_BR"] == "APPROVED"
    assert status["paused_offer", "en_US"] == "PAUSED"
    approved = await operator.json("templates", "list", "--approved")
    assert {item["name"] for item in shown["templates"]} - {
        item["name"] for item in approved["templates"]
    } == {"paused_offer", "new_offer", "refused_offer", "worn_out"}
    _, out, _ = await operator.run("templates", "list")
    (row,) = (line for line in out.splitlines() if line.startswith("track_parcel"))
    assert "button.0" in row


@pytest.mark.usefixtures("listed")
async def test_a_template_is_shown_as_people_read_it(operator: Operator) -> None:
    """Its text with the placeholders, and each parameter's kind; one language when one is asked for."""
    (arabic,) = await operator.json("templates", "show", "order_shipped", "--language", "ar")
    assert arabic["text"] == "مرحبا {{1}}، طلبك {{2}} في الطريق إليك."
    (sale,) = await operator.json("templates", "show", "spring_sale")
    assert [(slot["name"], slot["kind"], slot["required"]) for slot in sale["slots"]] == [
        ("header", "image", True),
        ("1", "text", True),
        ("2", "text", True),
        ("button.0", "payload", False),
    ]
    code, _, err = await operator.run("templates", "show", "order_shiped")
    assert (code, "is it order_shipped?" in err) == (1, True)


@pytest.mark.usefixtures("listed")
async def test_a_preview_is_the_message_or_everything_that_is_wrong(operator: Operator) -> None:
    """Values fill the text; what is missing, unknown or unfit is all said at once, and the exit code tells."""
    found = await operator.json(
        *("templates", "preview", "spring_sale", "-p", "1=Ana", "-p", "2=20 %"),
        *("-p", 'header={"link": "https://shop.example/sale.png"}'),
    )
    assert found["problems"] == []
    assert found["text"].splitlines()[:2] == [
        "[Image: https://shop.example/sale.png]",
        "Hi Ana, everything is 20 % off until Sunday.",
    ]
    code, out, _ = await operator.run("templates", "preview", "spring_sale", "-p", "2=", "-p", "colour=red")
    assert code == 1
    for said in ("header is missing", "parameter 1 is missing", "parameter 2", "no parameter colour"):
        assert said in out


@pytest.mark.usefixtures("listed")
async def test_the_language_of_a_preview_is_chosen_as_a_send_chooses_it(
    operator: Operator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Without one the fall-backs of the personalisation file count; without those none is guessed."""
    arguments = ("templates", "preview", "order_shipped", "-p", "1=Ana", "-p", "2=7")
    code, _, err = await operator.run(*arguments)
    assert (code, "it is in ar, en_US, pt_BR" in err) == (1, True)
    rules = tmp_path / "personalisation.yaml"
    rules.write_text("version: 1\nlanguages: {fallbacks: [pt]}\n", encoding="utf-8")
    monkeypatch.setenv("CONNECTOR_OUTBOUND__PERSONALISATION", str(rules))
    assert (await operator.json(*arguments))["language"] == "pt_BR"


@pytest.mark.usefixtures("listed")
async def test_a_preview_of_a_person_is_filled_in_from_their_record(
    operator: Operator, tables: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What HubSpot says now; when it does not answer, what it said before, and that it is old."""
    rules = tmp_path / "personalisation.yaml"
    rules.write_text(
        "version: 1\nlanguages: {hubspot: hs_language}\n"
        'templates: {order_shipped: {"1": {hubspot: firstname}, "2": {hubspot: last_order, otherwise: "?"}}}\n',
        encoding="utf-8",
    )
    monkeypatch.setenv("CONNECTOR_OUTBOUND__PERSONALISATION", str(rules))
    async with SandboxServer(hubspot=HubSpotConfig(burst_limit=None)) as server:
        record = server.hubspot.portal.contacts.create({"firstname": "Bia", "hs_language": "pt-br"}, PERSON)
        monkeypatch.setenv("CONNECTOR_HUBSPOT__ENABLED", "true")
        monkeypatch.setenv("CONNECTOR_HUBSPOT__BASE_URL", server.hubspot_url)
        monkeypatch.setenv("CONNECTOR_HUBSPOT__ACCESS_TOKEN", "pat-na1-sandbox")
        await tables.execute(
            "INSERT INTO outbound.crm_records (crm, record_id, properties, read_at) VALUES ('hubspot', $1, $2, $3)",
            record.id,
            {"firstname": "Beatriz", "hs_language": "en", "last_order": "#3"},
            datetime(2026, 3, 1, tzinfo=UTC),
        )
        ask = ("templates", "preview", "order_shipped", "--person", f"hubspot:{record.id}")
        shown = await operator.json(*ask)
        assert shown["language"] == "pt_BR"
        assert {item["name"]: (item["value"], item["from"]) for item in shown["parameters"]} == {
            "1": ("Bia", "hubspot.firstname"),
            "2": ("?", "fall-back"),
        }
    code, out, err = await operator.run(*ask)
    assert (code, "Hi Beatriz, your order #3" in out) == (0, True), (out, err)
    assert "2026-03-01 00:00 UTC" in err


async def test_a_sync_is_asked_of_the_role_and_waited_for(operator: Operator, tables: Any) -> None:
    """The account is marked as wanted; its reading ends the wait, its failure is said, and so is a role that is away."""
    code, _, err = await operator.run("templates", "sync", "--timeout", "0")
    assert (code, "does the outbound role run?" in err) == (1, True)
    row = await tables.fetchrow("SELECT * FROM outbound.account_syncs")
    assert (row["waba_id"], row["asked_at"], row["wanted_at"] is not None) == (ACCOUNT, None, True)

    asking = asyncio.create_task(operator.json("templates", "sync"))
    async with asyncio.timeout(20):
        while not asking.done():
            wanted = await tables.fetchval("SELECT wanted_at FROM outbound.account_syncs")
            if wanted > row["wanted_at"]:
                await note_read(tables, ACCOUNT, asked_at=datetime.now(UTC), templates=15)
            await asyncio.sleep(0.02)
    assert asking.result()["accounts"][0]["templates"] == 15

    refused = asyncio.create_task(operator.run("templates", "sync"))
    async with asyncio.timeout(20):
        while not refused.done():
            await note_failure(tables, ACCOUNT, problem="the token has expired", wait=1.0)
            await asyncio.sleep(0.02)
    code, out, err = refused.result()
    assert (code, "the last try failed: the token has expired" in out, "mend what is said" in err) == (
        1,
        True,
        True,
    )
