"""The Salesforce adapter against the simulator, over HTTP."""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast
from uuid import UUID, uuid5

import pytest
from pydantic import SecretStr
from sandbox_org import APP, key_pair

from connector.crm.port import (
    Activity,
    ActivityChange,
    ActivityQuery,
    CandidateContact,
    ContactProfile,
    ContactUpsert,
    Gone,
    Homeless,
    Later,
    Refused,
    Unknown,
    WriteResult,
    Written,
)
from connector.crm.salesforce.adapter import Salesforce
from connector.errors import RateLimited, Terminal, Transient, Uncertain
from connector.sandbox import Fault, FaultKind, SalesforceConfig, SalesforceSandbox, SandboxServer
from connector.sandbox.salesforce import ConnectedApp
from connector.sandbox.salesforce.catalog import Field, custom_object
from connector.sandbox.salesforce.config import PERSON_USER_ID
from connector.sandbox.salesforce.transactions import Transaction
from connector.settings import SalesforceSettings
from connector.sync.mapping import built_in

_PEOPLE = UUID("5b0f3f1e-5a51-4f3c-8f44-1b2f0a6d9c11")
_AT = datetime(2026, 3, 1, 23, 30, tzinfo=UTC)
PERSON = Transaction(user_id=PERSON_USER_ID)


class World:
    """An adapter and the org it writes to."""

    def __init__(self, crm: Salesforce, sandbox: SalesforceSandbox) -> None:
        self.crm = crm
        self.sandbox = sandbox

    @property
    def org(self) -> Any:
        return self.sandbox.org

    def values(self, kind: str = "contacts") -> list[dict[str, Any]]:
        return [item["values"] for item in self.sandbox.state()[kind]]

    def calls(self, path: str = "*") -> int:
        return sum(1 for _ in self.sandbox.journal.calls(path=path))

    async def person(self, name: str = "ana") -> str:
        """Write a person and return the record id."""
        (result,) = await self.crm.upsert_contacts([person(name)])
        assert isinstance(result, Written)
        return result.record_id


Opening = Callable[..., AbstractAsyncContextManager[World]]


@asynccontextmanager
async def open_world(*, settings: dict[str, Any] | None = None, **config: Any) -> AsyncIterator[World]:
    apps = (ConnectedApp(public_key=key_pair()[1]),)
    salesforce = SalesforceConfig(**({"apps": apps} | config))
    async with SandboxServer(salesforce=salesforce) as server:
        values = {
            "consumer_key": SecretStr(APP.consumer_key),
            "consumer_secret": SecretStr(APP.consumer_secret),
            "base_url": server.salesforce_url,
            "request_timeout": 2.0,
        }
        crm = Salesforce(SalesforceSettings(**(values | (settings or {}))))
        yield World(crm, server.salesforce)
        await crm.close()


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """An adapter logged in by client credentials on an org with our package."""
    async with open_world() as opened:
        yield opened


def person(
    who: str = "ana", *, is_new: bool = True, record_id: str | None = None, **facts: Any
) -> ContactUpsert:
    profile = ContactProfile(**({"name": who, "phone": "+15550001", "bsuid": f"US.{who}"} | facts))
    mapping = built_in().contacts["salesforce"]
    return ContactUpsert(
        contact_id=uuid5(_PEOPLE, who),
        profile=profile,
        always=mapping.always(profile, key=key(who)),
        once=mapping.once(profile, key=key(who)),
        is_new=is_new,
        record_id=record_id,
    )


def key(name: str) -> str:
    return str(uuid5(_PEOPLE, name))


def activity(wamid: str, who: str, **changes: Any) -> Activity:
    values: dict[str, Any] = {
        "direction": "inbound",
        "status": "received",
        "at": _AT,
        "subject": "WhatsApp text",
        "body": f"text of {wamid}",
    }
    return Activity(wamid=wamid, contact_record_id=who, **(values | changes))


def record_id(result: WriteResult) -> str:
    assert isinstance(result, Written), result
    return result.record_id


