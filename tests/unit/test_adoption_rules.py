"""Whose record of the CRM is it: numbers as people type them, and the rule that chooses."""

from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest

from connector.crm.hubspot.contact_search import search_bodies, searched_forms
from connector.crm.phone_hits import attribute
from connector.crm.port import CandidateContact, ContactQuery
from connector.sync.core.adoption import Choice, Outcome, choose, duplicates, has_phone, phones_of
from connector.sync.core.typed_numbers import readings

T0 = datetime(2026, 3, 1, tzinfo=UTC)
ANA = "+5511987654321"
KEY = "key-of-ana"


def record(
    record_id: str = "1", *phones: str, key: str = "", days: int = 0, **fields: Any
) -> CandidateContact:
    """A record made `days` after the first."""
    return CandidateContact(
        record_id=record_id,
        key=key,
        name=record_id,
        phones=phones or (ANA,),
        created_at=T0 + timedelta(days=days),
        **fields,
    )


FORMATS = [
    pytest.param("+5511987654321", id="e164"),
    pytest.param("+55 11 98765-4321", id="spaces-and-dash"),
    pytest.param("+55 (11) 98765-4321", id="parentheses"),
    pytest.param("+55.11.98765.4321", id="dots"),
    pytest.param("5511987654321", id="no-plus"),
    pytest.param("0055 11 98765 4321", id="leading-00"),
    pytest.param("(11) 98765-4321", id="national"),
    pytest.param("011 98765-4321", id="trunk-zero"),
    pytest.param("11987654321", id="national-digits"),
    pytest.param("+55 11 8765-4321", id="before-the-ninth-digit"),
    pytest.param("+55 11 98765-4321 ext. 12", id="extension"),
    pytest.param("(+55) 11 98765 4321", id="code-in-parentheses"),
    pytest.param("tel:+55-11-98765-4321", id="uri"),
    pytest.param("\u202a+55 11 98765\u20114321\u202c", id="copied-with-invisible-marks"),
    pytest.param("\uff0b\uff15\uff1511987654321", id="full-width"),
]


@pytest.mark.parametrize("typed", FORMATS)
def test_a_number_is_known_however_it_was_typed(typed: str) -> None:
    """Every usual way of writing the number means the person who writes from it."""
    assert has_phone(record("1", typed), phones_of(ANA), region="BR")


@pytest.mark.parametrize("typed", FORMATS)
def test_a_number_of_the_same_digits_in_another_country_is_another(typed: str) -> None:
    """Search drops the country code; the comparison does not."""
    assert not has_phone(record("1", typed), phones_of("+4411987654321"), region="BR")


@pytest.mark.parametrize(
    ("typed", "region", "wa_phone", "same"),
    [
        pytest.param("(415) 555-2671", "US", "+14155552671", True, id="us-national"),
        pytest.param("(415) 555-2671", "", "+14155552671", False, id="national-without-a-region"),
        pytest.param("(415) 555-2671", "BR", "+14155552671", False, id="national-of-another-region"),
        pytest.param("011 55 11 98765-4321", "US", ANA, True, id="dialled-from-the-us"),
        pytest.param("1 415 555 2671", "BR", "+14155552671", True, id="foreign-without-plus"),
        pytest.param("020 7946 0958", "GB", "+442079460958", True, id="gb-trunk"),
        pytest.param("+44 (0)20 7946 0958", "BR", "+442079460958", True, id="gb-both"),
        pytest.param("011 15-2345-6789", "AR", "+5491123456789", True, id="ar-15"),
        pytest.param("+54 11 2345-6789", "AR", "+5491123456789", True, id="ar-without-the-9"),
        pytest.param("+54 9 11 2345-6789", "AR", "+541123456789", False, id="ar-landline-is-no-mobile"),
        pytest.param("+52 55 1234 5678", "MX", "+5215512345678", True, id="mx-without-the-1"),
        pytest.param("+52 1 55 1234 5678", "MX", "+525512345678", True, id="mx-with-the-1"),
        pytest.param("+55 11 3333-4321", "BR", "+5511933334321", False, id="br-landline-is-no-mobile"),
        pytest.param("33 98765-4321", "BR", "+33987654321", False, id="valid-here-is-not-abroad"),
        pytest.param("call the office", "BR", ANA, False, id="no-number"),
        pytest.param("", "BR", ANA, False, id="empty"),
        pytest.param("0", "BR", ANA, False, id="one-zero"),
        pytest.param("0 0", "BR", ANA, False, id="nothing-after-00"),
        pytest.param("+", "BR", ANA, False, id="only-a-plus"),
        pytest.param("98765-4321", "BR", ANA, False, id="no-area-code"),
    ],
)
def test_numbers_are_read_by_the_rules_of_their_country(
    typed: str, region: str, wa_phone: str, *, same: bool
) -> None:
    """A number without country code is the default region's; variants are looked up, never invented."""
    assert has_phone(record("1", typed), phones_of(wa_phone), region=region) is same


def test_a_number_that_is_valid_here_is_read_in_one_way() -> None:
    """With a default region "33 98765-4321" is Brazilian and not French as well."""
    assert readings("33 98765-4321", region="BR") == {"5533987654321"}


