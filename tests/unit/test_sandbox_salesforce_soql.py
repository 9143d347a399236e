"""The Salesforce simulator's queries and describe."""

import pytest
from sandbox_org import org, task


async def test_conditions_are_joined_and_texts_compare_without_case() -> None:
    """AND narrows, IN lists, != excludes; an ordinary text ignores case, a case-sensitive key does not."""
    async with org() as client:
        await client.person("Ka", Title="Boss")
        await client.person("kb", Title="boss")

        async def keys(where: str) -> list[str]:
            found = await client.query(f"SELECT Id, WA_Contact_Key__c FROM Contact WHERE {where}")
            return [row["WA_Contact_Key__c"] for row in found]

        assert await keys("Title = 'BOSS'") == ["Ka", "kb"]
        assert await keys("WA_Contact_Key__c = 'ka'") == []
        assert await keys("WA_Contact_Key__c IN ('Ka', 'kb') AND Title != null") == ["Ka", "kb"]
        assert await keys("IsDeleted = false AND WA_Contact_Key__c != 'kb' LIMIT 1") == ["Ka"]


async def test_times_are_bounded_by_literals_without_quotes() -> None:
    """>= and < compare a date-time with one that stands without quotes; one in quotes is refused."""
    async with org() as client:
        await client.person("a")

        async def found(where: str) -> int:
            return len(await client.query(f"SELECT Id FROM Contact WHERE CreatedDate {where}"))

        assert await found(">= 2020-01-01T00:00:00Z") == 1
        assert await found("< 2020-01-01T00:00:00Z") == 0
        answer = await client.call(
            "GET", "query/?q=SELECT Id FROM Contact WHERE CreatedDate >= '2020-01-01T00:00:00Z'"
        )
        assert (answer.status_code, answer.json()[0]["errorCode"]) == (400, "INVALID_FIELD")


async def test_quotes_are_escaped() -> None:
    """A quote or backslash within a text is written with a backslash."""
    async with org() as client:
        await client.person("a", Title="O'Neil \\ sons")
        assert len(await client.query("SELECT Id FROM Contact WHERE Title = 'O\\'Neil \\\\ sons'")) == 1


async def test_a_subquery_lists_children() -> None:
    """A child relationship gives its records, or null where there are none."""
    async with org() as client:
        who = await client.person("a")
        await client.upsert("Task", "WA_Message_Id__c", task("m1", who), task("m2", who))
        found = await client.query(
            "SELECT Id, (SELECT Id, WA_Message_Id__c FROM Tasks LIMIT 1), (SELECT Id FROM Cases) FROM Contact"
        )
        assert found[0]["Tasks"]["records"][0]["WA_Message_Id__c"] == "m1"
        assert found[0]["Cases"] is None


async def test_pages_follow_each_other() -> None:
    """What does not fit into one page is under nextRecordsUrl."""
    async with org(query_page=2) as client:
        for key in "abc":
            await client.person(key)
        first = await client.call("GET", "query/?q=SELECT WA_Contact_Key__c FROM Contact")
        assert (first.json()["totalSize"], first.json()["done"]) == (3, False)
        rest = first.json()["nextRecordsUrl"].split("/", 4)[4]
        second = await client.call("GET", rest)
        assert [row["WA_Contact_Key__c"] for row in second.json()["records"]] == ["c"]


@pytest.mark.parametrize(
    ("where", "names"),
    [
        pytest.param("Phone LIKE '%8%7%6%5%4%3%2%1%'", "ab", id="any-way-of-writing"),
        pytest.param("Phone LIKE '%4321'", "a", id="end"),
        pytest.param("Phone LIKE '(11)%'", "a", id="start"),
        pytest.param("Title LIKE 'mr_'", "b", id="one-letter"),
        pytest.param("Title LIKE '100\\%'", "c", id="escaped"),
        pytest.param("Phone LIKE '%9999%' OR Title = 'Mrs'", "b", id="or"),
        pytest.param("(Phone LIKE '%1%' OR Title = '100%') AND LastName != 'b'", "ac", id="grouped"),
    ],
)
async def test_patterns_and_alternatives_find_what_they_name(where: str, names: str) -> None:
    """LIKE takes % and _, a backslash makes them ordinary, an empty field is like nothing; OR joins."""
    async with org() as client:
        await client.person("a", Phone="(11) 98765-4321")
        await client.person("b", Phone="+55 11 8765 4321 ext. 2", Title="Mrs")
        await client.person("c", Title="100%")
        found = await client.query(f"SELECT LastName FROM Contact WHERE {where}")
        assert "".join(sorted(row["LastName"] for row in found)) == names


