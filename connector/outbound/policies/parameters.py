"""The template is filled in as it was approved."""

from __future__ import annotations

from datetime import datetime

from connector.outbound.decisions import PASS, Block, Decision
from connector.outbound.facts import Facts
from connector.outbound.policies.policy import Policy


def _decide(facts: Facts, *, now: datetime) -> Decision:  # noqa: ARG001  a policy's signature
    if not facts.problems:
        return PASS
    return Block(
        reason="; ".join(problem.sentence for problem in facts.problems),
        advice="; ".join(dict.fromkeys(problem.advice for problem in facts.problems)),
        evidence={problem.parameter: problem.code for problem in facts.problems},
    )


POLICY = Policy(name="parameters", asks="Does it have every parameter?", decide=_decide)
