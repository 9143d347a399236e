"""The supervisor: what falls is started again, what is asked to end ends, and everybody can see it."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from connector.embedded.errors import DataDirectoryInUse, EngineFailed
from connector.embedded.ports import HOST, free_ports
from connector.embedded.process import identity
from connector.embedded.supervisor import Program, RestartPolicy, State, Status, Supervisor

SERVER = """
import http.server, os, pathlib, signal, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        ready = pathlib.Path(sys.argv[2]).exists()
        self.send_response(200 if ready else 503)
        self.end_headers()
        self.wfile.write(b"ready" if ready else b"waiting for the file")
    def log_message(self, *args):
        pass
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
print("serving", flush=True)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""
WAITS = "import threading; print('up', flush=True); threading.Event().wait()"
IGNORES = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + WAITS
QUICK = RestartPolicy(first=0.1, limit=0.4)


def program(name: str, source: str, *arguments: str, ready_url: str | None = None) -> Program:
    return Program(
        name=name,
        argv=[sys.executable, "-c", source, *arguments],
        env=dict(os.environ),
        ready_url=ready_url,
    )


async def eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while True:
            if condition():
                return
            await asyncio.sleep(0.01)


async def test_ready_is_what_the_ready_url_says(tmp_path: Path) -> None:
    """A program is starting until its URL answers 200, and unready with the answer as detail when it stops to."""
    seen: list[Status] = []
    (port,) = free_ports(1)
    flag = tmp_path / "flag"
    web = program("web", SERVER, str(port), str(flag), ready_url=f"http://{HOST}:{port}/readyz")
    async with Supervisor([web], log_dir=tmp_path / "logs", on_change=seen.append) as supervisor:
        with pytest.raises(EngineFailed, match="web is not ready after 1 s: starting"):
            await supervisor.wait_ready("web", timeout=1)
        await eventually(lambda: "waiting for the file" in supervisor.statuses["web"].detail)
        flag.touch()
        await supervisor.wait_ready("web", timeout=20)
        flag.unlink()
        await eventually(lambda: supervisor.statuses["web"].state is State.UNREADY)
        assert supervisor.statuses["web"].detail == "503: waiting for the file"
        assert (tmp_path / "logs" / "web.log").read_text() == "serving\n"
    states = [status.state for status in seen]
    assert list(dict.fromkeys(states)) == [
        State.STARTING,
        State.READY,
        State.UNREADY,
        State.STOPPING,
        State.STOPPED,
    ]
    assert seen[-1].detail == "ended with status 0"


async def test_a_killed_program_runs_again(tmp_path: Path) -> None:
    """A program that is killed gets a new process after the pause; the others keep theirs."""
    async with Supervisor(
        [program("falls", WAITS), program("stays", WAITS)], log_dir=tmp_path, policy=QUICK
    ) as supervisor:
        for name in ("falls", "stays"):
            await supervisor.wait_ready(name, timeout=20)
        before = supervisor.statuses
        assert before["falls"].pid is not None
        os.kill(before["falls"].pid, signal.SIGKILL)
        await eventually(
            lambda: (now := supervisor.statuses["falls"]).restarts == 1 and now.state is State.READY
        )
        assert supervisor.statuses["falls"].pid not in {before["falls"].pid, None}
        assert supervisor.statuses["stays"] == before["stays"]


async def test_a_program_that_cannot_run_says_why(tmp_path: Path) -> None:
    """A program that ends at once is tried again with growing pauses, and the error shows its last words."""
    seen: list[Status] = []
    broken = program(
        "broken", "import sys; print('no such setting'); sys.exit(3)", ready_url=f"http://{HOST}:9/"
    )
    async with Supervisor(
        [broken], log_dir=tmp_path, on_change=seen.append, policy=QUICK, chance=lambda: 0.5
    ) as supervisor:
        await eventually(lambda: supervisor.statuses["broken"].restarts >= 3)
        with pytest.raises(EngineFailed, match=r"broken is not ready.*\n?no such setting"):
            await supervisor.wait_ready("broken", timeout=0.1)
    pauses = [status.detail for status in seen if status.state is State.BACKING_OFF]
    assert pauses[:3] == [
        "ended with status 3; it is started again in 0.1 s",
        "ended with status 3; it is started again in 0.2 s",
        "ended with status 3; it is started again in 0.4 s",
    ]


async def test_a_stop_kills_what_does_not_end_in_time(tmp_path: Path) -> None:
    """After the deadline nothing runs, and the log directory is free."""
    supervisor = Supervisor([program("deaf", IGNORES), program("polite", WAITS)], log_dir=tmp_path)
    await supervisor.start()
    await eventually(lambda: (tmp_path / "deaf.log").exists() and "up" in (tmp_path / "deaf.log").read_text())
    pids = [status.pid for status in supervisor.statuses.values()]
    with pytest.raises(DataDirectoryInUse):
        await Supervisor([], log_dir=tmp_path).start()
    await supervisor.stop(timeout=0.3)
    assert [identity(pid) for pid in pids if pid is not None] == [None, None]
    assert supervisor.statuses["deaf"].detail == "ended by signal 9"
    assert supervisor.statuses["polite"].detail == "ended by signal 15"
    assert not any((tmp_path / f"{name}.pid").exists() for name in ("deaf", "polite"))
    async with Supervisor([], log_dir=tmp_path):
        pass


async def test_a_program_in_its_pause_is_not_started_by_a_stop(tmp_path: Path) -> None:
    """A stop during the back-off ends it at once."""
    supervisor = Supervisor([program("broken", "raise SystemExit(3)")], log_dir=tmp_path)
    await supervisor.start()
    await eventually(lambda: supervisor.statuses["broken"].state is State.BACKING_OFF)
    await supervisor.stop(timeout=5)
    assert supervisor.statuses["broken"].state is State.STOPPED
    assert supervisor.statuses["broken"].pid is None


@pytest.mark.parametrize(
    ("failures", "chance", "pause"),
    [
        pytest.param(1, 0.5, 0.5, id="first"),
        pytest.param(3, 0.5, 2.0, id="doubles"),
        pytest.param(1000, 0.5, 30.0, id="limit"),
        pytest.param(1, 0.0, 0.4, id="least jitter"),
        pytest.param(1, 1.0, 0.6, id="most jitter"),
    ],
)
def test_the_pause_doubles_to_a_limit(failures: int, chance: float, pause: float) -> None:
    """Half a second, doubled with each failure in a row up to half a minute, a fifth either way."""
    assert RestartPolicy().pause(failures, chance=chance) == pytest.approx(pause)


async def test_a_healthy_life_forgives_former_failures(tmp_path: Path) -> None:
    """A program that ran long enough before it ended starts again after the first pause, not the next one."""
    seen: list[Status] = []
    policy = RestartPolicy(first=0.2, limit=10, healthy_after=0.1)
    lives = program("lives", "import time; time.sleep(0.4)")
    async with Supervisor(
        [lives], log_dir=tmp_path, on_change=seen.append, policy=policy, chance=lambda: 0.5
    ) as supervisor:
        await eventually(lambda: supervisor.statuses["lives"].restarts >= 2)
    details = {status.detail for status in seen if status.state is State.BACKING_OFF}
    assert details == {"ended with status 0; it is started again in 0.2 s"}
