"""What lets an org's flows send templates, as the second part of the SFDX package: `docs/crm/salesforce/send-templates`.

Per object the fields of a request, an outbound message and the record-triggered flow that sends it; a permission set
for those who fill the fields in; a named credential for flows that call `POST /triggers/templates` themselves. Apart
from the connector's own fields because it names the org's user and the connector's address, which an admin fills in.
"""

from __future__ import annotations

from collections.abc import Mapping
from xml.sax.saxutils import escape

from connector.crm.salesforce.package import API_VERSION, SEND_SOURCE, document, field_xml
from connector.crm.salesforce.schema import MESSAGE_FIELDS, REQUEST_FIELDS, REQUESTED_AT

SEND_COMMAND = f"sf project deploy start --source-dir {SEND_SOURCE} --target-org YOUR_ORG"
MESSAGE = "WhatsApp_Send_Template"
SEND_PERMISSION_SET = "WhatsApp_Send_Templates"
CREDENTIAL = "WhatsApp_Connector"
CONNECTOR_PLACEHOLDER = "https://connector.your-company.example"
TOKEN_PLACEHOLDER = "OUTBOUND_TOKEN"  # noqa: S105 - what an admin replaces
USER_PLACEHOLDER = "connector@your-company.example"
PEOPLE = ("Contact", "Lead")

_SOURCE = f"{SEND_SOURCE}/main/default"


def send_package_files() -> Mapping[str, str]:
    """Path within the package → text, of every generated file."""
    files: dict[str, str] = {}
    for sobject in PEOPLE:
        folder = f"{_SOURCE}/objects/{sobject}/fields"
        files |= {f"{folder}/{field.name}.field-meta.xml": field_xml(field) for field in REQUEST_FIELDS}
        files[f"{_SOURCE}/workflows/{sobject}.workflow-meta.xml"] = _outbound_message()
        files[f"{_SOURCE}/flows/{MESSAGE}_{sobject}.flow-meta.xml"] = _flow(sobject)
    files[f"{_SOURCE}/permissionsets/{SEND_PERMISSION_SET}.permissionset-meta.xml"] = _permission_set()
    files[f"{_SOURCE}/externalCredentials/{CREDENTIAL}.externalCredential-meta.xml"] = _external_credential()
    files[f"{_SOURCE}/namedCredentials/{CREDENTIAL}.namedCredential-meta.xml"] = _named_credential()
    return files


def _outbound_message() -> str:
    """https://developer.salesforce.com/docs → Metadata API, "WorkflowOutboundMessage"."""
    url = f"{CONNECTOR_PLACEHOLDER}/salesforce/outbound-messages/{TOKEN_PLACEHOLDER}"
    lines = [
        "<outboundMessages>",
        f"    <fullName>{MESSAGE}</fullName>",
        f"    <apiVersion>{API_VERSION}</apiVersion>",
        "    <description>Asks the WhatsApp connector to send a template to this person.</description>",
        f"    <endpointUrl>{url}</endpointUrl>",
        *(f"    <fields>{name}</fields>" for name in sorted(MESSAGE_FIELDS)),
        "    <includeSessionId>false</includeSessionId>",
        f"    <integrationUser>{USER_PLACEHOLDER}</integrationUser>",
        "    <name>WhatsApp Send Template</name>",
        "    <protected>false</protected>",
        "    <useDeadLetterQueue>false</useDeadLetterQueue>",
        "</outboundMessages>",
    ]
    return document("Workflow", lines)


