"""`connector up`: the whole stack on this machine, under one supervisor."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from pathlib import Path
from typing import Annotated

import typer

from connector.cli.output import out

DataDir = Annotated[Path, typer.Option("--data-dir", help="Kept between runs: Kafka, PostgreSQL, logs.")]


def up(
    sandbox: Annotated[
        bool, typer.Option("--sandbox", help="Start the CRM simulators, and use them.")
    ] = False,
    data_dir: DataDir = Path(".connector/up"),
    port: Annotated[int, typer.Option(help="The ingress listens here.")] = 8080,
) -> None:
    """Start Kafka, PostgreSQL and every role here; restart what dies; stop all on Ctrl-C."""
    asyncio.run(_up(sandbox=sandbox, data_dir=data_dir, port=port))


async def _up(*, sandbox: bool, data_dir: Path, port: int) -> None:
    from connector.embedded.deployment import LocalDeployment, SandboxOptions
    from connector.embedded.supervisor import Status
    from connector.settings import load_settings

    settings = load_settings()
    roles = ["ingress", "route"]
    if sandbox or settings.hubspot.enabled:
        roles.append("sync-hubspot")

    def changed(status: Status) -> None:
        detail = f": {status.detail}" if status.detail else ""
        out.print(f"{status.name:<14} {status.state}{detail}", markup=False)

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    deployment = LocalDeployment(
        data_dir,
        roles=roles,
        sandbox=SandboxOptions(hubspot={}) if sandbox else None,
        ingress_port=port,
        say=lambda text: out.print(text, markup=False),
        on_change=changed,
    )
    async with deployment:
        out.print(f"\nwebhooks  {deployment.ingress_url}/webhooks/whatsapp")
        if sandbox:
            out.print(f"hubspot   {deployment.hubspot_url}  (simulator)")
        out.print(f"logs      {deployment.log_dir}\nCtrl-C stops everything; the data is kept.\n")
        if not sandbox and len(roles) == 2:
            out.print(
                "No CRM is enabled: set CONNECTOR_HUBSPOT__ENABLED=true and its token, or use --sandbox."
            )
        watching = asyncio.create_task(
            deployment.stack.keep_running(lambda text: out.print(text, markup=False))
        )
        await stop.wait()
        out.print("stopping …")
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching
