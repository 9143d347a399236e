"""Claimed items → the calls of one drain. Pure: what to upsert, look up, create, change, or skip."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from connector.crm.port import Activity, ActivityChange, ActivityQuery, ContactUpsert, Priority
from connector.sync.claims import ClaimedActivity, ClaimedContact
from connector.sync.core.desired import activity_view, contact_profile
from connector.sync.core.file_links import FileLinks, with_file_links
from connector.sync.core.layout import ActivityLayout
from connector.sync.core.mapping import ContactMapping


def digest(*parts: object) -> str:
    """Names what was written, so that the same again needs no call."""
    return hashlib.sha256(repr(parts).encode("utf-8", "backslashreplace")).hexdigest()[:16]


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedContact:
    """A person to upsert. `unchanged`: the CRM says so already."""

    claimed: ClaimedContact
    upsert: ContactUpsert
    digest: str
    unchanged: bool

    @property
    def contact_id(self) -> UUID:
        """Whose it is."""
        return self.claimed.contact_id

    @property
    def key(self) -> str:
        """Names the item."""
        return str(self.claimed.contact_id)

    @property
    def priority(self) -> Priority:
        """The class it waits in."""
        return self.claimed.priority


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedActivity:
    """A message as it should read now, on the contact record it should hang on."""

    claimed: ClaimedActivity
    activity: Activity
    digest: str

    @property
    def priority(self) -> Priority:
        """The class it waits in."""
        return self.claimed.priority

    @property
    def contact_id(self) -> UUID:
        """Whose it is."""
        return self.claimed.contact_id

    @property
    def key(self) -> str:
        """Names the item."""
        return self.claimed.wamid

    @property
    def change(self) -> ActivityChange:
        """The update of a known record; it says where the activity hung before when that moved."""
        assert self.claimed.record_id is not None
        before, now = self.claimed.on_record_id, self.activity.contact_record_id
        return ActivityChange(
            record_id=self.claimed.record_id,
            activity=self.activity,
            moved_from=before if before and before != now else None,
        )

    @property
    def query(self) -> ActivityQuery:
        """Where a create in doubt would be found."""
        places = (self.begun_on, self.activity.contact_record_id)
        return ActivityQuery(wamid=self.claimed.wamid, contact_record_ids=tuple(dict.fromkeys(places)))

    @property
    def begun_on(self) -> str:
        """The contact record that a create in doubt was sent for."""
        return self.claimed.on_record_id or self.activity.contact_record_id


@dataclass(frozen=True, kw_only=True, slots=True)
class ActivityPlan:
    """The activities of one drain, by what has to be done."""

    unchanged: Sequence[PlannedActivity]
    in_doubt: Sequence[PlannedActivity]
    creates: Sequence[PlannedActivity]
    changes: Sequence[PlannedActivity]


def plan_contact(claimed: ClaimedContact, *, mapping: ContactMapping) -> PlannedContact:
    """One leased person who is ahead of the CRM.

    What is said once only is no part of the digest: when it changes there is nothing to write.
    """
    profile = contact_profile(claimed.facts)
    key = str(claimed.contact_id)
    always = mapping.always(profile, key=key)
    name = digest(always)
    return PlannedContact(
        claimed=claimed,
        upsert=ContactUpsert(
            contact_id=claimed.contact_id,
            profile=profile,
            always=always,
            once=mapping.once(profile, key=key),
            is_new=claimed.record_id is None,
            record_id=claimed.record_id,
        ),
        digest=name,
        unchanged=claimed.record_id is not None and (claimed.shared or claimed.written_digest == name),
    )


def plan_activities(
    claimed: Sequence[ClaimedActivity],
    *,
    records: Mapping[UUID, str],
    layout: ActivityLayout,
    links: FileLinks | None = None,
) -> ActivityPlan:
    """`records`: contact id → CRM record id of today. Activities of people without a record are left waiting.

    `links`: to the files of messages; None: there are none.
    """
    unchanged, in_doubt, creates, changes = [], [], [], []
    for item in claimed:
        record_id = records.get(item.contact_id)
        if record_id is None:
            continue
        facts = with_file_links(item.facts, wamid=item.wamid, links=links)
        view = activity_view(facts, layout=layout)
        activity = Activity(
            wamid=item.wamid,
            contact_record_id=record_id,
            direction=view.direction,
            status=view.status,
            at=view.at,
            subject=view.subject,
            body=view.body,
        )
        planned = PlannedActivity(
            claimed=item,
            activity=activity,
            digest=digest(view.direction, view.status, view.at, view.subject, view.body, record_id),
        )
        if item.in_doubt:
            in_doubt.append(planned)
        elif item.record_id is None:
            creates.append(planned)
        elif item.written_digest == planned.digest and item.on_record_id == record_id:
            unchanged.append(planned)
        else:
            changes.append(planned)
    return ActivityPlan(unchanged=unchanged, in_doubt=in_doubt, creates=creates, changes=changes)
