"""Requests in flight at once on the Salesforce simulator: locks, races for one key, and the journal's view."""

import asyncio
from typing import Any

import httpx
import pytest
from sandbox_org import Client, codes, org, task

from connector.sandbox.faults import Fault, FaultKind


async def _at_once(client: Client, first: Any, second: Any) -> tuple[httpx.Response, httpx.Response]:
    """Send `second` while `first` is under way."""
    client.sandbox.faults.add(Fault(kind=FaultKind.LATENCY, seconds=0.1, times=1))
    seen = len(list(client.sandbox.journal.calls()))
    slow = asyncio.create_task(first)
    async with asyncio.timeout(5):
        while len(list(client.sandbox.journal.calls())) == seen:
            await asyncio.sleep(0)
    quick = await second
    return await slow, quick


async def test_two_updates_of_one_persons_tasks_collide() -> None:
    """Updating a task locks its person: the request that comes second fails, and the journal has the offence."""
    async with org() as client:
        who = await client.person("a")
        await client.upsert("Task", "WA_Message_Id__c", task("m1", who), task("m2", who))
        slow, quick = await _at_once(
            client,
            client.upsert("Task", "WA_Message_Id__c", task("m1", who, Subject="read")),
            client.upsert("Task", "WA_Message_Id__c", task("m2", who, Subject="read")),
        )
        assert (codes(slow), codes(quick)) == (["ok"], ["UNABLE_TO_LOCK_ROW"])
        assert [violation.subject for violation in client.sandbox.journal.violations] == [who]


@pytest.mark.parametrize(
    ("values", "second"),
    [
        pytest.param({}, "ok", id="completed"),
        pytest.param({"Status": "Not Started", "ActivityDate": None}, "ok", id="open-without-a-date"),
        pytest.param({"Status": "Not Started"}, "UNABLE_TO_LOCK_ROW", id="open-with-a-date"),
    ],
)
async def test_only_an_open_task_with_a_date_locks_its_person_when_created(
    values: dict[str, Any], second: str
) -> None:
    """Creating completed tasks, or open ones without a due date, takes no lock on the person."""
    async with org() as client:
        who = await client.person("a")
        _, quick = await _at_once(
            client,
            client.upsert("Task", "WA_Message_Id__c", task("m1", who, **values)),
            client.upsert("Task", "WA_Message_Id__c", task("m2", who, **values)),
        )
        assert codes(quick) == [second]


async def test_two_people_of_one_account_collide_without_an_offence() -> None:
    """Task updates lock the Account too; a client cannot know that, so it is a lock error and no violation."""
    async with org() as client:
        account = (await client.call("POST", "sobjects/Account", {"Name": "Acme"})).json()["id"]
        ana, bo = await client.person("a", AccountId=account), await client.person("b", AccountId=account)
        await client.upsert("Task", "WA_Message_Id__c", task("m1", ana), task("m2", bo))
        _, quick = await _at_once(
            client,
            client.upsert("Task", "WA_Message_Id__c", task("m1", ana, Subject="read")),
            client.upsert("Task", "WA_Message_Id__c", task("m2", bo, Subject="read")),
        )
        assert codes(quick) == ["UNABLE_TO_LOCK_ROW"]
        assert client.sandbox.journal.violations == []


async def test_locks_end_with_their_request() -> None:
    """What a request locked is free after it."""
    async with org() as client:
        who = await client.person("a")
        for subject in ("one", "two"):
            answer = await client.upsert("Task", "WA_Message_Id__c", task("m1", who, Subject=subject))
            assert codes(answer) == ["ok"]


async def test_a_race_for_a_new_key_is_a_duplicate_value() -> None:
    """Of two requests for one new key at once, the one written second fails instead of updating."""
    async with org() as client:
        record = {"WA_Contact_Key__c": "a", "LastName": "A"}
        slow, quick = await _at_once(
            client,
            client.upsert("Contact", "WA_Contact_Key__c", record),
            client.upsert("Contact", "WA_Contact_Key__c", record),
        )
        assert (codes(slow), codes(quick)) == (["DUPLICATE_VALUE"], ["ok"])
        assert client.sandbox.state()["counts"]["contacts"] == 1
        assert client.sandbox.journal.violations[0].subject == "WA_Contact_Key__c=a"


async def test_a_share_of_the_rows_can_be_locked() -> None:
    """A lock fault with a share spares the other rows of the same request."""
    async with org() as client:
        who = await client.person("a")
        client.sandbox.faults.add(Fault(kind=FaultKind.LOCK, share=0.2))
        tasks = [task(f"m{number}", who) for number in range(200)]
        answers = codes(await client.upsert("Task", "WA_Message_Id__c", *tasks))
        locked = answers.count("UNABLE_TO_LOCK_ROW")
        assert 15 < locked < 65
        assert answers.count("ok") == 200 - locked