@pytest.mark.parametrize(
    ("text", "code"),
    [
        pytest.param("SELECT FROM Contact", "MALFORMED_QUERY", id="no-field"),
        pytest.param("SELECT Id FROM Contact WHERE Id NOT 'x'", "MALFORMED_QUERY", id="unknown-operator"),
        pytest.param(
            "SELECT Id FROM Contact WHERE Id LIKE '0%'", "INVALID_QUERY_FILTER_OPERATOR", id="id-like"
        ),
        pytest.param(
            "SELECT Id FROM Contact WHERE Title = 'a' OR Title = 'b' AND Title != 'c'",
            "MALFORMED_QUERY",
            id="and-beside-or",
        ),
        pytest.param("SELECT Id FROM Contact WHERE Title = 'x", "MALFORMED_QUERY", id="open-quote"),
        pytest.param("SELECT Nope FROM Contact", "INVALID_FIELD", id="unknown-field"),
        pytest.param("SELECT Id FROM Nope", "INVALID_TYPE", id="unknown-object"),
        pytest.param("SELECT Id FROM Case", "INVALID_TYPE", id="hidden-object"),
        pytest.param("SELECT Id, (SELECT Id FROM Cases) FROM Contact", "INVALID_TYPE", id="hidden-children"),
    ],
)
async def test_a_query_that_cannot_be_run_says_why(text: str, code: str) -> None:
    """Malformed queries and unknown names are refused by their codes."""
    async with org(absent_objects=frozenset({"Case"})) as client:
        answer = await client.call("GET", f"query/?q={text}")
        assert (answer.status_code, answer.json()[0]["errorCode"]) == (400, code)


async def test_an_uri_has_a_length() -> None:
    """A query beyond 16,384 bytes answers 414."""
    async with org() as client:
        names = ",".join(f"'{'x' * 60}{number}'" for number in range(300))
        answer = await client.call("GET", f"query/?q=SELECT Id FROM Contact WHERE Title IN ({names})")
        assert answer.status_code == 414


async def test_describe_tells_keys_and_permissions() -> None:
    """describe shows our fields with what makes them keys, and only those that the user may see."""
    async with org(
        absent_fields=frozenset({"Contact.WA_BSUID__c"}), read_only_fields=frozenset({"Contact.WA_Phone__c"})
    ) as client:
        answer = await client.call("GET", "sobjects/Contact/describe")
        fields = {field["name"]: field for field in answer.json()["fields"]}
        key = fields["WA_Contact_Key__c"]
        assert (key["unique"], key["externalId"], key["caseSensitive"], key["length"]) == (
            True,
            True,
            True,
            36,
        )
        assert "WA_BSUID__c" not in fields
        assert fields["WA_Phone__c"]["updateable"] is False


async def test_a_new_org_has_none_of_our_fields_until_the_package_is_deployed() -> None:
    """Without the package our fields are unknown; deploying its files makes them, on Activity for tasks."""
    from connector.crm.salesforce.package import package_files

    async with org(packaged=False) as client:
        record = {"WA_Contact_Key__c": "a", "LastName": "A"}
        assert (await client.upsert("Contact", "WA_Contact_Key__c", record)).status_code == 404
        added = client.sandbox.org.deploy(package_files())
        assert {"Task.WA_Message_Id__c", "Event.WA_Message_Id__c", "Lead.WA_Contact_Key__c"} <= set(added)
        assert (await client.upsert("Contact", "WA_Contact_Key__c", record)).status_code == 200
