"""A send whose record is still to be read, beside versions of its template in several languages."""

from datetime import timedelta
from typing import Any

import pytest
from gate_facts import NOW, PERSON, granted, template

from connector.outbound.dispatch.judging import Judged, Known, judged
from connector.outbound.dispatch.knowledge import NumberStanding, Portfolio, Someone
from connector.outbound.dispatch.send import BusinessNumber, Send
from connector.outbound.facts import NumberFacts, View
from connector.outbound.personalisation.filling import Personalisation
from connector.outbound.personalisation.records import RecordFacts, RecordPlace
from connector.outbound.rules import GateRules
from connector.outbound.templates.template import Template

NUMBER = "106540352242922"
PLACE = RecordPlace("hubspot", "51")
GERMAN = template(language="de", status="REJECTED")
PAUSED = template(language="de", status="PAUSED")
ARABIC = template(language="ar")


def unread(*versions: Template, language: str = "", **personalisation: Any) -> Judged:
    """A send to somebody whose language HubSpot knows, and nobody has read yet."""
    send = Send(
        send_id="send-1",
        trigger_id="trigger-1",
        template_name="spring_sale",
        template_language=language,
        purpose="",
        contact_id=PERSON,
        obstacle="",
        phone="+447400123456",
        bsuid="",
        phone_number_id=NUMBER,
        parameters={},
        reference="",
        callback=None,
        created_at=NOW - timedelta(seconds=5),
        expires_at=NOW + timedelta(hours=24),
        expiry_given=False,
        attempts=0,
        category="",
        rendered="",
        problem=None,
        topic="",
        partition=0,
        offset=0,
    )
    known = Known(
        now=NOW,
        number=NumberStanding(
            business=BusinessNumber(phone_number_id=NUMBER),
            facts=NumberFacts(phone_number_id=NUMBER, quality="GREEN"),
            per_second=80,
            tier=None,
            switches=(),
            templates_synced_at=NOW,
        ),
        people={PERSON: PERSON},
        someone={PERSON: Someone(person_id=PERSON, phone="+447400123456", consent={"marketing": granted()})},
        templates={"spring_sale": versions},
        portfolio=Portfolio(),
        view=View(lag=timedelta(0), templates_synced_at=NOW),
        rules=GateRules(),
        personalisation=Personalisation(**personalisation),
        records={"send-1": RecordFacts(unread={"hubspot": NOW + timedelta(seconds=30)}, wanted=(PLACE,))},
        crms=("hubspot",),
    )
    return judged(send, known, turn=NOW)


@pytest.mark.parametrize(
    ("other", "personalisation"),
    [
        pytest.param(GERMAN, {}, id="rejected-comes-first"),
        pytest.param(PAUSED, {}, id="paused-comes-first"),
        pytest.param(GERMAN, {"fallback_languages": ("de",)}, id="rejected-is-the-fall-back"),
        pytest.param(PAUSED, {"fallback_languages": ("de",)}, id="paused-is-the-fall-back"),
    ],
)
def test_a_version_that_may_not_be_sent_holds_up_nobody_who_may_read_another(
    other: Template, personalisation: dict[str, Any]
) -> None:
    """Before the person's language is read, one approved version is enough for the record to be read."""
    found = unread(other, ARABIC, **personalisation)
    assert (found.fate, found.wanted) == ("held", (PLACE,))


@pytest.mark.parametrize("language", ["", "de"])
def test_a_template_that_no_language_of_the_person_can_save_is_blocked_unread(language: str) -> None:
    """A rejected version blocks at once when it is the only one, or the one that was asked for."""
    found = unread(GERMAN, *([ARABIC] if language else []), language=language)
    assert (found.fate, found.wanted) == ("blocked", ())
    decisive = found.verdict.decisive
    assert decisive is not None
    assert decisive.policy == "template_status"
