"""One policy, one fact: what it says, and that nothing else says it."""

from dataclasses import replace
from datetime import datetime, time, timedelta
from typing import Any

import pytest
from gate_facts import NOW, denied, facts, template

from connector.outbound.consent.ledger import Standing
from connector.outbound.decisions import Block, Hold
from connector.outbound.facts import (
    NumberFacts,
    PastSend,
    PortfolioFacts,
    Switch,
    View,
)
from connector.outbound.gate import Verdict, judge
from connector.outbound.pacing.pair import PairState, pair_refused, pair_taken
from connector.outbound.policies import POLICIES
from connector.outbound.rules import Cap, GateRules, QuietHours, gate_rules
from connector.outbound.templates.checking import Problem, check
from connector.outbound.templates.template import ComingCategory
from connector.settings import OutboundSettings


def said(verdict: Verdict) -> dict[str, str]:
    return {line.policy: line.outcome for line in verdict.lines if line.outcome != "pass"}


def only(verdict: Verdict) -> Hold | Block:
    found = [line.decision for line in verdict.lines if line.outcome != "pass"]
    assert len(found) == 1, said(verdict)
    assert isinstance(found[0], Hold | Block)
    return found[0]


def sent(ago: timedelta, *, number: int = 0, purpose: Any = "marketing", content: str = "other") -> PastSend:
    return PastSend(send_id=f"past-{number}", at=NOW - ago, purpose=purpose, content_key=content)


def test_a_send_that_nothing_speaks_against_passes_every_policy() -> None:
    """The base of this file is a send that may be sent."""
    verdict = judge(facts(), now=NOW)
    assert verdict.outcome == "pass"
    assert [line.policy for line in verdict.lines] == [policy.name for policy in POLICIES]
    assert verdict.explain() == "It may be sent: the person agreed to marketing on 2026-04-05 (api)."


def burst(count: int) -> PairState:
    state: PairState | None = None
    for _ in range(count):
        state = pair_taken(state, at=NOW)
    assert state is not None
    return state


BLOCKED = {
    "not_found": ("recipient", facts(recipient={"contact_id": None, "obstacle": "not_found"})),
    "ambiguous": ("recipient", facts(recipient={"obstacle": "ambiguous"})),
    "moved": ("recipient", facts(recipient={"obstacle": "phone_moved"})),
    "erased": ("recipient", facts(recipient={"obstacle": "erased"})),
    "impossible number": ("recipient", facts(recipient={"obstacle": "invalid_phone"})),
    "no address": ("recipient", facts(recipient={"phone": "", "zones": ("Europe/London",)})),
    "keyword": ("opt_out", facts(consent={"marketing": denied()})),
    "never asked": ("consent", facts(consent={})),
    "withdrawn": ("consent", facts(consent={"marketing": Standing(state="unknown")})),
    "too late": ("expiry", facts(request={"expires_at": NOW})),
    "rejected": (
        "template_status",
        facts(template=template(status="REJECTED", rejected_reason="PROMOTIONAL")),
    ),
    "disabled": ("template_status", facts(template=template(status="DISABLED"))),
    "in review": ("template_status", facts(template=template(status="PENDING"))),
    "unheard of": ("template_status", facts(template=template(status="HIBERNATING"))),
    "no such template": ("template_status", facts(template=None)),
    "parameters": ("parameters", facts(problems=check(template(), {"1": "Ana"}))),
    "Cuba": ("reachability", facts(recipient={"phone": "+5352345678", "zones": ("Europe/London",)})),
    "not on WhatsApp": ("reachability", facts(recipient={"unreachable_at": NOW - timedelta(days=1)})),
    "not on WhatsApp since they wrote": (
        "reachability",
        facts(
            recipient={
                "unreachable_at": NOW - timedelta(hours=1),
                "window_open_until": NOW + timedelta(hours=22),
            }
        ),
    ),
    "United States": (
        "us_marketing",
        facts(recipient={"phone": "+12125550123", "zones": ("Europe/London",)}),
    ),
    "duplicate": (
        "duplicate",
        facts(recent=(sent(timedelta(days=2), content="c1"),), rules=GateRules(caps={})),
    ),
    "window": ("conversation_window", facts(request={"kind": "free_form"})),
}


