"""The rules of identity: one case a sentence, then any order of any facts."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given, settings, strategies as st

from connector.identity.directory import Alias, AliasState, Directory, contact_id_for
from connector.identity.rules import (
    Change,
    Conflict,
    Inquiry,
    Merged,
    PhoneLost,
    Ruling,
    Sighting,
    changed,
    known,
    sighted,
    to_lock,
)

EPOCH = datetime(2026, 5, 1, tzinfo=UTC)


def bsuid(name: str) -> Alias:
    return Alias("bsuid", name)


def phone(number: str) -> Alias:
    return Alias("phone", number)


def at(second: int) -> datetime:
    return EPOCH + timedelta(seconds=second)


def see(directory: Directory, second: int, user: str = "", number: str = "") -> Ruling:
    return sighted(
        directory,
        Sighting(
            event_id=f"e{second}",
            at=at(second),
            bsuid=bsuid(user) if user else None,
            phone=phone(number) if number else None,
        ),
    )


def change(directory: Directory, second: int, *, old: tuple[str, str], new: tuple[str, str]) -> Ruling:
    """`old` and `new` are (BSUID, phone), "" where Meta said nothing."""
    return changed(
        directory,
        Change(
            event_id=f"e{second}",
            at=at(second),
            reason="user_changed_number",
            old_bsuid=bsuid(old[0]) if old[0] else None,
            old_phone=phone(old[1]) if old[1] else None,
            new_bsuid=bsuid(new[0]) if new[0] else None,
            new_phone=phone(new[1]) if new[1] else None,
        ),
    )


def test_a_contact_id_is_made_of_the_first_alias() -> None:
    """A rebuild from the log gives the same ids, and a person known by both is named after the BSUID."""
    assert see(Directory(), 1, "US.1", "100").contact_id == contact_id_for(bsuid("US.1"), made=0)
    assert see(Directory(), 1, number="100").contact_id == contact_id_for(phone("100"), made=0)
    assert contact_id_for(bsuid("x"), made=0) != contact_id_for(phone("x"), made=0)


def see_form(directory: Directory, second: int, user: str, number: str, other: str) -> Ruling:
    """A phone that may be on file under another form as well."""
    return sighted(
        directory,
        Sighting(
            event_id=f"e{second}",
            at=at(second),
            bsuid=bsuid(user) if user else None,
            phone=phone(number),
            other_forms=(phone(other),),
        ),
    )


def test_who_is_known_under_another_form_of_a_phone_is_found() -> None:
    """A contact of whom only a phone is known, whether the person shows a BSUID by now or not."""
    for user in ("", "BR.1"):
        directory = Directory()
        first = see(directory, 1, number="5511987654321").contact_id
        assert see_form(directory, 2, user, "551187654321", "5511987654321").contact_id == first
        assert directory.holder(phone("551187654321")) == directory.holder(phone("5511987654321")) == first


def test_a_person_who_is_known_takes_over_who_was_introduced_under_another_form() -> None:
    """As with the very same form: the phone-only contact becomes theirs."""
    directory = Directory()
    known_id = see(directory, 1, "BR.1").contact_id
    introduced_id = see(directory, 2, number="5511987654321").contact_id
    ruling = see_form(directory, 3, "BR.1", "551187654321", "5511987654321")
    assert ruling.contact_id == known_id
    assert [(merge.winner_id, merge.loser_id) for merge in ruling.merges] == [(known_id, introduced_id)]


def test_people_whom_whatsapp_tells_apart_stay_two_under_two_forms_of_a_number() -> None:
    """Nobody says that two BSUIDs are one person but Meta and the CRM."""
    directory = Directory()
    first = see(directory, 1, "BR.1", "5511987654321").contact_id
    ruling = see_form(directory, 2, "BR.2", "551187654321", "5511987654321")
    assert (ruling.contact_id != first, ruling.merges, ruling.losses) == (True, (), ())


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param(("US.1", ""), ("US.1", ""), id="by BSUID"),
        pytest.param(("", "100"), ("", "100"), id="by phone"),
        pytest.param(("US.1", "100"), ("US.1", ""), id="phone no longer shown"),
        pytest.param(("US.1", "100"), ("", "100"), id="an echo shows the phone only"),
        pytest.param(("", "100"), ("US.1", "100"), id="a phone-only contact is claimed"),
        pytest.param(("US.1", "100"), ("US.1", "200"), id="a second phone"),
    ],
)
def test_one_person_is_one_contact(first: tuple[str, str], second: tuple[str, str]) -> None:
    """Whatever a later message shows of a person, it is the same contact."""
    directory = Directory()
    before = see(directory, 1, *first)
    after = see(directory, 2, *second)
    assert after.contact_id == before.contact_id
    assert (after.merges, after.losses, after.conflicts) == ((), (), ())


def test_a_phone_only_contact_is_merged_into_the_known_bsuid() -> None:
    """A BSUID known to one contact that shows the phone of a phone-only contact takes that contact in."""
    directory = Directory()
    by_phone = see(directory, 1, number="100").contact_id
    by_bsuid = see(directory, 2, "US.1").contact_id
    ruling = see(directory, 3, "US.1", "100")
    assert ruling.contact_id == by_bsuid
    assert ruling.merges == (Merged(winner_id=by_bsuid, loser_id=by_phone, reason="phone_claimed"),)
    assert directory.resolve(by_phone) == by_bsuid
    assert see(directory, 4, number="100").contact_id == by_bsuid


@pytest.mark.parametrize("known_before", [False, True], ids=["a new BSUID", "a known BSUID"])
def test_a_phone_moves_to_the_bsuid_that_shows_it_later(*, known_before: bool) -> None:
    """A phone held by another BSUID moves; nobody is merged, the loss and the conflict are told."""
    directory = Directory()
    old = see(directory, 1, "US.1", "100").contact_id
    if known_before:
        see(directory, 2, "US.2")
    ruling = see(directory, 3, "US.2", "100")
    assert ruling.contact_id == contact_id_for(bsuid("US.2"), made=0) != old
    assert ruling.merges == ()
    assert ruling.losses == (PhoneLost(contact_id=old, phone=phone("100"), at=at(3)),)
    assert ruling.conflicts == (
        Conflict(alias=phone("100"), kept_contact=ruling.contact_id, other_contact=old, decision="moved"),
    )
    assert see(directory, 4, number="100").contact_id == ruling.contact_id
    assert see(directory, 5, "US.1").contact_id == old


def test_an_older_fact_moves_no_phone() -> None:
    """A late message of the phone's former owner leaves the phone where it is, and says that it was lost."""
    directory = Directory()
    holder = see(directory, 5, "US.2", "100").contact_id
    ruling = see(directory, 1, "US.1", "100")
    assert ruling.contact_id != holder
    assert ruling.losses == (PhoneLost(contact_id=ruling.contact_id, phone=phone("100"), at=at(5)),)
    assert ruling.conflicts[0].decision == "kept"
    assert directory.holder(phone("100")) == holder


