"""The contract between reconciliation and a CRM: listing every record that carries something of ours.

Comparing (port.py) looks at records that our tables know. What they do not know can only be found by listing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from connector.crm.port import NOW, Retired, Terms


class Listed(StrEnum):
    """What is listed."""

    CONTACT = "contact"
    ACTIVITY = "activity"


@dataclass(frozen=True, kw_only=True, slots=True)
class ListedRecord:
    """A record with something of ours. `key`: our contact id, or the wamid; "": it carries none.

    `hashed`: in place of a wamid that the CRM does not hold as such, the beginning of its SHA-256, in hex.
    `twin`: a digest that a copy of it has as well; "": what it says is too little to know a copy by.
    `places`: of an activity, the contact records that it hangs on; empty when it comes from a listing.
    """

    record_id: str
    key: str
    hashed: str
    twin: str
    made_at: datetime
    places: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """Some records, and where the next page begins; "": this is the last."""

    records: Sequence[ListedRecord]
    next: str


class RecordSurvey(Protocol):
    """One CRM account, as far as its records can be listed, and a message's second one be deleted."""

    async def list_page(
        self,
        what: Listed,
        *,
        since: datetime | None,
        until: datetime | None,
        after: str = "",
        terms: Terms = NOW,
    ) -> Page:
        """Records that were made in that time. `after`: `next` of the page before. An index may lag by seconds."""
        ...

    async def list_activities_of(
        self, contact_record_ids: Collection[str], terms: Terms = NOW
    ) -> Sequence[ListedRecord]:
        """Activities of ours that hang on these contact records."""
        ...

    async def read_listed(
        self, what: Listed, record_ids: Collection[str], terms: Terms = NOW
    ) -> Sequence[ListedRecord]:
        """These records as they are now, activities with their places. What is not there is left out."""
        ...

    async def retire_activity(self, record_id: str, *, kept: str, terms: Terms = NOW) -> Retired:
        """Delete a second record of the message of `kept` if all of it is ours, else leave it."""
        ...


def twin_of(*said: str) -> str:
    """The digest of what a record says; "" when any of it is missing."""
    if not all(said):
        return ""
    return hashlib.sha256("\0".join(said).encode("utf-8", "replace")).hexdigest()[:32]
