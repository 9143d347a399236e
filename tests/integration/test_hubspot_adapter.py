"""The HubSpot adapter against the simulator: what it takes an answer for that is not whole, and what it deletes."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from pydantic import SecretStr

from connector.crm.hubspot.activities import ActivityGuard, reference
from connector.crm.hubspot.adapter import HubSpot
from connector.crm.port import (
    Activity,
    ActivityChange,
    ActivityQuery,
    CandidateContact,
    ContactHits,
    ContactProfile,
    ContactQuery,
    ContactUpsert,
    Gone,
    Homeless,
    Later,
    Refused,
    Written,
)
from connector.errors import Terminal
from connector.sandbox import HubSpotConfig, SandboxServer
from connector.sandbox.faults import Fault, FaultKind
from connector.sandbox.hubspot.config import AppToken
from connector.sandbox.hubspot.portal import Portal
from connector.sandbox.hubspot.records import PERSON
from connector.settings import HubSpotSettings

READ = "*/communications/batch/read"
GUARDS = [ActivityGuard.UNIQUE, ActivityGuard.PLAIN, ActivityGuard.NONE]


@dataclass(frozen=True, kw_only=True)
class World:
    """An adapter on a new portal."""

    crm: HubSpot
    server: SandboxServer

    @property
    def portal(self) -> Portal:
        return self.server.hubspot.portal

    def spoil(self, kind: FaultKind, path: str, **fields: Any) -> None:
        self.server.hubspot.faults.add(Fault(kind=kind, path=path, **fields))

    def calls(self, path: str) -> int:
        return len(list(self.server.hubspot.journal.calls(path=path)))

    def places(self, record_id: str) -> list[str]:
        return self.portal.associations.of("communications", record_id, "contacts")

    async def person(self, number: int = 1) -> str:
        [result] = await self.crm.upsert_contacts([upsert(number)])
        assert isinstance(result, Written)
        return result.record_id

    async def logged(self, *wamids: str, who: str, body: str = "hello") -> list[str]:
        results = await self.crm.log_activities([activity(wamid, who, body=body) for wamid in wamids])
        return [result.record_id for result in results if isinstance(result, Written)]


def upsert(number: int, *, record_id: str | None = None, **values: str) -> ContactUpsert:
    return ContactUpsert(
        contact_id=UUID(int=number),
        profile=ContactProfile(),
        always={"phone": f"+55119888877{number:02}", **values},
        once={"firstname": "Ana"},
        is_new=record_id is None,
        record_id=record_id,
    )


def activity(wamid: str, who: str, *, body: str = "hello") -> Activity:
    return Activity(
        wamid=wamid,
        contact_record_id=who,
        direction="inbound",
        status="received",
        at=datetime(2026, 11, 1, tzinfo=UTC),
        subject="",
        body=body,
    )


def query(wamid: str, *places: str) -> ActivityQuery:
    return ActivityQuery(wamid=wamid, contact_record_ids=places)


@asynccontextmanager
async def open_world(guard: ActivityGuard = ActivityGuard.UNIQUE, **config: Any) -> AsyncIterator[World]:
    portal = HubSpotConfig(
        **{
            "burst_limit": None,
            "search_lag": 0.0,
            "unique_communications": guard is ActivityGuard.UNIQUE,
            **config,
        }
    )
    async with SandboxServer(hubspot=portal) as server:
        token = SecretStr("pat-na1-sandbox")
        crm = HubSpot(HubSpotSettings(access_token=token, base_url=server.hubspot_url))
        try:
            assert (await crm.check_setup(create=True)).ready
            crm.guard = guard
            yield World(crm=crm, server=server)
        finally:
            await crm.close()


@pytest.mark.parametrize("guard", GUARDS)
@pytest.mark.parametrize("kind", [FaultKind.EMPTY_RESULTS, FaultKind.MISSING_RESULTS])
async def test_an_answer_with_a_gap_is_no_proof_of_absence(guard: ActivityGuard, kind: FaultKind) -> None:
    """An answer that leaves a message out says nothing about it: it is asked again, and the whole answer counts."""
    async with open_world(guard) as world:
        who = await world.person()
        [there] = await world.logged("m1", who=who)
        world.spoil(kind, READ, times=2)
        assert await world.crm.find_activities([query("m1", who)]) == [there]
        assert await world.crm.find_activities([query("m1", who), query("m2", who)]) == [there, None]


async def test_a_message_that_no_answer_ever_mentions_is_absent() -> None:
    """A portal that leaves misses out without a word does not keep a message from being made."""
    async with open_world(ActivityGuard.UNIQUE) as world:
        who = await world.person()
        world.spoil(FaultKind.EMPTY_RESULTS, READ)
        assert await world.crm.find_activities([query("m1", who)]) == [None]


async def test_a_gap_among_the_associations_is_no_proof_of_absence() -> None:
    """Without a unique key a message is looked for under its contact: what hangs there has to be told in full."""
    async with open_world(ActivityGuard.PLAIN) as world:
        who = await world.person()
        [there] = await world.logged("m1", who=who)
        world.spoil(FaultKind.EMPTY_RESULTS, "*/contacts/communications/batch/read", times=2)
        assert await world.crm.find_activities([query("m1", who)]) == [there]


@pytest.mark.parametrize("guard", [ActivityGuard.PLAIN, ActivityGuard.NONE])
async def test_a_create_in_doubt_is_found_after_a_merge_by_hand(guard: ActivityGuard) -> None:
    """The contact that the message was created on and the one of today are both asked for."""
    async with open_world(guard) as world:
        old, other = await world.person(1), await world.person(2)
        [there] = await world.logged("m1", who=other)
        [result] = await world.crm.find_activities([query("m1", old, other)])
        assert result == there
        merged = world.portal.merge_contacts({"primaryObjectId": old, "objectIdToMerge": other}).id
        assert await world.crm.find_activities([query("m1", other, merged)]) == [there]


async def test_a_poisoned_look_up_leaves_only_its_own_message_in_doubt() -> None:
    """HubSpot refuses a batch read for one id: it alone is not told, the others are, and the sink is not stopped."""
    async with open_world() as world:
        who = await world.person()
        [one, three] = await world.logged("m1", "m3", who=who)
        # An id that is no text is refused with the whole batch.
        results = await world.crm.find_activities([query("m1", who), query("", who), query("m3", who)])
        assert results[0] == one
        assert isinstance(results[1], Later)
        assert results[2] == three


async def test_a_property_that_is_not_unique_any_more_stops_the_line() -> None:
    """Somebody replaced our key: no message is at fault, and the error names the command."""
    async with open_world() as world:
        world.portal.communications.catalog.archive("whatsapp_message_id")
        with pytest.raises(Terminal, match="not unique") as raised:
            await world.crm.find_activities([query("m1", "1"), query("m2", "1")])
        assert "setup hubspot" in raised.value.advice


@pytest.mark.parametrize("length", [10, 64_990, 70_000, 200_000], ids=str)
async def test_the_reference_survives_the_cut_of_a_long_text(length: int) -> None:
    """Where no property is allowed the reference is all there is: it stands behind the text, however long that is."""
    async with open_world(ActivityGuard.NONE) as world:
        who = await world.person()
        [there] = await world.logged("m1", who=who, body="&" * length)
        body = world.portal.communications.get(there)
        assert body is not None
        assert len(body.values["hs_communication_body"]) <= 65_536
        assert await world.crm.find_activities([query("m1", who)]) == [there]


async def test_without_any_property_creates_are_joined_by_the_reference() -> None:
    """Results come in any order and name no wamid; a text that quotes another message's reference does not mislead."""
    async with open_world(ActivityGuard.NONE) as world:
        who = await world.person()
        wamids = [f"m{number}" for number in range(20)]
        items = [activity(wamid, who, body=f"see {reference('m0')}") for wamid in wamids]
        results = await world.crm.log_activities(items)
        ids = [result.record_id for result in results if isinstance(result, Written)]
        assert len(set(ids)) == 20
        assert await world.crm.find_activities([query(wamid, who) for wamid in wamids]) == ids


