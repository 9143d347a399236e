"""What a mapping makes of a person and of a message."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from conversation_events import at, contact, message, status
from golden_conversations import conversations, played

from connector.crm.hubspot.contacts import contact_properties
from connector.crm.port import ContactProfile, ContactUpsert
from connector.crm.salesforce.contacts import People, first_values, person_values
from connector.sync.claims import ClaimedContact
from connector.sync.core.activities import ActivityFacts, message_facts, status_facts
from connector.sync.core.contacts import contact_facts, merge_contact_facts
from connector.sync.core.desired import BODY_LIMIT, activity_view
from connector.sync.core.layout import SUBJECT_FIELDS, TEXT_FIELDS
from connector.sync.core.mapping import FACTS, RESERVED_FACTS, SyncMapping
from connector.sync.core.rendering import DETAILS, FAMILIES
from connector.sync.core.templates import read_template
from connector.sync.mapping import built_in, load_mapping
from connector.sync.plan import plan_contact
from connector.telemetry.health import StageHealth

KEY = UUID("5b0f3f1e-5a51-4f3c-8f44-1b2f0a6d9c11")
WROTE = datetime(2026, 3, 1, 12, 0, 0, 250_000, tzinfo=UTC)
ANA = ContactProfile(
    bsuid="US.1",
    phone="+16505550123",
    username="ana",
    name="Ana Souza",
    ad_source="Spring sale",
    last_inbound_at=WROTE,
)
PEOPLE = People(sobject="Contact", company="[not provided]")


def upsert(profile: ContactProfile, mapping: SyncMapping, crm: str, *, is_new: bool = True) -> ContactUpsert:
    contacts = mapping.contacts[crm]
    return ContactUpsert(
        contact_id=KEY,
        profile=profile,
        always=contacts.always(profile, key=str(KEY)),
        once=contacts.once(profile, key=str(KEY)),
        is_new=is_new,
    )


def in_hubspot(profile: ContactProfile, mapping: SyncMapping, *, is_new: bool = True) -> dict[str, Any]:
    return dict(contact_properties(upsert(profile, mapping, "hubspot", is_new=is_new)))


def in_salesforce(profile: ContactProfile, mapping: SyncMapping, *, is_new: bool = True) -> dict[str, Any]:
    item = upsert(profile, mapping, "salesforce", is_new=is_new)
    return {**person_values(item, PEOPLE), **(first_values(item, PEOPLE) if is_new else {})}


@pytest.fixture
def mapping_of(tmp_path: Path) -> Any:
    """Read a mapping from its text."""

    def read(text: str) -> SyncMapping:
        file = tmp_path / "mapping.yaml"
        file.write_text(f"version: 1\n{text}", "utf-8")
        return load_mapping(file)

    return read


def test_the_built_in_mapping_of_hubspot_keeps_the_names_that_others_rely_on() -> None:
    """Every property and value that a portal's reports and workflows know, of a new contact and of a known one."""
    known = {
        "whatsapp_contact_key": str(KEY),
        "whatsapp_bsuid": "US.1",
        "whatsapp_phone": "+16505550123",
        "whatsapp_username": "ana",
        "whatsapp_ad_source": "Spring sale",
        "whatsapp_last_inbound_at": "2026-03-01T12:00:00.250Z",
        "whatsapp_window_open_until": "2026-03-02T12:00:00.250Z",
    }
    assert in_hubspot(ANA, built_in(), is_new=False) == known
    assert in_hubspot(ANA, built_in()) == known | {"firstname": "Ana Souza", "phone": "+16505550123"}


def test_the_built_in_mapping_of_salesforce_keeps_the_names_that_others_rely_on() -> None:
    """Every field and value that an org's reports and flows know, of a new person and of a known one."""
    known = {
        "WA_Contact_Key__c": str(KEY),
        "WA_BSUID__c": "US.1",
        "WA_Phone__c": "+16505550123",
        "WA_Username__c": "ana",
        "WA_Ad_Source__c": "Spring sale",
        "WA_Last_Inbound_At__c": "2026-03-01T12:00:00.250Z",
        "WA_Window_Open_Until__c": "2026-03-02T12:00:00.250Z",
    }
    assert in_salesforce(ANA, built_in(), is_new=False) == known
    assert in_salesforce(ANA, built_in()) == known | {"LastName": "Ana Souza", "MobilePhone": "+16505550123"}