def test_a_phone_seen_again_since_does_not_move() -> None:
    """What counts is when the holder last showed the phone, not when they first did."""
    directory = Directory()
    holder = see(directory, 1, "US.1", "100").contact_id
    see(directory, 9, "US.1", "100")
    see(directory, 5, "US.2", "100")
    assert directory.holder(phone("100")) == holder


def test_a_phone_only_message_goes_to_the_holder_of_its_time() -> None:
    """A late message that shows a phone only belongs to who held the phone when it was written."""
    directory = Directory()
    old = see(directory, 1, "US.1", "100").contact_id
    new = see(directory, 5, "US.2", "100").contact_id
    assert see(directory, 3, number="100").contact_id == old
    assert see(directory, 6, number="100").contact_id == new


def test_a_changed_number_keeps_the_contact() -> None:
    """Old and new aliases are one contact, and the old phone is given up at the time of the change."""
    directory = Directory()
    contact = see(directory, 1, "US.1", "100").contact_id
    ruling = change(directory, 5, old=("US.1", "100"), new=("US.2", "200"))
    assert (ruling.contact_id, ruling.merges) == (contact, ())
    assert see(directory, 6, "US.2", "200").contact_id == contact
    assert see(directory, 4, number="100").contact_id == contact
    assert directory.aliases[phone("100")].released_at == at(5)


def test_the_next_owner_of_a_given_up_phone_is_somebody_new() -> None:
    """A phone-only message after the release makes a new contact, whose id is told from the first one's."""
    directory = Directory()
    contact = see(directory, 1, number="100").contact_id
    change(directory, 5, old=("", "100"), new=("", "200"))
    stranger = see(directory, 9, number="100").contact_id
    assert (contact, stranger) == (
        contact_id_for(phone("100"), made=0),
        contact_id_for(phone("100"), made=1),
    )
    assert see(directory, 10, "US.9", "100").contact_id == stranger
    assert see(directory, 11, number="200").contact_id == contact


