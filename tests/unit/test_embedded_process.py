"""Engine processes: ended in order, and found again after a crash of the process that started them."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from connector.embedded.directory import DirectoryLock, require_space
from connector.embedded.errors import DataDirectoryInUse, DiskFull, PortTaken
from connector.embedded.ports import RememberedPorts, free_ports, is_free
from connector.embedded.process import EngineProcess, ProcessPlan, identity, stop_leftover

ENDS_WHEN_ASKED = (
    "import signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit(7)); print('up', flush=True)"
)
IGNORES = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True)"
WAITS = "\nimport threading; threading.Event().wait()"


def plan(folder: Path, source: str) -> ProcessPlan:
    return ProcessPlan(
        name="child",
        argv=[sys.executable, "-c", source + WAITS],
        cwd=folder,
        log_file=folder / "child.log",
        pid_file=folder / "child.pid",
        env=dict(os.environ),
    )


async def up(process: EngineProcess) -> None:
    """Wait until the child has said that its signal handler is set."""
    async with asyncio.timeout(10):
        while True:
            if "up" in process.log_since_start():
                return
            await asyncio.sleep(0.01)


@contextlib.contextmanager
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", WAITS], stdin=subprocess.DEVNULL) as child:
        try:
            yield child
        finally:
            child.kill()


@pytest.mark.parametrize(
    ("source", "status"),
    [
        pytest.param(ENDS_WHEN_ASKED, 7, id="ends when asked"),
        pytest.param(IGNORES, -signal.SIGKILL, id="must be killed"),
    ],
)
async def test_a_stop_asks_first_and_kills_at_the_deadline(tmp_path: Path, source: str, status: int) -> None:
    """A process may end its own way within the deadline, and is killed after it; no pid file stays."""
    process = EngineProcess(plan(tmp_path, source))
    process.start()
    await up(process)
    assert int((tmp_path / "child.pid").read_text().split()[0]) == process.pid
    await process.stop(timeout=0.5 if status < 0 else 10)
    assert process.returncode == status
    assert not (tmp_path / "child.pid").exists()


@pytest.mark.parametrize(
    "source", [pytest.param(ENDS_WHEN_ASKED, id="asks"), pytest.param(IGNORES, id="kills")]
)
async def test_a_leftover_is_ended(tmp_path: Path, source: str) -> None:
    """The process that the pid file names, with its start, is ended, at last by force."""
    process = EngineProcess(plan(tmp_path, source))
    process.start()
    await up(process)
    left = process.pid
    assert left is not None
    assert await stop_leftover(plan(tmp_path, source), timeout=0.5) == left
    assert identity(left) is None
    assert await stop_leftover(plan(tmp_path, source)) is None
    process.kill()


async def test_a_stranger_with_the_old_pid_is_left_alone(tmp_path: Path) -> None:
    """A pid that the system gave to another program meanwhile is not signalled."""
    with stranger() as other:
        (tmp_path / "child.pid").write_text(f"{other.pid} another-boot:1\n")
        assert await stop_leftover(plan(tmp_path, ENDS_WHEN_ASKED)) is None
        assert other.poll() is None
    assert not (tmp_path / "child.pid").exists()


@pytest.mark.parametrize("content", ["", "no number\n", "4194305 x\n"])
async def test_a_damaged_or_dead_pid_file_is_no_leftover(tmp_path: Path, content: str) -> None:
    """A pid file that names no living process is no reason to fail."""
    (tmp_path / "child.pid").write_text(content)
    assert await stop_leftover(plan(tmp_path, ENDS_WHEN_ASKED)) is None


async def test_a_log_past_its_limit_is_put_aside_at_the_next_start(tmp_path: Path) -> None:
    """The log of a long-lived engine does not grow without bound, and the last one is kept."""
    (tmp_path / "child.log").write_bytes(b"x" * 10_000_001)
    process = EngineProcess(plan(tmp_path, "print('up', flush=True)"))
    process.start()
    await up(process)
    process.kill()
    assert (tmp_path / "child.log.1").stat().st_size == 10_000_001
    assert (tmp_path / "child.log").read_text() == "up\n"


async def test_a_process_of_the_background_leaves_the_cpu_to_others(tmp_path: Path) -> None:
    """A plan's niceness is the process's own, on top of ours."""
    process = EngineProcess(replace(plan(tmp_path, "print('up', flush=True)"), niceness=5))
    process.start()
    try:
        await up(process)
        assert process.pid is not None
        assert os.getpriority(os.PRIO_PROCESS, process.pid) == min(19, os.nice(0) + 5)
    finally:
        await process.stop(timeout=5)


def test_a_directory_has_one_owner_and_its_mode_is_its_own(tmp_path: Path) -> None:
    """A second owner is refused with the first one's pid; a new folder is private, an old one is left as it is."""
    tmp_path.chmod(0o755)
    first, second = DirectoryLock(tmp_path / "new"), DirectoryLock(tmp_path / "new")
    first.acquire()
    try:
        with pytest.raises(DataDirectoryInUse) as refused:
            second.acquire()
        assert refused.value.pid == os.getpid()
    finally:
        first.release()
    second.acquire()
    second.release()
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700
    assert tmp_path.stat().st_mode & 0o777 == 0o755


def test_too_little_space_is_said_before_anything_starts(tmp_path: Path) -> None:
    """The error names the folder and how much is free."""
    with pytest.raises(DiskFull, match="MB are free") as refused:
        require_space(tmp_path, minimum=1 << 62)
    assert refused.value.directory == tmp_path


def test_ports_are_remembered_while_they_are_free(tmp_path: Path) -> None:
    """The same ports come back, a lost file chooses new ones, and a fixed one wins."""
    ports = RememberedPorts(tmp_path / "ports.json", ("a", "b"))
    chosen = ports.choose(engine="X")
    assert len(set(chosen.values())) == 2
    assert ports.choose(engine="X") == chosen
    (tmp_path / "ports.json").write_text('{"a": "no number", "b": 99999}')
    assert all(is_free(port) for port in ports.choose(engine="X").values())
    (fixed,) = free_ports(1)
    assert ports.choose(engine="X", fixed=fixed)["a"] == fixed


def test_a_fixed_port_in_use_is_refused_by_name(tmp_path: Path) -> None:
    """The error names the engine and the port."""
    import socket

    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(PortTaken) as refused:
            RememberedPorts(tmp_path / "ports.json", ("a",)).choose(engine="X", fixed=port)
    assert (refused.value.engine, refused.value.port) == ("X", port)
