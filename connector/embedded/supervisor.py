"""Keep a set of processes running: start, watch, restart with back-off, stop in order.

Knows nothing of roles: a program is a name, a command line, an environment and a URL that answers 200 when
it is ready.
"""

from __future__ import annotations

import asyncio
import enum
import logging
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from connector.embedded.directory import DirectoryLock
from connector.embedded.errors import EngineFailed
from connector.embedded.process import KILL_SIGNAL, EngineProcess, ProcessPlan, stop_leftover
from connector.telemetry.reading import hold_ups

_log = logging.getLogger(__name__)

_PROBE_STARTING = 0.1
_PROBE_READY = 1.0


@dataclass(frozen=True, kw_only=True)
class Program:
    """One process to keep running."""

    name: str
    """Unique among the supervised; names its log and pid file."""
    argv: Sequence[str]
    """The program by absolute path, then its arguments."""
    env: Mapping[str, str]
    """Its whole environment."""
    ready_url: str | None = None
    """Answers 200 when it is ready; None: ready while it runs."""
    cwd: Path | None = None
    """Working directory; None: the log directory."""
    niceness: int = 0
    """0 to 19: how readily it leaves the CPU to others (nice(2))."""


class State(enum.StrEnum):
    """What a program is doing."""

    STARTING = "starting"
    """It runs and has not been ready since it was started."""
    READY = "ready"
    """It runs and its ready URL answered 200 at the last look."""
    UNREADY = "unready"
    """It runs, was ready, and is not now (it waits for something, or is in trouble)."""
    BACKING_OFF = "backing off"
    """It ended by itself and is started again after a pause."""
    STOPPING = "stopping"
    """It was asked to end."""
    STOPPED = "stopped"
    """It ended because it was asked to."""


@dataclass(frozen=True, kw_only=True)
class Status:
    """One program at one moment; also the event that tells of a change."""

    name: str
    state: State
    pid: int | None
    restarts: int
    """Times that it ended by itself since the supervisor was started."""
    detail: str
    """Why, for a person: the exit status and the pause, the answer of the ready URL."""
    log_file: Path


@dataclass(frozen=True, kw_only=True)
class RestartPolicy:
    """How long to wait before a program that ended is started again. Seconds."""

    first: float = 0.5
    limit: float = 30.0
    jitter: float = 0.2
    """Share of the pause by which it varies either way, so that programs that fell together do not rise together."""
    healthy_after: float = 20.0
    """A program that ran this long since it was first ready has no history."""

    def pause(self, failures: int, *, chance: float) -> float:
        """The pause before the restart after `failures` ≥ 1 in a row; `chance` in [0, 1)."""
        plain = min(self.limit, self.first * 2.0 ** min(failures - 1, 32))
        return plain * (1 + self.jitter * (2 * chance - 1))


