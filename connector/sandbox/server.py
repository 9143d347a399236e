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

from connector.sandbox.gateway import ResettableProtocol
from connector.sandbox.hubspot.config import HubSpotConfig
from connector.sandbox.hubspot.sandbox import HubSpotSandbox
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
    """The simulators, listening: HubSpot always, WhatsApp's webhook side when there is a `sender`.

    The sender belongs to the server from then on and is closed with it.

    >>> async with SandboxServer() as sandbox:
    ...     sandbox.hubspot_url
    """

    def __init__(
        self,
        *,
        hubspot: HubSpotConfig | HubSpotSandbox | None = None,
        sender: WebhookSender | None = None,
        host: str = "127.0.0.1",
        hubspot_port: int = 0,
        whatsapp_port: int = 0,
    ) -> None:
        self.hubspot = hubspot if isinstance(hubspot, HubSpotSandbox) else HubSpotSandbox(hubspot)
        self.whatsapp = None if sender is None else WhatsAppSandbox(sender)
        self._hubspot_listener = HttpListener(self.hubspot.app, host=host, port=hubspot_port)
        self._whatsapp_listener: HttpListener | None = None
        if self.whatsapp is not None:
            try:
                self._whatsapp_listener = HttpListener(self.whatsapp.app, host=host, port=whatsapp_port)
            except OSError:
                self._hubspot_listener.close()
                raise

    @property
    def hubspot_url(self) -> str:
        """Base URL of the HubSpot simulator: scheme, host and port."""
        return self._hubspot_listener.url

    @property
    def whatsapp_url(self) -> str | None:
        """Base URL of WhatsApp's control side; None without a sender."""
        return None if self._whatsapp_listener is None else self._whatsapp_listener.url

    async def __aenter__(self) -> Self:
        """Start listening."""
        await self._hubspot_listener.start()
        if self._whatsapp_listener is not None:
            await self._whatsapp_listener.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop, ending stalled requests and deliveries under way."""
        self.hubspot.release()
        if self.whatsapp is not None:
            await self.whatsapp.aclose()
        if self._whatsapp_listener is not None:
            await self._whatsapp_listener.stop()
        await self._hubspot_listener.stop()