def test_a_change_merges_the_contact_that_came_before_it() -> None:
    """When the new identity wrote first, the contact that was seen earlier wins."""
    directory = Directory()
    new = see(directory, 6, "US.2", "200").contact_id
    old = see(directory, 1, "US.1", "100").contact_id
    ruling = change(directory, 5, old=("US.1", "100"), new=("US.2", "200"))
    assert ruling.contact_id == old
    assert ruling.merges == (Merged(winner_id=old, loser_id=new, reason="user_changed_number"),)
    assert see(directory, 7, "US.2", "200").contact_id == old


def test_two_contacts_seen_at_once_merge_into_the_smaller_id() -> None:
    """The winner of a merge never depends on the order of the facts."""
    winners = set()
    for users in (("US.1", "US.2"), ("US.2", "US.1")):
        directory = Directory()
        ids = [see(directory, 1, user).contact_id for user in users]
        ruling = change(directory, 2, old=("US.1", ""), new=("US.2", ""))
        assert ruling.contact_id == min(ids)
        winners.add(ruling.contact_id)
    assert len(winners) == 1


def test_a_change_of_strangers_makes_one_contact() -> None:
    """A change that is the first thing heard of a person creates one contact with all that Meta named."""
    directory = Directory()
    ruling = change(directory, 5, old=("US.1", "100"), new=("US.2", "200"))
    assert ruling.contact_id == contact_id_for(bsuid("US.1"), made=0)
    assert see(directory, 1, "US.1", "100").contact_id == ruling.contact_id
    assert see(directory, 2, number="100").contact_id == ruling.contact_id
    assert see(directory, 9, "US.2").contact_id == ruling.contact_id
    assert len(directory.contacts) == 1


def test_a_change_does_not_take_the_next_owner_of_the_number() -> None:
    """Told late, a change neither merges nor robs the person who has the number since."""
    directory = Directory()
    stranger = see(directory, 9, "US.9", "100").contact_id
    ruling = change(directory, 5, old=("", "100"), new=("US.2", "200"))
    assert ruling.contact_id != stranger
    assert directory.holder(phone("100")) == stranger
    assert see(directory, 1, number="100").contact_id == ruling.contact_id


def test_a_change_takes_a_recycled_number_from_its_former_owner() -> None:
    """The new number's former owner, known by a BSUID, is a stranger: they lose the phone, not their contact."""
    directory = Directory()
    see(directory, 1, "US.1", "100")
    former = see(directory, 2, "US.8", "200").contact_id
    ruling = change(directory, 50_000, old=("US.1", "100"), new=("", "200"))
    assert ruling.contact_id != former
    assert ruling.merges == ()
    assert ruling.losses == (PhoneLost(contact_id=former, phone=phone("200"), at=at(50_000)),)


def test_a_change_without_user_ids_finds_the_new_contact_by_its_phone() -> None:
    """Meta's older notice names phones only; a contact first seen when the change happened is the person."""
    directory = Directory()
    old = see(directory, 1, "US.1", "100").contact_id
    new = see(directory, 49_999, "US.2", "200").contact_id
    ruling = change(directory, 50_000, old=("", "100"), new=("", "200"))
    assert ruling.contact_id == old
    assert directory.resolve(new) == old


def test_a_release_older_than_the_last_sighting_does_nothing() -> None:
    """Somebody who went back to their number, and was seen with it since, still holds it."""
    directory = Directory()
    contact = see(directory, 1, "US.1", "100").contact_id
    see(directory, 9, "US.1", "100")
    change(directory, 5, old=("US.1", "100"), new=("US.1", "200"))
    assert directory.aliases[phone("100")].released_at is None
    assert see(directory, 10, number="100").contact_id == contact


def test_a_status_finds_its_contact_and_makes_none() -> None:
    """By its message first, then by alias at its time; an unknown person stays unknown."""
    directory = Directory(messages={"wamid.1": UUID(int=7)})
    holder = see(directory, 1, "US.1", "100").contact_id

    def look(wamid: str, user: str = "", number: str = "") -> UUID | None:
        asked = Inquiry(
            wamid=wamid,
            bsuid=bsuid(user) if user else None,
            phone=phone(number) if number else None,
            at=at(2),
        )
        return known(directory, asked)

    assert look("wamid.1", "US.1") == UUID(int=7)
    assert look("wamid.2", "US.1") == holder
    assert look("wamid.2", number="100") == holder
    assert look("wamid.2", "US.3", "300") is None
    assert len(directory.contacts) == 1


