"""WhatsApp as a server: the Graph API that a business calls, and the webhooks that Meta sends.

The Graph side is in `graph` and `media`, what people do on request in `acts`; `/_sandbox/faults`, `journal` and
`reset` are as for every simulator, `GET /_sandbox/whatsapp/state` shows people, messages sent, templates and files.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from connector.sandbox.control import control_routes
from connector.sandbox.faults import FaultPlan
from connector.sandbox.gateway import Gateway
from connector.sandbox.journal import Journal
from connector.sandbox.whatsapp.acts import Acts, not_valid
from connector.sandbox.whatsapp.business import Business
from connector.sandbox.whatsapp.config import WhatsAppConfig
from connector.sandbox.whatsapp.graph import GraphApp
from connector.sandbox.whatsapp.media import GraphMedia
from connector.sandbox.whatsapp.payloads import Update
from connector.sandbox.whatsapp.sender import WebhookSender


class WhatsAppSandbox:
    """A simulated WhatsApp. Without a `sender` it takes messages and tells nobody what became of them.

    `clock` gives Unix seconds: windows, limits and the files' lives follow it; statuses come in real time.
    """

    def __init__(
        self,
        sender: WebhookSender | None = None,
        *,
        config: WhatsAppConfig | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.sender = sender
        self._clock = clock
        self.business = Business(config or WhatsAppConfig(), clock=clock)
        self.media = GraphMedia(
            clock=clock, accepts=lambda token: token in self.business.config.access_tokens
        )
        self.journal = Journal(clock=clock)
        self.faults = FaultPlan()
        self._gateway = Gateway(self._graph(), journal=self.journal, faults=self.faults)
        self._running: set[asyncio.Task[None]] = set()
        acts = Acts(
            business=lambda: self.business,
            sender=sender,
            deliver=self.deliver,
            under_way=lambda: len(self._running),
        )
        self.app = Starlette(
            routes=[
                *acts.routes,
                *control_routes(
                    journal=self.journal,
                    faults=self.faults,
                    reset=self.reset,
                    state=self.state,
                    state_path="/_sandbox/whatsapp/state",
                ),
                Route("/{path:path}", _Everything(self._gateway)),
            ],
            exception_handlers={ValidationError: not_valid},
        )

    async def aclose(self) -> None:
        """Stop delivering, end stalls, and close the connections."""
        self._gateway.release()
        await self._cancel()
        if self.sender is not None:
            await self.sender.aclose()

    def reset(self, changes: dict[str, Any] | None = None) -> None:
        """Start over with strangers only; `changes` are fields of WhatsAppConfig that change for good.

        Raises:
            pydantic.ValidationError: a field is unknown or its value not valid; nothing was changed.

        """
        config = WhatsAppConfig.model_validate({**self.business.config.model_dump(), **(changes or {})})
        self.business = Business(config, clock=self._clock)
        self.media.clear()
        self.journal.clear()
        self.faults.clear(seed=config.seed)
        for task in self._running:
            task.cancel()
        self._gateway.simulator = self._graph()

    def state(self) -> dict[str, Any]:
        """Return people, accepted messages, templates and files."""
        files = self.media.files.values()
        return {
            **self.business.state(),
            "files": [{"id": file.id, "size": file.size, "downloads": file.downloads} for file in files],
        }

    def deliver(self, updates: Sequence[Update], *, base_url: str) -> None:
        """Deliver updates in the background: files get a content, windows open, people are met."""
        if self.sender is None:
            return
        shown = [self.media.published(update, base_url=base_url) for update in updates]
        for update in shown:
            self.business.heard(update)
        self._spawn(shown, after=0.0)

    def _graph(self) -> GraphApp:
        return GraphApp(self.business, media=self.media, outcome=self._tell)

    def _tell(self, outcome: Sequence[tuple[float, Update]]) -> None:
        """Deliver what became of an accepted message, each status in its time."""
        if self.sender is not None:
            for after, update in outcome:
                self._spawn([update], after=after)

    def _spawn(self, updates: Sequence[Update], *, after: float) -> None:
        task = asyncio.create_task(self._deliver(updates, after=after))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _deliver(self, updates: Sequence[Update], *, after: float) -> None:
        assert self.sender is not None
        await asyncio.sleep(after)
        await self.sender.deliver(updates)

    async def _cancel(self) -> None:
        running = list(self._running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


class _Everything:
    """An ASGI application, so that Starlette passes every method and leaves the answer alone."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._gateway(scope, receive, send)
