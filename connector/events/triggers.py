"""`crm.triggers`: what a CRM, a script or an operator asks for, one record a recipient, as it was asked.

The ingress checks form and signature only. What a trigger means (who that is, whether it may be sent) is judged by
the outbound role, and every judgement is recorded.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from connector.events.base import Model, UtcDatetime

TriggerSource = Literal["api", "hubspot_workflow", "salesforce_outbound", "cli"]
Purpose = Literal["marketing", "utility", "authentication"]
ConsentState = Literal["granted", "denied", "unknown"]


class Recipient(Model):
    """Who it is for: at least one of these. `bsuid` counts before `phone`, both before a CRM's record id."""

    phone: str = Field(default="", description="E.164, or digits with country code.")
    bsuid: str = ""
    hubspot_id: str = Field(default="", description="Record id of a HubSpot contact.")
    salesforce_id: str = Field(default="", description="Record id of a Salesforce Contact or Lead.")


class TemplateRef(Model):
    """A template by name; without a language the contact's own, then the configured fall-backs."""

    name: str
    language: str = ""


class WorkflowCallback(Model):
    """A HubSpot workflow that waits for the outcome."""

    callback_id: str
    portal_id: str = ""
    expires_at: UtcDatetime | None = Field(
        default=None, description="HubSpot goes on without us from then on."
    )


class TriggerEvent(Model):
    """One record of `crm.triggers`. `event_id` is the dedupe key: the same request always makes the same ids."""

    event_id: str
    version: int = 1
    source: str = Field(description="Which door it came through.")
    client: str = Field(
        default="", description="Who asked: a trigger client, a portal, an organisation, a user."
    )
    received_at: UtcDatetime


class SendRequested(TriggerEvent):
    """One template to one person. Nothing has been decided yet."""

    type: Literal["send.requested"] = "send.requested"
    send_id: str = Field(description="Deterministic: idempotency key and index of the recipient.")
    trigger_id: str = Field(description="Names the whole request; up to 1,000 recipients share it.")
    request_hash: str = Field(description="Of the whole request: the same id with another hash is refused.")
    recipients: int = Field(default=1, description="Of the whole request; more than one is a campaign.")
    template: TemplateRef
    to: Recipient
    parameters: dict[str, Any] = Field(
        default_factory=dict,
        description="By name (named templates) or by position '1', '2', … (positional); header and button parameters "
        "as 'header', 'button.0', ….",
    )
    from_number: str = Field(
        default="", description="Phone number id or displayed number; empty: the default."
    )
    purpose: Purpose | Literal[""] = Field(default="", description="Empty: Meta's category of the template.")
    expires_at: UtcDatetime | None = Field(
        default=None, description="Never sent later. None: 24 h, authentication 10 min."
    )
    reference: str = Field(default="", description="The caller's own, given back with the outcome.")
    callback: WorkflowCallback | None = None
    problem: str = Field(
        default="",
        description="What is wrong with the request itself, in one sentence: it is recorded as blocked for this reason, "
        "and nothing of it is sent. Such a request has expired already, and nobody waits for its outcome.",
    )


class ConsentGiven(TriggerEvent):
    """An act of consent that came through the API, the command line or an import, with its evidence."""

    type: Literal["consent.given"] = "consent.given"
    to: Recipient
    purpose: Literal["marketing", "utility"]
    state: ConsentState
    at: UtcDatetime = Field(description="When the person acted, not when we were told.")
    by_person: bool = Field(
        default=False,
        description="Whether the person did it, with evidence. Only such an act undoes an opt-out.",
    )
    evidence: str = Field(
        default="", description="Form, page, wording, recording: what would convince a court."
    )


class CrmContactChanged(TriggerEvent):
    """A CRM says that a contact record changed: one of our properties, a merge, a deletion for privacy."""

    type: Literal["crm.contact_changed"] = "crm.contact_changed"
    crm: Literal["hubspot", "salesforce"]
    record_id: str = Field(description="The record that lives on.")
    change: Literal["property", "merged", "deleted", "erased"]
    property_name: str = ""
    value: str = ""
    merged_ids: list[str] = Field(default_factory=list, description="The records that became this one.")
    change_source: str = Field(
        default="", description="Who wrote it, as the CRM names it; our own are ignored."
    )
    at: UtcDatetime


class PersonIntroduced(TriggerEvent):
    """Somebody to whom the business wants to write before they ever wrote to it: the route role makes them a contact."""

    type: Literal["person.introduced"] = "person.introduced"
    phone: str = Field(default="", description="E.164.")
    bsuid: str = ""


class SendsSwitched(TriggerEvent):
    """Somebody paused or resumed sends. `client` is who, `received_at` when; per `scope` and `subject` the latest counts.

    It takes effect by the table; it is on the log so that a restored database does not forget a pause.
    """

    type: Literal["sends.switched"] = "sends.switched"
    paused: bool
    scope: Literal["all", "template", "number"]
    subject: str = Field(default="", description="Template name or phone number id; empty for all.")
    reason: str = ""


Trigger = Annotated[
    SendRequested | ConsentGiven | CrmContactChanged | PersonIntroduced | SendsSwitched,
    Field(discriminator="type"),
]
