"""What judges the chaos rows: it notices everything that may go wrong, and the report keeps what was not run."""

import copy
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import chaos_report
import pytest
from chaos_figures import Figure, Outcome, Row, at_least, at_most, none_of
from chaos_judge import judge

from connector.sandbox.whatsapp.conversations import Conversations, conversations

EXPECTED = conversations(seed=1, people=20, messages=60, outbound=10)


def _portal(expected: Conversations) -> dict[str, Any]:
    """A HubSpot that says everything right."""
    contacts: list[dict[str, Any]] = []
    communications: list[dict[str, Any]] = []
    for person in expected.people:
        record = f"c{person.number}"
        last = max(message.at for message in person.messages)
        properties = {
            "whatsapp_bsuid": person.bsuids[-1],
            "whatsapp_phone": f"+{person.phones[-1]}" if person.phones else "",
            "whatsapp_last_inbound_at": str(last * 1000),
        }
        contacts.append({"id": record, "properties": properties})
        said = [(one.wamid, "received", one.text) for one in person.messages]
        sent = [(wamid, final, "") for wamid, final in person.outbound.items()]
        for wamid, status, text in (*said, *sent):
            shown = {
                "whatsapp_message_id": wamid,
                "whatsapp_status": status,
                "hs_communication_body": (text or "").replace("&", "&amp;").replace("\n", "<br>"),
                "hs_createdate": "2026-01-01T00:00:00+00:00",
            }
            communications.append(
                {"id": f"m{len(communications)}", "properties": shown, "associations": {"contacts": [record]}}
            )
    return {"contacts": contacts, "communications": communications}


def test_a_crm_that_says_everything_right_is_settled() -> None:
    """No figure of it is broken."""
    found = judge(EXPECTED, sink="hubspot", state=_portal(EXPECTED))
    assert found.settled
    assert all(figure.held for figure in found.figures())


def _lose(state: dict[str, Any]) -> None:
    del state["communications"][3]


def _double(state: dict[str, Any]) -> None:
    state["communications"].append({**state["communications"][3], "id": "again"})


def _leave_a_contact(state: dict[str, Any]) -> None:
    state["contacts"].append({"id": "left", "properties": {}})


def _say_otherwise(state: dict[str, Any]) -> None:
    state["communications"][0]["properties"]["hs_communication_body"] = "another text"


def _hang_on_another(state: dict[str, Any]) -> None:
    state["communications"][0]["associations"]["contacts"] = ["c5"]


def _show_an_old_id(state: dict[str, Any]) -> None:
    state["contacts"][2]["properties"]["whatsapp_bsuid"] = "US.1"


def _forget_the_last_message(state: dict[str, Any]) -> None:
    state["contacts"][2]["properties"]["whatsapp_last_inbound_at"] = "1000"


@pytest.mark.parametrize(
    "spoil",
    [
        _lose,
        _double,
        _leave_a_contact,
        _say_otherwise,
        _hang_on_another,
        _show_an_old_id,
        _forget_the_last_message,
    ],
)
def test_a_crm_that_says_something_else_is_noticed(spoil: Any) -> None:
    """One wrong record among all the right ones breaks a figure."""
    state = copy.deepcopy(_portal(EXPECTED))
    spoil(state)
    assert not all(figure.held for figure in judge(EXPECTED, sink="hubspot", state=state).figures())


def test_figures_know_their_bars() -> None:
    """At the bar is held, past it is not."""
    assert [at_most("a", 15, 15).held, at_most("a", 15.1, 15).held] == [True, False]
    assert [at_least("a", 5, 5).held, at_least("a", 4.9, 5).held] == [True, False]
    assert [none_of("a", []).held, none_of("a", 1).held] == [True, False]


async def _no_run(_folder: Path, _seed: int) -> list[Figure]:
    return []


def _outcome(number: int, *figures: Figure, error: str = "") -> Outcome:
    row = Row(number=number, title=f"row {number}", run=_no_run)
    at = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
    return Outcome(row=row, seed=1, at=at, seconds=3, figures=figures, error=error)


def test_a_run_of_some_rows_keeps_the_others(tmp_path: Path) -> None:
    """A row is replaced by its next run, the others stay as they were measured, in order."""
    file = tmp_path / "reliability.md"
    titles = {1: "row 1", 2: "row 2", 4: "row 4", 10: "row 10"}
    both = [_outcome(2, none_of("lost", 0)), _outcome(10)]
    chaos_report.record(both, titles=titles, command="all", file=file)
    chaos_report.record([_outcome(2, none_of("lost", 3))], titles=titles, command="some", file=file)
    fell = _outcome(1, error='  File "/somewhere/row.py", line 3\nRuntimeError: it fell')
    chaos_report.record([fell], titles=titles, command="one", file=file)
    text = file.read_text("utf-8")
    found = chaos_report.sections_of(text)
    assert list(found) == [1, 2, 10]
    assert "| 2 | row 2 | failed | 2026-11-24 |" in text
    assert "| 1 | row 1 | failed | 2026-11-24 |" in text
    assert "| 10 | row 10 | held | 2026-11-24 |" in text
    assert "| lost | 0 | 3 | **failed** |" in found[2]
    assert "`some`" in found[2]
    assert "`RuntimeError: it fell`" in found[1]
    assert "/somewhere" not in text
    assert "| 4 | row 4 | not measured |" in text