@pytest.mark.parametrize(("policy", "case"), BLOCKED.values(), ids=list(BLOCKED))
def test_one_reason_to_block_is_said_by_one_policy(policy: Any, case: Any) -> None:
    """Each forbidding fact is named by its own policy alone, with a reason."""
    verdict = judge(case, now=NOW)
    assert said(verdict) == {policy: "block"}
    assert verdict.outcome == "block"
    assert only(verdict).reason


SOON = NOW + GateRules().look_again
LATER = NOW + GateRules().look_again_later
HELD = {
    "all paused": ("kill_switch", SOON, facts(switches=(Switch(scope="all", since=NOW, by="ana"),))),
    "template paused by us": (
        "kill_switch",
        SOON,
        facts(switches=(Switch(scope="template", subject="spring_sale", since=NOW),)),
    ),
    "number paused by us": (
        "kill_switch",
        SOON,
        facts(switches=(Switch(scope="number", subject="106540352242922", since=NOW),)),
    ),
    "template paused by Meta": ("template_status", LATER, facts(template=template(status="PAUSED"))),
    "templates never read": (
        "template_status",
        SOON,
        facts(template=None, view=View(lag=timedelta(0), templates_synced_at=None)),
    ),
    "lag unknown": ("freshness", SOON, facts(view=View(lag=None, templates_synced_at=NOW))),
    "folds behind": ("freshness", SOON, facts(view=View(lag=timedelta(seconds=6), templates_synced_at=NOW))),
    "templates old": (
        "freshness",
        SOON,
        facts(view=View(lag=timedelta(0), templates_synced_at=NOW - timedelta(hours=7))),
    ),
    "daily cap": ("frequency_cap", NOW + timedelta(hours=20), facts(recent=(sent(timedelta(hours=4)),))),
    "WhatsApp's own limit": (
        "marketing_rest",
        NOW + timedelta(hours=23),
        facts(recipient={"marketing_refused_at": NOW - timedelta(hours=1)}),
    ),
    "red number": (
        "number_quality",
        LATER,
        facts(number=NumberFacts(phone_number_id="1", quality="RED")),
    ),
    "restricted number": (
        "number_quality",
        LATER,
        facts(number=NumberFacts(phone_number_id="1", status="RESTRICTED")),
    ),
    "resting number": (
        "number_quality",
        NOW + timedelta(minutes=40),
        facts(number=NumberFacts(phone_number_id="1", paused_until=NOW + timedelta(minutes=40))),
    ),
    "messaging limit": (
        "portfolio_limit",
        NOW + timedelta(hours=3),
        facts(portfolio=PortfolioFacts(limit=250, used=250, frees_at=NOW + timedelta(hours=3))),
    ),
    # 00:00 in Auckland (UTC+12) at noon UTC; awake at 08:00, which is 20:00 UTC.
    "night": ("quiet_hours", NOW + timedelta(hours=8), facts(recipient={"zones": ("Pacific/Auckland",)})),
    "pair refused": ("pair_limit", NOW + timedelta(seconds=4), facts(pair=pair_refused(None, now=NOW))),
}


@pytest.mark.parametrize(("policy", "until", "case"), HELD.values(), ids=list(HELD))
def test_one_reason_to_wait_is_said_by_one_policy_with_its_end(policy: Any, until: Any, case: Any) -> None:
    """Each reason to wait is named by its own policy alone, and says when to judge again."""
    verdict = judge(case, now=NOW)
    assert said(verdict) == {policy: "hold"}
    assert verdict.until == until