# --- any order -----------------------------------------------------------------------------------------------

Fact = tuple[str, int, str, str, str, str]  # kind, second, BSUID and phone, new BSUID and phone
World = tuple[
    list[Fact], list[set[Fact]]
]  # all facts in the order of their times, and the facts of each person


def tell(facts: list[Fact]) -> tuple[Directory, dict[Fact, UUID]]:
    """Apply facts in this order, each new one once, as the stage does. Answers the contact of each fact."""
    directory = Directory()
    owners: dict[Fact, UUID] = {}
    for fact in facts:
        kind, second, user, number, new_user, new_number = fact
        if fact in owners:
            continue
        if kind == "message":
            owners[fact] = see(directory, second, user, number).contact_id
        else:
            owners[fact] = change(
                directory, second, old=(user, number), new=(new_user, new_number)
            ).contact_id
    for alias, state in directory.aliases.items():
        holder = directory.resolve(state.contact_id)
        assert directory.contacts[holder].redirect_to is None
        assert alias.kind == "phone" or directory.has_bsuid(holder)
    return directory, {fact: directory.resolve(owner) for fact, owner in owners.items()}


def people_of(owners: dict[Fact, UUID]) -> set[frozenset[Fact]]:
    """Which facts are of one person, whatever the contact's id is."""
    groups: dict[UUID, set[Fact]] = {}
    for fact, owner in owners.items():
        groups.setdefault(owner, set()).add(fact)
    return {frozenset(group) for group in groups.values()}


@st.composite
def worlds_with_user_ids(draw: st.DrawFn) -> World:
    """People who always show a BSUID, change numbers, give them up and take over those of others."""
    times = iter(draw(st.permutations(range(1, 40))))
    numbers = ["100", "200"]
    people: list[set[Fact]] = []
    for person in range(draw(st.integers(1, 3))):
        # A person's own times rise, as do those of their number changes.
        count = draw(st.integers(1, 6))
        moments = sorted(next(times) for _ in range(count))
        generation, number = 0, draw(st.sampled_from(numbers))
        facts: set[Fact] = set()
        for moment in moments:
            user = f"US.{person}.{generation}"
            if draw(st.booleans()):
                shown = number if draw(st.booleans()) else ""
                facts.add(("message", moment, user, shown, "", ""))
            else:
                new = draw(st.sampled_from([one for one in numbers if one != number]))
                generation += 1
                facts.add(("change", moment, user, number, f"US.{person}.{generation}", new))
                number = new
        people.append(facts)
    everything = sorted(set().union(*people), key=lambda fact: fact[1])
    return everything, people


@given(world=worlds_with_user_ids(), data=st.data())
@settings(max_examples=300, deadline=None)
def test_people_with_user_ids_are_told_apart_in_any_order(world: World, data: st.DataObject) -> None:
    """Facts out of order and repeated give exactly one contact a person, and each phone to its last holder."""
    in_order, people = world
    told = data.draw(st.permutations(in_order + data.draw(st.lists(st.sampled_from(in_order), max_size=4))))
    directory, owners = tell(told)
    # Linked by nothing but what Meta said: a person whose facts share no BSUID is one only by their changes.
    assert people_of(owners) == {frozenset(facts) for facts in people}
    ordered_directory, ordered_owners = tell(in_order)
    fact_of = {owner: fact for fact, owner in owners.items()}
    for alias in directory.aliases:
        holder = directory.holder(alias)
        ordered_holder = ordered_directory.holder(alias)
        assert holder is not None
        assert ordered_holder is not None
        assert ordered_owners[fact_of[holder]] == ordered_holder


@st.composite
def worlds_of_phones(draw: st.DrawFn) -> World:
    """People of whom a phone only, a BSUID only, or both are shown; nobody takes a number of another."""
    times = iter(draw(st.permutations(range(1, 40))))
    people: list[set[Fact]] = []
    for person in range(draw(st.integers(1, 3))):
        user, number = f"US.{person}", f"10{person}"
        facts: set[Fact] = {("message", next(times), user, number, "", "")}
        for _ in range(draw(st.integers(0, 5))):
            shown = draw(st.sampled_from([(user, ""), ("", number), (user, number)]))
            facts.add(("message", next(times), *shown, "", ""))
        people.append(facts)
    return sorted(set().union(*people), key=lambda fact: fact[1]), people


