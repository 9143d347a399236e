"""A mapping of one's own, written through both adapters to the simulators, and looked at before the first write."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from conversation_events import contact, message
from pydantic import SecretStr
from sandbox_org import APP, key_pair

from connector.crm.hubspot.adapter import HubSpot
from connector.crm.port import Crm, WriteResult, Written
from connector.crm.salesforce.adapter import Salesforce
from connector.events import AdReferral, Message
from connector.sandbox import SalesforceConfig, SandboxServer
from connector.sandbox.hubspot.config import HubSpotConfig
from connector.sandbox.salesforce import ConnectedApp
from connector.settings import HubSpotSettings, SalesforceSettings
from connector.sync.claims import ClaimedActivity, ClaimedContact
from connector.sync.core.activities import message_facts
from connector.sync.core.contacts import contact_facts
from connector.sync.core.mapping import SyncMapping
from connector.sync.mapping import load_mapping
from connector.sync.plan import plan_activities, plan_contact

MAPPING = """version: 1
contact:
  hubspot:
    lifecyclestage: {value: lead, only: new}
    city: {fact: last_inbound_at, format: text}
    last_chat_day: {fact: last_inbound_at, format: date}
    whatsapp_customer: {value: true}
    firstname: off
  salesforce:
    LeadSource: {value: WhatsApp, only: new}
    Last_Chat__c: {fact: last_inbound_at, format: date}
    Nickname__c: display_name
activity:
  families:
    text: {subject: ["{who} writes", "A {kind}"], text: "Said: {text}", details: [channel, ad]}
"""


class Portal:
    """HubSpot's simulator with properties of the portal's own."""

    def __init__(self, server: SandboxServer) -> None:
        self.server = server

    def open(self, mapping: SyncMapping) -> HubSpot:
        settings = HubSpotSettings(
            enabled=True, access_token=SecretStr("pat-na1-sandbox"), base_url=self.server.hubspot_url
        )
        return HubSpot(settings, mapped=mapping.mapped("hubspot"))

    def add(self, name: str, kind: str = "string", **more: Any) -> None:
        fields = {"string": "text", "date": "date", "datetime": "date", "bool": "booleancheckbox"}
        self.server.hubspot.portal.stores["contacts"].catalog.create(
            {
                "name": name,
                "label": name,
                "type": kind,
                "fieldType": fields.get(kind, "text"),
                "groupName": "contactinformation",
                **more,
            }
        )


class Org:
    """Salesforce's simulator with fields of the org's own."""

    def __init__(self, server: SandboxServer) -> None:
        self.server = server

    def open(self, mapping: SyncMapping, **settings: Any) -> Salesforce:
        values = {
            "consumer_key": SecretStr(APP.consumer_key),
            "consumer_secret": SecretStr(APP.consumer_secret),
            "base_url": self.server.salesforce_url,
        }
        return Salesforce(SalesforceSettings(**(values | settings)), mapped=mapping.mapped("salesforce"))

    def add(self, sobject: str, name: str, kind: str = "Text", *, length: int = 255) -> None:
        xml = (
            '<CustomField xmlns="http://soap.sforce.com/2006/04/metadata">'
            f"<fullName>{name}</fullName><label>{name}</label><type>{kind}</type><length>{length}</length>"
            "</CustomField>"
        )
        self.server.salesforce.org.deploy({f"objects/{sobject}/fields/{name}.field-meta.xml": xml})


@pytest.fixture
async def portal() -> AsyncIterator[Portal]:
    """A portal without any property of the connector's."""
    async with SandboxServer(hubspot=HubSpotConfig(burst_limit=None)) as server:
        yield Portal(server)


@pytest.fixture
async def org() -> AsyncIterator[Org]:
    """An org with the connector's package."""
    config = SalesforceConfig(apps=(ConnectedApp(public_key=key_pair()[1]),))
    async with SandboxServer(salesforce=config) as server:
        yield Org(server)


@pytest.fixture
def mapping_of(tmp_path: Path) -> Any:
    """Read a mapping from its text."""

    def read(text: str) -> SyncMapping:
        file = tmp_path / "mapping.yaml"
        file.write_text(text, "utf-8")
        return load_mapping(file)

    return read