# Logging in


async def test_a_private_key_logs_in_by_jwt(tmp_path: Path) -> None:
    """With a private key the assertion is signed by it, for the host of the base URL."""
    path = tmp_path / "key.pem"
    path.write_text(key_pair()[0])
    settings = {"private_key_file": path, "username": APP.username, "consumer_secret": SecretStr("")}
    async with open_world(settings=settings) as world:
        assert (await world.crm.check_setup(create=False)).ready


async def test_a_refused_credential_stops_the_line() -> None:
    """A wrong secret is for a person to mend, and says which setting."""
    async with open_world(settings={"consumer_secret": SecretStr("no")}) as world:
        with pytest.raises(Terminal) as caught:
            await world.crm.check_setup(create=False)
        assert "CONNECTOR_SALESFORCE__CONSUMER_SECRET" in caught.value.advice


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        pytest.param({}, "CONSUMER_KEY", id="nothing"),
        pytest.param({"consumer_key": "k"}, "PRIVATE_KEY_FILE", id="no-secret"),
        pytest.param({"consumer_key": "k", "consumer_secret": "s"}, "DOMAIN", id="no-my-domain"),
        pytest.param({"consumer_key": "k", "private_key_file": "/no/file"}, "PRIVATE_KEY_FILE", id="no-file"),
    ],
)
def test_settings_that_cannot_log_in_are_refused_at_once(settings: dict[str, Any], names: str) -> None:
    """The missing setting is named before anything is called."""
    with pytest.raises(Terminal) as caught:
        Salesforce(SalesforceSettings(**settings))
    assert f"CONNECTOR_SALESFORCE__{names}" in caught.value.advice


async def test_an_expired_session_is_opened_once_for_all_calls(world: World) -> None:
    """Calls that meet one expiry at once share one new login, and all of them succeed."""
    who = await world.person()
    world.sandbox.app_side.tokens.expire_all()
    results = await asyncio.gather(
        *(world.crm.log_activities([activity(f"m{number}", who)]) for number in range(6))
    )
    assert all(isinstance(result, Written) for (result,) in results)
    assert world.sandbox.app_side.tokens.logins == 2


async def test_a_session_that_never_holds_ends_after_one_more_login(world: World) -> None:
    """A persistent 401 costs one login more and stops the line, instead of logging in for ever."""
    await world.person()
    world.sandbox.faults.add(Fault(kind=FaultKind.STATUS, status=401, path="/services/data/*"))
    with pytest.raises(Terminal):
        await world.crm.upsert_contacts([person()])
    assert world.sandbox.app_side.tokens.logins == 2


async def test_our_headers_stay_after_a_new_login() -> None:
    """The duplicate rule header is sent again after a session expired: an alert does not refuse the record."""
    rule = {"name": "Phones", "sobject": "Contact", "field": "MobilePhone", "action": "alert"}
    async with open_world(duplicate_rules=[rule]) as world:
        await world.person("ana")
        world.sandbox.app_side.tokens.expire_all()
        (result,) = await world.crm.upsert_contacts([person("bo")])
        assert isinstance(result, Written)


# People


async def test_a_new_person_is_made_once_and_known_by_our_key(world: World) -> None:
    """The first upsert creates with name and numbers, the second one updates."""
    (first,) = await world.crm.upsert_contacts([person(last_inbound_at=_AT)])
    (again,) = await world.crm.upsert_contacts([person(is_new=False, username="ana.s")])
    assert first == Written(record_id=record_id(first), created=True)
    assert again == Written(record_id=record_id(first), created=False)
    (values,) = world.values()
    assert values["LastName"] == "ana"
    assert values["MobilePhone"] == values["WA_Phone__c"] == "+15550001"
    assert values["WA_Window_Open_Until__c"] == "2026-03-02T23:30:00.000+0000"
    assert values["WA_Username__c"] == "ana.s"