ALLOWED = {
    "another template is paused": facts(switches=(Switch(scope="template", subject="other", since=NOW),)),
    "another number is paused": facts(switches=(Switch(scope="number", subject="other", since=NOW),)),
    "they wrote since": facts(
        recipient={
            "unreachable_at": NOW - timedelta(days=1),
            "window_open_until": NOW + timedelta(hours=1),
        }
    ),
    "long ago not on WhatsApp": facts(recipient={"unreachable_at": NOW - timedelta(days=8)}),
    "Canada": facts(recipient={"phone": "+14165550123", "zones": ("Europe/London",)}),
    "already counted": facts(portfolio=PortfolioFacts(limit=250, used=250, counted=True)),
    "in their window": facts(
        portfolio=PortfolioFacts(limit=250, used=250),
        recipient={"window_open_until": NOW + timedelta(seconds=1)},
    ),
    "free form in the window": facts(
        request={"kind": "free_form"}, recipient={"window_open_until": NOW + timedelta(seconds=1)}
    ),
    "its own earlier attempt": facts(
        recent=(PastSend(send_id="send-1", at=NOW, purpose="marketing", content_key="c1"),)
    ),
    "utility does not count": facts(recent=(sent(timedelta(hours=1), purpose="utility"),)),
    "the cap is over": facts(recent=(sent(timedelta(days=1)),)),
    "a burst of 44": facts(pair=burst(44)),
    "folds as far behind as is allowed": facts(
        view=View(lag=timedelta(seconds=5), templates_synced_at=NOW - timedelta(hours=6))
    ),
    "WhatsApp's own limit is over": facts(recipient={"marketing_refused_at": NOW - timedelta(hours=24)}),
    "the same long ago": facts(recent=(sent(timedelta(days=7), content="c1"),)),
    "the number has rested": facts(number=NumberFacts(phone_number_id="1", paused_until=NOW)),
    "no rating yet": facts(number=NumberFacts(phone_number_id="1", quality="UNKNOWN")),
}


@pytest.mark.parametrize("case", ALLOWED.values(), ids=list(ALLOWED))
def test_what_only_looks_like_a_reason_passes(case: Any) -> None:
    """The near miss of each rule is sent."""
    assert said(judge(case, now=NOW)) == {}


@pytest.mark.parametrize("purpose", ["", "utility"])
def test_what_may_be_utility_is_not_ended_as_marketing_before_the_template_is_read(purpose: str) -> None:
    """Just after a start nobody knows the category: the send waits, also of people who agreed to no marketing."""
    case = facts(
        request={"purpose": purpose, "language": ""},
        recipient={"phone": "+12125550100"},
        template=None,
        consent={"marketing": denied()},
        view=View(lag=timedelta(0), templates_synced_at=None),
    )
    assert judge(case, now=NOW).outcome == "hold"
    asked = replace(case, request=replace(case.request, purpose="marketing"))
    assert judge(asked, now=NOW).outcome == "block"


def test_a_number_that_is_none_of_the_businesss_blocks_once_the_list_is_newer_than_the_request() -> None:
    """A number may have been added just before somebody sends from it, so an older list decides nothing."""
    asked = NOW - timedelta(minutes=1)

    def unlisted(at: datetime | None) -> Verdict:
        return judge(facts(number=NumberFacts(phone_number_id="1", status="UNLISTED", listed_at=at)), now=NOW)

    assert said(unlisted(asked)) == {"number_quality": "block"}
    assert said(unlisted(asked - timedelta(seconds=1))) == {"number_quality": "hold"}
    assert said(unlisted(None)) == {"number_quality": "hold"}
    assert "DEFAULT_PHONE_NUMBER_ID" in unlisted(asked).explain()


def test_a_full_pair_opens_when_the_borrowed_time_is_paid_back() -> None:
    """The 46th message at once waits the six seconds that the first has earned back by then."""
    assert judge(facts(pair=burst(45)), now=NOW).until == NOW + timedelta(seconds=6)