def test_what_is_not_known_is_left_alone_but_a_number_that_moved_away_is_cleared() -> None:
    """A person of whom only the id is known says that and no more; a known one without a number loses it."""
    bare = ContactProfile(bsuid="US.1")
    assert in_hubspot(bare, built_in()) == {"whatsapp_contact_key": str(KEY), "whatsapp_bsuid": "US.1"}
    known = in_hubspot(bare, built_in(), is_new=False)
    assert known == {"whatsapp_contact_key": str(KEY), "whatsapp_bsuid": "US.1", "whatsapp_phone": ""}
    assert in_salesforce(bare, built_in(), is_new=False)["WA_Phone__c"] is None
    assert in_salesforce(bare, built_in()) == {
        "WA_Contact_Key__c": str(KEY),
        "WA_BSUID__c": "US.1",
        "LastName": "US.1",
    }


def test_a_username_stands_for_a_missing_name() -> None:
    """A person without a profile name is shown by @username in both CRMs."""
    nameless = ContactProfile(bsuid="US.1", username="ana")
    assert in_hubspot(nameless, built_in())["firstname"] == "@ana"
    assert in_salesforce(nameless, built_in())["LastName"] == "@ana"


def test_a_file_is_laid_over_the_built_in_mapping(mapping_of: Any) -> None:
    """What it names is added, replaced or taken away; everything else stays."""
    mapping = mapping_of(
        """contact:
  hubspot:
    lead_source: {value: WhatsApp}
    lifecyclestage: {value: lead, only: new}
    firstname: off
    lastname: {fact: display_name, only: new}
  salesforce:
    mobilephone: off
    LeadSource: {value: WhatsApp, only: new}
    Digits__c: {fact: phone, format: digits}
    Last_Chat_Day__c: {fact: last_inbound_at, format: date}
    Last_Chat__c: {fact: last_inbound_at, format: text}
    Is_Chatting__c: {value: true}
    Score__c: {value: 5}
"""
    )
    before, after = in_hubspot(ANA, built_in()), in_hubspot(ANA, mapping)
    del before["firstname"]
    assert after == before | {"lead_source": "WhatsApp", "lifecyclestage": "lead", "lastname": "Ana Souza"}
    assert "lifecyclestage" not in in_hubspot(ANA, mapping, is_new=False)
    before, after = in_salesforce(ANA, built_in()), in_salesforce(ANA, mapping)
    del before["MobilePhone"]
    assert after == before | {
        "LeadSource": "WhatsApp",
        "Digits__c": "16505550123",
        "Last_Chat_Day__c": "2026-03-01",
        "Last_Chat__c": "1 Mar 2026, 12:00 UTC",
        "Is_Chatting__c": True,
        "Score__c": 5,
    }


def test_a_field_has_one_spelling(mapping_of: Any) -> None:
    """Salesforce does not tell upper from lower case, so a field written otherwise replaces the built-in rule."""
    mapping = mapping_of("contact: {salesforce: {lastname: {value: Someone, only: new}}}")
    values = in_salesforce(ANA, mapping)
    assert values["LastName"] == "Someone"
    assert "lastname" not in values


def test_a_value_that_empties_is_cleared_where_the_file_says_so(mapping_of: Any) -> None:
    """`empty: clear` takes away what is not known any more, from a record that is there."""
    mapping = mapping_of("contact: {hubspot: {city: {fact: username, empty: clear}}}")
    bare = ContactProfile(bsuid="US.1")
    assert in_hubspot(bare, mapping, is_new=False)["city"] == ""
    assert "city" not in in_hubspot(bare, mapping)


def test_only_what_the_file_writes_has_to_be_looked_for(mapping_of: Any) -> None:
    """The role asks the CRM for the properties of the file, with the line that names each."""
    mapping = mapping_of("contact:\n  hubspot:\n    city: name\n    tier: {value: a, only: new}\n")
    found = [(item.name, item.kind, item.constant, item.only_new) for item in mapping.mapped("hubspot")]
    assert found == [("city", "text", None, False), ("tier", "text", "a", True)]
    assert [item.where.rsplit(", ", 1)[1] for item in mapping.mapped("hubspot")] == ["line 4", "line 5"]
    assert mapping.mapped("salesforce") == []
    assert built_in().mapped("hubspot") == []