def hello(seconds: float = 0) -> Message:
    return message(
        "wamid.one",
        "ana",
        seconds=seconds,
        text="Hello <b>",
        shown={"name": "Ana Souza de Albuquerque", "wa_id": "16505550123", "bsuid": "US.1"},
        referral=AdReferral(headline="Spring sale"),
    )


async def write(
    crm: Crm, mapping: SyncMapping, event: Message, *, record_id: str | None = None
) -> WriteResult:
    """Write the person and, when new, the message, as the writer plans it."""
    person = ClaimedContact(
        contact_id=contact("ana"),
        facts=contact_facts(event),
        version=1,
        ahead=True,
        record_id=record_id,
        shared=False,
        written_digest=None,
        attempts=0,
    )
    planned = plan_contact(person, mapping=mapping.contacts[crm.name])
    (result,) = await crm.upsert_contacts([planned.upsert])
    assert isinstance(result, Written)
    if record_id is None:
        records: dict[UUID, str] = {contact("ana"): result.record_id}
        claimed = ClaimedActivity(
            wamid=event.wamid,
            contact_id=contact("ana"),
            facts=message_facts(event),
            version=1,
            record_id=None,
            on_record_id=None,
            written_digest=None,
            in_doubt=False,
            lookups=0,
            attempts=0,
        )
        plan = plan_activities([claimed], records=records, layout=mapping.layout)
        (logged,) = await crm.log_activities([one.activity for one in plan.creates])
        assert isinstance(logged, Written)
    return result


async def test_hubspot_holds_what_the_file_says(portal: Portal, mapping_of: Any) -> None:
    """Constants, dates, texts and flags arrive, activities read as the file says, and later writes follow."""
    portal.add("last_chat_day", "date")
    options = [{"label": word, "value": word} for word in ("true", "false")]
    portal.add("whatsapp_customer", "bool", options=options)
    mapping = mapping_of(MAPPING)
    crm = portal.open(mapping)
    report = await crm.check_setup(create=True)
    assert report.ready, report.missing
    first = await write(crm, mapping, hello())
    (record,) = portal.server.hubspot.state()["contacts"]
    made = record["properties"]
    assert made["lifecyclestage"] == "lead"
    assert made["city"] == "1 Mar 2026, 12:00 UTC"
    assert made["last_chat_day"] == "2026-03-01"
    assert made["whatsapp_customer"] == "true"
    assert made["whatsapp_ad_source"] == "Spring sale"
    assert not made.get("firstname")
    (activity,) = portal.server.hubspot.state()["communications"]
    body = activity["properties"]["hs_communication_body"]
    assert body.startswith("Said: Hello &lt;b&gt;<br>—<br>Received by +15550783881 from Ana Souza")
    assert body.endswith("Came from the ad: Spring sale")
    assert isinstance(first, Written)
    await write(crm, mapping, hello(seconds=86_400), record_id=first.record_id)
    (record,) = portal.server.hubspot.state()["contacts"]
    assert record["properties"]["last_chat_day"] == "2026-03-02"
    await crm.close()