def test_the_longest_of_several_caps_counts() -> None:
    """Three in the week hold until the first of them is a week old, though the day's cap is free again."""
    recent = tuple(sent(timedelta(days=days), number=days) for days in (2, 4, 6))
    assert judge(facts(recent=recent), now=NOW).until == NOW + timedelta(days=1)


def test_a_cap_that_was_overrun_waits_until_enough_have_left_it() -> None:
    """With five sends and a cap of two the fourth has to be old, not the first."""
    rules = GateRules(caps={"marketing": (Cap(2, timedelta(days=1)),)})
    recent = tuple(sent(timedelta(hours=hours), number=hours) for hours in (1, 2, 3, 4, 5))
    assert judge(facts(recent=recent, rules=rules), now=NOW).until == NOW + timedelta(hours=22)


AUTHENTICATION: dict[str, Any] = {
    "template": template(name="login_code", category="AUTHENTICATION"),
    "consent": {"marketing": denied(), "utility": denied()},
    "recent": tuple(
        sent(timedelta(minutes=1), number=n, purpose="authentication", content="c1") for n in range(20)
    ),
    "view": View(lag=None, templates_synced_at=None),
}


def test_a_one_time_password_waits_for_nobodys_morning_consent_or_cap() -> None:
    """Somebody sits before a log-in form at night, and has asked for the code themselves."""
    verdict = judge(facts(recipient={"zones": ("Pacific/Auckland",)}, **AUTHENTICATION), now=NOW)
    assert said(verdict) == {}


def test_a_one_time_password_needs_a_phone() -> None:
    """WhatsApp refuses authentication templates to a user id with 131062."""
    verdict = judge(facts(recipient={"phone": "", "bsuid": "GB.1349"}, **AUTHENTICATION), now=NOW)
    assert said(verdict) == {"reachability": "block"}


def test_a_paused_number_and_the_kill_switch_stop_one_time_passwords_too() -> None:
    """What stops the number stops everything on it."""
    stopped = facts(
        switches=(Switch(scope="all", since=NOW),),
        number=NumberFacts(phone_number_id="1", status="RESTRICTED"),
        **AUTHENTICATION,
    )
    assert said(judge(stopped, now=NOW)) == {"kill_switch": "hold", "number_quality": "hold"}


UTILITY = template(name="order_shipped", category="UTILITY")


def test_utility_goes_to_who_has_not_refused_it() -> None:
    """By default an opt-in given elsewhere covers utility; a refusal of marketing is none of utility."""
    assert said(judge(facts(template=UTILITY, consent={"marketing": denied()}), now=NOW)) == {}
    refused = facts(template=UTILITY, consent={"utility": denied()})
    assert said(judge(refused, now=NOW)) == {"opt_out": "block"}


def test_utility_can_ask_for_consent_too() -> None:
    """A business that promises to ask first can have it so."""
    rules = GateRules(consent={"marketing": "granted", "utility": "granted"})
    assert said(judge(facts(template=UTILITY, consent={}, rules=rules), now=NOW)) == {"consent": "block"}


@pytest.mark.parametrize(
    ("category", "asked", "judged"),
    [
        ("UTILITY", "", "utility"),
        ("UTILITY", "marketing", "marketing"),
        ("MARKETING", "utility", "marketing"),
        ("MARKETING", "authentication", "marketing"),
        ("AUTHENTICATION", "utility", "utility"),
        ("AUTHENTICATION", "", "authentication"),
        ("SOMETHING_NEW", "authentication", "marketing"),
    ],
)
def test_a_caller_can_make_the_judgement_stricter_and_never_milder(
    category: Any, asked: Any, judged: Any
) -> None:
    """Meta's category decides, and a category that nobody has heard of is marketing."""
    case = facts(template=template(category=category), request={"purpose": asked})
    assert case.purpose(now=NOW) == judged