def test_the_version_names_what_a_mapping_says(mapping_of: Any) -> None:
    """Comments and order do not change it; any rule or template does."""
    city = "contact: {hubspot: {city: name, company: username}}"
    same = mapping_of("# why\ncontact:\n  hubspot:\n    company: username\n    city: name\n").version
    assert mapping_of(city).version == same
    others = [
        built_in().version,
        mapping_of("contact: {hubspot: {city: {fact: name, only: new}, company: username}}").version,
        mapping_of(city + "\nactivity: {text: 'said: {text}'}").version,
        mapping_of(city + "\nactivity: {details: []}").version,
        mapping_of(city + "\nactivity: {families: {order: {text: 'said: {text}'}}}").version,
    ]
    assert len({same, *others}) == 6


def claimed(facts: dict[str, Any], *, written: str | None) -> ClaimedContact:
    return ClaimedContact(
        contact_id=contact("ana"),
        facts=facts,
        version=2,
        ahead=True,
        record_id="1",
        shared=False,
        written_digest=written,
        attempts=0,
    )


def test_a_changed_mapping_changes_what_is_written(mapping_of: Any) -> None:
    """A person of whom the CRM said everything is written again when the mapping says more, and then no more."""
    facts = contact_facts(message("a", "ana"))
    before = built_in().contacts["hubspot"]
    after = mapping_of("contact: {hubspot: {lead_source: {value: WhatsApp}}}").contacts["hubspot"]
    first = plan_contact(claimed(facts, written=None), mapping=before)
    assert not first.unchanged
    assert plan_contact(claimed(facts, written=first.digest), mapping=before).unchanged
    second = plan_contact(claimed(facts, written=first.digest), mapping=after)
    assert not second.unchanged
    assert plan_contact(claimed(facts, written=second.digest), mapping=after).unchanged


def test_what_is_said_once_is_no_reason_to_write_a_known_record(mapping_of: Any) -> None:
    """A new name, which people may have corrected in the CRM, costs no call."""
    facts = contact_facts(message("a", "ana"))
    mapping = built_in().contacts["hubspot"]
    first = plan_contact(claimed(facts, written=None), mapping=mapping)
    renamed = merge_contact_facts(facts, {"name": ["Ana B.", facts["last_inbound_at"] + 1]})
    again = plan_contact(claimed(renamed, written=first.digest), mapping=mapping)
    assert again.upsert.once["firstname"] == "Ana B."
    assert again.unchanged


def test_golden_conversations_read_by_the_file_that_is_shipped() -> None:
    """Subjects and bodies of every golden conversation are those of the built-in mapping, word for word."""
    for conversation in conversations().values():
        views = played(conversation["posts"]).timeline()
        told = [(entry["subject"], "\n".join(entry["body"])) for entry in conversation["timeline"]]
        assert [(view.subject, view.body) for view in views] == told


def inbound(**fields: Any) -> ActivityFacts:
    return message_facts(message("wamid.one", "ana", **fields))


def test_the_first_subject_whose_fields_are_known_is_used(mapping_of: Any) -> None:
    """Subjects are tried from the richest to the one that is always known."""
    layout = mapping_of(
        'activity:\n  subject: ["{who} ({number}): {first_line}", "Chat {from_or_to} {person}", "A {kind}, {direction}"]'
    ).layout
    facts = inbound(text="Hello\nthere")
    who, number = facts["message"]["name"], facts["message"]["business_phone"]
    assert activity_view(facts, layout=layout).subject == f"{who} ({number}): Hello"
    del facts["message"]["business_phone"]
    facts["message"].pop("phone_number_id", None)
    assert activity_view(facts, layout=layout).subject == f"Chat from {facts['message']['person']}"
    unseen = status_facts(status("wamid.two", "delivered", "ana"))
    assert activity_view(unseen, layout=layout).subject == "A message, outbound"


def test_a_family_of_messages_reads_otherwise(mapping_of: Any) -> None:
    """An order has a subject, a text and details of its own; what it does not say is as usual."""
    layout = mapping_of(
        """activity:
  details: [channel]
  families:
    order: {subject: "New order", text: "ORDER\\n{text}"}
    other: {details: []}
"""
    ).layout
    order = activity_view(inbound(message_type="order", text="", content={"order": {}}), layout=layout)
    assert order.subject == "New order"
    assert order.body.startswith("ORDER\nOrder of 0 products\n—\nReceived by ")
    text = activity_view(inbound(text="Hello"), layout=layout)
    assert text.subject.startswith("WhatsApp text from ")
    assert text.body.startswith("Hello\n—\nReceived by ")
    assert len(text.body.split("\n")) == 3
    tomorrow = activity_view(inbound(message_type="hologram", text="", content={}), layout=layout)
    assert tomorrow.body == "Hologram message"


