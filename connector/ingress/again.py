"""What the ingress makes today of bytes that it once kept as a dead letter: the same code, as if they had just come."""

from __future__ import annotations

from collections.abc import Sequence

from connector.errors import Rejected
from connector.events import DeadLetter
from connector.ingress.hubspot_webhooks import contact_change
from connector.ingress.intake import take_in
from connector.ingress.strict_json import UnreadableJson, parse_json
from connector.ingress.trigger_records import encode_trigger
from connector.streams.codec import EncodedRecord, decode
from connector.topics import DEAD_LETTERS

_ASKED_ANEW = {
    "not_a_workflow_action": "HubSpot was answered and its workflow went on; enrol the contact again",
    "not_a_send": "Salesforce was answered; run its flow again",
}
"""Causes of requests to send whose caller was told at once that nothing is sent."""


def through_the_door(letter: DeadLetter, body: bytes) -> Sequence[EncodedRecord]:
    """The records, for all readers of their topics. `body`: the letter's own bytes, or mended ones.

    Raises `Rejected`: `would_die_again`, or `asked_anew` for what its caller has to ask again.
    """
    if letter.cause in _ASKED_ANEW:
        raise Rejected(
            "It is a request to send that was refused when it came.",
            cause="asked_anew",
            advice=f"{_ASKED_ANEW[letter.cause]}, then drop this one with a reason",
        )
    records = (
        _contact_changes(letter, body)
        if letter.cause == "not_a_hubspot_event"
        else take_in(body, received_at=letter.at).records
    )
    for record in records:
        if record.topic is DEAD_LETTERS:
            raise _would_die(decode(DEAD_LETTERS, record.value).reason)
    return records


def _contact_changes(letter: DeadLetter, body: bytes) -> Sequence[EncodedRecord]:
    try:
        document = parse_json(body)
        events = document if isinstance(document, list) else [document]
        changes = [contact_change(event, received_at=letter.at) for event in events]
    except UnreadableJson as error:
        raise _would_die(f"It cannot be read: {error}.") from None
    except Rejected as error:
        raise _would_die(error.message) from None
    return [encode_trigger(change) for change in changes if change is not None]


def _would_die(reason: str) -> Rejected:
    return Rejected(
        f"It would die again: {reason}",
        cause="would_die_again",
        advice="upgrade, or mend it: connector dlq fix",
    )