def test_an_announced_category_counts_from_its_time_on() -> None:
    """A utility template that Meta said becomes marketing is marketing then, whether Meta tells again or not."""
    coming = ComingCategory(category="MARKETING", at=NOW + timedelta(hours=1))
    announced = template(category="UTILITY").model_copy(update={"coming": coming})
    case = facts(template=announced, consent={})
    assert said(judge(case, now=NOW)) == {}
    assert said(judge(case, now=NOW + timedelta(hours=1))) == {"consent": "block"}


@pytest.mark.parametrize("ahead", [timedelta(seconds=-90), timedelta(seconds=90)], ids=["behind", "ahead"])
def test_a_clock_that_is_a_little_off_does_not_let_a_cap_be_broken(ahead: Any) -> None:
    """A send that is recorded in our future counts against the cap, one of the recent past too."""
    case = facts(recent=(replace(sent(timedelta(0)), at=NOW + ahead),))
    assert said(judge(case, now=NOW)) == {"frequency_cap": "hold"}


def test_a_window_ends_24_hours_after_the_persons_own_time_across_a_clock_change() -> None:
    """24 hours are 24 hours, also on the day that London puts its clocks forward."""
    written = datetime.fromisoformat("2026-03-28T20:00:00+00:00")
    case = facts(
        request={"kind": "free_form", "expires_at": written + timedelta(days=9)},
        recipient={"window_open_until": written + timedelta(hours=24)},
        view=View(lag=timedelta(0), templates_synced_at=written),
        rules=GateRules(quiet={}),
    )
    assert said(judge(case, now=written + timedelta(hours=23, minutes=59))) == {}
    assert said(judge(case, now=written + timedelta(hours=24))) == {"conversation_window": "block"}


def test_every_problem_of_the_parameters_is_in_the_sentence() -> None:
    """A CRM admin corrects everything at once."""
    problems = (
        Problem(
            code="missing_parameter",
            parameter="1",
            sentence="parameter 1 is missing: a text",
            advice="give it",
        ),
        Problem(
            code="unknown_parameter",
            parameter="x",
            sentence="the template has no parameter x",
            advice="give it",
        ),
    )
    decision = only(judge(facts(problems=problems), now=NOW))
    assert isinstance(decision, Block)
    assert decision.reason == "parameter 1 is missing: a text; the template has no parameter x"
    assert decision.advice == "give it"
    assert decision.evidence == {"1": "missing_parameter", "x": "unknown_parameter"}


def test_the_settings_without_a_change_are_the_rules_of_these_tests() -> None:
    """One set of defaults."""
    assert gate_rules(OutboundSettings()) == GateRules()


def test_a_rule_that_is_set_is_the_rule_that_judges() -> None:
    """From the environment's words to the policies' values."""
    rules = gate_rules(
        OutboundSettings.model_validate(
            {
                "marketing_per_day": 0,
                "marketing_per_week": 2,
                "quiet_from": "20:30",
                "quiet_days": ["friday", "sunday"],
                "quiet_for_utility": True,
                "utility_consent": "granted",
            }
        )
    )
    assert rules.caps["marketing"] == (Cap(2, timedelta(days=7)),)
    assert rules.quiet["utility"] == QuietHours(start=time(20, 30), end=time(8), days=frozenset({4, 6}))
    assert rules.consent["utility"] == "granted"


@pytest.mark.parametrize(
    "wrong",
    [
        {"quiet_from": "21:00:30"},
        {"fallback_zone": "Middle/Earth"},
        {"quiet_days": ["caturday"]},
        {"marketing_lag": 0},
    ],
)
def test_a_rule_that_is_none_is_refused_at_start(wrong: dict[str, Any]) -> None:
    """Not at the first campaign."""
    with pytest.raises(ValueError, match="validation error"):
        OutboundSettings.model_validate(wrong)