async def test_a_move_to_a_contact_that_is_gone_says_so() -> None:
    """The contact record is missing and not the message: `Homeless`, so that the contact is written anew."""
    async with open_world() as world:
        old, new, gone = await world.person(1), await world.person(2), await world.person(3)
        one, two, three = await world.logged("m1", "m2", "m3", who=old)
        world.portal.objects["contacts"].archive({"inputs": [{"id": gone}]})
        changes = [
            ActivityChange(record_id=one, activity=activity("m1", new), moved_from=old),
            ActivityChange(record_id=two, activity=activity("m2", gone), moved_from=old),
            ActivityChange(record_id=three, activity=activity("m3", old)),
        ]
        results = await world.crm.update_activities(changes)
        assert [type(result) for result in results] == [Written, Homeless, Written]
        assert (world.places(one), world.places(two)) == ([new], [old])


async def test_a_message_stays_on_a_contact_that_its_old_one_was_merged_into() -> None:
    """The old record leads to the new one: taking the message off the old one would leave it nowhere."""
    async with open_world() as world:
        old, other = await world.person(1), await world.person(2)
        [there] = await world.logged("m1", who=old)
        merged = world.portal.merge_contacts({"primaryObjectId": other, "objectIdToMerge": old}).id
        change = ActivityChange(record_id=there, activity=activity("m1", merged), moved_from=old)
        [result] = await world.crm.update_activities([change])
        assert result == Written(record_id=there)
        assert world.places(there) == [merged]


