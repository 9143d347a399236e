"""Row 12: webhooks in any order and again, crashes anywhere, lost answers, people who move, merges by hand.

At the end of each play each CRM must say what the people did: the model beside it is a few dictionaries.
"""

from __future__ import annotations

import asyncio
import html
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

from chaos_figures import Figure, Row, at_least, none_of, told
from hypothesis import HealthCheck, Phase, note, seed as seeded, settings, strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)
from machine_world import LATER, SINKS, MachineWorld, machine_world

from connector.embedded.postgres import EmbeddedPostgres
from connector.sandbox.audit import CrmRecords, hubspot_records, salesforce_records
from connector.sandbox.faults import Fault
from connector.sandbox.whatsapp import payloads
from connector.sandbox.whatsapp.payloads import BusinessNumber, Person, Status, Update, envelope, serialise
from connector.state.migrate import migrate

_NUMBER = BusinessNumber()
_MOST_PEOPLE = 6
_CRASH = st.none() | st.integers(min_value=0, max_value=12)
_SINK = st.sampled_from(SINKS)
_HUMAN = st.integers(min_value=0, max_value=_MOST_PEOPLE - 1)
_ONE_SHOT: Sequence[dict[str, Any]] = (
    {"kind": "reset"},
    {"kind": "reset", "when": "after"},
    {"kind": "status", "status": 502, "when": "after"},
    {"kind": "status", "status": 503},
    {"kind": "incomplete_body"},
    {"kind": "truncated_body"},
    {"kind": "not_json"},
    {"kind": "empty_body"},
    {"kind": "other_type"},
    {"kind": "empty_results"},
    {"kind": "missing_results"},
    {"kind": "repeated_results"},
    {"kind": "shuffled_results"},
)


@dataclass
class Human:
    """Somebody, as they know it themselves."""

    shown: Person
    bsuids: list[str]
    texts: dict[str, str] = field(default_factory=dict)
    """wamid → what they wrote."""
    statuses: dict[str, set[Status]] = field(default_factory=lambda: defaultdict(set))
    """wamid of a message to them → every status of it."""


