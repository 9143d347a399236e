"""What both CRMs must show at the end, on a whole deployment with every role."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from random import Random

import httpx
import pytest

from connector.embedded.deployment import SANDBOX_APP_SECRET, LocalDeployment, SandboxOptions
from connector.sandbox.audit import Audit, CrmRecords, audit, hubspot_records, salesforce_records
from connector.sandbox.hubspot.config import PERSON_TOKEN
from connector.sandbox.salesforce.config import PERSON_TOKEN as SALESFORCE_PERSON_TOKEN
from connector.sandbox.whatsapp import payloads
from connector.sandbox.whatsapp.conversations import conversations
from connector.sandbox.whatsapp.payloads import BusinessNumber, Person, Update
from connector.sandbox.whatsapp.sender import Weather, WebhookSender

pytestmark = [pytest.mark.xdist_group("both CRMs"), pytest.mark.timeout(300)]

NUMBER = BusinessNumber()


class World:
    """A deployment, its webhooks, and what each CRM holds."""

    def __init__(
        self, deployment: LocalDeployment, hubspot: httpx.AsyncClient, salesforce: httpx.AsyncClient
    ) -> None:
        self.deployment = deployment
        self.hubspot = hubspot
        self.salesforce = salesforce

    def sender(self, weather: Weather | None = None) -> WebhookSender:
        return WebhookSender(
            url=f"{self.deployment.ingress_url}/webhooks/whatsapp",
            app_secret=SANDBOX_APP_SECRET,
            weather=weather,
        )

    async def says(self, *updates: Update) -> None:
        """One webhook for each update, in this order."""
        async with self.sender() as sender:
            for update in updates:
                assert await sender.post([update]) == 200

    async def records(self) -> dict[str, CrmRecords]:
        hubspot = (await self.hubspot.get("/_sandbox/hubspot/state")).json()
        salesforce = (await self.salesforce.get("/_sandbox/salesforce/state")).json()
        return {"hubspot": hubspot_records(hubspot), "salesforce": salesforce_records(salesforce)}

    async def until(self, good: Callable[[CrmRecords], bool], *, within: float = 60) -> dict[str, CrmRecords]:
        """What the CRMs hold once both are `good`, or what they hold after `within` seconds."""
        deadline = asyncio.get_running_loop().time() + within
        while True:
            records = await self.records()
            if all(good(found) for found in records.values()) or asyncio.get_running_loop().time() > deadline:
                return records
            await asyncio.sleep(0.2)


@pytest.fixture
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """Ingress, route and both sync roles, beside fresh simulators without a quota."""
    deployment = LocalDeployment(
        tmp_path_factory.mktemp("both"),
        roles=["ingress", "route", "sync-hubspot", "sync-salesforce"],
        sandbox=SandboxOptions(hubspot={"burst_limit": None, "association_limit": None, "search_lag": 0.0}),
    )
    async with (
        deployment,
        httpx.AsyncClient(base_url=deployment.hubspot_url, timeout=30) as hubspot,
        httpx.AsyncClient(base_url=deployment.salesforce_url, timeout=30) as salesforce,
    ):
        yield World(deployment, hubspot, salesforce)


def _wamids(found: CrmRecords) -> list[str]:
    return sorted(item.wamid for item in found.messages)


async def test_one_person_over_six_identity_changes_is_one_contact_with_the_whole_history(
    world: World,
) -> None:
    """Username adopted, phone hidden, phone shared, number changed, CRM records merged, a late message from before."""
    random = Random("six changes")
    clock = iter(range(1_790_000_000, 1_790_001_000))
    first = Person(name="Noor", wa_id="971501230001", bsuid="AE.2200000000000001")
    named = replace(first, username="noor")
    hidden = replace(named, wa_id=None)
    moved = replace(named, wa_id="971501239999", bsuid="AE.2200000000000999")
    said: list[Update] = []

    def text(person: Person, body: str) -> Update:
        update = payloads.text(
            person, NUMBER, message_id=payloads.wamid("971501230001", random), at=next(clock), body=body
        )
        said.append(update)
        return update

    await world.says(
        text(first, "hello"), text(named, "I have a name now"), text(hidden, "and hide my phone")
    )
    await world.says(text(named, "and share it again"))
    late = text(named, "from my old phone, delivered last")
    change = payloads.changed_number(
        named, moved, NUMBER, message_id=payloads.wamid("971501239999", random), at=next(clock)
    )
    said.append(change)
    await world.says(change, text(moved, "my new number"))
    everything = sorted(str(update.wamid) for update in said if update is not late)
    records = await world.until(lambda found: _wamids(found) == everything and found.people == 1)
    assert {name: found.people for name, found in records.items()} == {"hubspot": 1, "salesforce": 1}

    # A person in each CRM merges our record with one of their own.
    ours = {name: found.messages[0].people[0] for name, found in records.items()}
    headers = {"Authorization": f"Bearer {PERSON_TOKEN}"}
    made = await world.hubspot.post(
        "/crm/objects/2026-09/contacts", headers=headers, json={"properties": {"email": "noor@example.com"}}
    )
    merged = await world.hubspot.post(
        "/crm/objects/2026-09/contacts/merge",
        headers=headers,
        json={"primaryObjectId": made.json()["id"], "objectIdToMerge": ours["hubspot"]},
    )
    assert merged.status_code == 200
    theirs = await world.salesforce.post(
        "/services/data/v67.0/sobjects/Contact",
        headers={"Authorization": f"Bearer {SALESFORCE_PERSON_TOKEN}"},
        json={"LastName": "Noor (card)"},
    )
    joined = await world.salesforce.post(
        "/_sandbox/salesforce/merge",
        json={"object": "Contact", "master": theirs.json()["id"], "loser": ours["salesforce"]},
    )
    assert joined.status_code == 200

    # The late one changes nothing about the person, so only the activity meets the record that is no more.
    await world.says(late)
    everything = sorted(str(update.wamid) for update in said)
    await world.until(lambda found: _wamids(found) == everything)
    await world.says(text(moved, "and after the merge"))
    everything = sorted(str(update.wamid) for update in said)
    records = await world.until(lambda found: _wamids(found) == everything and found.people == 1)
    for found in records.values():
        assert _wamids(found) == everything
        assert found.people == 1
        assert len({tuple(item.people) for item in found.messages}) == 1


async def test_ten_thousand_shuffled_statuses_end_right_in_both_crms(world: World) -> None:
    """Statuses of 4,200 messages in no order at all: every message shows its furthest one, in both CRMs."""
    expected = conversations(seed=4, people=200, messages=200, outbound=4200)
    statuses = [update for update in expected.updates if update.kind == "statuses"]
    assert len(statuses) >= 10_000
    shuffled: Sequence[Update] = Random(4).sample(expected.updates, len(expected.updates))
    async with world.sender(Weather(seed=4, batch=500, in_flight=2)) as sender:
        await sender.deliver(shuffled)

    def judged(found: CrmRecords) -> Audit:
        return audit(expected, found)

    records = await world.until(lambda found: judged(found).settled, within=200)
    for name, found in records.items():
        verdict = judged(found)
        assert verdict.passed, (
            name,
            json.dumps({"missing": len(verdict.missing), "wrong": len(verdict.wrong_statuses)}),
        )
