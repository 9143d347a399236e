"""What restored identity tables learn from the log: the same people, by the ids that they had."""

from datetime import UTC, datetime, timedelta

from hypothesis import given, settings, strategies as st

from connector.identity.directory import Alias, Directory, contact_id_for
from connector.identity.rules import Merged, Sighting, sighted, told, told_lost, told_merged

EPOCH = datetime(2026, 5, 1, tzinfo=UTC)

_FACTS = st.lists(
    st.tuples(
        st.integers(0, 50),
        st.sampled_from(["", "US.1", "US.2", "US.3"]),
        st.sampled_from(["", "100", "200"]),
    ).filter(lambda fact: bool(fact[1] or fact[2])),
    min_size=1,
    max_size=14,
    unique_by=lambda fact: fact[0],
)


def _sighting(fact: tuple[int, str, str]) -> Sighting:
    second, user, number = fact
    return Sighting(
        event_id=f"e{second}",
        at=EPOCH + timedelta(seconds=second),
        bsuid=Alias("bsuid", user) if user else None,
        phone=Alias("phone", number) if number else None,
    )


@settings(max_examples=200, deadline=None)
@given(facts=_FACTS, data=st.data())
def test_people_keep_their_ids_in_whichever_order_they_are_told(
    facts: list[tuple[int, str, str]], data: st.DataObject
) -> None:
    """Decided in one order, told in another: every message is the same person's, under the same contact id."""
    decided = Directory()
    sightings = [_sighting(fact) for fact in facts]
    rulings = [sighted(decided, sighting) for sighting in sightings]
    merges: list[tuple[Merged, datetime]] = [
        (merge, sighting.at)
        for ruling, sighting in zip(rulings, sightings, strict=True)
        for merge in ruling.merges
    ]
    learned = Directory()
    for merge, at in data.draw(st.permutations(merges)):
        told_merged(learned, loser_id=merge.loser_id, winner_id=merge.winner_id, at=at, reason=merge.reason)
    said = list(zip(sightings, rulings, strict=True))
    for sighting, ruling in data.draw(st.permutations(said)):
        told(
            learned,
            contact_id=ruling.contact_id,
            at=sighting.at,
            bsuid=sighting.bsuid,
            phone=sighting.phone,
        )
    for loss in data.draw(st.permutations([loss for ruling in rulings for loss in ruling.losses])):
        told_lost(learned, contact_id=loss.contact_id, phone=loss.phone, at=loss.at)
    # Then the same facts are read again, in an order of their own.
    for sighting, _ in data.draw(st.permutations(said)):
        if sighting.bsuid is not None:
            sighted(learned, sighting)
    for ruling in rulings:
        assert learned.resolve(ruling.contact_id) == decided.resolve(ruling.contact_id)
    for sighting in sightings:
        if sighting.bsuid is not None:
            assert learned.holder(sighting.bsuid) == decided.holder(sighting.bsuid)


def test_a_contact_that_was_told_is_not_made_again() -> None:
    """An alias remembers how many contacts took their id from it, also when the second is told of first."""
    phone = Alias("phone", "100")
    first, second, third = (contact_id_for(phone, made=made) for made in range(3))
    directory = Directory()
    for contact_id, seconds in ((second, 5), (first, 1)):
        told(directory, contact_id=contact_id, at=EPOCH + timedelta(seconds=seconds), bsuid=None, phone=phone)
    directory.release(phone, EPOCH + timedelta(seconds=6))
    ruling = sighted(
        directory, Sighting(event_id="e", at=EPOCH + timedelta(seconds=9), phone=phone, bsuid=None)
    )
    assert ruling.contact_id == third