async def test_a_known_contact_with_somebody_elses_unique_value_is_refused() -> None:
    """The portal's own unique property holds the value on another contact: a dead letter, not a retry for ever."""
    async with open_world() as world:
        catalog = world.portal.contacts.catalog
        catalog.create(
            {
                "name": "tax_id",
                "label": "Tax id",
                "type": "string",
                "fieldType": "text",
                "groupName": "contactinformation",
                "hasUniqueValue": True,
            }
        )
        world.portal.contacts.create({"tax_id": "123"}, PERSON)
        who = await world.person()
        [result] = await world.crm.upsert_contacts([upsert(1, record_id=who, tax_id="123")])
        assert isinstance(result, Refused)


def _typed(world: World, who: str) -> None:
    record = world.portal.contacts.get(who)
    assert record is not None
    world.portal.contacts.update(record, {"city": "Recife"}, PERSON)


def _typed_and_taken_back(world: World, who: str) -> None:
    _typed(world, who)
    record = world.portal.contacts.get(who)
    assert record is not None
    world.portal.contacts.update(record, {"city": ""}, PERSON)


def _in_a_property_of_their_own(world: World, who: str) -> None:
    world.portal.contacts.catalog.create(
        {
            "name": "club",
            "label": "Club",
            "type": "string",
            "fieldType": "text",
            "groupName": "contactinformation",
        }
    )
    record = world.portal.contacts.get(who)
    assert record is not None
    world.portal.contacts.update(record, {"club": "gold"}, PERSON)


def _linked(kind: str) -> Callable[[World, str], None]:
    return lambda world, who: world.portal.link_other(who, kind, "700")


def _a_message_by_hand(world: World, who: str) -> None:
    values = {"hs_communication_channel_type": "SMS", "hs_communication_body": "call me"}
    record = world.portal.communications.create(values, PERSON)
    [link] = world.portal.associations.parse_inline(
        "communications",
        [{"to": {"id": who}, "types": [{"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": 81}]}],
    )
    world.portal.associations.add(link.starting_at(record.id))


