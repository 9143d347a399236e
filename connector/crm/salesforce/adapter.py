"""Salesforce behind the CRM port."""

from __future__ import annotations

from collections.abc import Awaitable, Collection, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TypeVar

from connector.crm.port import (
    NOW,
    Activity,
    ActivityChange,
    ActivityQuery,
    CandidateContact,
    Compared,
    ContactHits,
    ContactQuery,
    ContactUpsert,
    FindResult,
    Later,
    RecordProperties,
    Retired,
    SetupReport,
    Terms,
    WriteResult,
)
from connector.crm.properties import MappedProperty
from connector.crm.quota import Quota
from connector.crm.salesforce import (
    activities,
    comparison,
    contacts,
    listing,
    person_properties,
    retirement,
    rows,
    setup,
)
from connector.crm.salesforce.client import SalesforceClient
from connector.crm.salesforce.contact_search import PEOPLE_PER_CALL, ContactSearch
from connector.crm.salesforce.failures import SalesforceRefusal, as_connector_error
from connector.crm.survey import Listed, ListedRecord, Page
from connector.settings import SalesforceSettings

Answer = TypeVar("Answer")


class Salesforce:
    """One Salesforce org. A message is a Task upserted by its id, so that none is ever there twice.

    `mapped`: fields of the org's own that the mapping writes; `check_setup` looks at them as well.
    `quota`: the org's; without it calls are not held back.
    """

    name = "salesforce"
    contacts_per_call = rows.LIMIT
    activities_per_call = rows.LIMIT
    lookups_per_call = PEOPLE_PER_CALL
    unique_activities = True

    def __init__(
        self,
        settings: SalesforceSettings,
        *,
        mapped: Sequence[MappedProperty] = (),
        quota: Quota | None = None,
    ) -> None:
        self.request_timeout = settings.request_timeout + 2.0
        self._mapped = mapped
        self._people = contacts.People(sobject=settings.person_object, company=settings.lead_company)
        self._client = SalesforceClient(settings, quota=quota)
        self._search = ContactSearch(self._client, settings.person_object)

    async def upsert_contacts(
        self, items: Sequence[ContactUpsert], terms: Terms = NOW
    ) -> Sequence[WriteResult]:
        """≤ 200 distinct contacts."""
        return await _checked(contacts.upsert_contacts(self._client.under(terms), items, self._people))

    async def log_activities(self, items: Sequence[Activity], terms: Terms = NOW) -> Sequence[WriteResult]:
        """≤ 200 distinct messages."""
        return await _checked(activities.log_activities(self._client.under(terms), items))

    async def update_activities(
        self, items: Sequence[ActivityChange], terms: Terms = NOW
    ) -> Sequence[WriteResult]:
        """≤ 200 distinct records."""
        return await _checked(activities.update_activities(self._client.under(terms), items))

    async def find_activities(
        self, items: Sequence[ActivityQuery], terms: Terms = NOW
    ) -> Sequence[FindResult]:
        """≤ 200 messages."""
        return await _checked(activities.find_activities(self._client.under(terms), items))

    async def find_contact(self, key: str, terms: Terms = NOW) -> str | None:
        """The record that carries our key, if there is one."""
        return await _checked(contacts.find_contact(self._client.under(terms), self._people.sobject, key))

    async def find_contacts(
        self, queries: Sequence[ContactQuery], terms: Terms = NOW
    ) -> Sequence[ContactHits | Later]:
        """≤ 40 people."""
        return await _checked(self._search.find(queries, terms))

    async def fetch_contacts(
        self, record_ids: Sequence[str], terms: Terms = NOW
    ) -> Sequence[CandidateContact | Later | None]:
        """Any number of records of people."""
        return await _checked(self._search.fetch(record_ids, terms))

    async def compare_contacts(
        self, items: Sequence[ContactUpsert], terms: Terms = NOW
    ) -> Sequence[Compared]:
        """Any number of known records, in as few queries as their ids fit into."""
        return await _checked(comparison.compare_contacts(self._client.under(terms), items, self._people))

    async def compare_activities(
        self, items: Sequence[ActivityChange], terms: Terms = NOW
    ) -> Sequence[Compared]:
        """Any number of known Tasks, in as few queries as their ids fit into."""
        return await _checked(comparison.compare_activities(self._client.under(terms), items))

    async def read_properties(
        self, record_ids: Sequence[str], names: Sequence[str], terms: Terms = NOW
    ) -> Sequence[RecordProperties]:
        """Any number of records of people."""
        return await _checked(person_properties.read_properties(self._client.under(terms), record_ids, names))

    async def retire_contact(
        self, record_id: str, *, person: ContactUpsert, created_by_us: bool, terms: Terms = NOW
    ) -> Retired:
        """Delete or flag a record left over by a merge."""
        return await _checked(
            retirement.retire_contact(
                self._client.under(terms), record_id, person, self._people, created_by_us=created_by_us
            )
        )

    async def list_page(
        self,
        what: Listed,
        *,
        since: datetime | None,
        until: datetime | None,
        after: str = "",
        terms: Terms = NOW,
    ) -> Page:
        """Some 2,000 records a query."""
        return await _checked(
            listing.list_page(
                self._client.under(terms), what, self._people.sobject, since=since, until=until, after=after
            )
        )

    async def list_activities_of(
        self, contact_record_ids: Collection[str], terms: Terms = NOW
    ) -> Sequence[ListedRecord]:
        """Any number of people, in as few queries as their ids fit into."""
        return await _checked(listing.list_activities_of(self._client.under(terms), contact_record_ids))

    async def read_listed(
        self, what: Listed, record_ids: Collection[str], terms: Terms = NOW
    ) -> Sequence[ListedRecord]:
        """Any number of records, in as few queries as their ids fit into."""
        return await _checked(listing.read_listed(self._client.under(terms), what, record_ids))

    async def retire_activity(
        self,
        record_id: str,  # noqa: ARG002 - whichever it is
        *,
        kept: str,  # noqa: ARG002
        terms: Terms = NOW,  # noqa: ARG002
    ) -> Retired:
        """Flag a second record of a message: the org takes a message's id once, so that this one is not of our making."""
        return Retired(
            deleted=False,
            reason="somebody copied it, as we never make a second one; delete one of the two by hand",
        )

    async def check_setup(self, *, create: bool) -> SetupReport:  # noqa: ARG002
        """Look at our fields. They are made by an admin who deploys the package, so `create` changes nothing.

        What is written from then on is cut at the lengths that were found.
        """
        report, lengths = await _checked(
            setup.check_setup(self._client, self._people.sobject, mapped=self._mapped)
        )
        self._people = replace(self._people, lengths={**contacts.LENGTHS, **lengths})
        return report

    async def close(self) -> None:
        """Let threads and connections go."""
        await self._client.close()


async def _checked(call: Awaitable[Answer]) -> Answer:
    """What is left of a refusal after the items were told apart is nobody's item."""
    try:
        return await call
    except SalesforceRefusal as refusal:
        raise as_connector_error(refusal) from refusal