class Supervisor:
    """Runs programs until it is stopped. Use it from the main thread (see `connector.embedded.process`).

    Standard output and error of a program go to `log_dir/NAME.log`. `on_change` is called on the event loop
    for every change, also when only the detail changed.
    """

    def __init__(
        self,
        programs: Sequence[Program],
        *,
        log_dir: Path,
        on_change: Callable[[Status], None] = lambda _status: None,
        policy: RestartPolicy = RestartPolicy(),
        chance: Callable[[], float] = random.random,
    ) -> None:
        if len({program.name for program in programs}) != len(programs):
            raise ValueError("program names must be unique")
        self._log_dir = log_dir.absolute()
        self._on_change = on_change
        self._policy = policy
        self._chance = chance
        self._lock = DirectoryLock(self._log_dir)
        self._changed = asyncio.Condition()
        self._watched = {program.name: _Watched(program, self._log_dir) for program in programs}
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def statuses(self) -> Mapping[str, Status]:
        """Every program as it is now, in the order given."""
        return {name: watched.status for name, watched in self._watched.items()}

    async def start(self) -> None:
        """Start every program and return; `wait_ready` waits. Leftovers of a crashed run are ended first."""
        self._lock.acquire()
        try:
            for watched in self._watched.values():
                await stop_leftover(watched.plan)
        except BaseException:
            self._lock.release()
            raise
        self._tasks = [
            asyncio.create_task(self._supervise(watched), name=f"supervise {name}")
            for name, watched in self._watched.items()
        ]

    async def wait_ready(self, name: str, *, timeout: float) -> None:
        """Return when the program is ready; after `timeout` seconds raise `EngineFailed` with its last lines."""
        watched = self._watched[name]
        try:
            async with asyncio.timeout(timeout), self._changed:
                await self._changed.wait_for(lambda: watched.status.state is State.READY)
        except TimeoutError:
            status = watched.status
            raise EngineFailed(
                f"{name} is not ready after {timeout:.0f} s: {status.state}"
                f"{f', {status.detail}' if status.detail else ''}",
                log_file=status.log_file,
                log_tail="\n".join(watched.process.log_since_start().splitlines()[-12:]),
                advice=f"read {status.log_file}",
            ) from None

    async def stop(self, *, timeout: float = 25.0) -> None:
        """Ask every program to end, at once; kill what still runs after `timeout` seconds."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        try:
            await asyncio.gather(
                *(self._stop(watched, timeout=timeout) for watched in self._watched.values())
            )
        finally:
            for watched in self._watched.values():
                watched.process.kill()
            self._lock.release()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def _stop(self, watched: _Watched, *, timeout: float) -> None:
        if watched.process.pid is not None:
            await self._change(watched, State.STOPPING)
            await watched.process.stop(timeout=timeout)
        code = watched.process.returncode
        await self._change(watched, State.STOPPED, detail="" if code is None else _said(code))

    async def _supervise(self, watched: _Watched) -> None:
        failures = 0
        async with httpx.AsyncClient(timeout=2.0, trust_env=False) as client:
            while True:
                watched.process = EngineProcess(watched.plan)
                watched.process.start()
                await self._change(watched, State.STARTING)
                healthy = await self._watch(watched, client)
                failures = 1 if healthy else failures + 1
                pause = self._policy.pause(failures, chance=self._chance())
                watched.restarts += 1
                code = watched.process.returncode
                ended = _said(code) if code is not None else "ended"
                watched.process.kill()  # reaped already: takes the pid file away
                await self._change(
                    watched, State.BACKING_OFF, detail=f"{ended}; it is started again in {pause:.1f} s"
                )
                await asyncio.sleep(pause)

    async def _watch(self, watched: _Watched, client: httpx.AsyncClient) -> bool:
        """Until it ends; whether it had been up and running for long enough to be called healthy."""
        ready_since: float | None = None
        while True:
            answer = await _probe(client, watched.program.ready_url)
            if watched.process.pid is None:
                break
            if answer is None:
                ready_since = time.monotonic() if ready_since is None else ready_since
                await self._change(watched, State.READY)
            else:
                state = State.STARTING if ready_since is None else State.UNREADY
                await self._change(watched, state, detail=answer)
            interval = _PROBE_STARTING if ready_since is None else _PROBE_READY
            if await watched.process.ended(timeout=interval):
                break
        return ready_since is not None and time.monotonic() - ready_since >= self._policy.healthy_after

    async def _change(self, watched: _Watched, state: State, *, detail: str = "") -> None:
        status = Status(
            name=watched.program.name,
            state=state,
            pid=watched.process.pid,
            restarts=watched.restarts,
            detail=detail,
            log_file=watched.plan.log_file,
        )
        if status == watched.status:
            return
        async with self._changed:
            watched.status = status
            self._changed.notify_all()
        try:
            self._on_change(status)
        except Exception:  # noqa: BLE001 - showing is not what keeps the programs running
            _log.exception("on_change failed", extra={"program": status.name, "state": status.state})


class _Watched:
    """What the supervisor knows of one program."""

    def __init__(self, program: Program, log_dir: Path) -> None:
        self.program = program
        self.plan = ProcessPlan(
            name=program.name,
            argv=program.argv,
            cwd=program.cwd or log_dir,
            log_file=log_dir / f"{program.name}.log",
            pid_file=log_dir / f"{program.name}.pid",
            env=program.env,
            # A program whose supervisor was killed has lost its engines too: nothing is left to end well.
            death_signal=KILL_SIGNAL,
            niceness=program.niceness,
        )
        self.process = EngineProcess(self.plan)
        self.restarts = 0
        self.status = Status(
            name=program.name,
            state=State.STOPPED,
            pid=None,
            restarts=0,
            detail="",
            log_file=self.plan.log_file,
        )


async def _probe(client: httpx.AsyncClient, url: str | None) -> str | None:
    """None when ready, else what it answered."""
    if url is None:
        return None
    try:
        response = await client.get(url)
    except httpx.HTTPError as error:
        return f"{url}: {type(error).__name__}"
    return None if response.status_code == 200 else _held_up_by(response)


def _held_up_by(response: httpx.Response) -> str:
    """Why it is not ready, in its own words where it is one of our roles."""
    try:
        return "; ".join(hold_ups(response.json()["parts"])) or "starting"
    except (ValueError, KeyError, TypeError):
        return f"{response.status_code}: {response.text[:200].strip()}"


def _said(code: int) -> str:
    return f"ended by signal {-code}" if code < 0 else f"ended with status {code}"
