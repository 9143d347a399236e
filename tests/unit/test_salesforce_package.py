"""The SFDX package in docs/crm/salesforce."""

from pathlib import Path
from xml.etree import ElementTree as ET

from connector.crm.salesforce.package import DEPLOY_COMMAND, package_files
from connector.crm.salesforce.schema import FIELDS

ROOT = Path(__file__).parents[2] / "docs" / "crm" / "salesforce"
_NAMESPACE = {"m": "http://soap.sforce.com/2006/04/metadata"}


def test_the_package_in_docs_is_what_the_definitions_say() -> None:
    """The files an admin deploys are the generated ones, no more and no less."""
    there = {
        str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
        for path in ROOT.rglob("*")
        if path.is_file() and path.name != "README.md"
    }
    assert there == dict(package_files()), (
        "run: python -m connector.crm.salesforce.package docs/crm/salesforce"
    )


def test_the_readme_names_every_field_and_the_command() -> None:
    """What an admin reads is complete."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert DEPLOY_COMMAND in readme
    assert [field.name for fields in FIELDS.values() for field in fields if field.name not in readme] == []


def test_the_permission_set_grants_each_field_where_it_lives() -> None:
    """Fields on Activity are granted on Task and on Event: granting one of them alone takes the other away."""
    text = next(text for path, text in package_files().items() if "permissionset" in path)
    granted = {item.text for item in ET.fromstring(text).findall("m:fieldPermissions/m:field", _NAMESPACE)}
    wanted = {f"{sobject}.{field.name}" for sobject, fields in FIELDS.items() for field in fields}
    assert granted == wanted | {f"Event.{field.name}" for field in FIELDS["Task"]}


def test_a_label_has_at_most_forty_characters() -> None:
    """Salesforce refuses longer labels and names."""
    for field in [field for fields in FIELDS.values() for field in fields]:
        assert len(field.label) <= 40
        assert len(field.name.removesuffix("__c")) <= 40