@pytest.mark.parametrize("is_new", [True, False], ids=["as-if-new", "known"])
async def test_a_name_that_somebody_corrected_stays(world: World, *, is_new: bool) -> None:
    """Names are said once: also when our tables were rebuilt and the person counts as new again."""
    who = await world.person()
    world.org.update("Contact", who, {"LastName": "Souza", "MobilePhone": "+49 30 1"}, PERSON)
    await world.crm.upsert_contacts([person(is_new=is_new)])
    (values,) = world.values()
    assert (values["LastName"], values["MobilePhone"]) == ("Souza", "+49 30 1")


async def test_a_known_record_with_another_key_is_written_by_its_id(world: World) -> None:
    """A record that is adopted gets our key."""
    there = world.org.insert("Contact", {"LastName": "Souza"}, PERSON)
    (result,) = await world.crm.upsert_contacts([person(record_id=there.id, is_new=False)])
    assert result == Written(record_id=there.id)
    assert world.values()[0]["WA_Contact_Key__c"] == key("ana")


async def test_one_refused_person_spares_the_others(world: World) -> None:
    """Each person has a result of its own, in place."""
    world.sandbox.faults.add(Fault(kind=FaultKind.POISON, text="poison"))
    results = await world.crm.upsert_contacts([person("ana"), person("bo", name="poison"), person("cy")])
    assert [type(result) for result in results] == [Written, Refused, Written]
    assert isinstance(results[1], Refused)
    assert results[1].cause == "salesforce_field_custom_validation_exception"


async def test_a_deleted_person_is_gone_and_then_made_anew(world: World) -> None:
    """An update of a deleted person says so; as a new person it is made again, name included."""
    who = await world.person()
    world.org.delete("Contact", who, PERSON)
    (gone,) = await world.crm.upsert_contacts([person(is_new=False)])
    assert isinstance(gone, Gone)
    (made,) = await world.crm.upsert_contacts([person()])
    assert made == Written(record_id=record_id(made), created=True)
    assert record_id(made) != who


async def test_a_person_whose_record_was_merged_goes_on_in_the_master(world: World) -> None:
    """A merge by hand, even two in a row, is followed, and the master gets our key."""
    who = await world.person()
    middle = world.org.insert("Contact", {"LastName": "M"}, PERSON)
    master = world.org.insert("Contact", {"LastName": "Master"}, PERSON)
    world.org.merge("Contact", master=middle.id, loser=who)
    world.org.merge("Contact", master=master.id, loser=middle.id)
    (result,) = await world.crm.upsert_contacts([person(is_new=False)])
    assert result == Written(record_id=master.id)
    (values,) = world.values()
    assert (values["LastName"], values["WA_Contact_Key__c"]) == ("Master", key("ana"))
    (again,) = await world.crm.upsert_contacts([person(is_new=False)])
    assert again == result


async def test_two_of_ours_merged_by_hand_share_the_record(world: World) -> None:
    """The loser's messages go to the master, whose facts stay those of its own person."""
    ana, bo = await world.person("ana"), await world.person("bo")
    world.org.merge("Contact", master=bo, loser=ana)
    (result,) = await world.crm.upsert_contacts([person("ana", is_new=False)])
    assert result == Written(record_id=bo)
    assert [values["WA_BSUID__c"] for values in world.values()] == ["US.bo"]


async def test_a_converted_lead_goes_on_as_its_contact() -> None:
    """The Contact of a converted Lead is written instead, with our key; tasks hang on it."""
    async with open_world(settings={"person_object": "Lead"}) as world:
        lead = await world.person()
        assert lead.startswith("00Q")
        contact = world.org.convert_lead(lead)
        (late,) = await world.crm.log_activities([activity("m1", lead)])
        assert isinstance(late, Gone)
        for is_new in (False, True):
            (result,) = await world.crm.upsert_contacts([person(is_new=is_new, username="ana.s")])
            assert result == Written(record_id=contact.id)
        (values,) = world.values("contacts")
        assert (values["WA_Contact_Key__c"], values["WA_Username__c"]) == (key("ana"), "ana.s")
        assert await world.crm.find_contact(key("ana")) == contact.id
        world.org.delete("Contact", contact.id, PERSON)
        (refused,) = await world.crm.upsert_contacts([person()])
        assert isinstance(refused, Refused)
        assert refused.cause == "salesforce_converted_contact_deleted"


