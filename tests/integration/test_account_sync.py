"""Templates and numbers read whole from Graph: page by page, folded with webhooks, and what is gone is noticed."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from outbound_world import OutboundWorld, notice, outbound_world
from pydantic import SecretStr

from connector.errors import Transient
from connector.outbound.account_graph import AccountGraph
from connector.outbound.account_sync import AccountSync, sync_account
from connector.outbound.store.account_syncs import want_sync
from connector.outbound.store.numbers import NumberReading
from connector.outbound.store.templates import load_templates
from connector.outbound.templates.template import TemplateChange
from connector.sandbox import SandboxServer
from connector.sandbox.whatsapp import Number, WhatsAppConfig
from connector.sandbox.whatsapp.config import ACCESS_TOKEN, API_VERSION
from connector.sandbox.whatsapp.templates import Template
from connector.settings import WhatsAppSettings
from connector.state.database import transaction
from connector.telemetry.health import StageHealth

WABA = Number().waba_id


def _template(number: int, **fields: Any) -> Template:
    values: dict[str, Any] = {
        "id": str(10_000 + number),
        "name": f"template_{number:03}",
        "components": ({"type": "BODY", "text": "Hello {{1}}"},),
    } | fields
    return Template(**values)


@dataclass
class Graph:
    """A simulated account and a client of it."""

    server: SandboxServer
    client: AccountGraph


@asynccontextmanager
async def _graph(*, token: str = ACCESS_TOKEN, **config: Any) -> AsyncIterator[Graph]:
    async with SandboxServer(whatsapp=WhatsAppConfig(**config)) as server:
        client = AccountGraph(
            WhatsAppSettings(
                base_url=server.whatsapp_url, api_version=API_VERSION, access_token=SecretStr(token)
            )
        )
        try:
            yield Graph(server=server, client=client)
        finally:
            await client.close()


def _sync(world: OutboundWorld, graph: Any, health: StageHealth | None = None) -> AccountSync:
    return AccountSync(
        world.pool,
        graph,
        accounts=[WABA],
        every=1_800.0,
        health=health or StageHealth("outbound-templates"),
        on_read=lambda: world.called.append("read"),
        random=lambda: 0.0,
    )


async def test_every_page_and_language_is_read_with_the_numbers(database_url: str) -> None:
    """Three pages of templates, two languages of one, and the account's number, in one reading that is then not due."""
    templates = (*(_template(number) for number in range(230)), _template(7, id="x", language="ar"))
    async with outbound_world(database_url) as world, _graph(templates=templates) as graph:
        sync = _sync(world, graph.client)
        assert await sync.read_one()
        assert not await sync.read_one()
        async with transaction(world.pool) as connection:
            both = await load_templates(connection, ["template_007"])
        assert [(one.language, one.status, one.incomplete) for one in both] == [
            ("ar", "APPROVED", False),
            ("en_US", "APPROVED", False),
        ]
        (synced,) = await world.fetch("SELECT waba_id, templates, problem FROM outbound.account_syncs")
        assert synced == {"waba_id": WABA, "templates": 231, "problem": ""}
        (number,) = await world.fetch("SELECT phone_number_id, throughput, limit_tier FROM outbound.numbers")
        assert number["phone_number_id"] == Number().id
        assert number["throughput"] == "STANDARD"
        assert world.called == ["read"]


async def test_a_pause_that_came_meanwhile_is_not_undone_by_what_was_read(database_url: str) -> None:
    """A reading counts as of when it was asked for; a webhook from after that says more."""
    named = {"message_template_name": "template_001", "message_template_language": "en_US"}
    async with outbound_world(database_url) as world, _graph(templates=(_template(1),)) as graph:
        now = datetime.now(UTC)
        paused = notice("message_template_status_update", named | {"event": "PAUSED"}, at=now)
        await world.notice(paused.model_copy(update={"waba_id": WABA}))
        await sync_account(world.pool, graph.client, WABA, asked_at=now - timedelta(seconds=1))
        async with transaction(world.pool) as connection:
            (template,) = await load_templates(connection, ["template_001"])
        assert (template.status, template.incomplete) == ("PAUSED", False)


async def test_what_is_not_listed_any_more_is_gone_and_may_come_back(database_url: str) -> None:
    """A template that a later whole listing lacks cannot be sent; made again, it can."""
    async with outbound_world(database_url) as world, _graph(templates=(_template(1),)) as graph:
        begin = datetime.now(UTC)
        statuses = []
        listings: list[list[TemplateChange]] = [
            await graph.client.templates(WABA, asked_at=begin),
            [],
            await graph.client.templates(WABA, asked_at=begin + timedelta(hours=2)),
        ]
        for hours, listing in enumerate(listings):
            fake = FakeGraph(listing=listing)
            await sync_account(world.pool, fake, WABA, asked_at=begin + timedelta(hours=hours))
            rows = await world.fetch("SELECT status FROM outbound.templates")
            statuses += [row["status"] for row in rows]
        assert statuses == ["APPROVED", "DELETED", "APPROVED"]


@dataclass
class FakeGraph:
    """An account with this listing; `away`: it does not answer."""

    listing: list[TemplateChange] = field(default_factory=list)
    away: bool = False
    asked: int = 0

    async def templates(self, waba_id: str, *, asked_at: datetime) -> list[TemplateChange]:
        assert (waba_id, asked_at.tzinfo) == (WABA, UTC)
        if self.away:
            raise Transient("WhatsApp is away", retry_after=30.0)
        return self.listing

    async def numbers(self, waba_id: str, *, asked_at: datetime) -> list[NumberReading]:
        del waba_id, asked_at
        self.asked += 1
        return []


async def test_a_reading_that_fails_changes_nothing_and_waits(database_url: str) -> None:
    """WhatsApp away: nothing is taken for gone, the failure is noted, and nobody asks again before its time."""
    async with outbound_world(database_url) as world:
        graph = FakeGraph(away=True)
        health = StageHealth("outbound-templates")
        sync = _sync(world, graph, health)
        assert await sync.read_one()
        assert not await sync.read_one()
        (noted,) = await world.fetch("SELECT asked_at, problem, failures FROM outbound.account_syncs")
        assert noted == {"asked_at": None, "problem": "WhatsApp is away", "failures": 1}
        assert graph.asked == 1


async def test_an_account_that_somebody_wants_is_read_again_by_one(database_url: str) -> None:
    """Wanted after its last reading it is due, once for two replicas, and not sooner than the least pause."""
    async with outbound_world(database_url) as world:
        graph = FakeGraph()
        one, other = _sync(world, graph), _sync(world, graph)
        await one.read_one()
        async with transaction(world.pool) as connection:
            await want_sync(connection, [WABA])
        assert not await one.read_one()  # just read
        await world.fetch("UPDATE outbound.account_syncs SET asked_at = asked_at - interval '1 minute'")
        assert [await one.read_one(), await other.read_one()] == [True, False]
        assert graph.asked == 2


@pytest.mark.parametrize("token", ["", "wrong"], ids=["none", "wrong"])
async def test_a_token_that_may_not_read_stops_the_line_with_what_to_set(
    database_url: str, token: str
) -> None:
    """The health names the setting; the role goes on with what it knows."""
    async with outbound_world(database_url) as world, _graph(token=token) as graph:
        health = StageHealth("outbound-templates")
        await _sync(world, graph.client, health).read_one()
        (noted,) = await world.fetch("SELECT problem FROM outbound.account_syncs")
        assert noted["problem"]
        assert "CONNECTOR_WHATSAPP__ACCESS_TOKEN" in str(health.snapshot())
