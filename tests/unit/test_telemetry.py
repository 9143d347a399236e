"""Health states, their endpoints, and what logs must not show."""

import asyncio
import json
import logging
from collections.abc import Iterator

import httpx
import pytest
import structlog
from captured_logs import Lines, captured_logs

from connector.settings import HealthSettings
from connector.telemetry.health import StageHealth, State, create_health_app, serve_health
from connector.telemetry.logging import QuietRepeats


def test_the_worst_state_is_shown() -> None:
    """A stopped line outranks a stall, a stall outranks waiting; each gives way when it is over."""
    health = StageHealth("p")
    seen = [health.state]
    health.running(assignment=[1, 0])
    seen.append(health.state)
    health.waiting("kafka", reason="away")
    health.stalled(reason="no commit")
    health.line_stopped(reason="refused", advice="set it")
    seen.append(health.state)
    health.line_resumed()
    seen.append(health.state)
    health.progressed()
    seen.append(health.state)
    health.recovered("kafka")
    health.running(assignment=[])
    seen.append(health.state)
    assert seen == [
        *(State.STARTING, State.RUNNING, State.STOPPED_LINE, State.STALLED, State.WAITING, State.STANDBY),
    ]
    assert health.ready


def test_waiting_remembers_since_when_it_waits() -> None:
    """A dependency that fails again and again is away since the first failure."""
    moments = iter([10.0, 20.0])
    health = StageHealth("p", clock=lambda: next(moments))
    health.waiting("hubspot", reason="429")
    health.waiting("hubspot", reason="503", advice="wait")
    assert health.snapshot()["waiting_for"]["hubspot"] == {
        "since": "1970-01-01T00:00:10+00:00",
        "reason": "503",
        "advice": "wait",
    }


async def test_readiness_is_of_all_parts_and_liveness_of_the_process() -> None:
    """One waiting part makes the role unready, with its reason; the process stays alive, metrics are served."""
    stage, writer = StageHealth("route"), StageHealth("writer")
    stage.running(assignment=[0])
    writer.running()
    transport = httpx.ASGITransport(create_health_app([stage, writer]))
    async with httpx.AsyncClient(transport=transport, base_url="http://role") as client:
        assert (await client.get("/readyz")).status_code == 200
        writer.waiting("hubspot", reason="503")
        answer = await client.get("/readyz")
        assert answer.status_code == 503
        assert answer.json()["parts"][1]["waiting_for"]["hubspot"]["reason"] == "503"
        assert (await client.get("/healthz")).status_code == 200
        assert (
            'connector_health_state{part="writer",state="waiting"} 1.0' in (await client.get("/metrics")).text
        )


async def test_the_health_port_is_served_until_stop() -> None:
    """Port 0 takes a free one and tells it; a stop closes it."""
    health, stop = StageHealth("p"), asyncio.Event()
    listening: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(
        serve_health(HealthSettings(), health, stop=stop, listening=listening.set_result)
    )
    port = await asyncio.wait_for(listening, 5)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        assert (await client.get("/readyz")).status_code == 503
    with pytest.raises(OSError, match="in use"):
        await serve_health(HealthSettings(port=port), health, stop=stop)
    stop.set()
    await asyncio.wait_for(task, 5)
    with pytest.raises(OSError, match=r"[Cc]onnect"):
        await asyncio.open_connection("127.0.0.1", port)


@pytest.fixture
def logs() -> Iterator[Lines]:
    """What is logged as JSON."""
    with captured_logs() as lines:
        yield lines


def test_personal_data_and_secrets_are_masked(logs: Lines) -> None:
    """Phones, names and texts are told apart at most; secrets not even that."""
    log = structlog.get_logger("connector.test")
    log.info("sent", phone="+4915112345678", name="Ana", text="my diagnosis", access_token="EAAB", count=3)
    [line] = logs()
    assert line["count"] == 3
    assert (line["phone"], line["name"], line["access_token"]) == ("***78", "***", "***")
    assert "diagnosis" not in json.dumps(line)


def test_lines_of_libraries_look_like_ours(logs: Lines) -> None:
    """A library's line is JSON with its logger and level; its chatter below WARNING is dropped."""
    logging.getLogger("faust.app").info("Worker %s", "ready")
    logging.getLogger("httpx").info("HTTP Request")
    [line] = logs()
    assert (line["event"], line["logger"], line["level"]) == ("Worker ready", "faust.app", "info")


def test_a_broker_that_is_away_does_not_fill_the_log() -> None:
    """The same line of aiokafka passes once in ten seconds; others are not held back by it."""
    moments = iter([0.0, 1.0, 2.0, 11.0])
    quiet = QuietRepeats(clock=lambda: next(moments))

    def line(name: str, number: int) -> logging.LogRecord:
        return logging.LogRecord(name, logging.ERROR, "f.py", number, "away", (), None)

    assert [quiet.filter(line("aiokafka", n)) for n in (1, 1, 2, 1)] == [True, False, True, True]
    assert quiet.filter(line("connector", 1))