async def test_a_record_is_found_by_our_key(world: World) -> None:
    """`find_contact` tells whether a write that was never answered left a record."""
    assert await world.crm.find_contact(key("ana")) is None
    who = await world.person()
    assert await world.crm.find_contact(key("ana")) == who


async def test_a_blocking_duplicate_rule_names_the_record_to_adopt() -> None:
    """The refusal says which record and which rule."""
    rule = {"name": "Phones", "sobject": "Contact", "field": "MobilePhone", "action": "block"}
    async with open_world(duplicate_rules=[rule]) as world:
        ana = await world.person("ana")
        (result,) = await world.crm.upsert_contacts([person("bo")])
        assert isinstance(result, Refused)
        assert f"rule Phones: {ana}" in result.reason


# Messages


async def test_a_message_becomes_one_completed_task(world: World) -> None:
    """A message is a Task on its person that says all it should; logged again, it is the same one."""
    who = await world.person()
    (first,) = await world.crm.log_activities([activity("wamid.A==", who)])
    (again,) = await world.crm.log_activities([activity("wamid.A==", who)])
    assert first == Written(record_id=record_id(first), created=True)
    assert again == Written(record_id=record_id(first), created=False)
    (values,) = world.values("tasks")
    expected = {
        "WA_Message_Id__c": "wamid.A==",
        "WhoId": who,
        "Status": "Completed",
        "ActivityDate": "2026-03-01",
        "Subject": "WhatsApp text",
        "Description": "text of wamid.A==",
        "WA_Status__c": "received",
        "WA_Direction__c": "inbound",
        "WA_Sent_At__c": "2026-03-01T23:30:00.000+0000",
    }
    assert {name: values[name] for name in expected} == expected


async def test_texts_beyond_the_limits_are_cut_where_people_see_it(world: World) -> None:
    """An over-long subject and body are cut with a notice, and pass."""
    who = await world.person()
    long = activity("m1", who, subject="😀" * 300, body="x" * 40_000)
    assert isinstance((await world.crm.log_activities([long]))[0], Written)
    (values,) = world.values("tasks")
    assert values["Description"].endswith("… [cut: 40,000 characters in all]")
    assert len(values["Description"]) == 32_000


async def test_a_text_that_is_no_unicode_spares_its_batch(world: World) -> None:
    """Half a surrogate pair would make the whole call unreadable; it is replaced."""
    who = await world.person()
    results = await world.crm.log_activities(
        [activity("m1", who), activity("m2", who, body="a\ud83d"), activity("m3", who)]
    )
    assert all(isinstance(result, Written) for result in results)


async def test_only_locked_rows_are_tried_again(world: World) -> None:
    """A row that another transaction holds is for later, the others are written."""
    who = await world.person()
    world.sandbox.faults.add(Fault(kind=FaultKind.LOCK, text="busy", times=1))
    items = [activity("m1", who), activity("m2", who, body="busy"), activity("m3", who)]
    results = await world.crm.log_activities(items)
    kinds: list[type] = [Written, Later, Written]
    assert [type(result) for result in results] == kinds
    (again,) = await world.crm.log_activities([items[1]])
    assert again == Written(record_id=record_id(again), created=True)


async def test_a_task_on_a_deleted_person_says_that_the_person_is_gone(world: World) -> None:
    """The person's record was deleted, or never was: either is `Gone`."""
    ana, bo = await world.person("ana"), await world.person("bo")
    world.org.delete("Contact", ana, PERSON)
    results = await world.crm.log_activities(
        [activity("m1", ana), activity("m2", bo), activity("m3", "0035g0000000zzzAAA")]
    )
    assert [type(result).__name__ for result in results] == ["Gone", "Written", "Gone"]


