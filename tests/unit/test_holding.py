"""Who is not written for now: looked up first, unknown, ignored, deleted, erased."""

from typing import Any

import pytest

from connector.sync.core.holding import Hold, HoldRules, Standing, hold

PHONE = "+5511987654321"
KNOWN_ONLY = HoldRules(create_contacts=False)


def facts(phone: str = PHONE, *, inbound: int = 1, bsuid: str = "BR.abc") -> dict[str, Any]:
    return {
        "bsuid": [bsuid, 1],
        **({"phone": [phone, 1]} if phone else {}),
        "last_inbound_at": inbound,
    }


def held(
    standing: Standing, after: dict[str, Any], rules: HoldRules | None = None, **before: Any
) -> Hold | None:
    return hold(standing, before=facts(**before), after=after, rules=rules or HoldRules())


@pytest.mark.parametrize(
    ("standing", "phone", "rules", "expected"),
    [
        pytest.param(Standing(), PHONE, HoldRules(), Hold.LOOKUP, id="new"),
        pytest.param(Standing(), "", HoldRules(), None, id="no-phone-to-look-up"),
        pytest.param(Standing(looked_up_phone=PHONE), PHONE, HoldRules(), None, id="looked-up"),
        pytest.param(Standing(looked_up_phone="+1"), PHONE, HoldRules(), Hold.LOOKUP, id="another-phone"),
        pytest.param(Standing(record_id="1"), PHONE, HoldRules(), None, id="known"),
        pytest.param(Standing(record_id="1"), PHONE, KNOWN_ONLY, None, id="known-and-known-only"),
        pytest.param(Standing(), PHONE, KNOWN_ONLY, Hold.LOOKUP, id="known-only-looks-first"),
        pytest.param(Standing(looked_up_phone=PHONE), PHONE, KNOWN_ONLY, Hold.UNKNOWN, id="not-there"),
        pytest.param(Standing(), "", KNOWN_ONLY, Hold.UNKNOWN, id="known-only-without-phone"),
        pytest.param(
            Standing(looked_up_phone=PHONE, erased=True), PHONE, HoldRules(), Hold.ERASED, id="erased"
        ),
        pytest.param(Standing(erased=True), "", HoldRules(), Hold.ERASED, id="erased-without-phone"),
        pytest.param(Standing(held=Hold.DELETED), PHONE, HoldRules(), Hold.DELETED, id="deleted"),
    ],
)
def test_who_is_held_follows_from_their_standing(
    standing: Standing, phone: str, rules: HoldRules, expected: Hold | None
) -> None:
    """A person is looked up once for each phone; who is not there is created, unless the settings or a deletion say no."""
    assert held(standing, facts(phone), rules) is expected


def test_who_writes_after_their_deletion_is_looked_up_again() -> None:
    """A later inbound message ends the hold of a deleted record; anything else does not."""
    deleted = Standing(held=Hold.DELETED)
    assert held(deleted, facts(inbound=5), inbound=4) is Hold.LOOKUP
    assert held(deleted, facts(inbound=5), inbound=5) is Hold.DELETED


def test_an_empty_entry_ignores_nobody() -> None:
    """A forgotten comma in the list does not stop everybody who hides their phone."""
    assert HoldRules.of(create_contacts="always", ignore=["", " "]).ignore == frozenset()


@pytest.mark.parametrize(
    ("entry", "ignored"),
    [
        pytest.param("+55 (11) 98765-4321", True, id="as-people-write-it"),
        pytest.param("+55 11 8765-4321", True, id="variant"),
        pytest.param("BR.abc", True, id="bsuid"),
        pytest.param("BR.abd", False, id="other-bsuid"),
        pytest.param("+55 11 98765-4322", False, id="other-phone"),
    ],
)
@pytest.mark.parametrize("record_id", [None, "1"], ids=["new", "known"])
def test_the_ignore_list_names_phones_and_bsuids(entry: str, record_id: str | None, *, ignored: bool) -> None:
    """Who is on it is never written, whether the CRM has them or not."""
    rules = HoldRules.of(create_contacts="always", ignore=[entry])
    standing = Standing(record_id=record_id, looked_up_phone=PHONE)
    assert (held(standing, facts(), rules) is Hold.IGNORED) is ignored
