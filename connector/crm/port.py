"""The contract between the writer and a CRM. Set-wise in, one result an item out.

An adapter answers exactly one result for each item it was given, in the same order; fewer is a bug that it
must raise, never silence. Whole-call failures are raised as the connector's errors (`Transient`, `Uncertain`,
`Terminal`); what is wrong with one item is its `Refused`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum
from typing import Any, Protocol
from uuid import UUID

from connector.crm.properties import PropertyValue

CUSTOMER_SERVICE_WINDOW = timedelta(hours=24)
"""From each message of the person; https://developers.facebook.com/docs/whatsapp → customer service windows."""


class Priority(IntEnum):
    """Classes of what waits for a CRM, first served first: in claims, and in the account's quota."""

    LIVE = 0
    STATUS = 1
    REPLAY = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Terms:
    """Under what terms calls go out: their class, and what has to hold right before each leaves.

    `check` raises `Transient` when a call must not leave any more, e.g. because the lease on its contacts ended
    while it waited for its turn. An adapter has it called before every request.
    """

    priority: Priority = Priority.LIVE
    check: Callable[[], None] = lambda: None


NOW = Terms()
"""Somebody waits for it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ContactProfile:
    """What the CRM should say about a person. Empty text: nothing to say; None: never happened."""

    bsuid: str = ""
    phone: str = ""
    username: str = ""
    name: str = ""
    ad_source: str = ""
    last_inbound_at: datetime | None = None
    marketing_consent: str = ""
    """granted | denied | unknown; empty: nobody ever said anything, and the CRM is not told."""
    utility_consent: str = ""
    consent_changed_at: datetime | None = None

    @property
    def window_open_until(self) -> datetime | None:
        """Until when the business may write freely."""
        return None if self.last_inbound_at is None else self.last_inbound_at + CUSTOMER_SERVICE_WINDOW


@dataclass(frozen=True, kw_only=True, slots=True)
class ContactUpsert:
    """One person to write. The key is ours and unique in the CRM; the adapter knows only the key's property.

    `record_id` is set whenever the record is known: it is then written by its id, whatever key it carries, as a
    merge or a person may have taken our key away. The result names the record it is in now. Else it is upserted.
    `is_new`: no record is known. `always` and `once` are property → value, as the mapping says; `once` is for a
    record that this write makes, as people may correct it later.
    """

    contact_id: UUID
    profile: ContactProfile
    always: Mapping[str, PropertyValue]
    once: Mapping[str, PropertyValue]
    is_new: bool
    record_id: str | None = None

    @property
    def key(self) -> str:
        """The unique external key."""
        return str(self.contact_id)

    @property
    def said(self) -> Mapping[str, PropertyValue]:
        """What every write says. A record that is made has nothing to clear."""
        if not self.is_new:
            return self.always
        return {name: value for name, value in self.always.items() if value is not None}


@dataclass(frozen=True, kw_only=True, slots=True)
class ContactQuery:
    """A person to look for. `key`: ours; `phones`: digits with country code, in every form they may be on file."""

    key: str
    phones: Sequence[str]


@dataclass(frozen=True, kw_only=True, slots=True)
class CandidateContact:
    """A record that a search brought up. `phones`: every number on it, as people typed them.

    `key`: ours, "" while nobody's. `second_choice`: only to be taken if there is no other (a Salesforce Lead).
    """

    record_id: str
    key: str
    name: str
    phones: Sequence[str]
    created_at: datetime | None = None
    updated_at: datetime | None = None
    second_choice: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class ContactHits:
    """What a search brought up for one person. `complete`: False when the CRM has more than it shows."""

    candidates: Sequence[CandidateContact]
    complete: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class Activity:
    """One message on a contact's timeline, as it should read. `body` is plain text."""

    wamid: str
    contact_record_id: str
    direction: str
    status: str
    at: datetime
    subject: str
    body: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ActivityChange:
    """A known activity that should read differently, or hang on another contact record."""

    record_id: str
    activity: Activity
    moved_from: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ActivityQuery:
    """An activity whose create was begun and whose answer was lost.

    `contact_record_ids`: where it may hang: on the record that it was created on, and on that of today, as somebody
    may have merged the two in between.
    """

    wamid: str
    contact_record_ids: Sequence[str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Written:
    """The CRM has it. `created` is False when it was there before."""

    record_id: str
    created: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Refused:
    """The CRM will never take this item as it is. `cause` is countable, `correlation_id` the CRM's own."""

    cause: str
    reason: str
    advice: str = ""
    correlation_id: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Later:
    """Nothing was done; try again after `retry_after` seconds (None: the writer's own back-off)."""

    reason: str
    retry_after: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Unknown:
    """The answer was lost: the item may be there. Look it up before writing it again.

    `passed_over`: the CRM answered, without a word about this item. `under_way`: the CRM may still be writing it.
    """

    reason: str
    passed_over: bool = False
    under_way: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class Gone:
    """The record (or the contact record a new activity should hang on) is not in the CRM any more.

    `erased`: it cannot be restored either, as one deleted for privacy; False where the CRM does not tell.
    """

    reason: str
    erased: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Homeless:
    """The activity is there, but the contact record that it should move to is not in the CRM any more."""

    reason: str


WriteResult = Written | Refused | Later | Unknown | Gone | Homeless

FindResult = str | Later | None
"""A record id; `Later` when the CRM did not tell, so that the doubt stands; None: it is certainly not there."""


RecordProperties = Mapping[str, Any] | Later | None
"""Property → value as the CRM has it, None for nothing; `Later` when the CRM did not tell; None: no such record."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Differs:
    """A record is there and says something else. `fields`: the CRM's names of what differs, sorted."""

    fields: Sequence[str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Same:
    """A record is there and says what it should."""


Compared = Same | Differs | Gone | Later
"""What a CRM's own record says beside what it should; `Later`: the CRM did not tell."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Retired:
    """A left-over contact record: deleted, or left in place with the reason why a person should look."""

    deleted: bool
    reason: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class SetupReport:
    """What `check_setup` found. `unique_activities`: the CRM refuses a second activity of one wamid.

    `unchecked`: what the account does not let us look at. Writing begins all the same, and tells.
    """

    ready: bool
    unique_activities: bool
    found: Sequence[str] = ()
    missing: Sequence[str] = ()
    unchecked: Sequence[str] = ()
    advice: str = ""


class ContactReads(Protocol):
    """One CRM account, as far as its contact records can be read by their ids."""

    async def fetch_contacts(
        self, record_ids: Sequence[str], terms: Terms = NOW
    ) -> Sequence[CandidateContact | Later | None]:
        """Who these records are. None: it is certainly not there; `Later`: the CRM did not tell."""
        ...


class RecordComparison(Protocol):
    """One CRM account, as far as its records can be compared with what they should say. Nothing is written."""

    @property
    def activities_per_call(self) -> int:
        """Most activities that one `find_activities` takes."""

    async def find_activities(
        self, items: Sequence[ActivityQuery], terms: Terms = NOW
    ) -> Sequence[FindResult]: ...

    async def compare_contacts(
        self, items: Sequence[ContactUpsert], terms: Terms = NOW
    ) -> Sequence[Compared]:
        """Known records of people; any number, read in as few calls as the CRM allows."""
        ...

    async def compare_activities(
        self, items: Sequence[ActivityChange], terms: Terms = NOW
    ) -> Sequence[Compared]:
        """Known activities, and whether they hang on the contact record that they should."""
        ...


class PropertyReads(Protocol):
    """One CRM account, as far as properties of its people's records can be read."""

    async def read_properties(
        self, record_ids: Sequence[str], names: Sequence[str], terms: Terms = NOW
    ) -> Sequence[RecordProperties]:
        """What these records say under `names`, whatever of it the account has. A merged one is what it became.

        Raises the connector's errors for what is wrong with the call itself.
        """
        ...


class Crm(Protocol):
    """One CRM account."""

    @property
    def name(self) -> str:
        """Also the database schema of its sink."""

    @property
    def contacts_per_call(self) -> int:
        """Most contacts that one `upsert_contacts` takes."""

    @property
    def activities_per_call(self) -> int:
        """Most activities that one call takes."""

    @property
    def lookups_per_call(self) -> int:
        """Most people that one `find_contacts` takes."""

    @property
    def request_timeout(self) -> float:
        """Seconds after which an answer counts as lost; a lease outlasts it."""

    @property
    def unique_activities(self) -> bool:
        """A repeated create of one wamid is refused, so a lost create may be looked up at once."""

    async def upsert_contacts(
        self, items: Sequence[ContactUpsert], terms: Terms = NOW
    ) -> Sequence[WriteResult]: ...

    async def log_activities(
        self, items: Sequence[Activity], terms: Terms = NOW
    ) -> Sequence[WriteResult]: ...

    async def update_activities(
        self, items: Sequence[ActivityChange], terms: Terms = NOW
    ) -> Sequence[WriteResult]: ...

    async def find_activities(
        self, items: Sequence[ActivityQuery], terms: Terms = NOW
    ) -> Sequence[FindResult]: ...

    async def find_contact(self, key: str, terms: Terms = NOW) -> str | None: ...

    async def find_contacts(
        self, queries: Sequence[ContactQuery], terms: Terms = NOW
    ) -> Sequence[ContactHits | Later]:
        """Records that may be these people's, for adoption: the caller compares the numbers.

        A search may lag behind writes by seconds, so that what it does not find may be there. `Later`: the CRM did
        not tell of this person.
        """

    async def retire_contact(
        self, record_id: str, *, person: ContactUpsert, created_by_us: bool, terms: Terms = NOW
    ) -> Retired:
        """Delete a record left over by a merge if all of it is ours, else leave it. `person`: as we would make it."""

    async def check_setup(self, *, create: bool) -> SetupReport: ...

    async def close(self) -> None: ...
