"""Who, when and which phone: as WhatsApp shows them."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from connector.events import Person, StatusError
from connector.whatsapp.numbers import bare_number, e164, is_bsuid, lookup_variants
from connector.whatsapp.people import addressee, recipient, sender
from connector.whatsapp.statuses import read_status
from connector.whatsapp.system import IdentityChange, read_identity_change
from connector.whatsapp.timestamps import fact_time, unix_time

NO_TIMES: list[Any] = ["asdf", "", "0", "-5", "nan", "1e400", 10**400, True, None, [], "9" * 30]
BSUID = "US.13491208655302741918"


@pytest.mark.parametrize(
    ("message", "contact", "person"),
    [
        pytest.param(
            {"from": "16505551234", "from_user_id": BSUID},
            {
                "wa_id": "16505551234",
                "user_id": BSUID,
                "profile": {"name": " Ada ", "username": "@ada"},
            },
            Person(bsuid=BSUID, wa_id="16505551234", phone="+16505551234", name="Ada", username="ada"),
            id="everything shown",
        ),
        pytest.param(
            {"from": "", "from_user_id": BSUID},
            {"wa_id": "", "user_id": BSUID, "profile": {"username": "ada"}},
            Person(bsuid=BSUID, username="ada"),
            id="phone not shared, as empty text",
        ),
        pytest.param({}, {"user_id": BSUID}, Person(bsuid=BSUID), id="known by the contact only"),
        pytest.param({"from": BSUID}, None, Person(bsuid=BSUID), id="BSUID in from"),
        pytest.param(
            {"from": BSUID}, {"wa_id": BSUID, "profile": {}}, Person(bsuid=BSUID), id="BSUID in wa_id"
        ),
        pytest.param(
            {"from": "16505551234"}, None, Person(wa_id="16505551234", phone="+16505551234"), id="no contact"
        ),
        pytest.param(
            {"from": 16505551234}, {}, Person(wa_id="16505551234", phone="+16505551234"), id="number as int"
        ),
        pytest.param(
            {"from": "+1 (650) 555-1234"},
            None,
            Person(wa_id="16505551234", phone="+16505551234"),
            id="punctuated",
        ),
        pytest.param(
            {"from_user_id": BSUID},
            {"user_id": "US.999", "wa_id": "1", "profile": {"name": "Eve"}},
            Person(bsuid=BSUID),
            id="somebody else's contact",
        ),
        pytest.param({"from": "NUMBER"}, None, Person(wa_id="NUMBER"), id="no phone at all, kept verbatim"),
        pytest.param({}, ["?"], Person(), id="nobody"),
    ],
)
def test_a_sender_is_read(message: dict[str, Any], contact: Any, person: Person) -> None:
    """BSUID, phone, user name and profile name, wherever they stand; empty and absent are the same."""
    assert sender(message, contact) == person


def test_an_echo_is_addressed_to_the_customer() -> None:
    """The business is the sender of an echo; the person is whom it wrote to."""
    person = addressee({"from": "15550783881", "to": "16505551234", "to_user_id": BSUID}, None)
    assert (person.bsuid, person.wa_id) == (BSUID, "16505551234")


def test_a_status_in_a_group_speaks_of_the_participant() -> None:
    """`recipient_id` is the group there, and no phone."""
    status = {"recipient_id": "R3JvdXA", "recipient_type": "group", "recipient_participant_id": "16505551234"}
    assert recipient(status, None).wa_id == "16505551234"
    assert recipient({"recipient_id": "R3JvdXA", "recipient_type": "group"}, None) == Person()


def test_a_status_is_read() -> None:
    """Word, reason, correlation and price category, in the types that they are decided by."""
    status = read_status(
        {
            "id": "wamid.A",
            "status": "Failed",
            "biz_opaque_callback_data": "c-1",
            "pricing": {"category": "authentication-international", "type": "regular"},
            "errors": [{"code": "131026", "title": "T", "error_data": {"details": "D"}}, "odd"],
        }
    )
    assert (status.wamid, status.status, status.callback_data) == ("wamid.A", "failed", "c-1")
    assert (status.pricing_category, status.pricing_type) == ("authentication_international", "regular")
    assert status.errors == [StatusError(code=131026, title="T", details="D"), StatusError()]


@pytest.mark.parametrize(
    ("message", "change"),
    [
        pytest.param(
            {
                "from": "16505551234",
                "system": {
                    "type": "user_changed_number",
                    "wa_id": "12195555358",
                    "user_id": "US.2",
                    "previous_user_id": "US.1",
                },
            },
            IdentityChange(
                reason="user_changed_number",
                old_bsuid="US.1",
                old_phone="16505551234",
                new_bsuid="US.2",
                new_phone="12195555358",
            ),
            id="number",
        ),
        pytest.param(
            {"from": "16505551234", "system": {"type": "user_changed_number", "new_wa_id": "12195555358"}},
            IdentityChange(reason="user_changed_number", old_phone="16505551234", new_phone="12195555358"),
            id="number, before user ids",
        ),
        pytest.param(
            {
                "system": {
                    "type": "customer_changed_number",
                    "wa_id": "12195555358",
                    "customer": "16505551234",
                }
            },
            IdentityChange(reason="user_changed_number", old_phone="16505551234", new_phone="12195555358"),
            id="number, oldest form",
        ),
        pytest.param(
            {"system": {"type": "user_changed_user_id", "user_id": "US.2", "previous_user_id": "US.1"}},
            IdentityChange(reason="user_changed_user_id", old_bsuid="US.1", new_bsuid="US.2"),
            id="user id",
        ),
        pytest.param(
            {
                "from": "16505551234",
                "system": {"type": "user_changed_user_id", "user_id": "US.2", "previous_user_id": "US.1"},
            },
            IdentityChange(
                reason="user_changed_user_id", old_bsuid="US.1", new_bsuid="US.2", new_phone="16505551234"
            ),
            id="user id, phone shown and kept",
        ),
        pytest.param(
            {"from": "16505551234", "system": {"type": "customer_identity_changed"}}, None, id="new device"
        ),
        pytest.param({"from": "1", "system": "?"}, None, id="no form"),
        pytest.param(
            {"from": "16505551234", "system": {"type": "user_changed_number"}}, None, id="nothing new"
        ),
    ],
)
def test_a_change_of_identity_is_read(message: dict[str, Any], change: IdentityChange | None) -> None:
    """Old and new aliases as far as Meta named them, in every form that the notice has had."""
    assert read_identity_change({"type": "system", **message}) == change


@pytest.mark.parametrize(
    ("value", "moment"),
    [
        pytest.param("1749416383", datetime(2025, 6, 8, 20, 59, 43, tzinfo=UTC), id="text"),
        pytest.param(1749416383, datetime(2025, 6, 8, 20, 59, 43, tzinfo=UTC), id="number"),
        pytest.param(
            "1749416383500", datetime(2025, 6, 8, 20, 59, 43, 500_000, tzinfo=UTC), id="milliseconds"
        ),
        *(pytest.param(value, None, id=repr(value)) for value in NO_TIMES),
    ],
)
def test_a_timestamp_is_read(value: Any, moment: datetime | None) -> None:
    """Seconds or milliseconds, text or number; anything that is no plausible instant is none."""
    assert unix_time(value) == moment


def test_a_fact_without_a_believable_time_has_that_of_its_arrival() -> None:
    """Nonsense and times in the future would win every comparison of times."""
    arrival = datetime(2026, 5, 1, tzinfo=UTC)
    assert fact_time("asdf", received_at=arrival) == arrival
    assert fact_time((arrival + timedelta(days=30)).timestamp(), received_at=arrival) == arrival
    assert fact_time(arrival.timestamp() - 60, received_at=arrival) == arrival - timedelta(seconds=60)


@pytest.mark.parametrize(
    ("wa_id", "phone"),
    [
        ("16505551234", "+16505551234"),
        ("551187654321", "+551187654321"),
        ("5215512345678", "+5215512345678"),
        ("5491123456789", "+5491123456789"),
        ("966501234567", "+966501234567"),
        ("1234567890", None),
        ("0", None),
        ("NUMBER", None),
        ("99999999999999999", None),
        ("١٦٥٠٥٥٥١٢٣٤", None),
    ],
)
def test_e164_is_the_account_number_or_nothing(wa_id: str, phone: str | None) -> None:
    """Possible numbers, also those without Brazil's ninth digit, are never reformatted."""
    assert e164(wa_id) == phone