class SyncMachine(RuleBasedStateMachine):
    """One life of a deployment. `loop` and `world` are shared by all lives: each starts over."""

    loop: asyncio.AbstractEventLoop
    world: MachineWorld
    steps: Iterator[int]

    def __init__(self) -> None:
        super().__init__()
        self.humans: list[Human] = []
        self.coming: list[Update] = []
        self.delivered: list[Update] = []
        self.groups = {sink: _Groups() for sink in SINKS}
        self.serial = Random("machine")
        self.now = 1_790_000_000

    def _run(self, work: Any) -> Any:
        next(self.steps)
        return self.loop.run_until_complete(work)

    @initialize(portal=st.sampled_from(["unique property", "no unique property"]))
    def begin(self, portal: str) -> None:
        self._run(self.world.start_over(unique=portal == "unique property"))

    # What people do

    @precondition(lambda self: len(self.humans) < _MOST_PEOPLE)
    @rule(phone=st.sampled_from(["shown", "hidden"]))
    def somebody_writes_for_the_first_time(self, phone: str) -> None:
        place, hides = len(self.humans), phone == "hidden"
        bsuid = f"US.{place + 1}00000000000001"
        shown = Person(name=f"Human {place}", wa_id=None if hides else f"1650555{place:04d}", bsuid=bsuid)
        human = Human(shown=shown, bsuids=[bsuid])
        self.humans.append(human)
        self._says(human)

    @precondition(lambda self: self.humans)
    @rule(data=st.data(), arrives=st.sampled_from(["at once", "later"]))
    def somebody_writes(self, data: st.DataObject, arrives: str) -> None:
        self._says(data.draw(st.sampled_from(self.humans)))
        if arrives == "at once":
            self._arrives([self.coming.pop()])

    @precondition(lambda self: self.humans)
    @rule(data=st.data(), words=st.sets(st.sampled_from(["sent", "delivered", "read", "failed"]), min_size=1))
    def somebody_is_written_to(self, data: st.DataObject, words: set[Status]) -> None:
        human = data.draw(st.sampled_from(self.humans))
        wamid = payloads.wamid(human.shown.wa_id or "0", self.serial, outbound=True)
        for word in sorted(words):
            human.statuses[wamid].add(word)
            self.coming.append(
                payloads.status(human.shown, _NUMBER, message_id=wamid, at=self._tick(), status=word)
            )

    @precondition(lambda self: any(len(human.bsuids) < 3 for human in self.humans))
    @rule(data=st.data())
    def somebody_moves_to_another_number(self, data: st.DataObject) -> None:
        human = data.draw(st.sampled_from([one for one in self.humans if len(one.bsuids) < 3]))
        place, turn = self.humans.index(human), len(human.bsuids) + 1
        after = replace(
            human.shown,
            wa_id=human.shown.wa_id and f"1650556{place:02d}{turn:02d}",
            bsuid=f"US.{place + 1}0000000000000{turn}",
        )
        wamid = payloads.wamid("0", self.serial)
        make = payloads.changed_number if human.shown.wa_id else payloads.changed_user_id
        self.coming.append(make(human.shown, after, _NUMBER, message_id=wamid, at=self._tick()))
        human.texts[wamid] = ""
        human.shown = after
        human.bsuids.append(str(after.bsuid))

    # What Meta does

    @precondition(lambda self: self.coming)
    @rule(data=st.data())
    def a_webhook_arrives(self, data: st.DataObject) -> None:
        size = data.draw(st.integers(min_value=1, max_value=min(5, len(self.coming))))
        picked = [
            self.coming.pop(data.draw(st.integers(min_value=0, max_value=len(self.coming) - 1)))
            for _ in range(size)
        ]
        self._arrives(picked)

    @precondition(lambda self: self.delivered)
    @rule(data=st.data())
    def a_webhook_arrives_again(self, data: st.DataObject) -> None:
        again = data.draw(st.lists(st.sampled_from(self.delivered), min_size=1, max_size=4, unique_by=id))
        self.world.post(serialise(envelope(again)))

    # What the roles do, and where they die

    @rule(
        sink=_SINK,
        writers=st.integers(min_value=1, max_value=2),
        dies=st.sampled_from(["route", "relay", "agent", "writer", "writer", "writer", "nobody"]),
        crash=st.integers(min_value=0, max_value=16),
    )
    def what_arrived_goes_all_the_way(self, sink: str, writers: int, dies: str, crash: int) -> None:
        def at(role: str) -> int | None:
            return crash if dies == role else None

        self._run(self.world.route(most=100, crash=at("route")))
        self._run(self.world.relay("route", crash=at("relay")))
        self._run(self.world.fold(sink, most=100, crash=at("agent")))
        self._run(self.world.write(sink, writers=writers, crash=at("writer")))

    @rule(most=st.integers(min_value=1, max_value=20), crash=_CRASH)
    def route_works(self, most: int, crash: int | None) -> None:
        self._run(self.world.route(most=most, crash=crash))

    @rule(stage=st.sampled_from(["route", *(f"sync-{sink}" for sink in SINKS)]), crash=_CRASH)
    def a_relay_works(self, stage: str, crash: int | None) -> None:
        self._run(self.world.relay(stage, crash=crash))

    @rule(sink=_SINK, most=st.integers(min_value=1, max_value=20), crash=_CRASH)
    def an_agent_folds(self, sink: str, most: int, crash: int | None) -> None:
        self._run(self.world.fold(sink, most=most, crash=crash))

    @rule(sink=_SINK, writers=st.integers(min_value=1, max_value=2), crash=_CRASH)
    def a_writer_drains(self, sink: str, writers: int, crash: int | None) -> None:
        self._run(self.world.write(sink, writers=writers, crash=crash))

    @rule(sink=_SINK, crash=_CRASH)
    def a_left_over_record_is_settled(self, sink: str, crash: int | None) -> None:
        self._run(self.world.retire(sink, crash=crash))

    @rule(seconds=st.sampled_from([0.5, 3.0, LATER]))
    def time_passes(self, seconds: float) -> None:
        self._run(self.world.time_passes(seconds))

    # What the CRMs and their people do

    @rule(sink=_SINK, fault=st.sampled_from(_ONE_SHOT), skip=st.integers(min_value=0, max_value=2))
    def a_call_goes_wrong(self, sink: str, fault: dict[str, Any], skip: int) -> None:
        path = "/crm/*" if sink == "hubspot" else "/services/data/*"
        sandbox = getattr(self.world.server, sink)
        sandbox.faults.add(Fault.model_validate({**fault, "path": path, "times": 1, "skip": skip}))

    @rule(sink=_SINK, one=_HUMAN, other=_HUMAN)
    def a_person_merges_two_records(self, sink: str, one: int, other: int) -> None:
        # Whom is drawn blindly: what the CRM holds by now depends on the race of two writers.
        records = self._records_by_human(sink)
        mine, theirs = records[one], records[other] - records[one]
        if one == other or not mine or not theirs:
            return
        primary, gone = min(mine), min(theirs)
        note(f"{sink}: record {gone} of human {other} is merged into {primary} of human {one}")
        if sink == "hubspot":
            self.world.server.hubspot.portal.merge_contacts(
                {"primaryObjectId": primary, "objectIdToMerge": gone}
            )
        else:
            self.world.server.salesforce.org.merge("Contact", master=primary, loser=gone)
        self.groups[sink].join(one, other)

    # What must be true in the end

    def teardown(self) -> None:
        if not self.humans:
            return
        for sink in SINKS:
            getattr(self.world.server, sink).faults.clear()
        while self.coming:
            self.world.post(serialise(envelope(self.coming[:7])))
            del self.coming[:7]
        owed = self._run(self.world.settle())
        assert owed == 0, "something is never written"
        assert self.world.dead_letters == 0
        for sink in SINKS:
            self._check(sink)

    def _check(self, sink: str) -> None:
        found, bodies = self._found(sink)
        by_wamid: dict[str, list[Any]] = defaultdict(list)
        for message in found.messages:
            by_wamid[message.wamid].append(message)
        homes: dict[int, set[str]] = defaultdict(set)
        for number, human in enumerate(self.humans):
            for wamid in (*human.texts, *human.statuses):
                there = by_wamid.pop(wamid, [])
                assert len(there) == 1, f"{sink}: {wamid} of human {number} is there {len(there)} times"
                assert len(there[0].people) == 1, f"{sink}: {wamid} hangs on {there[0].people}"
                homes[number].update(there[0].people)
                assert human.texts.get(wamid, "") in bodies[wamid], f"{sink}: {wamid} reads otherwise"
            for wamid, words in human.statuses.items():
                [logged] = [one for one in found.messages if one.wamid == wamid]
                assert logged.status == _furthest(words), f"{sink}: {wamid} is {logged.status} of {words}"
            assert len(homes[number]) == 1, f"{sink}: human {number} is on {sorted(homes[number])}"
        assert not by_wamid, f"{sink}: activities of nobody: {sorted(by_wamid)}"
        owners: dict[str, set[int]] = defaultdict(set)
        for number, records in homes.items():
            owners[next(iter(records))].add(number)
        for record, humans in owners.items():
            together = {self.groups[sink].of(number) for number in humans}
            assert len(together) == 1, f"{sink}: humans {sorted(humans)} share record {record}"
        if not self.groups[sink].joined:  # a merge by hand may leave a record that is only flagged
            assert found.people == len(self.humans), (
                f"{sink}: {found.people} records, {len(self.humans)} people"
            )
        assert getattr(self.world.server, sink).journal.violations == []

    def _found(self, sink: str) -> tuple[CrmRecords, dict[str, str]]:
        state = getattr(self.world.server, sink).state()
        if sink == "hubspot":
            bodies = {
                item["properties"].get("whatsapp_message_id") or "": html.unescape(
                    item["properties"].get("hs_communication_body") or ""
                )
                for item in state["communications"]
            }
            return hubspot_records(state), bodies
        bodies = {
            item["values"].get("WA_Message_Id__c") or "": str(item["values"].get("Description") or "")
            for item in state["tasks"]
        }
        return salesforce_records(state), bodies

    def _records_by_human(self, sink: str) -> dict[int, set[str]]:
        """Human → the records that show one of their user ids."""
        state = getattr(self.world.server, sink).state()
        of = {bsuid: number for number, human in enumerate(self.humans) for bsuid in human.bsuids}
        records: dict[int, set[str]] = defaultdict(set)
        for item in state["contacts"]:
            values = item["properties"] if sink == "hubspot" else item["values"]
            number = of.get(values.get("whatsapp_bsuid" if sink == "hubspot" else "WA_BSUID__c") or "")
            if number is not None:
                records[number].add(item["id"])
        return records

    def _says(self, human: Human) -> None:
        wamid = payloads.wamid(human.shown.wa_id or "0", self.serial)
        text = f"message {len(human.texts)} of {human.shown.name} <&> 👋"
        human.texts[wamid] = text
        self.coming.append(payloads.text(human.shown, _NUMBER, message_id=wamid, at=self._tick(), body=text))

    def _arrives(self, updates: Sequence[Update]) -> None:
        self.delivered += updates
        self.world.post(serialise(envelope(updates)))

    def _tick(self) -> int:
        self.now += 1
        return self.now