async def test_a_status_changes_the_task_and_nothing_else(world: World) -> None:
    """An update does not say the person again, so that a task that somebody moved stays there."""
    ana, bo = await world.person("ana"), await world.person("bo")
    (made,) = await world.crm.log_activities([activity("m1", ana, status="sent")])
    world.org.update("Task", record_id(made), {"WhoId": bo}, PERSON)
    change = ActivityChange(record_id=record_id(made), activity=activity("m1", ana, status="read"))
    assert await world.crm.update_activities([change]) == [Written(record_id=record_id(made))]
    (values,) = world.values("tasks")
    assert (values["WA_Status__c"], values["WhoId"]) == ("read", bo)


async def test_a_message_that_moved_hangs_on_its_new_person(world: World) -> None:
    """After a merge the task is on the winner."""
    ana, bo = await world.person("ana"), await world.person("bo")
    (made,) = await world.crm.log_activities([activity("m1", ana)])
    change = ActivityChange(record_id=record_id(made), activity=activity("m1", bo), moved_from=ana)
    assert isinstance((await world.crm.update_activities([change]))[0], Written)
    assert world.values("tasks")[0]["WhoId"] == bo


async def test_a_task_that_somebody_deleted_is_gone(world: World) -> None:
    """A deleted task is `Gone`; one that is there, but moves to a deleted person, waits for that person."""
    ana, bo = await world.person("ana"), await world.person("bo")
    one, two = await world.crm.log_activities([activity("m1", ana), activity("m2", ana)])
    world.org.delete("Task", record_id(one), PERSON)
    world.org.delete("Contact", bo, PERSON)
    results = await world.crm.update_activities(
        [
            ActivityChange(record_id=record_id(one), activity=activity("m1", ana)),
            ActivityChange(record_id=record_id(two), activity=activity("m2", bo), moved_from=ana),
        ]
    )
    assert isinstance(results[0], Gone)
    assert isinstance(results[1], Homeless)


async def test_lost_messages_are_found_by_their_ids(world: World) -> None:
    """Message ids are looked up exactly, case included, however many there are in however few calls."""
    who = await world.person()
    wamids = [f"wamid.{'HBgLMTU1NTA3ODM4ODEVAgASGBQz' * 2}{number:03d}==" for number in range(200)]
    await world.crm.log_activities([activity(wamid, who) for wamid in wamids[:150]])
    await world.crm.log_activities([activity("w" * 300, who)])
    asked = [*wamids, "w" * 300, wamids[0].lower()]
    found = await world.crm.find_activities(
        [ActivityQuery(wamid=wamid, contact_record_ids=[who]) for wamid in asked[-200:]]
    )
    assert [name is not None for name in found] == [True] * 148 + [False] * 50 + [True, False]
    assert world.calls("*/query/") <= 4


# Failures of a whole call


@pytest.mark.parametrize("kind", [FaultKind.RESET, FaultKind.STALL], ids=str)
async def test_a_lost_answer_leaves_the_write_in_doubt(world: World, kind: FaultKind) -> None:
    """The tasks were written, the answer was lost: that is uncertain, and a look-up finds them."""
    who = await world.person()
    world.sandbox.faults.add(Fault(kind=kind, when="after", path="*/Task/*", times=1))
    started = time.monotonic()
    with pytest.raises(Uncertain):
        await world.crm.log_activities([activity("m1", who)])
    assert time.monotonic() - started < world.crm.request_timeout
    (found,) = await world.crm.find_activities([ActivityQuery(wamid="m1", contact_record_ids=[who])])
    assert found == world.sandbox.state()["tasks"][0]["id"]


