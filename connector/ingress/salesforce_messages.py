"""`POST /salesforce/outbound-messages/{token}`: a Salesforce flow sends templates by outbound messages.

The messages carry no signature: the secret at the end of the URL and the organisation's id stand in for one, so the
URL must be https and belongs in no log. One Ack covers the whole envelope, so a message that makes no sense is
recorded and acknowledged with the others: unacknowledged it would keep them back for 24 hours.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Callable
from datetime import datetime

from starlette.requests import Request
from starlette.responses import Response

from connector.errors import Rejected
from connector.events.triggers import TriggerSource
from connector.ingress import trigger_fields as fields
from connector.ingress.answers import Refusal
from connector.ingress.dead_letters import dead_letter
from connector.ingress.reception import Reception, Taken, utc_now
from connector.ingress.salesforce_soap import ACKNOWLEDGED, Notification, UnreadableEnvelope, read_envelope
from connector.ingress.splitting import post_id_of
from connector.ingress.trigger_records import encode_trigger, request_hash_of, send_requested
from connector.ingress.typed_sends import typed_recipient, typed_send
from connector.settings import SalesforceSettings
from connector.streams.codec import EncodedRecord

PATH = "/salesforce/outbound-messages/{token}"
SOURCE: TriggerSource = "salesforce_outbound"
FIELDS = {
    "template": "WA_Template__c",
    "language": "WA_Language__c",
    "from": "WA_From__c",
    "parameters": "WA_Parameters__c",
    "purpose": "WA_Purpose__c",
}
PEOPLE = ("Contact", "Lead")

_TYPES = ("text/xml", "application/soap+xml")
_SHOWN = 18
"""Characters of the longest id of Salesforce's."""


class SalesforceMessages:
    """The endpoint. `region`: country of typed phones that have no country code, "" for none."""

    def __init__(
        self,
        *,
        salesforce: SalesforceSettings,
        reception: Reception,
        region: str = "",
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._token = salesforce.outbound_token.get_secret_value()
        self._organization_id = salesforce.organization_id
        self._reception = reception
        self._region = region
        self._now = now

    async def endpoint(self, request: Request) -> Response:
        """One envelope."""
        return await self._reception.receive(
            request,
            door="salesforce_messages",
            types=_TYPES,
            check=lambda: self._check(request.path_params["token"]),
            read=self._read,
        )

    def _check(self, token: str) -> None:
        if not (self._token and self._organization_id):
            raise Refusal(
                "not_configured",
                status=503,
                error="Outbound messages cannot be told from forged ones; every request is refused.",
                advice="set CONNECTOR_SALESFORCE__OUTBOUND_TOKEN and CONNECTOR_SALESFORCE__ORGANIZATION_ID",
            )
        if not hmac.compare_digest(token.encode("utf-8", "replace"), self._token.encode()):
            raise Refusal(
                "wrong_token",
                status=403,
                error="The token at the end of the URL is not ours.",
                advice="compare the outbound message's endpoint URL with CONNECTOR_SALESFORCE__OUTBOUND_TOKEN",
            )

    def _read(self, body: bytes) -> Taken:
        try:
            envelope = read_envelope(body)
        except UnreadableEnvelope as error:
            raise Refusal(
                "not_an_envelope",
                status=400,
                error=f"The body is no envelope of outbound messages: {error}.",
                advice="only Salesforce's outbound messages are taken here (docs/crm/salesforce)",
            ) from None
        # The first 15 characters are the id; the others only repeat their case.
        given, ours = envelope.organization_id[:15], self._organization_id[:15]
        if not hmac.compare_digest(given.encode(), ours.encode()):
            raise Refusal(
                "wrong_organization",
                status=403,
                error="The messages are another organisation's.",
                advice="compare CONNECTOR_SALESFORCE__ORGANIZATION_ID with Setup, Company Information; a sandbox has "
                "an id of its own",
            )
        received_at = self._now()
        records = [self._record(item, received_at=received_at) for item in envelope.notifications]
        return Taken(records=records, answer=Response(ACKNOWLEDGED, media_type="text/xml"))

    def _record(self, message: Notification, *, received_at: datetime) -> EncodedRecord:
        """One message. A bad one does not hold up its envelope."""
        try:
            return self._send(message, received_at=received_at)
        except Rejected as rejection:
            shown = {"Id": message.id, "sObject": message.object_type, "fields": dict(message.fields)}
            original = json.dumps(shown).encode()
            return dead_letter(
                original, rejection, subject=message.id or post_id_of(original), received_at=received_at
            )

    def _send(self, message: Notification, *, received_at: datetime) -> EncodedRecord:
        if not message.id or len(message.id) > _SHOWN:
            raise _not_understood(
                "An outbound message has no Id, so its repetition could not be told from another."
            )
        if message.object_type not in PEOPLE:
            raise _not_understood(
                f"An outbound message is about {message.object_type[:40] or 'no'} records; templates are sent to "
                f"{' and '.join(PEOPLE)} records."
            )
        try:
            record_id = fields.salesforce_id(message.fields.get("Id", ""))
        except ValueError as error:
            raise _not_understood(f"The record of an outbound message is not named: Id {error}.") from None
        wanted = typed_send(message.fields, names=FIELDS)
        return encode_trigger(
            send_requested(
                source=SOURCE,
                client=self._organization_id[:15],
                key=message.id,
                request_hash=request_hash_of(
                    [record_id, {name: message.fields.get(name, "") for name in FIELDS.values()}]
                ),
                received_at=received_at,
                template=wanted.template,
                to=typed_recipient(
                    bsuid=message.fields.get("WA_BSUID__c", ""),
                    phone=message.fields.get("WA_Phone__c", ""),
                    typed_phones=[message.fields.get(name, "") for name in ("MobilePhone", "Phone")],
                    region=self._region,
                    salesforce_id=record_id,
                ),
                parameters=wanted.parameters,
                from_number=wanted.from_number,
                purpose=wanted.purpose,
                problem=wanted.problem,
            )
        )


def _not_understood(sentence: str) -> Rejected:
    return Rejected(
        sentence,
        cause="not_a_send",
        advice="compare the outbound message's object and fields with docs/crm/salesforce; nothing was sent",
    )