@pytest.mark.parametrize("candidates", [[], ["1"], ["1", "2"]], ids=str)
def test_of_more_records_than_the_crm_shows_none_is_chosen(candidates: list[str]) -> None:
    """One that was not shown may be the right one, so the rule of adoption has nothing to choose from."""
    choice = choose(
        [record(name) for name in candidates],
        key=KEY,
        phones=phones_of(ANA),
        region="BR",
        rule="oldest",
        taken=(),
        complete=False,
    )
    assert (choice.outcome, choice.record_id) == (Outcome.AMBIGUOUS, None)


def chosen(*candidates: CandidateContact, rule: Any = "oldest", taken: Any = ()) -> Choice:
    return choose(candidates, key=KEY, phones=phones_of(ANA), region="BR", rule=rule, taken=taken)


@pytest.mark.parametrize(
    ("candidates", "rule", "outcome", "record_id"),
    [
        pytest.param([], "oldest", Outcome.NONE, None, id="nobody"),
        pytest.param([record("1", "+441197654321")], "oldest", Outcome.NONE, None, id="other-number"),
        pytest.param([record("1", "", "(11) 98765-4321")], "oldest", Outcome.ADOPTED, "1", id="one"),
        pytest.param([record("1", key="x")], "oldest", Outcome.NONE, None, id="somebody-elses"),
        pytest.param([record("1", "no", key=KEY), record("2")], "none", Outcome.OURS, "1", id="ours"),
        pytest.param([record("2", days=2), record("1")], "oldest", Outcome.CHOSEN, "1", id="oldest"),
        pytest.param([record("2", days=2), record("1")], "newest", Outcome.CHOSEN, "2", id="newest"),
        pytest.param([record("2", days=2), record("1")], "none", Outcome.AMBIGUOUS, None, id="no-rule"),
        pytest.param([record("2"), record("1")], "oldest", Outcome.CHOSEN, "1", id="same-age"),
        pytest.param(
            [record("L", second_choice=True), record("C", days=9)],
            "oldest",
            Outcome.ADOPTED,
            "C",
            id="a-contact-before-a-lead",
        ),
        pytest.param([record("L", second_choice=True)], "oldest", Outcome.ADOPTED, "L", id="only-a-lead"),
    ],
)
def test_the_record_is_chosen_by_the_rule(
    candidates: list[CandidateContact], rule: str, outcome: Outcome, record_id: str | None
) -> None:
    """One match is adopted, several by the rule, another person's never."""
    choice = chosen(*candidates, rule=rule)
    assert (choice.outcome, choice.record_id) == (outcome, record_id)


def test_a_record_that_another_person_took_is_no_candidate() -> None:
    """The next one is taken instead; with none left the conflict is told apart from a person who is not there."""
    assert chosen(record("1"), record("2"), taken={"1"}).record_id == "2"
    choice = chosen(record("1"), taken={"1"})
    assert (choice.outcome, choice.record_id) == (Outcome.TAKEN, None)
    assert [item.record_id for item in choice.candidates] == ["1"]


def test_another_record_with_the_number_is_reported_only() -> None:
    """A person who has a record keeps it; their own record and other people's are no duplicates."""
    found = [record("mine"), record("theirs", key="x"), record("other", "(11) 98765-4321")]
    choice = duplicates(found, record_id="mine", phones=phones_of(ANA), region="BR")
    assert (choice.outcome, choice.record_id) == (Outcome.DUPLICATE, None)
    assert [item.record_id for item in choice.candidates] == ["other"]


@pytest.mark.parametrize(
    ("phone", "people", "without"),
    [
        pytest.param("5511987654321", 12, 20, id="brazil"),
        pytest.param("5215512345678", 12, 20, id="mexico"),
        pytest.param("919876543210", 25, 40, id="india"),
        pytest.param("14155552671", 25, 40, id="us"),
        pytest.param("5491123456789", 10, 15, id="argentina"),
        pytest.param("4915123456789", 22, 40, id="germany"),
    ],
)
def test_searches_fit_into_the_limits_and_name_everybody(phone: str, people: int, without: int) -> None:
    """A body has at most 3,000 characters and 5 groups, and as many people as fit; more of them by two properties."""
    numbers = [str(int(phone) + number) for number in range(200)]
    queries = [ContactQuery(key=str(n), phones=phones_of(f"+{n}")) for n in numbers]
    bodies = search_bodies(queries)
    assert all(len(orjson.dumps(body)) <= 3_000 for body in bodies)
    assert all(len(body["filterGroups"]) <= 5 for body in bodies)
    named = {
        value for body in bodies for group in body["filterGroups"] for value in group["filters"][0]["values"]
    }
    assert all(searched_forms(number) <= named for number in numbers)
    assert len(numbers) / len(bodies) >= people
    assert len(numbers) / len(search_bodies(queries, verbatim=())) >= without


def test_hits_go_to_those_they_may_be_for() -> None:
    """A search for many is taken apart by key and by the last digits, with anything between them."""
    queries = [
        ContactQuery(key="a", phones=("5511987654321",)),
        ContactQuery(key="b", phones=("14155552671",)),
    ]
    found = [
        record("1", "(11) 9 8765-4321 x9"),
        record("2", "1 (415) 555-2671"),
        record("3", "none", key="b"),
    ]
    hits = attribute(queries, found)
    assert [[item.record_id for item in items] for items in hits] == [["1"], ["2", "3"]]