@pytest.mark.parametrize(
    "kind",
    [FaultKind.NOT_JSON, FaultKind.TRUNCATED_BODY, FaultKind.INCOMPLETE_BODY],
    ids=str,
)
async def test_an_answer_that_cannot_be_read_is_a_lost_one(world: World, kind: FaultKind) -> None:
    """A page of a proxy, or half of the JSON, says nothing about the write."""
    who = await world.person()
    world.sandbox.faults.add(Fault(kind=kind, path="*/Task/*", times=1))
    with pytest.raises(Uncertain):
        await world.crm.log_activities([activity("m1", who)])


@pytest.mark.parametrize("kind", [FaultKind.MISSING_RESULTS, FaultKind.EMPTY_RESULTS], ids=str)
async def test_fewer_results_than_records_leave_all_in_doubt(world: World, kind: FaultKind) -> None:
    """Results are told apart by their place: with one missing none is certain, and none is dropped."""
    who = await world.person()
    world.sandbox.faults.add(Fault(kind=kind, path="*/Task/*", times=1))
    results = await world.crm.log_activities([activity("m1", who), activity("m2", who)])
    assert [type(result) for result in results] == [Unknown, Unknown]


async def test_nobody_there_is_no_doubt() -> None:
    """A connection that was never made wrote nothing."""
    async with open_world(settings={"base_url": "http://127.0.0.1:1"}) as world:
        with pytest.raises(Transient):
            await world.crm.upsert_contacts([person()])


async def test_both_limits_hold_the_line_for_different_times() -> None:
    """A used-up day waits minutes, too many long calls wait seconds; nothing was written."""
    async with open_world(daily_limit=2) as world:
        world.sandbox.faults.add(Fault(kind=FaultKind.STATUS, status=403, path="*/Contact/*", times=1))
        with pytest.raises(RateLimited) as at_once:
            await world.crm.upsert_contacts([person(is_new=False)])
        await world.crm.find_contact(key("ana"))
        with pytest.raises(RateLimited) as all_day:
            await world.crm.find_contact(key("ana"))
    assert at_once.value.retry_after is not None
    assert all_day.value.retry_after is not None
    assert at_once.value.retry_after < 60 < all_day.value.retry_after


async def test_a_record_that_salesforce_cannot_parse_is_isolated() -> None:
    """A call that is refused whole is halved until the one bad record stands alone."""
    async with open_world() as world:
        who = await world.person()
        items = [activity(f"m{number}", who) for number in range(9)]
        items[4] = replace(items[4], direction=cast("str", 5))  # a number where the API reads a text
        results = await world.crm.log_activities(items)
        assert [type(result) for result in results] == [Written] * 4 + [Refused] + [Written] * 4
        assert isinstance(results[4], Refused)
        assert results[4].cause == "salesforce_json_parser_error"


async def test_an_id_of_something_else_is_refused(world: World) -> None:
    """A task on a record that is no person is refused, and names the field."""
    who = await world.person()
    results = await world.crm.log_activities([activity("m1", who), activity("m2", "001000000000001AAA")])
    assert [type(result) for result in results] == [Written, Refused]


# Setup


async def test_an_org_without_our_fields_says_what_to_deploy() -> None:
    """Every missing field is named, with the command; writing stops the line with the same advice."""
    async with open_world(packaged=False) as world:
        report = await world.crm.check_setup(create=True)
        assert not report.ready
        assert len(report.missing) == 14
        assert "sf project deploy start" in report.advice
        with pytest.raises(Terminal) as caught:
            await world.crm.upsert_contacts([person(is_new=False)])
        assert caught.value.advice == report.advice


async def test_a_field_that_our_user_may_not_write_counts_as_missing() -> None:
    """Field-level security is checked as well, and a batch that it refuses stops the line, not its records."""
    async with open_world(
        read_only_fields=frozenset({"Task.WA_Status__c"}), absent_fields=frozenset({"Contact.WA_Phone__c"})
    ) as world:
        report = await world.crm.check_setup(create=False)
        assert list(report.missing) == [
            "Contact.WA_Phone__c (not there, or hidden from our user)",
            "Task.WA_Status__c (read-only for our user)",
        ]
        with pytest.raises(Terminal):
            await world.crm.log_activities([activity("m1", "0035g0000000zzzAAA")])


