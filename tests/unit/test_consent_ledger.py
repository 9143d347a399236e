"""The ledger: what undoes what, and that the order in which acts and merges are learned does not matter."""

from dataclasses import replace
from datetime import timedelta
from itertools import permutations
from typing import Any
from uuid import UUID

import pytest
from gate_facts import NOW
from hypothesis import given, strategies as st

from connector.outbound.consent.ledger import NOTHING_SAID, Act, ConsentLedger, Standing, recorded, united

ANA, BOB, CAT = (UUID(int=number) for number in (1, 2, 3))


def said(state: Any, minute: int, **how: Any) -> Act:
    """By default somebody else's report; `person()` is the person with evidence."""
    return Act(
        **{
            "act_id": f"{state}-{minute}-{sorted(how)}",
            "purpose": "marketing",
            "state": state,
            "at": NOW + timedelta(minutes=minute),
            "source": "crm_property",
            **how,
        }
    )


def person(state: Any, minute: int, **how: Any) -> Act:
    return said(state, minute, **{"by_person": True, "evidence": "wamid.X", "source": "keyword", **how})


def start(minute: int) -> Act:
    return person("granted", minute, resumes=True)


def ledger(*acts: Act) -> ConsentLedger:
    found = ConsentLedger()
    for act in acts:
        found = found.with_act(ANA, act)
    return found


CASES: dict[str, tuple[str, list[Act]]] = {
    "nobody said anything": ("unknown", []),
    "agreed": ("granted", [person("granted", 1)]),
    "somebody says they agreed": ("granted", [said("granted", 1)]),
    "stop": ("denied", [person("denied", 1)]),
    "marked in the CRM": ("denied", [said("denied", 1)]),
    "agreed, then stop": ("denied", [person("granted", 1), person("denied", 2)]),
    "stop, then agreed": ("granted", [person("denied", 1), person("granted", 2)]),
    "stop, then a bulk edit in the CRM": ("denied", [person("denied", 1), said("granted", 2)]),
    "stop, then an import without evidence": (
        "denied",
        [person("denied", 1), person("granted", 2, evidence="", source="import")],
    ),
    "stop, then evidence of somebody else": (
        "denied",
        [person("denied", 1), said("granted", 2, evidence="call recording")],
    ),
    "stop, then blank evidence": ("denied", [person("denied", 1), person("granted", 2, evidence="  ")]),
    "stop and agreed at the same moment": ("denied", [person("denied", 1), person("granted", 1)]),
    "stop, start, nothing before": ("unknown", [person("denied", 1), start(2)]),
    "agreed, stop, start": ("granted", [person("granted", 1), person("denied", 2), start(3)]),
    "reported, stop, start": ("granted", [said("granted", 1), person("denied", 2), start(3)]),
    "start alone": ("unknown", [start(1)]),
    "start before stop": ("denied", [start(1), person("denied", 2)]),
    "start, stop, start, stop": ("denied", [start(1), person("denied", 2), start(3), person("denied", 4)]),
    "start without evidence": (
        "denied",
        [person("denied", 1), person("granted", 2, resumes=True, evidence="")],
    ),
    "stop in the CRM, then the person": ("granted", [said("denied", 1), person("granted", 2)]),
    "withdrawn": ("unknown", [person("granted", 1), said("unknown", 2)]),
    "withdrawn and reported anew": ("granted", [said("granted", 1), said("unknown", 2), said("granted", 3)]),
    "withdrawal is no way around a stop": ("denied", [person("denied", 1), said("unknown", 2)]),
    "stop, withdrawal, bulk edit": ("denied", [person("denied", 1), said("unknown", 2), said("granted", 3)]),
}


@pytest.mark.parametrize(("state", "acts"), CASES.values(), ids=list(CASES))
def test_what_counts_after_these_acts(state: Any, acts: Any) -> None:
    """In whichever order they are learned."""
    assert {ledger(*order).standing().state for order in permutations(acts)} == {state}


def test_the_standing_names_the_act_that_decided() -> None:
    """It is what a verdict shows as evidence."""
    stop = person("denied", 2)
    assert ledger(person("granted", 1), stop, said("granted", 3)).standing() == Standing(
        state="denied", act=stop
    )


