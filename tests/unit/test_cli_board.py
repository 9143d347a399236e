"""The live table of `connector up`, from what roles say about themselves."""

import io
from pathlib import Path

import httpx
import pytest
from rich.console import Console

from connector.cli.board import Row, Watch, board
from connector.embedded.supervisor import State, Status
from connector.telemetry.reading import Reading, read_role, records_per_second

METRICS = """
# TYPE connector_stream_records_total counter
connector_stream_records_total{stage="sync-hubspot",outcome="done"} 120.0
connector_stream_records_total{stage="sync-hubspot",outcome="dead"} 2.0
# TYPE connector_stream_dead_letters_total counter
connector_stream_dead_letters_total{stage="sync-hubspot",cause="undecodable"} 2.0
# TYPE connector_crm_items_total counter
connector_crm_items_total{crm="hubspot",kind="activity",result="written"} 90.0
connector_crm_items_total{crm="hubspot",kind="activity",result="refused"} 3.0
# TYPE connector_items_waiting gauge
connector_items_waiting{crm="hubspot"} 17.0
# TYPE connector_oldest_waiting_seconds gauge
connector_oldest_waiting_seconds{crm="hubspot"} 4.25
"""
WAITING = {
    "status": "not ready",
    "parts": [
        {"part": "sync-hubspot", "state": "running", "ready": True, "assignment": [0, 1], "lag": 40},
        {
            "part": "sync-hubspot-writer",
            "state": "waiting",
            "ready": False,
            "waiting_for": {"hubspot": {"since": "…", "reason": "429 Too Many Requests", "advice": ""}},
        },
    ],
}


def status(name: str = "sync-hubspot", state: State = State.READY, **more: object) -> Status:
    fields = {"pid": 4711, "restarts": 0, "detail": "", "log_file": Path("x.log")} | more
    return Status(name=name, state=state, **fields)  # type: ignore[arg-type]


def test_a_role_is_read_from_its_health_and_metrics() -> None:
    """Lag, waiting items and their age, records handled, and everything that went wrong."""
    reading = read_role(WAITING, METRICS, at=1.0)
    assert reading == Reading(
        at=1.0,
        lag=40,
        waiting=17,
        oldest=4.25,
        handled=122.0,
        errors=5,
        held_up_by="sync-hubspot-writer waits for hubspot: 429 Too Many Requests",
    )


def test_a_stopped_line_says_why() -> None:
    """Stopped and stalled parts are named with their reason."""
    part = {"part": "route", "stopped": {"since": "…", "reason": "too many dead letters", "advice": ""}}
    assert read_role({"parts": [part]}, "", at=0.0).held_up_by == "route stopped: too many dead letters"


@pytest.mark.parametrize(
    ("before", "after", "rate"),
    [
        (Reading(at=1.0, handled=100.0), Reading(at=3.0, handled=150.0), 25.0),
        (Reading(at=1.0, handled=100.0), Reading(at=3.0, handled=4.0), None),
        (None, Reading(at=3.0, handled=4.0), None),
        (Reading(at=1.0, handled=100.0), Reading(at=3.0), None),
    ],
    ids=["at-work", "restarted", "first-look", "no-answer"],
)
def test_a_rate_is_between_two_looks(before: Reading | None, after: Reading, rate: float | None) -> None:
    """Records between two looks a second, unless the counter began anew."""
    assert records_per_second(before, after) == rate


def test_the_table_shows_every_program_and_what_holds_it_up() -> None:
    """A row a program; a program that fell says how it ended."""
    rows = [
        Row(status=status(), reading=read_role(WAITING, METRICS, at=1.0), rate=61.0),
        Row(status=status("route", State.BACKING_OFF, pid=None, restarts=2, detail="ended by signal 9")),
        Row(status=status("sandbox")),
    ]
    console = Console(width=160, file=io.StringIO())
    console.print(board(rows))
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    assert lines[0].split()[:4] == ["role", "state", "pid", "restarts"]
    assert lines[1].split()[:9] == ["sync-hubspot", "ready", "4711", "0", "40", "17", "4.2", "s", "61.0"]
    assert "429 Too Many Requests" in lines[1]
    assert "backing off" in lines[2]
    assert "ended by signal 9" in lines[2]
    assert lines[3].split() == ["sandbox", "ready", "4711", "0"]


async def test_a_role_that_does_not_answer_shows_its_state_alone() -> None:
    """A process in trouble keeps its row, and the others theirs."""

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.port == 2:
            raise httpx.ConnectError("refused")
        return (
            httpx.Response(503, json=WAITING)
            if request.url.path == "/readyz"
            else httpx.Response(200, text=METRICS)
        )

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
        watch = Watch(client, {"sync-hubspot": "http://role:1", "route": "http://role:2"})
        statuses = {"sync-hubspot": status(), "route": status("route"), "sandbox": status("sandbox")}
        await watch.look(statuses)
        there, silent, other = await watch.look(statuses)
    assert there.reading is not None
    assert (there.reading.lag, there.rate) == (40, 0.0)
    assert silent.reading is not None
    assert silent.reading.lag is None
    assert other.reading is None