async def test_leads_need_the_fields_of_contacts_too() -> None:
    """A converted Lead goes on as a Contact, so both are checked."""
    async with open_world(settings={"person_object": "Lead"}) as world:
        report = await world.crm.check_setup(create=False)
        assert report.ready
        assert report.unique_activities
        assert {name.split(".")[0] for name in report.found} == {"Contact", "Lead", "Task"}


# Retirement


async def test_a_left_over_record_of_ours_is_deleted(world: World) -> None:
    """A record that we made and that nobody else touched is deleted; a second time is no error."""
    who = await world.person()
    assert (await world.crm.retire_contact(who, person=person(), created_by_us=True)).deleted
    assert world.values() == []
    again = await world.crm.retire_contact(who, person=person(), created_by_us=True)
    assert (again.deleted, again.reason) == (True, "it was gone already")


def _edited(world: World, who: str) -> None:
    world.org.update("Contact", who, {"LastName": "Souza"}, PERSON)


def _with_a_title(world: World, who: str) -> None:
    world.org.update("Contact", who, {"Title": "Boss"}, PERSON)


def _with_a_task(world: World, who: str) -> None:
    world.org.insert("Task", {"Subject": "Call", "WhoId": who}, PERSON)


def _with_a_case(world: World, who: str) -> None:
    world.org.insert("Case", {"Subject": "Broken", "ContactId": who}, PERSON)


def _in_a_deal(world: World, who: str) -> None:
    deal = world.org.insert("Opportunity", {"Name": "Big"}, PERSON)
    world.org.insert("OpportunityContactRole", {"ContactId": who, "OpportunityId": deal.id}, PERSON)


def _with_a_source(world: World, who: str) -> None:
    world.org.update("Contact", who, {"LeadSource": "Fair"}, PERSON)


def _with_a_policy(world: World, who: str) -> None:
    insured = Field(name="Insured__c", type="reference", length=18, refers_to=("Contact",))
    policy = custom_object("Policy__c", "a01", insured)
    world.org.add_object(policy, child_of="Contact", relationship="Policies__r", field="Insured__c")
    world.org.insert("Policy__c", {"Insured__c": who}, PERSON)


@pytest.mark.parametrize(
    ("work", "named"),
    [
        pytest.param(_edited, "LastModifiedById", id="edited"),
        pytest.param(_with_a_title, "Title", id="title"),
        pytest.param(_with_a_source, "LeadSource", id="any other field"),
        pytest.param(_with_a_policy, "Policies__r", id="an object of the org's own"),
        pytest.param(_with_a_task, "Tasks", id="task"),
        pytest.param(_with_a_case, "Cases", id="case"),
        pytest.param(_in_a_deal, "OpportunityContactRoles", id="deal"),
    ],
)
async def test_a_record_that_somebody_worked_on_stays(
    world: World, work: Callable[[World, str], None], named: str
) -> None:
    """Somebody else's work is never deleted; the reason names it."""
    who = await world.person()
    work(world, who)
    retired = await world.crm.retire_contact(who, person=person(), created_by_us=True)
    assert not retired.deleted
    assert named in retired.reason


@pytest.mark.parametrize(
    ("work", "named"),
    [
        pytest.param(_with_a_title, "Title", id="a field that we never write"),
        pytest.param(_edited, "LastName", id="a field that we write once"),
    ],
)
async def test_our_own_later_write_does_not_hide_what_somebody_typed(
    world: World, work: Callable[[World, str], None], named: str
) -> None:
    """Salesforce keeps the last writer only, so every field has to say what we or a new record would."""
    who = await world.person()
    work(world, who)
    await world.crm.upsert_contacts([person(is_new=False)])
    retired = await world.crm.retire_contact(who, person=person(), created_by_us=True)
    assert (retired.deleted, named in retired.reason) == (False, True)


