"""The verdict: which answer wins, what a person reads, and that nothing is lost on the way to the log."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from gate_facts import NOW, denied, facts, template
from hypothesis import given, strategies as st

from connector.outbound.decisions import PASS, Block, Decision, Hold, Pass
from connector.outbound.facts import NumberFacts, Switch, View
from connector.outbound.gate import Line, Verdict, judge
from connector.outbound.policies import POLICIES

times = st.integers(min_value=0, max_value=10_000).map(lambda seconds: NOW + timedelta(seconds=seconds))
evidence = st.dictionaries(
    st.text(max_size=8), st.none() | st.booleans() | st.integers() | st.text(max_size=8), max_size=3
)
decisions: st.SearchStrategy[Decision] = st.one_of(
    st.builds(Pass, reason=st.text(max_size=20), evidence=evidence),
    st.builds(Hold, until=times, reason=st.text(min_size=1, max_size=20), evidence=evidence),
    st.builds(Block, reason=st.text(min_size=1, max_size=20), advice=st.text(max_size=20), evidence=evidence),
)
verdicts = st.builds(
    Verdict,
    send_id=st.text(max_size=10),
    at=times,
    lines=st.lists(
        st.builds(Line, policy=st.text(min_size=1, max_size=8), decision=decisions), max_size=6
    ).map(tuple),
)


@given(verdicts)
def test_a_verdict_comes_back_from_json_as_it_was(verdict: Any) -> None:
    """What the log keeps is the whole verdict, through real JSON."""
    assert Verdict.from_json(json.loads(json.dumps(verdict.to_json()))) == verdict


@given(verdicts)
def test_block_beats_hold_beats_pass_whatever_the_order(verdict: Any) -> None:
    """The outcome is the gravest line, and a hold lasts as long as the longest."""
    kinds = {type(line.decision) for line in verdict.lines}
    expected = "block" if Block in kinds else "hold" if Hold in kinds else "pass"
    assert verdict.outcome == expected
    holds = [line.decision.until for line in verdict.lines if isinstance(line.decision, Hold)]
    assert verdict.until == (max(holds) if expected == "hold" else None)
    turned = Verdict(send_id=verdict.send_id, at=verdict.at, lines=verdict.lines[::-1])
    assert (turned.outcome, turned.until) == (verdict.outcome, verdict.until)


def test_every_policy_is_asked_even_when_the_first_blocks() -> None:
    """Somebody who asks why wants all reasons at once, not one a try."""
    case = facts(
        consent={"marketing": denied()},
        template=template(status="PAUSED"),
        number=NumberFacts(phone_number_id="1", quality="RED"),
        switches=(Switch(scope="all", since=NOW),),
        view=View(lag=None),
    )
    outcomes = {line.policy: line.outcome for line in judge(case, now=NOW).lines}
    assert len(outcomes) == len(POLICIES)
    assert {name for name, outcome in outcomes.items() if outcome != "pass"} == {
        "opt_out",
        "template_status",
        "number_quality",
        "kill_switch",
        "freshness",
    }


def test_a_block_says_why_and_what_to_do() -> None:
    """The sentence for a CRM admin has the person's act in it."""
    explained = judge(facts(consent={"marketing": denied()}), now=NOW).explain()
    assert explained == (
        "It is not sent: the person wants no marketing messages: they opted out on 2026-05-05 10:00 UTC (wrote so). "
        "What to do: only the person can undo it, for example by writing START."
    )


def test_a_hold_says_until_when_and_names_the_longest() -> None:
    """Of several reasons to wait the one that lasts longest is told."""
    case = facts(
        recipient={"zones": ("Pacific/Auckland",)}, switches=(Switch(scope="all", since=NOW, by="ana"),)
    )
    verdict = judge(case, now=NOW)
    assert verdict.decisive is not None
    assert verdict.decisive.policy == "quiet_hours"
    assert verdict.explain() == (
        "It waits until 2026-05-05 20:00:00 UTC: it is quiet where the person's number is from (00:00); "
        "nothing is sent between 21:00 and 08:00."
    )


def test_the_first_blocking_policy_names_the_reason() -> None:
    """A person who refused is told before a template that is missing."""
    verdict = judge(facts(consent={"marketing": denied()}, template=None), now=NOW)
    assert verdict.decisive is not None
    assert verdict.decisive.policy == "opt_out"


def test_the_evidence_of_consent_is_in_the_verdict_of_a_send_that_passed() -> None:
    """Promise 6: a recorded verdict says why it may be sent."""
    line = next(line for line in judge(facts(), now=NOW).lines if line.policy == "consent")
    assert line.decision.evidence == {
        "state": "granted",
        "at": "2026-04-05T12:00:00+00:00",
        "source": "api",
        "evidence": "form newsletter-7",
    }


def test_names_of_policies_are_all_different() -> None:
    """They key metrics and verdicts."""
    assert len({policy.name for policy in POLICIES}) == len(POLICIES)


@pytest.mark.parametrize("policy", POLICIES, ids=[policy.name for policy in POLICIES])
def test_a_policy_says_the_same_to_the_same_facts(policy: Any) -> None:
    """It reads nothing but its arguments."""
    assert policy.decide(facts(), now=NOW) == policy.decide(facts(), now=NOW)
    assert policy.asks.endswith("?")


def test_nothing_said_is_the_plain_pass() -> None:
    """A policy that does not apply costs no object."""
    assert Pass() == PASS


def test_the_page_for_crm_admins_has_every_question_in_the_order_in_which_it_is_asked() -> None:
    """docs/outbound.md names the policies as verdicts do."""
    page = (Path(__file__).parents[2] / "docs" / "outbound.md").read_text("utf-8")
    rows = [line.split(" | ")[:2] for line in page.splitlines() if line.startswith("| ") and "? | `" in line]
    assert rows == [[f"| {policy.asks}", f"`{policy.name}`"] for policy in POLICIES]
