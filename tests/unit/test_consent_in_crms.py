"""Consent as the ledger announces it, on its way to the properties of both CRMs."""

import itertools
from datetime import datetime

import pytest
from conversation_events import at, contact

from connector.events import ConsentChanged, Origin, Person
from connector.sync.core.contacts import ContactFacts, contact_facts, merge_contact_facts
from connector.sync.core.desired import contact_profile
from connector.sync.mapping.loading import built_in


def _changed(state: str, *, purpose: str = "marketing", seconds: float) -> ConsentChanged:
    return ConsentChanged.model_validate(
        {
            "event_id": f"consent.changed:{purpose}:{state}:{seconds}",
            "waba_id": "",
            "at": at(seconds),
            "person": Person(contact_id=contact("ana")),
            "origin": Origin(topic="t", partition=0, offset=0, received_at=at(seconds)),
            "purpose": purpose,
            "state": state,
            "source": "keyword",
        }
    )


@pytest.mark.parametrize(
    ("crm", "names"),
    [
        (
            "hubspot",
            ("whatsapp_marketing_consent", "whatsapp_utility_consent", "whatsapp_consent_changed_at"),
        ),
        ("salesforce", ("WA_Marketing_Consent__c", "WA_Utility_Consent__c", "WA_Consent_Changed_At__c")),
    ],
)
def test_the_latest_change_of_each_purpose_is_written_in_any_order(
    crm: str, names: tuple[str, str, str]
) -> None:
    """Whatever the order of the announcements, the CRM is told the last of each, and when the last one was."""
    events = [
        _changed("granted", seconds=1),
        _changed("denied", seconds=3),
        _changed("granted", purpose="utility", seconds=2),
    ]
    for order in itertools.permutations(events):
        facts: ContactFacts = {}
        for event in order:
            facts = merge_contact_facts(facts, contact_facts(event))
        said = built_in().contacts[crm].always(contact_profile(facts), key="key")
        wanted: tuple[str | datetime, ...] = ("denied", "granted", at(3))
        assert tuple(said[name] for name in names) == wanted


@pytest.mark.parametrize("crm", ["hubspot", "salesforce"])
def test_who_never_said_anything_is_not_told_of(crm: str) -> None:
    """No property of the ledger is written for somebody whom nobody asked: a person may have filled it in."""
    said = built_in().contacts[crm].always(contact_profile({"name": ["Ana", 1]}), key="key")
    assert not [name for name in said if "consent" in name.lower()]
