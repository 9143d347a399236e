"""What an org's answers about our fields are taken for."""

from collections.abc import Mapping
from typing import Any, cast

import pytest

from connector.crm.salesforce.client import SalesforceClient
from connector.crm.salesforce.failures import call_failure
from connector.crm.salesforce.schema import FIELDS
from connector.crm.salesforce.setup import check_setup


class Org:
    """Describes all our fields with `flags` beside their names; refuses as `describe` and `query` say (status, code)."""

    def __init__(
        self,
        flags: Mapping[str, Any] | None = None,
        *,
        describe: tuple[int, str] | None = None,
        query: tuple[int, str] | None = None,
    ) -> None:
        self._flags = flags or {}
        self._describe = describe
        self._query = query

    async def call(
        self, _: str, path: str, *, params: Mapping[str, str] | None = None, writes: bool
    ) -> dict[str, Any]:
        refusal = self._query if params else self._describe
        if refusal is not None:
            content = [{"errorCode": refusal[1], "message": "no such thing"}] if refusal[1] else "Not Found"
            raise call_failure(refusal[0], content, {}, writes=writes)
        if params:
            return {"records": [], "done": True}
        fields = FIELDS[path.split("/")[1]]
        return {"fields": [{"name": field.name, **self._flags} for field in fields]}

    @property
    def client(self) -> SalesforceClient:
        return cast("SalesforceClient", self)


async def test_a_description_without_flags_says_nothing_against_our_fields() -> None:
    """Fields that are there are written; what is wrong with them the write tells."""
    report, _ = await check_setup(Org().client, "Contact")
    assert report.ready
    assert "Task.WA_Message_Id__c" in report.found


@pytest.mark.parametrize(
    ("flag", "value"),
    [("createable", False), ("updateable", False), ("unique", False), ("externalId", False), ("length", 10)],
)
async def test_a_flag_that_is_said_counts(flag: str, value: Any) -> None:
    """A field that is read-only, no key or too short is named."""
    report, _ = await check_setup(Org({flag: value}).client, "Contact")
    assert not report.ready


@pytest.mark.parametrize("refusal", [(404, "NOT_FOUND"), (404, ""), (403, "INSUFFICIENT_ACCESS")])
async def test_an_org_that_describes_nothing_is_asked_by_a_query(refusal: tuple[int, str]) -> None:
    """A query for our fields that passes tells that they are there."""
    report, lengths = await check_setup(Org(describe=refusal).client, "Lead")
    assert report.ready
    assert "Lead.WA_Contact_Key__c" in report.found
    assert lengths == {}


async def test_a_field_that_the_query_does_not_know_is_missing() -> None:
    """The reason is Salesforce's own, and the advice says what to deploy."""
    report, _ = await check_setup(
        Org(describe=(404, "NOT_FOUND"), query=(400, "INVALID_FIELD")).client, "Contact"
    )
    assert not report.ready
    assert any("no such thing" in name for name in report.missing)
    assert "deploy" in report.advice


async def test_an_org_that_tells_nothing_at_all_is_written_to() -> None:
    """What cannot be checked is said; the first write tells the rest."""
    report, _ = await check_setup(Org(describe=(404, ""), query=(404, "")).client, "Contact")
    assert report.ready
    assert "Contact.WA_Contact_Key__c" in report.unchecked