def _flow(sobject: str) -> str:
    """After a record was saved whose request is new: send its outbound message. Delivered as a draft."""
    formula = (
        f"AND(NOT(ISBLANK({{!$Record.{REQUESTED_AT}}})), OR(ISNEW(), ISCHANGED({{!$Record.{REQUESTED_AT}}})))"
    )
    lines = [
        "<actionCalls>",
        "    <name>Send_the_message</name>",
        "    <label>Send the message</label>",
        "    <locationX>0</locationX>",
        "    <locationY>0</locationY>",
        f"    <actionName>{sobject}.{MESSAGE}</actionName>",
        "    <actionType>outboundMessage</actionType>",
        "    <flowTransactionModel>CurrentTransaction</flowTransactionModel>",
        f"    <nameSegment>{sobject}.{MESSAGE}</nameSegment>",
        "</actionCalls>",
        f"<apiVersion>{API_VERSION}</apiVersion>",
        "<description>Sends the template that the record names, each time the request's time is set.</description>",
        "<environments>Default</environments>",
        f"<interviewLabel>WhatsApp: send template to {sobject} {{!$Flow.CurrentDateTime}}</interviewLabel>",
        f"<label>WhatsApp: send template to {sobject}</label>",
        "<processType>AutoLaunchedFlow</processType>",
        "<start>",
        "    <locationX>0</locationX>",
        "    <locationY>0</locationY>",
        "    <connector>",
        "        <targetReference>Send_the_message</targetReference>",
        "    </connector>",
        f"    <filterFormula>{escape(formula)}</filterFormula>",
        f"    <object>{sobject}</object>",
        "    <recordTriggerType>CreateAndUpdate</recordTriggerType>",
        "    <triggerType>RecordAfterSave</triggerType>",
        "</start>",
        "<status>Draft</status>",
    ]
    return document("Flow", lines)


def _permission_set() -> str:
    """May fill in a request, and call the connector from a flow."""
    lines = [
        "<description>Who sends WhatsApp templates from records and flows.</description>",
        "<externalCredentialPrincipalAccesses>",
        "    <enabled>true</enabled>",
        f"    <externalCredentialPrincipal>{CREDENTIAL}-Connector</externalCredentialPrincipal>",
        "</externalCredentialPrincipalAccesses>",
    ]
    for name in sorted(f"{sobject}.{field.name}" for sobject in PEOPLE for field in REQUEST_FIELDS):
        lines += [
            "<fieldPermissions>",
            "    <editable>true</editable>",
            f"    <field>{name}</field>",
            "    <readable>true</readable>",
            "</fieldPermissions>",
        ]
    lines += [
        "<hasActivationRequired>false</hasActivationRequired>",
        "<label>WhatsApp Send Templates</label>",
    ]
    return document("PermissionSet", lines)


def _external_credential() -> str:
    """The client's secret is typed into Setup as the principal's `Secret`; it is in no file."""
    lines = [
        "<authenticationProtocol>Custom</authenticationProtocol>",
        "<externalCredentialParameters>",
        "    <parameterGroup>Connector</parameterGroup>",
        "    <parameterName>Connector</parameterName>",
        "    <parameterType>NamedPrincipal</parameterType>",
        "    <sequenceNumber>1</sequenceNumber>",
        "</externalCredentialParameters>",
        "<externalCredentialParameters>",
        "    <parameterGroup>DefaultGroup</parameterGroup>",
        "    <parameterName>Authorization</parameterName>",
        "    <parameterType>AuthHeader</parameterType>",
        f"    <parameterValue>{{!&apos;Bearer &apos; &amp; $Credential.{CREDENTIAL}.Secret}}</parameterValue>",
        "    <sequenceNumber>1</sequenceNumber>",
        "</externalCredentialParameters>",
        "<label>WhatsApp Connector</label>",
    ]
    return document("ExternalCredential", lines)


def _named_credential() -> str:
    lines = [
        "<allowMergeFieldsInBody>false</allowMergeFieldsInBody>",
        "<allowMergeFieldsInHeader>true</allowMergeFieldsInHeader>",
        "<calloutStatus>Enabled</calloutStatus>",
        "<generateAuthorizationHeader>false</generateAuthorizationHeader>",
        "<label>WhatsApp Connector</label>",
        "<namedCredentialParameters>",
        "    <parameterName>Url</parameterName>",
        "    <parameterType>Url</parameterType>",
        f"    <parameterValue>{CONNECTOR_PLACEHOLDER}</parameterValue>",
        "</namedCredentialParameters>",
        "<namedCredentialParameters>",
        f"    <externalCredential>{CREDENTIAL}</externalCredential>",
        "    <parameterName>ExternalCredential</parameterName>",
        "    <parameterType>Authentication</parameterType>",
        "</namedCredentialParameters>",
        "<namedCredentialType>SecuredEndpoint</namedCredentialType>",
    ]
    return document("NamedCredential", lines)
