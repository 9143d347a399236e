"""What a role says about itself: a state for each of its parts, and the HTTP endpoints that show it.

`/healthz`: the process answers. `/readyz`: every part does its work, or would if there were any. `/metrics`:
Prometheus. Waiting for a dependency is unready, visible and no reason to restart.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import structlog
import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from connector.settings import HealthSettings
from connector.telemetry import metrics

_log = structlog.get_logger(__name__)


class State(StrEnum):
    """Worst last; a part is in one state."""

    RUNNING = "running"
    STANDBY = "standby"  # a member of the group that got no partition: more replicas than partitions
    STARTING = "starting"
    WAITING = "waiting"
    STALLED = "stalled"
    STOPPED_LINE = "stopped_line"


_READY = frozenset({State.RUNNING, State.STANDBY})


@dataclass(frozen=True, kw_only=True, slots=True)
class Waiting:
    """A dependency that is away. `since`: seconds since the epoch."""

    since: float
    reason: str
    advice: str = ""


class StageHealth:
    """The health of one part of a role: a stage, its writer, a relay. Written by that part, read by HTTP.

    A stopped line outranks a stall, a stall outranks waiting, waiting outranks starting.
    """

    def __init__(self, part: str, *, clock: Callable[[], float] = time.time) -> None:
        self.part = part
        self.assignment: tuple[int, ...] | None = None
        self.lag: Mapping[int, int] = {}
        self.about: Mapping[str, Any] = {}
        """What this part works by, told as it is by `/readyz`."""
        self._clock = clock
        self._started = False
        self._waiting: dict[str, Waiting] = {}
        self._stops: dict[str, Waiting] = {}
        self._stalled: Waiting | None = None
        self._publish()

    @property
    def state(self) -> State:
        if self._stops:
            return State.STOPPED_LINE
        if self._stalled:
            return State.STALLED
        if self._waiting:
            return State.WAITING
        if not self._started:
            return State.STARTING
        return State.STANDBY if self.assignment == () else State.RUNNING

    @property
    def ready(self) -> bool:
        return self.state in _READY

    @property
    def is_held_up(self) -> bool:
        """Whether somebody else's failure explains why there is no progress."""
        return bool(self._waiting or self._stops)

    def starting(self) -> None:
        """The part is (again) not at work yet."""
        self._started = False
        self._publish()

    def running(self, *, assignment: Sequence[int] | None = None) -> None:
        """The part is at work. `assignment`: the partitions it holds, None when it is no consumer."""
        self._started = True
        if assignment is not None:
            self.assignment = tuple(sorted(assignment))
        self._publish()

    def waiting(self, dependency: str, *, reason: str, advice: str = "") -> None:
        """A dependency is away; the part tries again by itself."""
        before = self._waiting.get(dependency)
        if before is None:
            _log.warning("waiting", part=self.part, dependency=dependency, reason=reason, advice=advice)
        since = before.since if before else self._clock()
        self._waiting[dependency] = Waiting(since=since, reason=reason, advice=advice)
        self._publish()

    def recovered(self, dependency: str) -> None:
        """A dependency is back."""
        before = self._waiting.pop(dependency, None)
        if before is not None:
            seconds = round(self._clock() - before.since, 1)
            _log.info("dependency is back", part=self.part, dependency=dependency, seconds=seconds)
            self._publish()

    def line_stopped(self, *, reason: str, advice: str, by: str = "") -> None:
        """Nothing passes until a person acts; the log keeps what waits. `by` tells several stops apart."""
        before = self._stops.get(by)
        if before is None:
            _log.error("line stopped", part=self.part, reason=reason, advice=advice)
        since = before.since if before else self._clock()
        self._stops[by] = Waiting(since=since, reason=reason, advice=advice)
        self._publish()

    def line_resumed(self, *, by: str = "") -> None:
        """What stopped the line is repaired."""
        before = self._stops.pop(by, None)
        if before is not None:
            _log.info("line resumed", part=self.part, seconds=round(self._clock() - before.since, 1))
            self._publish()

    def stalled(self, *, reason: str, advice: str = "") -> None:
        """There is work and no progress, and no dependency explains it."""
        if self._stalled is None:
            _log.error("stalled", part=self.part, reason=reason, advice=advice)
        since = self._stalled.since if self._stalled else self._clock()
        self._stalled = Waiting(since=since, reason=reason, advice=advice)
        self._publish()

    def progressed(self) -> None:
        """There is progress again."""
        if self._stalled is not None:
            _log.info("progress again", part=self.part, seconds=round(self._clock() - self._stalled.since, 1))
            self._stalled = None
            self._publish()

    def snapshot(self) -> dict[str, Any]:
        """What `/readyz` shows of this part."""
        body: dict[str, Any] = {
            "part": self.part,
            "state": str(self.state),
            "ready": self.ready,
            **self.about,
        }
        if self.assignment is not None:
            body |= {"assignment": list(self.assignment), "lag": sum(self.lag.values())}
            body["lag_by_partition"] = {str(partition): lag for partition, lag in sorted(self.lag.items())}
        stopped = next(iter(self._stops.values()), None)
        for name, what in (("stopped", stopped), ("stalled", self._stalled)):
            if what is not None:
                body[name] = _describe(what)
        if self._waiting:
            body["waiting_for"] = {name: _describe(what) for name, what in sorted(self._waiting.items())}
        return body

    def _publish(self) -> None:
        present = self.state
        for state in State:
            metrics.HEALTH_STATE.labels(self.part, state).set(state is present)


def _describe(what: Waiting) -> dict[str, str]:
    since = datetime.fromtimestamp(what.since, UTC).isoformat(timespec="seconds")
    return {"since": since, "reason": what.reason, "advice": what.advice}


def create_health_app(parts: Sequence[StageHealth]) -> Starlette:
    """`/healthz`, `/readyz` and `/metrics` of the given parts."""

    async def healthz(_: Request) -> Response:
        return JSONResponse({"status": "alive", "parts": [part.snapshot() for part in parts]})

    async def readyz(_: Request) -> Response:
        ready = all(part.ready for part in parts)
        body = {"status": "ready" if ready else "not ready", "parts": [part.snapshot() for part in parts]}
        return JSONResponse(body, status_code=200 if ready else 503)

    async def show_metrics(_: Request) -> Response:
        return Response(generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    return Starlette(
        routes=[Route("/healthz", healthz), Route("/readyz", readyz), Route("/metrics", show_metrics)]
    )


async def serve_health(
    settings: HealthSettings,
    parts: StageHealth | Sequence[StageHealth],
    *,
    stop: asyncio.Event,
    listening: Callable[[int], None] | None = None,
) -> None:
    """Serve until `stop`. `listening` is told the port, which matters when the setting is 0.

    Raises `OSError` when the port is taken.
    """
    parts = [parts] if isinstance(parts, StageHealth) else parts
    config = uvicorn.Config(
        create_health_app(parts),
        log_config=None,
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    # uvicorn's own start binds, takes over the signals and exits the process on failure; none of that here.
    socket = await asyncio.to_thread(_bind, settings)
    port: int = socket.getsockname()[1]
    _log.info("health endpoint", host=settings.host, port=port)
    if listening is not None:
        listening(port)
    serving = asyncio.create_task(server._serve([socket]))  # noqa: SLF001 - serve() without the signal handlers
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
        server.should_exit = True
        await serving
        socket.close()


def _bind(settings: HealthSettings) -> Any:
    import socket

    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((settings.host, settings.port))
    except OSError:
        bound.close()
        raise
    return bound
