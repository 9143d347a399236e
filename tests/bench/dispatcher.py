"""Sends a second of one dispatcher, against a simulated WhatsApp of 60 ms in a process of its own.

The number may send 1,000 a second; the log is a list, so that what is measured is claims, verdicts, requests and results on
a real PostgreSQL. `sends.py` runs it.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from dispatch_world import DispatchWorld, dispatch_world

from connector.embedded.postgres import EmbeddedPostgres
from connector.sandbox.whatsapp import Number
from connector.settings import OutboundSettings
from connector.state.migrate import migrate

_LATENCY = {"kind": "latency", "seconds": 0.06}


_LOOK_EVERY = 0.1  # seconds; looking is part of what is measured


@dataclass(frozen=True, kw_only=True)
class Dispatched:
    """What sending so many took. `cpu`: seconds of this process; `states`: where the sends are at the end."""

    sends: int
    seconds: float
    cpu: float
    states: dict[str, int]
    requests: int
    """Messages that the simulator got."""

    @property
    def rate(self) -> float:
        """Sends a second."""
        return self.sends / self.seconds


async def dispatched(sends: int) -> Dispatched:
    """Admit a campaign, dispatch it, and wait until every send is accepted."""
    with tempfile.TemporaryDirectory() as folder:
        async with EmbeddedPostgres(Path(folder)) as postgres:
            url = await postgres.create_database("bench")
            await migrate(url)
            settings = OutboundSettings(us_marketing=True)
            async with dispatch_world(url, outbound=settings, numbers=[Number(throughput=1_000)]) as world:
                async with _Simulator() as base_url:
                    world.whatsapp_url = base_url
                    await world.campaign(sends)
                    began, cpu = time.perf_counter(), time.process_time()
                    async with world.dispatching():
                        await _until_accepted(world, sends)
                        took, used = time.perf_counter() - began, time.process_time() - cpu
                    requests = await asyncio.to_thread(_messages, base_url)
                return Dispatched(
                    sends=sends, seconds=took, cpu=used, states=dict(await world.states()), requests=requests
                )


async def _until_accepted(world: DispatchWorld, sends: int) -> None:
    async with asyncio.timeout(600):
        while (await world.states())["accepted"] < sends:
            await asyncio.sleep(_LOOK_EVERY)


class _Simulator:
    """`connector sandbox` as a process, with a latency on every send."""

    async def __aenter__(self) -> str:
        code = (
            "import asyncio\n"
            "from connector.sandbox import SandboxServer\n"
            "from connector.sandbox.whatsapp import Number, WhatsAppConfig\n"
            "async def main():\n"
            "    async with SandboxServer(whatsapp=WhatsAppConfig(numbers=[Number(throughput=1000)])) as server:\n"
            "        print(server.whatsapp_url, flush=True)\n"
            "        await asyncio.Event().wait()\n"
            "asyncio.run(main())\n"
        )
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE
        )
        assert self._process.stdout is not None
        url = (await self._process.stdout.readline()).decode().strip()
        await asyncio.to_thread(_post, f"{url}/_sandbox/faults", _LATENCY)
        return url

    async def __aexit__(self, *_: object) -> None:
        self._process.terminate()
        await self._process.wait()


def _post(url: str, document: object) -> None:
    request = urllib.request.Request(
        url, data=json.dumps(document).encode(), headers={"Content-Type": "application/json"}
    )
    urllib.request.urlopen(request, timeout=10).close()


def _messages(base_url: str) -> int:
    url = f"{base_url}/_sandbox/journal?path=*/messages&method=POST&status=200&limit=0"
    with urllib.request.urlopen(url, timeout=30) as answer:
        return int(json.load(answer)["matching"])
