"""Serving the simulators over HTTP, in-process or as a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Generator
from types import TracebackType
from typing import Self

import uvicorn
from starlette.applications import Starlette

from connector.sandbox.courier import Courier
from connector.sandbox.gateway import ResettableProtocol
from connector.sandbox.hubspot.config import HubSpotConfig
from connector.sandbox.hubspot.sandbox import HubSpotSandbox
from connector.sandbox.salesforce.config import SalesforceConfig
from connector.sandbox.salesforce.sandbox import SalesforceSandbox
from connector.sandbox.whatsapp.config import WhatsAppConfig
from connector.sandbox.whatsapp.sandbox import WhatsAppSandbox
from connector.sandbox.whatsapp.sender import WebhookSender


class _Server(uvicorn.Server):
    """uvicorn inside somebody else's event loop: signals stay theirs."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


class HttpListener:
    """One application on one port; port 0 takes a free one.

    The port is bound when the listener is made: a taken port raises OSError there and then.
    """

    def __init__(self, app: Starlette, *, host: str, port: int) -> None:
        self._socket = socket.create_server((host, port), backlog=512)
        bound = self._socket.getsockname()
        self.url = f"http://{bound[0]}:{bound[1]}"
        config = uvicorn.Config(
            app,
            http=ResettableProtocol,
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            # A simulator that hangs up on idle connections would add a fault that nobody asked for.
            timeout_keep_alive=75,
            timeout_graceful_shutdown=1,
        )
        self._server = _Server(config)
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Return once requests are answered.

        Raises:
            RuntimeError: the server stopped while starting.

        """
        self._task = asyncio.create_task(self._server.serve(sockets=[self._socket]))
        while not self._server.started:
            if self._task.done():
                await self._task
                msg = f"the simulator at {self.url} stopped while starting"
                raise RuntimeError(msg)
            await asyncio.sleep(0.005)

    async def stop(self) -> None:
        """Stop answering and give the port back."""
        self._server.should_exit = True
        if self._task is not None:
            await self._task
        self.close()

    def close(self) -> None:
        """Give the port back without having started."""
        self._socket.close()


class SandboxServer:
    """The simulators, listening: both CRMs and WhatsApp.

    WhatsApp delivers webhooks when there is a `sender`, the CRMs call the connector when there is a `courier`; both
    belong to the server from then on and are closed with it. A CRM that is given ready-made keeps the courier it has.

    >>> async with SandboxServer() as sandbox:
    ...     sandbox.hubspot_url
    """

    def __init__(
        self,
        *,
        hubspot: HubSpotConfig | HubSpotSandbox | None = None,
        salesforce: SalesforceConfig | SalesforceSandbox | None = None,
        whatsapp: WhatsAppConfig | None = None,
        sender: WebhookSender | None = None,
        courier: Courier | None = None,
        host: str = "127.0.0.1",
        hubspot_port: int = 0,
        salesforce_port: int = 0,
        whatsapp_port: int = 0,
    ) -> None:
        self.courier = courier
        self.hubspot = (
            hubspot if isinstance(hubspot, HubSpotSandbox) else HubSpotSandbox(hubspot, courier=courier)
        )
        self.salesforce = (
            salesforce
            if isinstance(salesforce, SalesforceSandbox)
            else SalesforceSandbox(salesforce, courier=courier)
        )
        self.whatsapp = WhatsAppSandbox(sender, config=whatsapp)
        wanted = [
            (self.hubspot.app, hubspot_port),
            (self.salesforce.app, salesforce_port),
            (self.whatsapp.app, whatsapp_port),
        ]
        self._listeners: list[HttpListener] = []
        try:
            for app, port in wanted:
                self._listeners.append(HttpListener(app, host=host, port=port))
        except OSError:
            for listener in self._listeners:
                listener.close()
            raise

    @property
    def hubspot_url(self) -> str:
        """Base URL of the HubSpot simulator: scheme, host and port."""
        return self._listeners[0].url

    @property
    def salesforce_url(self) -> str:
        """Base URL of the Salesforce simulator, login included: scheme, host and port."""
        return self._listeners[1].url

    @property
    def whatsapp_url(self) -> str:
        """Base URL of the Graph API, control side included: scheme, host and port."""
        return self._listeners[2].url

    async def __aenter__(self) -> Self:
        """Start listening."""
        for listener in self._listeners:
            await listener.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop, ending stalled requests and deliveries under way."""
        self.hubspot.release()
        self.salesforce.release()
        await self.whatsapp.aclose()
        if self.courier is not None:
            await self.courier.aclose()
        for listener in reversed(self._listeners):
            await listener.stop()
