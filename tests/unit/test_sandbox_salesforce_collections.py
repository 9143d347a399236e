"""The Salesforce simulator's Collections: what passes, what is refused, and what each row answers."""

from typing import Any

import pytest
from sandbox_org import codes, org, task

from connector.sandbox.faults import Fault, FaultKind


async def test_results_come_in_order_and_one_bad_row_spares_the_others() -> None:
    """Each record has its result in place; a refused one leaves the rest written."""
    async with org() as client:
        answer = await client.upsert(
            "Contact",
            "WA_Contact_Key__c",
            {"WA_Contact_Key__c": "a", "LastName": "A"},
            {"WA_Contact_Key__c": "b"},
            {"WA_Contact_Key__c": "c", "LastName": "C"},
        )
        assert codes(answer) == ["ok", "REQUIRED_FIELD_MISSING", "ok"]
        assert [row.get("created") for row in answer.json()] == [True, None, True]
        names = {
            row["WA_Contact_Key__c"] for row in await client.query("SELECT WA_Contact_Key__c FROM Contact")
        }
        assert names == {"a", "c"}


async def test_all_or_none_takes_every_row_back() -> None:
    """With allOrNone one bad row undoes the others."""
    async with org() as client:
        await client.person("a", Title="old")
        answer = await client.upsert(
            "Contact",
            "WA_Contact_Key__c",
            {"WA_Contact_Key__c": "a", "Title": "new"},
            {"WA_Contact_Key__c": "b", "LastName": "B"},
            {"WA_Contact_Key__c": "c"},
            all_or_none=True,
        )
        rolled_back = "ALL_OR_NONE_OPERATION_ROLLED_BACK"
        assert codes(answer) == [rolled_back, rolled_back, "REQUIRED_FIELD_MISSING"]
        assert [row["Title"] for row in await client.query("SELECT Title FROM Contact")] == ["old"]


async def test_an_upsert_updates_what_is_there() -> None:
    """The same key again is the same record."""
    async with org() as client:
        first = await client.person("a")
        answer = await client.upsert("Contact", "WA_Contact_Key__c", {"WA_Contact_Key__c": "a", "Title": "x"})
        assert (answer.json()[0]["id"], answer.json()[0]["created"]) == (first, False)


async def test_a_key_tells_case() -> None:
    """wamids that differ in case only are two messages."""
    async with org() as client:
        who = await client.person("a")
        answer = await client.upsert("Task", "WA_Message_Id__c", task("wamid.Ab", who), task("wamid.aB", who))
        assert codes(answer) == ["ok", "ok"]


async def test_a_key_twice_in_one_request_is_refused() -> None:
    """Both rows of a repeated external id fail."""
    async with org() as client:
        record = {"WA_Contact_Key__c": "a", "LastName": "A"}
        answer = await client.upsert("Contact", "WA_Contact_Key__c", record, record)
        assert codes(answer) == ["DUPLICATE_VALUE", "DUPLICATE_VALUE"]
        assert "Duplicate external id specified" in answer.text


@pytest.mark.parametrize(
    ("records", "status", "code"),
    [
        pytest.param([{}] * 201, 400, "EXCEEDED_MAX_SIZE_REQUEST", id="201-records"),
        pytest.param([], 400, "JSON_PARSER_ERROR", id="none"),
        pytest.param([{"id": "003000000000001"}], 400, "INVALID_FIELD", id="with-an-id"),
        pytest.param([{"attributes": {"type": "Lead"}}], 400, "INVALID_TYPE", id="another-type"),
        pytest.param([{"Nope__c": "x"}], 400, "INVALID_FIELD", id="unknown-field"),
        pytest.param([{"LastName": 5}], 400, "JSON_PARSER_ERROR", id="a-number-in-a-text"),
        pytest.param([{"WA_Last_Inbound_At__c": "2026-03-01"}], 400, "JSON_PARSER_ERROR", id="no-time"),
        pytest.param([{"LastName": "\ud83d"}], 400, "JSON_PARSER_ERROR", id="half-a-surrogate"),
    ],
)
async def test_a_malformed_request_writes_nothing(
    records: list[dict[str, Any]], status: int, code: str
) -> None:
    """What is wrong with the request as such refuses it whole."""
    async with org() as client:
        good = {"WA_Contact_Key__c": "a", "LastName": "A"}
        answer = await client.upsert("Contact", "WA_Contact_Key__c", *([good | record for record in records]))
        assert (answer.status_code, answer.json()[0]["errorCode"]) == (status, code)
        assert client.sandbox.state()["counts"]["contacts"] == 0


