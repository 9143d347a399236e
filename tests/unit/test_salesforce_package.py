"""The SFDX package in docs/crm/salesforce."""

from pathlib import Path
from xml.etree import ElementTree as ET

from connector.crm.salesforce.package import DEPLOY_COMMAND, package_files
from connector.crm.salesforce.schema import FIELDS, MESSAGE_FIELDS, REQUEST_FIELDS
from connector.crm.salesforce.send_package import PEOPLE, SEND_COMMAND, send_package_files
from connector.ingress import salesforce_messages
from connector.sandbox.salesforce.catalog import standard_objects
from connector.sandbox.salesforce.metadata import deploy

ROOT = Path(__file__).parents[2] / "docs" / "crm" / "salesforce"
_NAMESPACE = {"m": "http://soap.sforce.com/2006/04/metadata"}


def test_the_package_in_docs_is_what_the_definitions_say() -> None:
    """The files an admin deploys are the generated ones, no more and no less."""
    there = {
        str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
        for path in ROOT.rglob("*")
        if path.is_file() and path.name != "README.md"
    }
    assert there == {**package_files(), **send_package_files()}, (
        "run: python -m connector.crm.salesforce.package docs/crm/salesforce"
    )


def test_the_readme_names_every_field_and_the_command() -> None:
    """What an admin reads is complete."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert DEPLOY_COMMAND in readme
    assert SEND_COMMAND in readme
    assert [field.name for field in REQUEST_FIELDS if field.name not in readme] == []
    assert [field.name for fields in FIELDS.values() for field in fields if field.name not in readme] == []


def test_the_permission_set_grants_each_field_where_it_lives() -> None:
    """Fields on Activity are granted on Task and on Event: granting one of them alone takes the other away."""
    text = next(text for path, text in package_files().items() if "permissionset" in path)
    granted = {item.text for item in ET.fromstring(text).findall("m:fieldPermissions/m:field", _NAMESPACE)}
    wanted = {f"{sobject}.{field.name}" for sobject, fields in FIELDS.items() for field in fields}
    assert granted == wanted | {f"Event.{field.name}" for field in FIELDS["Task"]}


def test_a_label_has_at_most_forty_characters() -> None:
    """Salesforce refuses longer labels and names."""
    for field in [*(field for fields in FIELDS.values() for field in fields), *REQUEST_FIELDS]:
        assert len(field.label) <= 40
        assert len(field.name.removesuffix("__c")) <= 40


def _send_file(end: str) -> ET.Element:
    return ET.fromstring(next(text for path, text in send_package_files().items() if path.endswith(end)))


def test_the_outbound_message_carries_what_the_ingress_reads() -> None:
    """Every field of a request, and those by which the person is found; each exists where the message is."""
    objects = standard_objects()
    deploy(objects, {**package_files(), **send_package_files()})
    for sobject in PEOPLE:
        sent = [
            item.text
            for item in _send_file(f"{sobject}.workflow-meta.xml").findall(".//m:fields", _NAMESPACE)
        ]
        assert sorted(sent, key=str) == sorted(MESSAGE_FIELDS)
        assert set(sent) >= set(salesforce_messages.FIELDS.values())
        assert [name for name in sent if name not in objects[sobject].fields] == []
    assert PEOPLE == salesforce_messages.PEOPLE


def test_the_flow_sends_the_message_of_its_object() -> None:
    """By the name that the workflow file gives it, when the request's time changed."""
    for sobject in PEOPLE:
        flow = _send_file(f"_{sobject}.flow-meta.xml")
        name = _send_file(f"{sobject}.workflow-meta.xml").findtext(".//m:fullName", namespaces=_NAMESPACE)
        assert flow.findtext("m:actionCalls/m:actionName", namespaces=_NAMESPACE) == f"{sobject}.{name}"
        assert flow.findtext("m:start/m:object", namespaces=_NAMESPACE) == sobject
        formula = flow.findtext("m:start/m:filterFormula", namespaces=_NAMESPACE)
        assert formula is not None
        assert "ISCHANGED({!$Record.WA_Send_Requested_At__c})" in formula


def test_no_file_holds_a_secret() -> None:
    """Secrets are typed into Setup, or put in the place of a placeholder before the deployment."""
    for path, text in send_package_files().items():
        root = ET.fromstring(text)
        assert root.tag.startswith("{http://soap.sforce.com/2006/04/metadata}"), path
        assert "Bearer" not in text or "$Credential" in text
