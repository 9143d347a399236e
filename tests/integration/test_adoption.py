"""People who are in the CRM already: found by phone and adopted, on a real PostgreSQL against both simulators."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from conversation_events import changed, contact, message, status
from sink_world import SinkWorld, sink_world

from connector.events import ConversationEvent
from connector.recovery.trace import trace_contact
from connector.sandbox import Fault, FaultKind
from connector.settings import SyncSettings
from connector.sync.holds import look_again

BOTH = pytest.mark.parametrize("world", ["hubspot", "salesforce"], indirect=True)
HUBSPOT = pytest.mark.parametrize("world", ["hubspot"], indirect=True)
SALESFORCE = pytest.mark.parametrize("world", ["salesforce"], indirect=True)
KNOWN_ONLY = SyncSettings(create_contacts="known_only")


@pytest.fixture
async def world(request: pytest.FixtureRequest, database_url: str) -> AsyncIterator[SinkWorld]:
    """A role on a fresh database and a CRM without people."""
    async with sink_world(request.param, database_url) as opened:
        yield opened


def phone_of(number: int) -> str:
    """Brazilian mobiles and numbers of the US, in turn."""
    return f"551198{number:07d}" if number % 2 else f"1415{number + 5_550_000:07d}"


def writes(wamid: str, who: str, wa_id: str, *, seconds: float = 0) -> ConversationEvent:
    return message(wamid, who, seconds=seconds, shown={"name": who, "wa_id": wa_id, "bsuid": f"BR.{who}"})


def brazilian(digits: str) -> list[str]:
    area, first, last = digits[2:4], digits[4:9], digits[9:]
    return [
        f"+{digits}",
        f"+55 {area} {first}-{last}",
        f"+55 ({area}) {first}-{last}",
        f"+55.{area}.{first}.{last}",
        digits,
        f"00 55 {area} {first} {last}",
        f"({area}) {first}-{last}",
        f"0{area} {first}-{last}",
        f"{area}{first}{last}",
        f"+55 {area} {first[1:]}-{last}",
        f"+55 {area} {first}-{last} ext. 12",
        f"(+55) {area} {first} {last}",
    ]


def american(digits: str) -> list[str]:
    area, first, last = digits[1:4], digits[4:7], digits[7:]
    return [
        f"+{digits}",
        f"+1 {area}-{first}-{last}",
        f"+1 ({area}) {first}-{last}",
        f"+1.{area}.{first}.{last}",
        digits,
        f"00 1 {area} {first} {last}",
        f"1-{area}-{first}-{last}",
        f"1 {area} {first} {last}",
        f"1/{area}/{first}/{last}",
        f"+1{area} {first}{last}",
        f"+1 {area} {first} {last} x12",
        f"(+1) {area} {first} {last}",
    ]


@BOTH
async def test_of_a_thousand_people_those_in_the_crm_are_adopted(world: SinkWorld) -> None:
    """400 of 1,000 are there with phones in 12 formats: all are adopted, nobody is doubled, the ambiguous are told."""
    there: dict[str, str] = {}
    for number in range(400):
        digits = phone_of(number)
        typed = (brazilian if number % 2 else american)(digits)[number // 2 % 12]
        field = {"phone": typed} if number % 3 else {"mobile": typed}
        there[f"p{number}"] = world.people.add(f"typed {number}", **field)
    twice = {f"p{number}" for number in range(0, 400, 20)}
    for number in range(0, 400, 20):
        world.people.add(f"again {number}", phone=f"+{phone_of(number)}")
    for number in range(300):  # the same national numbers, in Germany
        world.people.add(f"stranger {number}", phone=f"+49{phone_of(number)[2:]}")
    for start in range(0, 1000, 250):
        await world.fold(*(writes(f"m{n}", f"p{n}", phone_of(n)) for n in range(start, start + 250)))
    await world.settle(within=100)

    records = world.people.records()
    assert len(records) == 400 + 20 + 300 + 600
    keyed = {record_id: item["key"] for record_id, item in records.items() if item["key"]}
    assert len(keyed) == len(set(keyed.values())) == 1000
    assert {record_id: keyed.get(record_id) for record_id in there.values()} == {
        record_id: str(contact(who)) for who, record_id in there.items()
    }
    messages = world.people.messages()
    assert (set(messages), set(messages.values())) == (set(keyed), {1})
    assert all(records[record_id]["name"].startswith("typed") for record_id in there.values())
    adoptions = await world.adoptions()
    assert set(adoptions["chosen"]) == {str(contact(who)) for who in twice}
    assert len(adoptions["adopted"]) == 380
    assert world.people.journal.violations == []
    made_by_us = await world.fetch("SELECT count(*) FROM {sink}.contacts WHERE created_by_us")
    assert made_by_us[0][0] == 600


@BOTH
async def test_an_adopted_record_keeps_what_people_typed(world: SinkWorld) -> None:
    """Adoption writes our key and facts; name and phone stay as they are."""
    there = world.people.add("Ana Souza", phone="(11) 98765-4321")
    await world.fold(writes("a", "ana", "5511987654321"))
    await world.settle()
    assert world.people.records() == {
        there: {
            "key": str(contact("ana")),
            "name": "Ana Souza",
            "phone": "(11) 98765-4321",
            "wa_phone": "+5511987654321",
            "bsuid": "BR.ana",
        }
    }
    async with world.pool.acquire() as connection:
        trace = await trace_contact(connection, contact("ana"))
    (adoption,) = trace.adoptions
    assert (adoption.sink, adoption.outcome, adoption.chosen) == (world.crm.name, "adopted", there)


@BOTH
async def test_a_crash_after_adopting_changes_nothing(world: SinkWorld) -> None:
    """What was chosen stays chosen: the next process writes that record and searches no more."""
    there = world.people.add("Ana", phone="+5511987654321")
    await world.fold(writes("a", "ana", "5511987654321"), writes("b", "bo", "5511987654322"))
    assert await world.writer.look_up() == 2
    older = world.people.add("Ana again", phone="+5511987654321")
    world.people.add("Bo", phone="+5511987654322")
    world.restart(SyncSettings(adoption_rule="newest"))
    await world.settle()
    assert world.record_of("ana") == there
    assert world.people.records()[older]["key"] == ""
    assert len(world.people.records()) == 4


@BOTH
async def test_two_of_ours_who_match_one_record_stay_two(world: SinkWorld) -> None:
    """The first who wrote has the record, the second is made, and the conflict is recorded."""
    there = world.people.add("Ana", phone="+55 11 98765-4321")
    await world.fold(
        writes("b", "second", "551187654321", seconds=9), writes("a", "first", "5511987654321", seconds=1)
    )
    await world.settle()
    assert world.record_of("first") == there
    assert world.record_of("second") not in (None, there)
    assert set((await world.adoptions())["taken"]) == {str(contact("second"))}


@BOTH
async def test_two_processes_never_give_one_record_to_two_people(world: SinkWorld) -> None:
    """Looked up at the same moment by two processes, the record goes to one of them and the other is made."""
    there = world.people.add("Ana", phone="+55 11 98765-4321")
    world.crm.lookups_per_call = 1
    await world.fold(writes("a", "ana", "5511987654321"), writes("b", "bo", "551187654321"))
    first = world.writer
    world.restart(SyncSettings())
    await asyncio.gather(first.look_up(), world.writer.look_up(), return_exceptions=True)
    await world.settle()
    records = {who: world.record_of(who) for who in ("ana", "bo")}
    assert there in records.values()
    assert len(set(records.values())) == len(world.people.records()) == 2
    assert sum((await world.adoptions())["taken"].values()) == 1
    assert world.people.messages() == dict.fromkeys(records.values(), 1)


@BOTH
async def test_a_search_that_fails_holds_up_new_people_only(world: SinkWorld) -> None:
    """While searches are answered by errors, known people are written and nobody new is; then they are adopted."""
    await world.fold(writes("a", "ana", "5511987654321"))
    await world.settle()
    there = world.people.add("Bo", phone="+5511987654322")
    path = "*/contacts/search" if world.crm.name == "hubspot" else "*/query/*"
    world.people.faults.add(Fault(kind=FaultKind.STATUS, status=503, path=path, times=3))
    await world.fold(
        writes("b", "bo", "5511987654322", seconds=5), writes("a2", "ana", "5511987654321", seconds=6)
    )
    assert await world.writer.look_up() == 0
    while await world.writer.drain():
        pass
    assert world.people.messages() == {world.record_of("ana"): 2}
    assert len(world.people.records()) == 2
    await world.settle(within=40)
    assert world.record_of("bo") == there


@BOTH
async def test_several_records_and_no_rule_make_a_new_one_and_are_told(world: SinkWorld) -> None:
    """With `adoption_rule` none an ambiguous person gets a record of their own, and the matter is recorded."""
    world.restart(SyncSettings(adoption_rule="none"))
    there = {world.people.add(name, phone="+5511987654321") for name in ("one", "two")}
    await world.fold(writes("a", "ana", "5511987654321"))
    await world.settle()
    assert world.record_of("ana") not in {None, *there}
    (row,) = await world.fetch("SELECT outcome, chosen, rule, candidates FROM {sink}.adoptions")
    assert (row["outcome"], row["chosen"], row["rule"]) == ("ambiguous", None, "none")
    assert {item["record_id"] for item in row["candidates"]} == there


@BOTH
async def test_a_phone_that_is_shown_later_adopts_nobody(world: SinkWorld) -> None:
    """Who has a record keeps it; another one with their number is recorded as a possible duplicate."""
    other = world.people.add("Ana", phone="(11) 98765-4321")
    await world.fold(message("a", "ana", shown={"name": "ana", "bsuid": "BR.ana"}))
    await world.settle()
    mine = world.record_of("ana")
    await world.fold(changed("ana", seconds=9, phone="+5511987654321"))
    await world.settle()
    assert world.record_of("ana") == mine
    assert world.people.records()[other]["key"] == ""
    assert world.people.records()[mine]["wa_phone"] == "+5511987654321"
    (row,) = await world.fetch("SELECT outcome, candidates FROM {sink}.adoptions")
    assert (row["outcome"], [item["record_id"] for item in row["candidates"]]) == (
        "possible_duplicate",
        [other],
    )


@BOTH
async def test_known_only_waits_for_people_to_be_entered(world: SinkWorld) -> None:
    """Nobody is created; who is entered later is found by the daily look and gets every message."""
    world.restart(KNOWN_ONLY)
    bo = world.people.add("Bo", phone="+55 11 98765-4322")
    await world.fold(
        writes("a", "ana", "5511987654321"),
        writes("b", "bo", "5511987654322"),
        message("c", "cy", shown={"name": "cy", "bsuid": "BR.cy"}),
    )
    await world.settle()
    assert set(world.people.records()) == {bo}
    assert (await world.held("ana"), await world.held("bo"), await world.held("cy")) == (
        "unknown",
        None,
        "unknown",
    )
    async with world.pool.acquire() as connection:
        trace = await trace_contact(connection, contact("ana"))
    assert "known_only" in trace.records[0].stage
    assert "known_only" in trace.messages[0].sinks[0].stage
    calls = world.people.journal.count()
    await world.fold(writes("a2", "ana", "5511987654321", seconds=5))
    await world.settle()
    assert world.people.journal.count() == calls  # once a day, however much they write

    there = world.people.add("Ana", phone="(11) 98765-4321")
    await world.fetch(
        "UPDATE {sink}.contacts SET looked_up_at = now() - interval '25 hours', fresh_at = now() RETURNING 1"
    )
    world.restart(KNOWN_ONLY)
    async with world.pool.acquire() as connection, connection.transaction():
        assert await look_again(connection, world.crm.name) == 1
    await world.settle()
    assert world.record_of("ana") == there
    assert world.people.messages()[there] == 2


@BOTH
async def test_the_ignore_list_holds_and_releases_at_start(world: SinkWorld) -> None:
    """Who is on the list is folded and not written, and not even searched for; off the list all is written."""
    ignoring = SyncSettings(ignore=["+55 11 98765-4321", "BR.bo"])
    await world.fold(writes("c", "cy", "5511987654323"))
    await world.settle()
    world.restart(ignoring)
    before = world.people.journal.count()
    await world.fold(writes("a", "ana", "5511987654321"), writes("b", "bo", "5511987654322"))
    await world.settle()
    assert await world.held("ana") == await world.held("bo") == "ignored"
    assert world.people.journal.count() == before
    async with world.pool.acquire() as connection:
        trace = await trace_contact(connection, contact("ana"))
    assert "ignore" in trace.records[0].stage
    world.restart(SyncSettings(ignore=["BR.cy"]))
    await world.fold(writes("c2", "cy", "5511987654323", seconds=5))
    await world.settle()
    assert {who: world.record_of(who) is not None for who in ("ana", "bo", "cy")} == dict.fromkeys(
        ("ana", "bo", "cy"), True
    )
    assert sum(world.people.messages().values()) == 3  # a, b and c; c2 is held


@BOTH
async def test_a_record_merged_by_hand_is_followed(world: SinkWorld) -> None:
    """Our record is merged into another one, twice: the next message hangs on what is left, and nobody is doubled."""
    await world.fold(writes("a", "ana", "5511987654321"))
    await world.settle()
    mine = world.record_of("ana")
    middle = world.people.merge(world.people.add("typed"), mine)
    last = world.people.merge(world.people.add("typed too"), middle)
    await world.fold(writes("b", "ana", "5511987654321", seconds=5))
    await world.settle()
    assert set(world.people.records()) == {last}
    assert world.record_of("ana") == last
    assert world.people.messages() == {last: 2}


@BOTH
@pytest.mark.parametrize("first", ["ana", "bo"])
async def test_two_of_ours_merged_by_hand_share_the_record(world: SinkWorld, first: str) -> None:
    """Both go on writing to the merged record, which says what one of them says, and stays so."""
    await world.fold(writes("a", "ana", "5511987654321"), writes("b", "bo", "5511987654322"))
    await world.settle()
    merged = world.people.merge(world.record_of("ana"), world.record_of("bo"))
    second = "bo" if first == "ana" else "ana"
    for number, who in enumerate((first, second, first, second), start=1):
        wa_id = "5511987654321" if who == "ana" else "5511987654322"
        await world.fold(writes(f"{who}{number}", who, wa_id, seconds=number * 10))
        await world.settle()
        record = world.people.records()[merged]
        assert set(world.people.records()) == {merged}
        assert record["bsuid"] == f"BR.{'ana' if record['key'] == str(contact('ana')) else 'bo'}"
    assert world.people.messages() == {merged: 6}
    owner = world.people.records()[merged]["key"]
    rows = await world.fetch("SELECT contact_id, shared FROM {sink}.contacts WHERE record_id = $1", merged)
    assert {str(row["contact_id"]): row["shared"] for row in rows} == {
        str(contact(who)): str(contact(who)) != owner for who in ("ana", "bo")
    }


@BOTH
async def test_a_deleted_person_comes_back_only_by_writing(world: SinkWorld) -> None:
    """A status or a changed name does not bring a deleted record back; a message does, with what waited."""
    await world.fold(
        writes("a", "ana", "5511987654321"), message("out", "ana", direction="outbound", seconds=1)
    )
    await world.settle()
    mine = world.record_of("ana")
    world.people.delete(mine)
    await world.fold(
        status("out", "read", "ana", seconds=2), changed("ana", seconds=3, username="ana.s", bsuid="BR.ana")
    )
    await world.settle()
    assert world.people.records() == {}
    assert await world.held("ana") == "deleted"
    await world.fold(writes("b", "ana", "5511987654321", seconds=9))
    await world.settle()
    again = world.record_of("ana")
    assert again not in (None, mine)
    assert world.people.messages()[again] >= 1


@BOTH
async def test_a_deleted_double_is_replaced_by_the_one_that_was_kept(world: SinkWorld) -> None:
    """Somebody deletes our record and keeps another one with the same phone: that one is adopted."""
    await world.fold(writes("a", "ana", "5511987654321"))
    await world.settle()
    kept = world.people.add("Ana", phone="(11) 98765-4321")
    world.people.delete(world.record_of("ana"))
    await world.fold(writes("b", "ana", "5511987654321", seconds=9))
    await world.settle()
    assert set(world.people.records()) == {kept}
    assert world.record_of("ana") == kept


@HUBSPOT
async def test_an_erased_person_is_never_made_anew(world: SinkWorld) -> None:
    """After a privacy deletion not even a message brings the record back; a person who enters them again does."""
    await world.fold(writes("a", "ana", "5511987654321"))
    await world.settle()
    world.people.erase(world.record_of("ana"))
    await world.fold(writes("b", "ana", "5511987654321", seconds=9))
    await world.settle()
    await world.fold(writes("c", "ana", "5511987654321", seconds=19))
    await world.settle()
    assert world.people.records() == {}
    assert await world.held("ana") == "erased"
    world.restart(SyncSettings())
    await world.settle()
    assert world.people.records() == {}
    there = world.people.add("Ana", phone="(11) 98765-4321")
    await world.fetch("UPDATE {sink}.contacts SET held = 'lookup', looked_up_phone = NULL RETURNING 1")
    await world.settle()
    assert world.record_of("ana") == there


@BOTH
async def test_rebuilt_tables_find_their_own_records(world: SinkWorld) -> None:
    """With empty tables and another free record of that phone, the record with our key is taken."""
    await world.fold(writes("a", "ana", "5511987654321"))
    await world.settle()
    mine = world.record_of("ana")
    world.people.add("older", phone="+5511987654321")
    await world.fetch("TRUNCATE {sink}.contacts, {sink}.activities")
    await world.fold(writes("a", "ana", "5511987654321"), writes("b", "ana", "5511987654321", seconds=5))
    await world.settle()
    assert world.record_of("ana") == mine
    assert len(world.people.records()) == 2
    assert world.people.messages() == {mine: 2}


@HUBSPOT
async def test_a_portal_without_whatsapp_numbers_is_searched_all_the_same(world: SinkWorld) -> None:
    """A property that a portal lacks is left out of the search instead of stopping it."""
    world.people.remove_property("hs_whatsapp_phone_number")
    there = world.people.add("Ana", phone="(11) 98765-4321")
    await world.fold(writes("a", "ana", "5511987654321"))
    await world.settle()
    assert world.record_of("ana") == there


@HUBSPOT
async def test_people_of_whom_the_crm_does_not_tell_are_looked_up_again(world: SinkWorld) -> None:
    """A search counts hits and shows none: nobody is made twice for it, and they wait before they are looked up again."""
    there = world.people.add("Ana", phone="+55 11 98888-7777")
    world.people.faults.add(Fault(kind=FaultKind.EMPTY_RESULTS, path="*/contacts/search", times=2))
    await world.fold(writes("m1", "ana", "5511988887777"))
    assert await world.writer.look_up() == 0
    [row] = await world.fetch("SELECT held, attempts, not_before > now() AS waits FROM {sink}.contacts")
    assert tuple(row) == ("lookup", 1, True)
    await world.settle()
    assert world.record_of("ana") == there
    assert len(world.people.records()) == 1