async def test_a_field_that_is_no_external_id_is_not_found() -> None:
    """Upsert by an ordinary field, or by one that is missing, answers 404."""
    async with org(absent_fields=frozenset({"Task.WA_Message_Id__c"})) as client:
        assert (await client.upsert("Contact", "LastName", {"LastName": "A"})).status_code == 404
        assert (await client.upsert("Task", "WA_Message_Id__c", {"Subject": "s"})).status_code == 404


@pytest.mark.parametrize(
    ("values", "code"),
    [
        pytest.param({"LastName": "x" * 81}, "STRING_TOO_LONG", id="too-long"),
        pytest.param({"CreatedById": "005000000000APPAAA"}, "INVALID_FIELD_FOR_INSERT_UPDATE", id="system"),
        pytest.param({"WA_Phone__c": "+1"}, "INVALID_FIELD_FOR_INSERT_UPDATE", id="read-only"),
        pytest.param({"Title": None}, "REQUIRED_FIELD_MISSING", id="required-by-the-org"),
        pytest.param(
            {"AccountId": "001000000000001AAA"}, "INVALID_CROSS_REFERENCE_KEY", id="no-such-account"
        ),
        pytest.param({"AccountId": "003000000000001AAA"}, "MALFORMED_ID", id="no-account-at-all"),
    ],
)
async def test_a_bad_value_refuses_its_row(values: dict[str, Any], code: str) -> None:
    """Limits, permissions, required fields and references are checked row by row."""
    async with org(
        read_only_fields=frozenset({"Contact.WA_Phone__c"}), required_fields=frozenset({"Contact.Title"})
    ) as client:
        record = {"WA_Contact_Key__c": "a", "LastName": "A", "Title": "x"}
        answer = await client.upsert("Contact", "WA_Contact_Key__c", record | values)
        assert codes(answer) == [code]


async def test_a_lead_needs_a_company() -> None:
    """Lead requires LastName and Company."""
    async with org() as client:
        answer = await client.upsert("Lead", "WA_Contact_Key__c", {"WA_Contact_Key__c": "a"})
        assert answer.json()[0]["errors"][0]["message"] == "Required fields are missing: [LastName, Company]"


@pytest.mark.parametrize("spelling", ["duplicateResut", "duplicateResult"])
async def test_a_blocking_duplicate_rule_names_the_record(spelling: str) -> None:
    """A match of a blocking rule is refused, also with allowSave, and names the record."""
    rule = {"name": "Phones", "sobject": "Contact", "field": "MobilePhone", "action": "block"}
    async with org(duplicate_rules=[rule], duplicate_key=spelling) as client:
        there = await client.person("a", MobilePhone="+15550001")
        answer = await client.upsert(
            "Contact",
            "WA_Contact_Key__c",
            {"WA_Contact_Key__c": "b", "LastName": "B", "MobilePhone": "+15550001"},
            headers={"Sforce-Duplicate-Rule-Header": "allowSave=true"},
        )
        assert codes(answer) == ["DUPLICATES_DETECTED"]
        match = answer.json()[0]["errors"][0][spelling]["matchResults"][0]["matchRecords"][0]
        assert match["record"]["Id"] == there


async def test_an_alert_passes_only_when_it_is_asked_to() -> None:
    """An alert rule refuses, unless the caller allows the save."""
    rule = {"name": "Phones", "sobject": "Contact", "field": "MobilePhone", "action": "alert"}
    async with org(duplicate_rules=[rule]) as client:
        await client.person("a", MobilePhone="+15550001")
        record = {"WA_Contact_Key__c": "b", "LastName": "B", "MobilePhone": "+15550001"}
        assert codes(await client.upsert("Contact", "WA_Contact_Key__c", record)) == ["DUPLICATES_DETECTED"]
        header = {"Sforce-Duplicate-Rule-Header": "allowSave=true"}
        assert codes(await client.upsert("Contact", "WA_Contact_Key__c", record, headers=header)) == ["ok"]