async def test_a_lead_that_is_all_ours_is_deleted() -> None:
    """What every new Lead has, its status, is nobody's work."""
    async with open_world(settings={"person_object": "Lead"}) as world:
        who = await world.person()
        await world.crm.upsert_contacts([person(is_new=False, record_id=who)])
        assert (await world.crm.retire_contact(who, person=person(), created_by_us=True)).deleted


async def test_a_record_that_was_there_before_us_stays(world: World) -> None:
    """An adopted record is flagged."""
    there = world.org.insert("Contact", {"LastName": "Souza"}, PERSON)
    retired = await world.crm.retire_contact(there.id, person=person(), created_by_us=False)
    assert not retired.deleted
    assert "before us" in retired.reason


async def test_a_record_whose_work_cannot_be_seen_stays() -> None:
    """When our user may not see cases, a record may have some: it is flagged."""
    async with open_world(absent_objects=frozenset({"Case"})) as world:
        who = await world.person()
        retired = await world.crm.retire_contact(who, person=person(), created_by_us=True)
        assert not retired.deleted
        assert "cannot be seen" in retired.reason


@pytest.mark.parametrize(
    ("packaged", "code", "says"),
    [
        pytest.param("true", 0, "next: connector run sync-salesforce", id="ready"),
        pytest.param("false", 1, "sf project deploy start", id="not-deployed"),
    ],
)
async def test_the_setup_command_tells_what_to_do_next(packaged: str, code: int, says: str) -> None:
    """`connector setup salesforce` lists the fields and names the next command; 1 while something is missing."""
    async with SandboxServer(salesforce=SalesforceConfig(packaged=packaged == "true")) as server:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            "from connector.cli import main; main()",
            "setup",
            "salesforce",
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={
                **os.environ,
                "COLUMNS": "200",
                "CONNECTOR_SALESFORCE__CONSUMER_KEY": APP.consumer_key,
                "CONNECTOR_SALESFORCE__CONSUMER_SECRET": APP.consumer_secret,
                "CONNECTOR_SALESFORCE__BASE_URL": server.salesforce_url,
            },
        )
        try:
            async with asyncio.timeout(60):
                output, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    text = output.decode()
    assert process.returncode == code, text
    assert "Task.WA_Message_Id__c" in text
    assert says in text


async def test_a_record_is_read_by_its_id(world: World) -> None:
    """A Contact and a Lead with their phones, and what is not there is certainly not."""
    contact = world.org.insert("Contact", {"LastName": "Souza", "MobilePhone": "+55 11 98765-4321"}, PERSON)
    lead = world.org.insert(
        "Lead", {"LastName": "Lima", "Company": "Lima", "Phone": "+55 11 98765-0000"}, PERSON
    )
    found = await world.crm.fetch_contacts([lead.id, contact.id, "003000000000000AAA"])
    assert [one.phones if isinstance(one, CandidateContact) else one for one in found] == [
        ("+55 11 98765-0000",),
        ("+55 11 98765-4321",),
        None,
    ]


async def test_a_records_fields_are_read_under_any_name(world: World) -> None:
    """A Lead lacks what a Contact has, which is nothing and no error; a converted Lead is its Contact."""
    contact = world.org.insert("Contact", {"LastName": "Souza", "FirstName": "Ana"}, PERSON)
    lead = world.org.insert("Lead", {"LastName": "Lima", "Company": "Lima Ltda"}, PERSON)
    found = await world.crm.read_properties(
        [lead.id, contact.id, "003000000000000AAA"],
        ["FirstName", "LastName", "Company", "Nope__c", "a' OR 'b"],
    )
    nothing = {"Nope__c": None, "a' OR 'b": None}
    assert found == [
        {"FirstName": None, "LastName": "Lima", "Company": "Lima Ltda", **nothing},
        {"FirstName": "Ana", "LastName": "Souza", "Company": None, **nothing},
        None,
    ]
    world.org.convert_lead(lead.id)
    assert await world.crm.read_properties([lead.id], ["LastName"]) == [{"LastName": "Lima"}]
