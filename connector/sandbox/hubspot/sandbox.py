"""The HubSpot simulator, complete: portal, journal, faults and its ASGI application."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from starlette.applications import Starlette
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from connector.sandbox.control import control_routes, refuse_others
from connector.sandbox.courier import Courier
from connector.sandbox.faults import FaultPlan
from connector.sandbox.gateway import Gateway
from connector.sandbox.hubspot.acts import HubSpotActs
from connector.sandbox.hubspot.app import HubSpotApp
from connector.sandbox.hubspot.config import HubSpotConfig
from connector.sandbox.hubspot.portal import Portal
from connector.sandbox.hubspot.webhooks import WebhookFeed
from connector.sandbox.hubspot.workflows import Workflows
from connector.sandbox.journal import Journal

LIMITS = frozenset({"burst_limit", "association_limit", "search_limit", "daily_limit", "retry_after"})


class HubSpotSandbox:
    """A simulated HubSpot. Tests may use `portal`, `workflows`, `journal` and `faults` directly, in-process.

    With a `courier` it runs workflow actions and sends webhooks. `clock` gives Unix seconds; search lag, rate limits
    and the ends of workflow actions follow it.
    """

    def __init__(
        self,
        config: HubSpotConfig | None = None,
        *,
        courier: Courier | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._clock = clock
        self.journal = Journal(clock=clock)
        self.faults = FaultPlan()
        self.portal = Portal(config or HubSpotConfig(), clock=clock)
        self.workflows: Workflows | None = None
        self.feed: WebhookFeed | None = None
        if courier is not None:
            self.workflows = Workflows(courier, portal=lambda: self.portal, clock=clock)
            self.feed = WebhookFeed(courier, config=lambda: self.portal.config, clock=clock)
            self.portal.contacts.on_event = self.feed.heard
        acts = HubSpotActs(
            portal=lambda: self.portal, courier=courier, workflows=self.workflows, feed=self.feed
        )
        self._gateway = Gateway(HubSpotApp(self.portal), journal=self.journal, faults=self.faults)
        routes = control_routes(
            journal=self.journal,
            faults=self.faults,
            reset=self.reset,
            state=self.state,
            state_path="/_sandbox/hubspot/state",
            change_limits=self.change_limits,
        )
        self.app = Starlette(routes=[*acts.routes, *routes, Route("/{path:path}", _Everything(self))])

    def reset(self, changes: dict[str, Any] | None = None) -> None:
        """Start over with an empty portal; `changes` are fields of HubSpotConfig that change for good.

        Raises:
            pydantic.ValidationError: a field is unknown or its value not valid; nothing was changed.

        """
        config = HubSpotConfig.model_validate({**self.portal.config.model_dump(), **(changes or {})})
        self.portal = Portal(config, clock=self._clock)
        if self.feed is not None:
            self.feed.clear()
            self.portal.contacts.on_event = self.feed.heard
        self.journal.clear()
        self.faults.clear(seed=config.seed)
        self._gateway.simulator = HubSpotApp(self.portal)

    def change_limits(self, changes: dict[str, Any]) -> None:
        """Change limits and keep everything else. `changes` are fields of HubSpotConfig.

        Raises:
            pydantic.ValidationError: a field is unknown or its value not valid; nothing was changed.
            ValueError: a field is no limit.

        """
        refuse_others(changes, LIMITS)
        config = HubSpotConfig.model_validate({**self.portal.config.model_dump(), **changes})
        self.portal.config = config
        self.portal.limits.change(config)

    def state(self) -> dict[str, Any]:
        """Return every record, as `Portal.state` does."""
        return self.portal.state()

    def release(self) -> None:
        """End every stall, for the server to stop."""
        self._gateway.release()

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request of the API."""
        await self._gateway(scope, receive, send)
        if self.feed is not None:
            self.feed.flush()


class _Everything:
    """An ASGI application, so that Starlette passes every method and leaves the answer alone."""

    def __init__(self, sandbox: HubSpotSandbox) -> None:
        self._sandbox = sandbox

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._sandbox.serve(scope, receive, send)