async def test_a_converted_lead_takes_nothing_and_its_contact_takes_over() -> None:
    """A conversion moves the tasks to the new Contact and closes the Lead, also for new tasks."""
    async with org() as client:
        record = {"WA_Contact_Key__c": "a", "LastName": "A", "Company": "C"}
        lead = (await client.upsert("Lead", "WA_Contact_Key__c", record)).json()[0]["id"]
        await client.upsert("Task", "WA_Message_Id__c", task("m1", lead))
        contact = client.sandbox.org.convert_lead(lead)
        again = await client.upsert("Lead", "WA_Contact_Key__c", record)
        late = await client.upsert("Task", "WA_Message_Id__c", task("m2", lead))
        assert codes(again) == codes(late) == ["CANNOT_UPDATE_CONVERTED_LEAD"]
        tasks = client.sandbox.state()["tasks"]
        assert [item["values"]["WhoId"] for item in tasks] == [contact.id]
        found = await client.query(f"SELECT ConvertedContactId FROM Lead WHERE Id = '{lead}'")
        assert found[0]["ConvertedContactId"] == contact.id


async def test_a_deleted_record_is_gone_and_its_key_is_free() -> None:
    """Writing a deleted record by id fails, hanging a task on it too; an upsert by its key makes a new one."""
    async with org() as client:
        who = await client.person("a")
        assert (await client.call("DELETE", f"composite/sobjects?ids={who}")).json()[0]["success"]
        body = {"records": [{"attributes": {"type": "Contact"}, "id": who, "Title": "x"}]}
        assert codes(await client.call("PATCH", "composite/sobjects", body)) == ["ENTITY_IS_DELETED"]
        hung = await client.upsert("Task", "WA_Message_Id__c", task("m1", who))
        assert codes(hung) == ["ENTITY_IS_DELETED"]
        assert await client.person("a") != who


async def test_a_merge_leaves_the_way_to_the_master() -> None:
    """A merged record is found by queryAll with the record that it went to."""
    async with org() as client:
        master, loser = await client.person("a"), await client.person("b")
        client.sandbox.org.merge("Contact", master=master, loser=loser)
        assert len(await client.query("SELECT Id FROM Contact")) == 1
        answer = await client.call(
            "GET", f"queryAll/?q=SELECT MasterRecordId FROM Contact WHERE Id = '{loser}' AND IsDeleted = true"
        )
        assert answer.json()["records"][0]["MasterRecordId"] == master


async def test_single_records_by_key() -> None:
    """One record is upserted, read, updated only, and deleted by its external id."""
    async with org() as client:
        path = "sobjects/Contact/WA_Contact_Key__c/k1"
        assert (await client.call("PATCH", f"{path}?updateOnly=true", {"Title": "x"})).status_code == 404
        assert (await client.call("PATCH", path, {"LastName": "L"})).status_code == 201
        assert (await client.call("PATCH", path, {"Title": "x"})).status_code == 200
        assert (await client.call("GET", path)).json()["Title"] == "x"
        assert (await client.call("DELETE", path)).status_code == 204
        assert (await client.call("GET", path)).status_code == 404


async def test_poison_and_locks_hit_the_rows_that_they_name() -> None:
    """The poison and lock faults refuse rows by their text."""
    async with org() as client:
        who = await client.person("a")
        client.sandbox.faults.add(Fault(kind=FaultKind.POISON, text="poison"))
        client.sandbox.faults.add(Fault(kind=FaultKind.LOCK, text="busy"))
        answer = await client.upsert(
            "Task",
            "WA_Message_Id__c",
            task("m1", who, Subject="poison"),
            task("m2", who, Subject="busy"),
            task("m3", who),
        )
        assert codes(answer) == ["FIELD_CUSTOM_VALIDATION_EXCEPTION", "UNABLE_TO_LOCK_ROW", "ok"]
