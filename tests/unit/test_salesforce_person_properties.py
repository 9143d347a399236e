"""What a query for people's fields asks for, and what is read in its answer."""

from typing import Any, cast

from connector.crm.salesforce.client import SalesforceClient
from connector.crm.salesforce.person_properties import read_properties

_RECORD = "003000000000001AAA"


class Org:
    """Answers every query with one Contact, under the org's own names; keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def call(self, method: str, path: str, *, params: dict[str, str], writes: bool) -> Any:
        """A query."""
        assert (method, path, writes) == ("GET", "query/", False)
        self.asked.append(params["q"])
        row = {"Id": _RECORD, "FirstName": "Ana", "Account": {"Name": "Acme"}, "Size__c": None}
        return {"records": [row], "done": True}


async def test_fields_are_read_however_their_names_are_written() -> None:
    """Salesforce takes `account.name` for `Account.Name` and answers with the latter; it refuses a name twice."""
    org = Org()
    names = ["firstname", "FirstName", "account.NAME", "SIZE__C", "id"]
    [found] = await read_properties(cast("SalesforceClient", org), [_RECORD], names)
    assert found == dict(zip(names, ["Ana", "Ana", "Acme", None, _RECORD], strict=True))
    [asked] = org.asked
    fields = asked.removeprefix("SELECT ").split(" FROM ")[0].lower().split(", ")
    assert sorted(fields) == ["account.name", "firstname", "id", "size__c"]