@pytest.mark.parametrize(
    ("digits", "variants"),
    [
        pytest.param("5511987654321", ("5511987654321", "551187654321"), id="Brazil, with the ninth digit"),
        pytest.param("551187654321", ("551187654321", "5511987654321"), id="Brazil, without"),
        pytest.param("551133334444", ("551133334444",), id="Brazil, landline"),
        pytest.param("5215512345678", ("5215512345678", "525512345678"), id="Mexico, 521"),
        pytest.param("525512345678", ("525512345678", "5215512345678"), id="Mexico, 52"),
        pytest.param("5491123456789", ("5491123456789", "541123456789"), id="Argentina, mobile"),
        pytest.param("541123456789", ("541123456789",), id="Argentina, perhaps a landline"),
        pytest.param("16505551234", ("16505551234",), id="elsewhere"),
    ],
)
def test_lookup_variants(digits: str, variants: tuple[str, ...]) -> None:
    """The same phone may be on file in another form; a mobile is never joined to a landline."""
    assert lookup_variants(digits) == variants


def test_a_bsuid_is_told_from_a_phone() -> None:
    """By its form: country and a dot, or the `user.` of Meta's draft."""
    assert all(map(is_bsuid, (BSUID, "US.ENT.11815799212886844830", "user.9373795779eb6441")))
    assert not any(map(is_bsuid, ("16505551234", "us.1", "US.", "US.a b", "NUMBER", "")))
    assert bare_number(BSUID) == BSUID