def test_details_come_in_the_order_that_the_file_says(mapping_of: Any) -> None:
    """Each detail is a block that can be moved or left out."""
    layout = mapping_of("activity: {details: [message_id, context, channel]}").layout
    body = activity_view(inbound(reply_to="wamid.answered-one"), layout=layout).body
    kinds = [line.split(" ")[0] for line in body.split("\n—\n")[1].split("\n")]
    assert kinds == ["Message", "In", "Received"]


def test_the_text_can_be_kept_out_of_the_crm(mapping_of: Any) -> None:
    """A business that may not store what people write has activities that only tell that they wrote."""
    layout = mapping_of(
        'activity: {subject: "WhatsApp {kind}", text: "A {kind} was {direction}", details: []}'
    ).layout
    view = activity_view(inbound(text="my secret"), layout=layout)
    assert (view.subject, view.body) == ("WhatsApp text", "A text was inbound")


def test_what_a_person_types_is_never_a_template(mapping_of: Any) -> None:
    """Braces in a message or a name are shown as they are; braces of the file are doubled."""
    layout = mapping_of(
        'activity: {subject: ["{{{first_line}}}", "x"], text: "{{{text}}}", details: []}'
    ).layout
    view = activity_view(inbound(text="{name} {0.__class__} %s ${x}"), layout=layout)
    assert view.subject == view.body == "{{name} {0.__class__} %s ${x}}"


def test_limits_hold_after_the_template(mapping_of: Any) -> None:
    """A long text is cut visibly so that what the file adds around it stays."""
    layout = mapping_of('activity: {subject: ["{first_line} {who}", "x"], text: "<< {text} >>"}').layout
    view = activity_view(inbound(text="x" * 60_000), layout=layout)
    assert len(view.body) <= BODY_LIMIT
    assert len(view.subject) <= 255
    above, below = view.body.split("\n—\n")
    assert above.startswith("<< xxx")
    assert above.endswith("characters in all] >>")
    assert below.startswith("Received by ")


def test_a_subject_is_one_line_whatever_people_call_themselves(mapping_of: Any) -> None:
    """Line breaks in a name do not break the subject."""
    layout = mapping_of('activity: {subject: ["From {who}", "x"]}').layout
    facts = inbound()
    facts["message"]["name"] = "Ana\nSouza"
    assert activity_view(facts, layout=layout).subject == "From Ana Souza"


@pytest.mark.parametrize("source", ["", "plain", "{kind}{direction}", "{{}} {who}!"])
def test_a_template_says_what_it_was_written_as(source: str) -> None:
    """Filled with its own field names in braces, a template is its source without the doubled braces."""
    template = read_template(source, fields=SUBJECT_FIELDS)
    filled = template.fill({name: f"{{{name}}}" for name in template.fields})
    assert filled == source.replace("{{}}", "{}")


def test_times_are_of_the_message_not_of_the_mapping() -> None:
    """The layout has no say in when a message was sent and how far it got."""
    view = activity_view(inbound(), layout=built_in().layout)
    assert (view.at, view.direction, view.status) == (at(0), "inbound", "received")


def test_the_page_of_the_docs_names_everything_that_a_file_may_say() -> None:
    """docs/mapping.md has each fact, field, detail and family, with what it says."""
    page = (Path(__file__).parents[2] / "docs" / "mapping.md").read_text("utf-8")
    for name, fact in FACTS.items():
        assert f"| `{name}` | {fact.kind} |" in page
        assert fact.says in page
    for name, says in DETAILS.items():
        assert f"| `{name}` | {says} |" in page
    for name in TEXT_FIELDS:
        assert f"| `{{{name}}}` |" in page
    for name in FAMILIES:
        assert f"`{name}`" in page.split("Families are")[1]
    for name in RESERVED_FACTS:
        assert f"`{name}`" in page


def test_a_role_tells_which_mapping_it_works_by() -> None:
    """What a part works by stands in its entry of /readyz."""
    health = StageHealth("sync-hubspot-writer")
    health.about = {"mapping": {"source": "my.yaml", "version": "0123"}}
    assert health.snapshot()["mapping"] == {"source": "my.yaml", "version": "0123"}
