"""How many verdicts one core makes: every policy, a third of the people in countries of many time zones.

Verdicts a second of CPU time, with and without their JSON. `sends.py` runs it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from time import process_time

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from gate_facts import NOW, facts

from connector.outbound.facts import Facts, PastSend
from connector.outbound.gate import Verdict, judge
from connector.outbound.pacing.pair import pair_taken

PEOPLE = 3_000
ROUNDS = 10
_PREFIXES = ("+4474001", "+79161", "+5511987", "+9198123", "+1212555", "+6141234")


def campaign() -> list[Facts]:
    """Different people, each with a history."""
    return [
        replace(
            facts(
                request={"send_id": f"send-{index}"},
                recipient={"phone": f"{_PREFIXES[index % 6]}{index:05d}"},
            ),
            recent=tuple(
                PastSend(
                    send_id=f"past-{index}-{n}",
                    at=NOW - timedelta(days=n + 2),
                    purpose="marketing",
                    content_key=f"c{n + 2}",
                )
                for n in range(index % 4)
            ),
            pair=pair_taken(None, at=NOW - timedelta(minutes=index)),
        )
        for index in range(PEOPLE)
    ]


def measured(people: list[Facts], keep: Callable[[Verdict], object]) -> float:
    """Verdicts a second of CPU time; every second has a later `now`, as a running campaign has."""
    began = process_time()
    for round_ in range(ROUNDS):
        for index, person in enumerate(people):
            keep(judge(person, now=NOW + timedelta(seconds=round_, milliseconds=index)))
    return len(people) * ROUNDS / (process_time() - began)


def verdicts() -> tuple[float, float]:
    """Verdicts a second of CPU time: judged, and judged and written out as JSON."""
    people = campaign()
    return measured(people, lambda verdict: verdict.outcome), measured(
        people, lambda verdict: verdict.to_json()
    )
