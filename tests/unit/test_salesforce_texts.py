"""Texts, keys and times as Salesforce takes them."""

from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import pytest
from hypothesis import given, strategies as st

from connector.crm.port import ContactProfile, ContactUpsert
from connector.crm.salesforce.activities import message_key
from connector.crm.salesforce.contacts import People, first_values, person_values
from connector.crm.salesforce.texts import clean, cut, date_time
from connector.sync.mapping import built_in

CONTACT = People(sobject="Contact", company="[not provided]")
KEY = UUID("5b0f3f1e-5a51-4f3c-8f44-1b2f0a6d9c11")


def upsert(profile: ContactProfile, *, is_new: bool = True) -> ContactUpsert:
    """A person as the built-in mapping says it."""
    mapping = built_in().contacts["salesforce"]
    return ContactUpsert(
        contact_id=KEY,
        profile=profile,
        always=mapping.always(profile, key=str(KEY)),
        once=mapping.once(profile, key=str(KEY)),
        is_new=is_new,
    )


@given(text=st.text(max_size=300), limit=st.integers(min_value=2, max_value=200))
def test_a_cut_text_fits_as_salesforce_counts(text: str, limit: int) -> None:
    """Whatever is in it, a text has at most `limit` UTF-16 code units; one that fits is left alone."""
    kept = cut(clean(text), limit)
    assert len(kept.encode("utf-16-le")) // 2 <= limit
    if len(clean(text).encode("utf-16-le")) // 2 <= limit:
        assert kept == clean(text)
    else:
        assert kept.endswith(("…", "in all]"))


def test_half_a_surrogate_pair_is_replaced() -> None:
    """A text that is no Unicode becomes one."""
    assert clean("a\ud83db\x00") == "a?b"


def test_a_time_is_utc_with_milliseconds() -> None:
    """Times of any zone are written in UTC."""
    value = datetime(2026, 3, 1, 14, 0, 0, 123_456, tzinfo=timezone(timedelta(hours=2)))
    assert date_time(value) == "2026-03-01T12:00:00.123Z"


@pytest.mark.parametrize("wamid", ["wamid.HBg==", "w" * 255], ids=["usual", "longest"])
def test_a_message_id_that_fits_is_its_own_key(wamid: str) -> None:
    """A wamid can be found in Salesforce as it is."""
    assert message_key(wamid) == wamid


@pytest.mark.parametrize("wamid", ["w" * 256, " w", "w\ud83d"], ids=["too-long", "trimmed", "no-unicode"])
def test_a_message_id_that_does_not_fit_is_hashed(wamid: str) -> None:
    """What Salesforce would cut, trim or refuse becomes a hash, always the same one."""
    assert message_key(wamid).startswith("sha256:")
    assert message_key(wamid) == message_key(wamid) != message_key(wamid + "x")
    assert len(message_key(wamid)) == len("sha256:") + 64


@pytest.mark.parametrize(
    ("profile", "name"),
    [
        pytest.param(ContactProfile(name="Ana Souza", phone="+1"), "Ana Souza", id="name"),
        pytest.param(ContactProfile(username="ana", phone="+1"), "@ana", id="username"),
        pytest.param(ContactProfile(phone="+15550001"), "+15550001", id="phone"),
        pytest.param(ContactProfile(bsuid="US.1", name="  "), "US.1", id="user-id"),
        pytest.param(ContactProfile(), str(KEY), id="nothing"),
    ],
)
def test_a_new_person_always_has_a_last_name(profile: ContactProfile, name: str) -> None:
    """Salesforce requires a last name: the best that is known is it."""
    assert first_values(upsert(profile), CONTACT)["LastName"] == name


def test_a_lead_has_a_company() -> None:
    """Salesforce requires a company of a Lead."""
    item = upsert(ContactProfile(name="x" * 100))
    values = first_values(item, People(sobject="Lead", company="Unknown"))
    assert values["Company"] == "Unknown"
    assert values["LastName"] == "x" * 79 + "…"


def test_a_number_that_moved_away_is_cleared() -> None:
    """A known person without a number has none in the CRM either; a new one is not said to have none."""
    profile = ContactProfile(bsuid="US.1", last_inbound_at=datetime(2026, 3, 1, tzinfo=UTC))
    known = person_values(upsert(profile, is_new=False), CONTACT)
    new = person_values(upsert(profile), CONTACT)
    assert known["WA_Phone__c"] is None
    assert "WA_Phone__c" not in new
    assert known["WA_Window_Open_Until__c"] == "2026-03-02T00:00:00.000Z"