MERGES: dict[str, tuple[str, list[tuple[UUID, Act]], list[tuple[UUID, int]]]] = {
    "the loser's stop counts": (
        "denied",
        [(ANA, person("granted", 1)), (BOB, person("denied", 2))],
        [(BOB, 5)],
    ),
    "a stop wins against the other's later grant of before the merge": (
        "denied",
        [(ANA, person("denied", 1)), (BOB, person("granted", 2))],
        [(BOB, 5)],
    ),
    "agreed at the very moment of the merge": (
        "denied",
        [(ANA, person("denied", 1)), (BOB, person("granted", 5))],
        [(BOB, 5)],
    ),
    "agreed after the merge": (
        "granted",
        [(ANA, person("denied", 1)), (BOB, person("granted", 6))],
        [(BOB, 5)],
    ),
    "each undid their own stop": (
        "granted",
        [
            (ANA, person("denied", 1)),
            (ANA, person("granted", 2)),
            (BOB, person("denied", 3)),
            (BOB, person("granted", 4)),
        ],
        [(BOB, 5)],
    ),
    "never asked is no restriction": ("granted", [(ANA, person("granted", 1))], [(BOB, 5)]),
    "a withdrawal counts across the merge": (
        "unknown",
        [(ANA, person("granted", 2)), (BOB, said("unknown", 1))],
        [(BOB, 5)],
    ),
    "a chain of merges": (
        "denied",
        [(ANA, person("granted", 6)), (CAT, person("denied", 1))],
        [(BOB, 5), (CAT, 7)],
    ),
    "a chain of merges, agreed after all": (
        "granted",
        [(ANA, person("granted", 8)), (CAT, person("denied", 1))],
        [(BOB, 5), (CAT, 7)],
    ),
}


@pytest.mark.parametrize(("state", "acts", "merges"), MERGES.values(), ids=list(MERGES))
def test_the_most_restrictive_standing_wins_at_a_merge(state: Any, acts: Any, merges: Any) -> None:
    """Acts and merges learned in any order."""
    news = [("act", item) for item in acts] + [("merge", item) for item in merges]
    found = set()
    for order in permutations(news):
        result = ConsentLedger()
        for kind, (who, what) in order:
            result = (
                result.with_act(who, what)
                if kind == "act"
                else result.with_merge(who, at=NOW + timedelta(minutes=what))
            )
        found.add(result.standing().state)
    assert found == {state}


acts = st.builds(
    Act,
    act_id=st.sampled_from("abcdefghij"),
    purpose=st.just("marketing"),
    state=st.sampled_from(["granted", "denied", "unknown"]),
    at=st.integers(0, 5).map(lambda minute: NOW + timedelta(minutes=minute)),
    source=st.sampled_from(["keyword", "crm_property"]),
    by_person=st.booleans(),
    evidence=st.sampled_from(["", "wamid.X"]),
    resumes=st.booleans(),
)
# One id is one act.
histories = st.lists(
    st.tuples(st.sampled_from([ANA, BOB, CAT]), acts), max_size=8, unique_by=lambda item: item[1].act_id
)
merges = st.dictionaries(st.sampled_from([BOB, CAT]), st.integers(0, 5))


def told(history: Any, joined: Any) -> ConsentLedger:
    found = ConsentLedger()
    for who, act in history:
        found = found.with_act(who, act)
    for loser, minute in joined.items():
        found = found.with_merge(loser, at=NOW + timedelta(minutes=minute))
    return found


@given(histories, merges, st.randoms(use_true_random=False))
def test_any_order_and_any_repetition_gives_the_same_standing(history: Any, joined: Any, random: Any) -> None:
    """Replays, redeliveries and partitions that are read side by side change nothing."""
    again = [*history, *random.sample(history, k=random.randint(0, len(history)))]
    random.shuffle(again)
    assert told(again, joined).standing() == told(history, joined).standing()
    merged_at = {loser: NOW + timedelta(minutes=minute) for loser, minute in joined.items()}
    assert ConsentLedger.of(again, merged_at=merged_at).standing() == told(history, joined).standing()


@given(histories, merges, acts)
def test_nothing_but_a_convincing_act_undoes_a_stop(history: Any, joined: Any, act: Any) -> None:
    """Whatever else is said later, by whomever, a person who is denied stays denied."""
    before = told(history, joined)
    if before.standing().state == "denied" and not (act.state == "granted" and act.convincing):
        assert before.with_act(ANA, act).standing().state == "denied"


@given(histories, merges, acts.filter(lambda act: act.state == "denied"))
def test_a_stop_that_is_the_last_word_always_counts(history: Any, joined: Any, act: Any) -> None:
    """The latest act of all is a denial: nothing is sent."""
    last = replace(act, act_id="z", at=NOW + timedelta(hours=1))
    assert told(history, joined).with_act(BOB, last).standing() == Standing(state="denied", act=last)


@given(histories, merges, st.sampled_from([BOB, CAT]), st.integers(0, 5))
def test_a_merge_never_lets_more_be_sent_than_the_stricter_of_the_two(
    history: Any, joined: Any, loser: Any, minute: Any
) -> None:
    """Learning that two are one person turns no denial into a grant."""
    before = told(history, joined)
    at = max(minute, joined.get(loser, 0))
    after = before.with_merge(loser, at=NOW + timedelta(minutes=at))
    if before.standing().state == "denied":
        assert after.standing().state == "denied"


@given(st.lists(acts, max_size=8, unique_by=lambda act: act.act_id), st.integers(0, 8))
def test_halves_of_one_contacts_registers_unite(history: Any, cut: Any) -> None:
    """Two batches folded apart are one."""
    halves = [NOTHING_SAID, NOTHING_SAID]
    whole = NOTHING_SAID
    for index, act in enumerate(history):
        halves[index < cut] = recorded(halves[index < cut], act)
        whole = recorded(whole, act)
    assert united(halves[0], halves[1]) == whole
