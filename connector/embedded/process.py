"""One engine process: started tied to our life, stopped in order, and found again after a crash of ours.

On Linux the kernel signals the child when the thread that started it ends (PR_SET_PDEATHSIG), so start
engines from the main thread. Elsewhere an engine may outlive a killed parent; everywhere the next start on
the same data directory stops what the pid file still names.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from connector.embedded import launch
from connector.embedded.directory import write_atomically

_POLL = 0.02
_LOG_LIMIT = 10_000_000
KILL_SIGNAL = getattr(signal, "SIGKILL", signal.SIGTERM)


@dataclass(frozen=True, kw_only=True)
class ProcessPlan:
    """What to run, and where its traces go."""

    name: str
    argv: Sequence[str]
    """The program by absolute path, then its arguments."""
    cwd: Path
    log_file: Path
    """Standard output and error, appended; at a start, a file past 10 MB becomes `.1`."""
    pid_file: Path
    """Which process runs: a leftover of a crashed run is recognised by it."""
    env: Mapping[str, str]
    stop_signal: int = signal.SIGTERM
    """Asks for a clean end."""
    death_signal: int | None = None
    """What the kernel sends when we are killed; None: the stop signal."""
    ids: tuple[int, int] | None = None
    """(uid, gid) to be inside a user namespace of its own; None: run as we are."""
    niceness: int = 0
    """0 to 19: how readily it leaves the CPU to others (nice(2)); not on Windows."""


class EngineProcess:
    """A running process of a plan. Not safe for use by two tasks at once."""

    def __init__(self, plan: ProcessPlan) -> None:
        self._plan = plan
        self._popen: subprocess.Popen[bytes] | None = None
        self._log_start = 0

    @property
    def pid(self) -> int | None:
        """The pid while the process runs."""
        return self._popen.pid if self._popen is not None and self._popen.poll() is None else None

    @property
    def returncode(self) -> int | None:
        """The exit status, negative for a signal; None while it runs or before it was started."""
        return self._popen.poll() if self._popen is not None else None

    def start(self) -> None:
        """Spawn it. Returns at once; being ready is for the caller to ask."""
        plan = self._plan
        _rotate(plan.log_file)
        with plan.log_file.open("ab") as log:
            self._log_start = log.tell()
            self._popen = subprocess.Popen(  # noqa: S603 - our own argv
                [
                    *launcher_argv(
                        death_signal=plan.death_signal or plan.stop_signal,
                        ids=plan.ids,
                        niceness=plan.niceness,
                    ),
                    *plan.argv,
                ],
                cwd=plan.cwd,
                env=dict(plan.env),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Ctrl-C in the terminal is for us: we stop the engines in order.
                start_new_session=True,
            )
        write_atomically(plan.pid_file, f"{self._popen.pid} {identity(self._popen.pid) or ''}\n")

    async def stop(self, *, timeout: float) -> None:
        """Ask it to end; after `timeout` seconds kill it. A process that already ended is fine."""
        if self._popen is None:
            return
        if self._popen.poll() is None:
            self._popen.send_signal(self._plan.stop_signal)
            await self.ended(timeout=timeout)
        self.kill()

    def kill(self) -> None:
        """End it without notice (`kill -9`) and reap it."""
        if self._popen is None:
            return
        self._popen.kill()
        self._popen.wait()
        self._plan.pid_file.unlink(missing_ok=True)

    async def ended(self, *, timeout: float) -> bool:
        """Wait until it ended; False when it still runs after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while self._popen is not None and self._popen.poll() is None:
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(_POLL)
        return True

    def log_since_start(self, *, limit: int = 20_000) -> str:
        """What this start wrote, its last `limit` bytes."""
        try:
            with self._plan.log_file.open("rb") as log:
                log.seek(0, os.SEEK_END)
                log.seek(max(self._log_start, log.tell() - limit))
                return log.read().decode(errors="replace")
        except OSError:
            return ""


async def stop_leftover(plan: ProcessPlan, *, timeout: float = 20.0) -> int | None:
    """End a process of this plan that a crashed run left behind, and return its pid.

    The pid file must name it together with its start: a pid is used again by the system, and a stranger is
    never signalled.
    """
    try:
        number, _, started = plan.pid_file.read_text().strip().partition(" ")
        pid = int(number)
    except (OSError, ValueError):
        return None
    found = bool(started) and identity(pid) == started
    if found:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, plan.stop_signal)
            deadline = time.monotonic() + timeout
            while identity(pid) == started:
                if time.monotonic() > deadline:
                    os.kill(pid, KILL_SIGNAL)
                    deadline += timeout
                await asyncio.sleep(_POLL)
    plan.pid_file.unlink(missing_ok=True)
    return pid if found else None


def identity(pid: int) -> str | None:
    """When a living process began, as the system tells it: with the pid, its name for good. None: it ended."""
    if Path("/proc/self/stat").exists():
        try:
            # After the name, which is in parentheses and may hold any character: state is field 3,
            # the start in clock ticks since boot field 22 (proc_pid_stat(5)).
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        except OSError:
            return None
        return f"{boot}:{fields[19]}" if fields[0] not in {"Z", "X"} else None
    return _ps("lstart=", pid) or None


def arguments(pid: int) -> str:
    """The command line of a living process; empty when there is none."""
    if Path("/proc/self/cmdline").exists():
        try:
            return os.fsdecode(Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")).strip()
        except OSError:
            return ""
    return _ps("command=", pid)


def _ps(column: str, pid: int) -> str:
    try:
        answer = subprocess.run(  # noqa: S603 - the pid is a number
            ["ps", "-ww", "-o", column, "-p", str(pid)],  # noqa: S607 - where ps is differs
            capture_output=True,
            text=True,
            timeout=5,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return answer.stdout.strip()


def namespace_refusal(ids: tuple[int, int]) -> str | None:
    """Why this machine lets us make no user namespace; None when it does."""
    answer = subprocess.run(  # noqa: S603 - our own argv
        [*launcher_argv(death_signal=signal.SIGTERM, ids=ids), sys.executable, "-I", "-S", "-c", ""],
        capture_output=True,
        text=True,
        check=False,
    )
    return None if answer.returncode == 0 else answer.stderr.strip() or f"exit status {answer.returncode}"


def launcher_argv(*, death_signal: int, ids: tuple[int, int] | None, niceness: int = 0) -> list[str]:
    """What to put in front of a program so that it dies with us, and is not root (see `launch`)."""
    if sys.platform == "win32":
        return []
    return [
        sys.executable,
        "-I",
        "-S",
        str(Path(launch.__file__)),
        str(os.getpid()),
        str(int(death_signal)),
        f"{ids[0]}:{ids[1]}" if ids else "-",
        str(niceness),
    ]


def _rotate(log_file: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        if log_file.stat().st_size > _LOG_LIMIT:
            log_file.replace(log_file.with_name(f"{log_file.name}.1"))