@pytest.mark.parametrize(
    ("work", "named"),
    [
        pytest.param(_typed, "city", id="a value"),
        pytest.param(_typed_and_taken_back, "city", id="a value taken back"),
        pytest.param(_in_a_property_of_their_own, "club", id="a property of the portal's own"),
        pytest.param(_linked("deals"), "linked deals", id="a deal"),
        pytest.param(_linked("quotes"), "linked quotes", id="a quote"),
        pytest.param(_linked("2-123456"), "linked 2-123456", id="a custom object"),
        pytest.param(_a_message_by_hand, "linked communications", id="a message of somebody else"),
    ],
)
async def test_a_contact_that_somebody_worked_on_stays(
    work: Callable[[World, str], None], named: str
) -> None:
    """Whatever a person did to a left-over contact, it is flagged, and the reason names it."""
    async with open_world(custom_objects=("2-123456",), absent_types=frozenset({"carts", "leads"})) as world:
        who = await world.person()
        work(world, who)
        retired = await world.crm.retire_contact(who, person=upsert(1), created_by_us=True)
        assert not retired.deleted
        assert named in retired.reason
        assert world.portal.contacts.get(who) is not None


async def test_a_contact_that_is_all_ours_is_deleted() -> None:
    """We made it, we alone wrote it, nothing hangs on it, and the portal lacks some kinds of record: it goes."""
    async with open_world(custom_objects=("2-123456",), absent_types=frozenset({"carts", "leads"})) as world:
        who = await world.person()
        assert (await world.crm.retire_contact(who, person=upsert(1), created_by_us=True)).deleted
        assert world.portal.contacts.get(who) is None
        again = await world.crm.retire_contact(who, person=upsert(1), created_by_us=True)
        assert (again.deleted, again.reason) == (True, "it was gone already")


async def test_what_our_token_may_not_see_is_taken_for_work() -> None:
    """Without the scope of custom objects some may hang there: the contact is flagged, and the line goes on."""
    scopes = frozenset(
        {"crm.objects.contacts.read", "crm.objects.contacts.write", "crm.schemas.contacts.read"}
        | {"crm.schemas.contacts.write"}
    )
    token = AppToken(token="pat-na1-sandbox", app_id="31415926", scopes=scopes)
    async with open_world(tokens=(token,)) as world:
        who = await world.person()
        retired = await world.crm.retire_contact(who, person=upsert(1), created_by_us=True)
        assert not retired.deleted
        assert "cannot be seen" in retired.reason


async def test_a_history_with_a_gap_is_taken_for_work() -> None:
    """HubSpot answers the read of the history without the contact: what it does not show may be somebody's."""
    async with open_world() as world:
        who = await world.person()
        world.spoil(FaultKind.EMPTY_RESULTS, "*/contacts/batch/read", times=1)
        assert not (await world.crm.retire_contact(who, person=upsert(1), created_by_us=True)).deleted


def _results(found: Sequence[object]) -> list[type]:
    return [type(result) for result in found]


async def test_a_message_that_was_deleted_is_told_apart_from_its_contact() -> None:
    """Somebody deleted the message before it was moved: it is gone, and its contact is not doubted."""
    async with open_world() as world:
        old, new = await world.person(1), await world.person(2)
        [there] = await world.logged("m1", who=old)
        world.portal.objects["communications"].archive({"inputs": [{"id": there}]})
        change = ActivityChange(record_id=there, activity=activity("m1", new), moved_from=old)
        assert _results(await world.crm.update_activities([change])) == [Gone]


async def test_a_number_on_more_contacts_than_a_search_shows_is_said_to_be_incomplete() -> None:
    """HubSpot shows 10,000 hits: the person of such a number is told apart from the others of the same search."""
    async with open_world() as world:
        for _ in range(10_001):
            world.portal.contacts.create({"phone": "+5511988880000"}, PERSON)
        known = world.portal.contacts.create({"phone": "+5511988881111"}, PERSON).id
        hotline, ana = await world.crm.find_contacts(
            [
                ContactQuery(key="1", phones=("5511988880000",)),
                ContactQuery(key="2", phones=("5511988881111",)),
            ]
        )
        assert isinstance(hotline, ContactHits)
        assert isinstance(ana, ContactHits)
        assert (hotline.complete, ana.complete) == (False, True)
        assert [item.record_id for item in ana.candidates] == [known]