@given(world=worlds_of_phones(), data=st.data())
@settings(max_examples=200, deadline=None)
def test_people_shown_in_part_become_one_in_any_order(world: World, data: st.DataObject) -> None:
    """One message that shows BSUID and phone together joins all that showed either, before or after."""
    in_order, people = world
    _, owners = tell(data.draw(st.permutations(in_order * 2)))
    assert people_of(owners) == {frozenset(facts) for facts in people}


@given(data=st.data())
@settings(max_examples=100, deadline=None)
def test_people_without_user_ids_survive_a_change_of_number_in_any_order(data: st.DataObject) -> None:
    """Before BSUIDs existed: messages of the old and of the new number, and Meta's notice, are one contact."""
    facts: list[Fact] = [
        ("message", 1, "", "100", "", ""),
        ("message", 2, "", "100", "", ""),
        ("change", 3, "", "100", "", "200"),
        ("message", 4, "", "200", "", ""),
        ("change", 5, "", "200", "", "300"),
        ("message", 6, "", "300", "", ""),
    ]
    _, owners = tell(data.draw(st.permutations(facts)))
    assert len(people_of(owners)) == 1


@given(world=worlds_with_user_ids())
@settings(max_examples=100, deadline=None)
def test_a_fact_applied_again_changes_nothing(world: World) -> None:
    """Even a rule that is run twice in a row leaves the same state and takes no further decision."""
    in_order, _ = world
    directory = Directory()
    for kind, second, user, number, new_user, new_number in in_order:
        before = None
        for _ in range(2):
            if kind == "message":
                see(directory, second, user, number)
            else:
                change(directory, second, old=(user, number), new=(new_user, new_number))
            state = (dict(directory.aliases), dict(directory.contacts))
            assert before is None or before == state
            before = state


HELD = AliasState(contact_id=UUID(int=7), since=EPOCH, seen_at=EPOCH)
GIVEN_UP = AliasState(
    contact_id=UUID(int=7), since=EPOCH, seen_at=EPOCH, released_at=EPOCH + timedelta(minutes=1)
)


@pytest.mark.parametrize(
    ("aliases", "recorded", "shown", "expected"),
    [
        pytest.param({}, set(), set(), {bsuid("US.1"), phone("100")}, id="nobody-is-known"),
        pytest.param({}, {"wamid.1"}, set(), set(), id="message"),
        pytest.param({bsuid("US.1"): HELD}, set(), set(), set(), id="bsuid"),
        pytest.param({phone("100"): HELD}, set(), set(), set(), id="phone"),
        pytest.param(
            {phone("100"): GIVEN_UP}, set(), set(), {bsuid("US.1"), phone("100")}, id="phone-given-up"
        ),
        pytest.param(
            {phone("100"): HELD},
            set(),
            {phone("100")},
            {bsuid("US.1"), phone("100")},
            id="phone-may-be-given-up",
        ),
        pytest.param(
            {}, set(), {phone("200")}, {bsuid("US.1"), phone("100"), phone("200")}, id="beside-a-message"
        ),
    ],
)
def test_a_status_locks_its_aliases_only_if_it_may_be_nobodys(
    aliases: dict[Alias, AliasState], recorded: set[str], shown: set[Alias], expected: set[Alias]
) -> None:
    """A recorded message and a BSUID never lose their person; a phone may, if the batch looks at it again."""
    asked = Inquiry(wamid="wamid.1", bsuid=bsuid("US.1"), phone=phone("100"), at=EPOCH + timedelta(minutes=2))
    assert to_lock([asked], aliases=aliases, messages=recorded, locked=shown) == expected


def test_a_phone_locked_for_one_status_is_uncertain_for_the_others() -> None:
    """Two statuses of one phone, before and after it was given up: both are locked whole, in whichever order."""
    early = Inquiry(wamid="wamid.1", bsuid=bsuid("US.1"), phone=phone("100"), at=EPOCH)
    late = Inquiry(wamid="wamid.2", phone=phone("100"), at=EPOCH + timedelta(minutes=2))
    for inquiries in ([early, late], [late, early]):
        locked = to_lock(inquiries, aliases={phone("100"): GIVEN_UP}, messages=set(), locked=set())
        assert locked == {bsuid("US.1"), phone("100")}