async def test_salesforce_holds_what_the_file_says(org: Org, mapping_of: Any) -> None:
    """The same in an org; a text is cut visibly at the length that the org gave its field."""
    for sobject in ("Contact", "Lead"):
        org.add(sobject, "Last_Chat__c", "Date")
        org.add(sobject, "Nickname__c", length=12)
    mapping = mapping_of(MAPPING)
    crm = org.open(mapping)
    report = await crm.check_setup(create=False)
    assert report.ready, report.missing
    first = await write(crm, mapping, hello())
    (person,) = org.server.salesforce.state()["contacts"]
    assert person["values"]["LeadSource"] == "WhatsApp"
    assert person["values"]["Last_Chat__c"] == "2026-03-01"
    assert person["values"]["Nickname__c"] == "Ana Souza d…"
    assert person["values"]["LastName"] == "Ana Souza de Albuquerque"
    (task,) = org.server.salesforce.state()["tasks"]
    assert task["values"]["Subject"] == "Ana Souza de Albuquerque writes"
    assert task["values"]["Description"].startswith("Said: Hello <b>\n—\n")
    assert isinstance(first, Written)
    await write(crm, mapping, hello(seconds=86_400), record_id=first.record_id)
    (person,) = org.server.salesforce.state()["contacts"]
    assert person["values"]["Last_Chat__c"] == "2026-03-02"
    await crm.close()


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        pytest.param("nowhere: name", "HubSpot has no such contact property", id="absent"),
        pytest.param("born: name", "it takes a date, not a text", id="type"),
        pytest.param("born: {value: someday}", "it takes a date, not a text", id="constant-type"),
        pytest.param("lifecyclestage: {value: fan}", "'fan' is none of its options: subscriber, lead", id="option"),
        pytest.param("hs_object_source: {value: x}", "HubSpot alone writes it", id="read-only"),
        pytest.param("member_number: {value: x}", "no two contacts may have the same value there", id="unique"),
        pytest.param("hs_whatsapp_phone_number: name", "it takes a phone, not a text", id="phone"),
    ],
)  # fmt: skip
async def test_a_property_that_hubspot_would_refuse_stops_the_start(
    portal: Portal, mapping_of: Any, rule: str, reason: str
) -> None:
    """The set-up is not ready, and says which line of the mapping is why."""
    portal.add("born", "date")
    portal.add("member_number", hasUniqueValue=True)
    mapping = mapping_of(f"version: 1\ncontact:\n  hubspot:\n    {rule}\n")
    crm = portal.open(mapping)
    report = await crm.check_setup(create=True)
    await crm.close()
    assert not report.ready
    (missing,) = report.missing
    assert missing.startswith(f"{rule.partition(':')[0]} ({mapping.source}, line 4: ")
    assert reason in missing
    assert "correct the mapping" in report.advice


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        pytest.param("Nowhere__c: name", "not there, or hidden from our user", id="absent"),
        pytest.param("Born__c: name", "it takes a date, not a text", id="type"),
        pytest.param("IsDeleted: {value: true}", "our user may not write it", id="read-only"),
        pytest.param("Company: {value: x}", "not there", id="field-of-another-object"),
    ],
)
async def test_a_field_that_salesforce_would_refuse_stops_the_start(
    org: Org, mapping_of: Any, rule: str, reason: str
) -> None:
    """The set-up is not ready, and says which line of the mapping is why."""
    org.add("Contact", "Born__c", "Date")
    mapping = mapping_of(f"version: 1\ncontact:\n  salesforce:\n    {rule}\n")
    crm = org.open(mapping)
    report = await crm.check_setup(create=False)
    await crm.close()
    assert not report.ready
    (missing,) = report.missing
    assert missing.startswith(f"Contact.{rule.partition(':')[0]} ({mapping.source}, line 4: ")
    assert reason in missing
    assert "correct the mapping" in report.advice


async def test_what_only_a_new_lead_gets_is_not_asked_of_contacts(org: Org, mapping_of: Any) -> None:
    """A converted Lead goes on as a Contact, which needs only what every write says."""
    org.add("Lead", "Score__c")
    mapping = mapping_of(
        "version: 1\ncontact:\n  salesforce:\n    Score__c: {value: warm, only: new}\n    Company: {value: x, only: new}\n"
    )
    crm = org.open(mapping, person_object="Lead")
    report = await crm.check_setup(create=False)
    assert report.ready, report.missing
    await write(crm, mapping, hello())
    await crm.close()
    (lead,) = org.server.salesforce.state()["leads"]
    assert (lead["values"]["Score__c"], lead["values"]["Company"]) == ("warm", "x")
    mapping = mapping_of("version: 1\ncontact:\n  salesforce:\n    Score__c: {value: warm}\n")
    crm = org.open(mapping, person_object="Lead")
    report = await crm.check_setup(create=False)
    await crm.close()
    assert [one.split(" ")[0] for one in report.missing] == ["Contact.Score__c"]