async def test_a_search_that_is_refused_for_one_person_is_answered_for_the_others() -> None:
    """A search for many is taken apart when HubSpot refuses it: one person is not told of, and no line stops."""
    async with open_world() as world:
        known = world.portal.contacts.create({"phone": "+5511988881111"}, PERSON).id
        bad, ana = await world.crm.find_contacts(
            [ContactQuery(key="1", phones=("NO NUMBER",)), ContactQuery(key="2", phones=("5511988881111",))]
        )
        assert isinstance(bad, Later)
        assert isinstance(ana, ContactHits)
        assert [item.record_id for item in ana.candidates] == [known]


async def test_a_record_is_read_by_its_id_as_who_it_is_today() -> None:
    """Its phones and our key; a merged one is what it became, and what is not there is certainly not."""
    async with open_world() as world:
        one, other = await world.person(1), await world.person(2)
        survivor = world.portal.merge_contacts({"primaryObjectId": one, "objectIdToMerge": other}).id
        found, merged, absent = await world.crm.fetch_contacts([survivor, other, "999999"])
        assert isinstance(found, CandidateContact)
        assert isinstance(merged, CandidateContact)
        assert (found.record_id, merged.record_id) == (survivor, survivor)
        assert found.phones
        assert absent is None


def _queries(count: int) -> list[ContactQuery]:
    """People of the US."""
    return [ContactQuery(key=str(n), phones=(f"1415555{n:04}",)) for n in range(count)]


async def test_a_large_search_leaves_out_properties_that_nobody_uses() -> None:
    """200 people take six searches while no record lacks our key and has a number in a WhatsApp property alone."""
    async with open_world(search_limit=None) as world:
        known = world.portal.contacts.create({"phone": "(415) 555-0007"}, PERSON).id
        found = await world.crm.find_contacts(_queries(200))
        assert [item.record_id for item in _candidates(found[7])] == [known]
        assert not any(_candidates(hits) for index, hits in enumerate(found) if index != 7)
        assert world.calls("*/contacts/search") == 6


@pytest.mark.parametrize("name", ["whatsapp_phone", "hs_whatsapp_phone_number"])
async def test_a_large_search_finds_who_is_in_a_whatsapp_property_alone(name: str) -> None:
    """One record with its number there and nowhere else is enough for everybody to be searched there."""
    async with open_world(search_limit=None) as world:
        known = world.portal.contacts.create({name: "+14155550007"}, PERSON).id
        found = await world.crm.find_contacts(_queries(60))
        assert [item.record_id for item in _candidates(found[7])] == [known]


def _candidates(hits: ContactHits | Later) -> Sequence[CandidateContact]:
    assert isinstance(hits, ContactHits)
    return hits.candidates


async def test_a_records_properties_are_read_under_any_name() -> None:
    """Empty and unknown ones are nothing, a merged record is what it became, and what is not there is certainly not."""
    async with open_world() as world:
        one, other = await world.person(1), await world.person(2)
        portal = world.portal
        record = portal.contacts.get(one)
        assert record is not None
        portal.contacts.update(record, {"firstname": "Ana"}, PERSON)
        survivor = portal.merge_contacts({"primaryObjectId": one, "objectIdToMerge": other}).id
        alone = portal.contacts.create({"firstname": "Bo", "lastname": ""}, PERSON).id
        names = ["firstname", "lastname", "no_such_property"]
        found = await world.crm.read_properties([alone, survivor, other, "999999"], names)
        assert found[0] == {"firstname": "Bo", "lastname": None, "no_such_property": None}
        for merged in found[1:3]:
            assert isinstance(merged, Mapping)
            assert merged["firstname"] == "Ana"
        assert found[3] is None