class _Groups:
    """Which humans' records were merged by hand, directly or through others."""

    def __init__(self) -> None:
        self._leader: dict[int, int] = {}
        self.joined = False

    def of(self, number: int) -> int:
        """The one that stands for the group."""
        while number in self._leader:
            number = self._leader[number]
        return number

    def join(self, one: int, other: int) -> None:
        """Their records are one from now on."""
        self.joined = True
        if self.of(one) != self.of(other):
            self._leader[self.of(other)] = self.of(one)


def _furthest(words: set[Status]) -> str:
    return next(word for word in ("read", "delivered", "failed", "sent") if word in words)


async def new_database(postgres: EmbeddedPostgres) -> str:
    """The DSN of a migrated database of the machine's own."""
    url = await postgres.create_database("machine")
    await migrate(url)
    return url


def play(database_url: str, *, lives: int, steps: int, seed: int, shrink: bool = False) -> list[Figure]:
    """Play so many lives of at most so many steps on a migrated database, in a loop of its own."""
    runner = asyncio.Runner()
    loop, steps_made = runner.get_loop(), count()
    opened = machine_world(database_url)
    world = loop.run_until_complete(opened.__aenter__())
    shared = {"loop": loop, "world": world, "steps": steps_made}
    machine = seeded(seed)(type("SeededSyncMachine", (SyncMachine,), shared))
    phases = (Phase.generate, Phase.shrink) if shrink else (Phase.generate,)
    broken: list[str] = []
    try:
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=lives,
                stateful_step_count=steps,
                deadline=None,
                database=None,
                phases=phases,
                suppress_health_check=list(HealthCheck),
            ),
        )
    except AssertionError as error:
        broken = [str(error).splitlines()[0], *getattr(error, "__notes__", [])]
    finally:
        loop.run_until_complete(opened.__aexit__(None, None, None))
        runner.close()
    return [
        told("lives of a deployment", lives),
        at_least("steps", next(steps_made), lives),
        told("crashes", world.crashes),
        none_of("lives whose CRMs are not the fold of their log", broken),
    ]


async def run(data_dir: Path, seed: int) -> Sequence[Figure]:
    async with EmbeddedPostgres(data_dir / "postgres") as postgres:
        url = await new_database(postgres)
        return await asyncio.to_thread(play, url, lives=300, steps=60, seed=seed)


ROW = Row(
    number=12, title="hypothesis state machine: webhooks, crashes, retries, merges: CRM = fold(log)", run=run
)
