"""A verdict as people read it: the sentence, then what every policy said."""

from __future__ import annotations

from typing import TYPE_CHECKING

from connector.cli.operator import moment
from connector.cli.output import out, print_table

if TYPE_CHECKING:
    from connector.outbound.gate import Line, Verdict


def show_verdict(verdict: Verdict) -> None:
    """The sentence, and a line a policy."""
    from connector.outbound.policies import POLICIES

    asks = {policy.name: policy.asks for policy in POLICIES}
    out.print(verdict.explain(), markup=False, style="bold")
    out.print()
    print_table(
        ["policy", "asks", "says", "because"],
        [[line.policy, asks.get(line.policy, ""), line.outcome, _because(line)] for line in verdict.lines],
    )


def _because(line: Line) -> str:
    from connector.outbound.decisions import Block, Hold

    decision = line.decision
    until = f"until {moment(decision.until)}: " if isinstance(decision, Hold) else ""
    advice = f" ({decision.advice})" if isinstance(decision, Block) and decision.advice else ""
    return f"{until}{decision.reason}{advice}"
