"""Our fields as an SFDX source package, which an admin deploys: `docs/crm/salesforce`.

Why a package and not a call at start: making fields takes "Customize Application", which an integration user
should not hold. Written by `python -m connector.crm.salesforce.package docs/crm/salesforce`; a test fails when
the files there differ.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from xml.sax.saxutils import escape

from connector.crm.salesforce.schema import FIELDS, CustomField, FieldType

API_VERSION = "67.0"
DEPLOY_COMMAND = "sf project deploy start --source-dir force-app --target-org YOUR_ORG"
PERMISSION_SET = "WhatsApp_Connector"
SEND_SOURCE = "send-templates"
_SOURCE = "force-app/main/default"
_NAMESPACE = 'xmlns="http://soap.sforce.com/2006/04/metadata"'
_DEFINED_ON = {"Contact": "Contact", "Lead": "Lead", "Task": "Activity"}


def package_files() -> Mapping[str, str]:
    """Path within the package → text, of every generated file."""
    files = {"sfdx-project.json": _project()}
    for sobject, fields in FIELDS.items():
        folder = f"{_SOURCE}/objects/{_DEFINED_ON[sobject]}/fields"
        files |= {f"{folder}/{field.name}.field-meta.xml": field_xml(field) for field in fields}
    files[f"{_SOURCE}/permissionsets/{PERMISSION_SET}.permissionset-meta.xml"] = _permission_set()
    return files


def field_xml(field: CustomField) -> str:
    """One `field-meta.xml`."""
    lines = [f"<fullName>{field.name}</fullName>"]
    if field.key:
        lines.append("<caseSensitive>true</caseSensitive>")
    if field.description:
        lines.append(f"<description>{escape(field.description)}</description>")
    lines.append(f"<externalId>{_truth(field.key)}</externalId>")
    lines.append(f"<label>{escape(field.label)}</label>")
    if field.kind in (FieldType.TEXT, FieldType.LONG_TEXT):
        lines.append(f"<length>{field.length}</length>")
    if field.kind is not FieldType.LONG_TEXT:
        lines.append("<required>false</required>")
    lines.append(f"<type>{field.kind}</type>")
    if field.kind is FieldType.LONG_TEXT:
        lines.append("<visibleLines>5</visibleLines>")
    if field.kind is FieldType.TEXT:
        lines.append(f"<unique>{_truth(field.key)}</unique>")
    if field.kind is FieldType.PICKLIST:
        lines += _value_set(field)
    return document("CustomField", lines)


def _value_set(field: CustomField) -> list[str]:
    lines = ["<valueSet>", "    <restricted>false</restricted>", "    <valueSetDefinition>"]
    lines.append("        <sorted>false</sorted>")
    for value in field.values:
        lines += [
            "        <value>",
            f"            <fullName>{value}</fullName>",
            "            <default>false</default>",
            f"            <label>{value.capitalize()}</label>",
            "        </value>",
        ]
    return [*lines, "    </valueSetDefinition>", "</valueSet>"]


def _permission_set() -> str:
    """May read and write our fields, people and tasks. Fields of Activity are granted on Task and on Event."""
    lines = ["<description>What the WhatsApp connector's own user needs.</description>"]
    granted = [
        f"{target}.{field.name}"
        for sobject, fields in FIELDS.items()
        for target in (("Event", "Task") if sobject == "Task" else (sobject,))
        for field in fields
    ]
    for name in sorted(granted):
        lines += [
            "<fieldPermissions>",
            "    <editable>true</editable>",
            f"    <field>{name}</field>",
            "    <readable>true</readable>",
            "</fieldPermissions>",
        ]
    lines += ["<hasActivationRequired>false</hasActivationRequired>", "<label>WhatsApp Connector</label>"]
    # A Contact can be seen only with its Account; without View All, a record of a colleague holds our key unseen.
    for sobject, writes in (("Account", False), ("Contact", True), ("Lead", True)):
        lines += [
            "<objectPermissions>",
            f"    <allowCreate>{_truth(writes)}</allowCreate>",
            f"    <allowDelete>{_truth(writes)}</allowDelete>",
            f"    <allowEdit>{_truth(writes)}</allowEdit>",
            "    <allowRead>true</allowRead>",
            "    <modifyAllRecords>false</modifyAllRecords>",
            f"    <object>{sobject}</object>",
            "    <viewAllRecords>true</viewAllRecords>",
            "</objectPermissions>",
        ]
    for permission in ("ApiEnabled", "EditTask"):
        lines += [
            "<userPermissions>",
            "    <enabled>true</enabled>",
            f"    <name>{permission}</name>",
            "</userPermissions>",
        ]
    return document("PermissionSet", lines)


def document(root: str, lines: list[str]) -> str:
    """A metadata file."""
    body = "\n".join(f"    {line}" for line in lines)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<{root} {_NAMESPACE}>\n{body}\n</{root}>\n'


def _project() -> str:
    project = {
        "packageDirectories": [{"path": "force-app", "default": True}, {"path": SEND_SOURCE}],
        "name": "whatsapp-crm-connector",
        "namespace": "",
        "sourceApiVersion": API_VERSION,
    }
    return json.dumps(project, indent=2) + "\n"


def _truth(value: bool) -> str:  # noqa: FBT001 - one value to spell
    return "true" if value else "false"


def main() -> int:
    """Write the package into the folder named on the command line."""
    from connector.crm.salesforce.send_package import send_package_files

    root = Path(sys.argv[1])
    files = {**package_files(), **send_package_files()}
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    sys.stdout.write(f"{len(files)} files written to {root}. Next, there: {DEPLOY_COMMAND}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
