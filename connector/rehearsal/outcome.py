"""What is known → the properties that each CRM would be written, by the writer's own plan and the adapters' own words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from connector.crm.hubspot.activities import ActivityGuard, activity_properties
from connector.crm.hubspot.contacts import contact_properties
from connector.crm.port import Activity, ContactUpsert
from connector.crm.salesforce.activities import task_values
from connector.crm.salesforce.contacts import People, first_values, person_values
from connector.crm.salesforce.schema import MESSAGE_ID
from connector.media.links import media_links
from connector.rehearsal.deployment import Rehearsal
from connector.settings import Settings
from connector.sync.claims import ClaimedActivity, ClaimedContact
from connector.sync.core.mapping import SyncMapping
from connector.sync.plan import plan_activities, plan_contact

_RECORD = "(the contact's record)"


@dataclass(frozen=True, kw_only=True, slots=True)
class PersonOutcome:
    """One person. `made`: the properties of a record that we make; `kept`: those of a later write."""

    contact_id: UUID
    made: Mapping[str, Any]
    kept: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class ActivityOutcome:
    """One message. `properties`: as they are sent to the CRM; HubSpot has none for the subject."""

    wamid: str
    contact_id: UUID
    subject: str
    body: str
    properties: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class CrmOutcome:
    """What one CRM would be told, the oldest message first."""

    crm: str
    people: Sequence[PersonOutcome]
    activities: Sequence[ActivityOutcome]


def crm_outcomes(rehearsal: Rehearsal, *, mapping: SyncMapping, settings: Settings) -> list[CrmOutcome]:
    """Both CRMs, whether they are enabled or not. Messages whose person is not known are written to none."""
    people = [
        ClaimedContact(
            contact_id=state.contact_id,
            facts=state.facts,
            version=1,
            ahead=True,
            record_id=None,
            shared=False,
            written_digest=None,
            attempts=0,
        )
        for state in rehearsal.contacts.values()
        if state.redirect_to is None
    ]
    claimed = [
        ClaimedActivity(
            wamid=state.wamid,
            contact_id=state.contact_id,
            facts=state.facts,
            version=1,
            record_id=None,
            on_record_id=None,
            written_digest=None,
            in_doubt=False,
            lookups=0,
            attempts=0,
        )
        for state in rehearsal.activities.values()
        if state.contact_id is not None
    ]
    plan = plan_activities(
        claimed,
        records={one.contact_id: _RECORD for one in people},
        layout=mapping.layout,
        links=media_links(settings),
    )
    planned = sorted(plan.creates, key=lambda one: (one.activity.at, one.activity.wamid))
    salesforce = People(sobject=settings.salesforce.person_object, company=settings.salesforce.lead_company)
    return [
        CrmOutcome(
            crm=crm,
            people=[_person(crm, plan_contact(one, mapping=contacts).upsert, salesforce) for one in people],
            activities=[
                ActivityOutcome(
                    wamid=one.activity.wamid,
                    contact_id=one.claimed.contact_id,
                    subject=one.activity.subject,
                    body=one.activity.body,
                    properties=_activity(crm, one.activity),
                )
                for one in planned
            ],
        )
        for crm, contacts in mapping.contacts.items()
    ]


def _person(crm: str, upsert: ContactUpsert, people: People) -> PersonOutcome:
    known = replace(upsert, is_new=False)
    if crm == "hubspot":
        made, kept = contact_properties(upsert), contact_properties(known)
    else:
        made, kept = (
            {**person_values(upsert, people), **first_values(upsert, people)},
            person_values(known, people),
        )
    return PersonOutcome(contact_id=upsert.contact_id, made=made, kept=kept)


def _activity(crm: str, activity: Activity) -> Mapping[str, Any]:
    if crm == "hubspot":
        return activity_properties(activity, ActivityGuard.UNIQUE)
    return {MESSAGE_ID: activity.wamid, **task_values(activity)}
