"""`connector up`: the whole stack on this machine, under one supervisor."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shlex
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from connector.cli.output import out

if TYPE_CHECKING:
    from connector.embedded.deployment import LocalDeployment
    from connector.embedded.supervisor import Status
    from connector.settings import Settings

DataDir = Annotated[Path, typer.Option("--data-dir", help="Kept between runs: Kafka, PostgreSQL, logs.")]

_LOOK_EVERY = 1.0


def up(
    *,
    sandbox: Annotated[
        bool, typer.Option("--sandbox", help="Start the simulators of WhatsApp and both CRMs, and use them.")
    ] = False,
    data_dir: DataDir = Path(".connector/up"),
    port: Annotated[int, typer.Option(help="The ingress listens here.")] = 8080,
) -> None:
    """Start Kafka, PostgreSQL and every role here; restart what dies; stop all on Ctrl-C.

    On a terminal a live table shows state, lag, waiting items, rate and errors of each role.
    """
    asyncio.run(_up(sandbox=sandbox, data_dir=data_dir, port=port))


def _roles(settings: Settings, *, sandbox: bool) -> list[str]:
    roles = ["ingress", "route"]
    if sandbox or settings.hubspot.enabled:
        roles.append("sync-hubspot")
    if sandbox or settings.salesforce.enabled:
        roles.append("sync-salesforce")
    if sandbox or settings.whatsapp.access_token.get_secret_value():
        roles += ["media", "outbound"]
    return roles


def _line(status: Status) -> str:
    return f"{status.name:<16} {status.state}{f': {status.detail}' if status.detail else ''}"


async def _up(*, sandbox: bool, data_dir: Path, port: int) -> None:
    from connector.embedded.deployment import LocalDeployment, SandboxOptions
    from connector.settings import load_settings

    roles = _roles(load_settings(), sandbox=sandbox)
    on_board = False

    def say(text: str) -> None:
        out.print(text, markup=False)

    def changed(status: Status) -> None:
        if not on_board:  # the table shows it
            say(_line(status))

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    deployment = LocalDeployment(
        data_dir,
        roles=roles,
        sandbox=SandboxOptions() if sandbox else None,
        ingress_port=port,
        say=say,
        on_change=changed,
    )
    async with deployment:
        _introduce(deployment, sandbox=sandbox, has_crm=any(role.startswith("sync-") for role in roles))
        on_board = out.is_terminal
        watching: list[asyncio.Task[Any]] = [asyncio.create_task(deployment.stack.keep_running(say))]
        if on_board:
            watching.append(asyncio.create_task(_show_board(deployment)))
        await stop.wait()
        for task in watching:
            task.cancel()
        for task in watching:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        on_board = False
        say("stopping …")


def _introduce(deployment: LocalDeployment, *, sandbox: bool, has_crm: bool) -> None:
    out.print(f"\nwebhooks    {deployment.ingress_url}/webhooks/whatsapp")
    if sandbox:
        out.print(
            f"whatsapp    {deployment.whatsapp_url}  (simulator)\n"
            f"hubspot     {deployment.hubspot_url}  (simulator)\n"
            f"salesforce  {deployment.salesforce_url}  (simulator)"
        )
    out.print(f"logs        {deployment.log_dir}", markup=False)
    out.print(
        f'settings    set -a; . "{_write_settings(deployment)}"; set +a   (then connector status, trace … work here)'
    )
    out.print("Ctrl-C stops everything; the data is kept.\n")
    if sandbox:
        out.print(
            f"next: connector trigger inbound.text --url {deployment.ingress_url}/webhooks/whatsapp "
            "--secret sandbox-app-secret\n"
        )
    elif not has_crm:
        out.print(
            "No CRM is enabled: set CONNECTOR_HUBSPOT__ENABLED=true or CONNECTOR_SALESFORCE__ENABLED=true with its "
            "credential, or use --sandbox."
        )


def _write_settings(deployment: LocalDeployment) -> Path:
    """The deployment's CONNECTOR_* variables in a file that a shell can read, for the owner only: it has passwords."""
    file = deployment.log_dir.parent / "connector.env"
    env = {
        **deployment.env,
        "CONNECTOR_INGRESS__PORT": deployment.ingress_url.rsplit(":", 1)[1],
        "CONNECTOR_INGRESS__PUBLIC_URL": deployment.ingress_url,
        "CONNECTOR_HEALTH__ROLES": json.dumps(deployment.role_urls),
    }
    lines = [
        f"{name}={shlex.quote(value)}\n"
        for name, value in sorted(env.items())
        if name.startswith("CONNECTOR_")
    ]
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out_file:
        out_file.writelines(lines)
    return file


async def _show_board(deployment: LocalDeployment) -> None:
    """Keep the table current until cancelled; what is printed meanwhile goes above it."""
    import httpx
    from rich.live import Live

    from connector.cli.board import Watch, board

    supervisor = deployment.supervisor
    assert supervisor is not None
    with Live(console=out, auto_refresh=False) as live:
        async with httpx.AsyncClient(trust_env=False) as client:
            watch = Watch(client, deployment.role_urls)
            while True:
                live.update(board(await watch.look(supervisor.statuses)), refresh=True)
                await asyncio.sleep(_LOOK_EVERY)
