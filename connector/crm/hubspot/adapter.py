"""HubSpot behind the CRM port."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

from connector.crm.hubspot import (
    activities,
    comparison,
    contacts,
    listing,
    person_properties,
    retirement,
    setup,
)
from connector.crm.hubspot.activities import ActivityGuard
from connector.crm.hubspot.client import HubSpotClient
from connector.crm.hubspot.contact_search import PEOPLE_PER_CALL, ContactSearch
from connector.crm.hubspot.failures import HubSpotRefusal, as_connector_error
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
from connector.crm.survey import Listed, ListedRecord, Page
from connector.settings import HubSpotSettings


class HubSpot:
    """One HubSpot account. `check_setup` comes first: it tells how activities are guarded.

    `mapped`: properties of the portal's own that the mapping writes; `check_setup` looks at them as well.
    `quota`: the account's; without it calls are not held back.
    """

    name = "hubspot"
    contacts_per_call = 100
    activities_per_call = 100
    lookups_per_call = PEOPLE_PER_CALL

    def __init__(
        self,
        settings: HubSpotSettings,
        *,
        mapped: Sequence[MappedProperty] = (),
        quota: Quota | None = None,
    ) -> None:
        self.request_timeout = settings.request_timeout + 2.0
        self.guard = ActivityGuard.PLAIN
        self._mapped = mapped
        self._client = HubSpotClient(settings, quota=quota)
        self._search = ContactSearch(self._client)

    @property
    def unique_activities(self) -> bool:
        """HubSpot refuses a second communication of one message."""
        return self.guard is ActivityGuard.UNIQUE

    async def upsert_contacts(
        self, items: Sequence[ContactUpsert], terms: Terms = NOW
    ) -> Sequence[WriteResult]:
        """≤ 100 distinct contacts."""
        try:
            return await contacts.upsert_contacts(self._client.under(terms), items)
        except HubSpotRefusal as refusal:
            raise as_connector_error(refusal) from refusal

    async def log_activities(self, items: Sequence[Activity], terms: Terms = NOW) -> Sequence[WriteResult]:
        """≤ 100 distinct messages."""
        try:
            return await activities.log_activities(self._client.under(terms), items, self.guard)
        except HubSpotRefusal as refusal:
            raise as_connector_error(refusal) from refusal

    async def update_activities(
        self, items: Sequence[ActivityChange], terms: Terms = NOW
    ) -> Sequence[WriteResult]:
        """≤ 100 distinct records."""
        try:
            return await activities.update_activities(self._client.under(terms), items, self.guard)
        except HubSpotRefusal as refusal:
            raise as_connector_error(refusal) from refusal

    async def find_activities(
        self, items: Sequence[ActivityQuery], terms: Terms = NOW
    ) -> Sequence[FindResult]:
        """≤ 100 messages."""
        try:
            return await activities.find_activities(self._client.under(terms), items, self.guard)
        except HubSpotRefusal as refusal:
            raise as_connector_error(refusal) from refusal

    async def find_contact(self, key: str, terms: Terms = NOW) -> str | None:
        """The record that carries our key, if there is one."""
        try:
            return await contacts.find_contact(self._client.under(terms), key)
        except HubSpotRefusal as refusal:
            raise as_connector_error(refusal) from refusal

    async def find_contacts(
        self, queries: Sequence[ContactQuery], terms: Terms = NOW
    ) -> Sequence[ContactHits | Later]:
        """≤ 250 people. Search lags some seconds behind writes."""
        try:
            return await self._search.find(queries, terms)
        except HubSpotRefusal as refusal:
            raise as_connector_error(refusal) from refusal

    async def fetch_contacts(
        self, record_ids: Sequence[str], terms: Terms = NOW
    ) -> Sequence[CandidateContact | Later | None]:
        """Any number of records, 100 a call."""
        try:
            return await self._search.fetch(record_ids, terms)
        except HubSpotRefusal as refusal:
            raise as_connector_error(refusal) from refusal

    async def compare_contacts(
        self, items: Sequence[ContactUpsert], terms: Terms = NOW
    ) -> Sequence[Compared]:
        """Any number of known records, 100 a call."""
        try:
            return await comparison.compare_contacts(self._client.under(terms), items)
        except HubSpotRefusal as refusal:
            raise as_connector_error(refusal) from refusal

    async def compare_activities(
        self, items: Sequence[ActivityChange], terms: Terms = NOW
    ) -> Sequence[Compared]:
        """Any number of known records, 100 a call, and their associations, 1,000 a call."""
        try:
            return await comparison.compare_activities(self._client.under(terms), items, self.guard)
        except HubSpotRefusal as refusal:
            raise as_connector_error(refusal) from refusal

    async def read_properties(
        self, record_ids: Sequence[str], names: Sequence[str], terms: Terms = NOW
    ) -> Sequence[RecordProperties]:
        """Any number of records, 100 a call."""
        try:
            return await person_properties.read_properties(self._client.under(terms), record_ids, names)
        except HubSpotRefusal as refusal:
            raise as_connector_error(refusal) from refusal

    async def retire_contact(
        self,
        record_id: str,
        *,
        person: ContactUpsert,  # noqa: ARG002 - the history tells who wrote what
        created_by_us: bool,
        terms: Terms = NOW,
    ) -> Retired:
        """Delete or flag a record left over by a merge."""
        try:
            return await retirement.retire_contact(
                self._client.under(terms), record_id, created_by_us=created_by_us
            )
        except HubSpotRefusal as refusal:
            raise as_connector_error(refusal) from refusal

    async def list_page(
        self,
        what: Listed,
        *,
        since: datetime | None,
        until: datetime | None,
        after: str = "",
        terms: Terms = NOW,
    ) -> Page:
        """200 records a search."""
        try:
            return await listing.list_page(
                self._client.under(terms), what, self.guard, since=since, until=until, after=after
            )
        except HubSpotRefusal as refusal:
            raise as_connector_error(refusal) from refusal

    async def list_activities_of(
        self, contact_record_ids: Collection[str], terms: Terms = NOW
    ) -> Sequence[ListedRecord]:
        """Any number of contacts, 1,000 a call, and 100 activities a call."""
        try:
            return await listing.list_activities_of(self._client.under(terms), contact_record_ids, self.guard)
        except HubSpotRefusal as refusal:
            raise as_connector_error(refusal) from refusal

    async def read_listed(
        self, what: Listed, record_ids: Collection[str], terms: Terms = NOW
    ) -> Sequence[ListedRecord]:
        """Any number of records, 100 a call."""
        try:
            return await listing.read_listed(self._client.under(terms), what, record_ids, self.guard)
        except HubSpotRefusal as refusal:
            raise as_connector_error(refusal) from refusal

    async def retire_activity(self, record_id: str, *, kept: str, terms: Terms = NOW) -> Retired:
        """Delete or flag a second record of a message."""
        try:
            return await retirement.retire_activity(self._client.under(terms), record_id, kept=kept)
        except HubSpotRefusal as refusal:
            raise as_connector_error(refusal) from refusal

    async def check_setup(self, *, create: bool) -> SetupReport:
        """Look at (and with `create` make) our properties; from then on activities are guarded accordingly."""
        try:
            report, self.guard = await setup.check_setup(self._client, create=create, mapped=self._mapped)
        except HubSpotRefusal as refusal:
            raise as_connector_error(refusal) from refusal
        return report

    async def close(self) -> None:
        """Let threads and connections go."""
        await self._client.close()
