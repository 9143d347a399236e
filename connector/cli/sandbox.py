"""`connector sandbox`: the simulators of WhatsApp, HubSpot and Salesforce, in the foreground."""

from __future__ import annotations

import asyncio
import json
import shlex
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from connector.cli.output import JsonOption, out

if TYPE_CHECKING:
    from pydantic import BaseModel

    from connector.sandbox.server import SandboxServer

_Config = TypeVar("_Config", bound="BaseModel")

_PORT_HELP = "Port of this simulator; 0 takes a free one."
_CONFIG_HELP = "Its switches as a JSON object, see docs/sandbox.md."


def sandbox(
    *,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    hubspot_port: Annotated[int, typer.Option(help=_PORT_HELP)] = 8701,
    hubspot_config: Annotated[str, typer.Option(help=_CONFIG_HELP)] = "{}",
    salesforce_port: Annotated[int, typer.Option(help=_PORT_HELP)] = 8702,
    salesforce_config: Annotated[str, typer.Option(help=_CONFIG_HELP)] = "{}",
    whatsapp_port: Annotated[int, typer.Option(help=_PORT_HELP)] = 8703,
    whatsapp_config: Annotated[str, typer.Option(help=_CONFIG_HELP)] = "{}",
    webhook_url: Annotated[
        str | None,
        typer.Option(
            help="Where WhatsApp delivers, at an ingress that the CRMs call too; by default that of this machine's "
            "settings, '' nowhere."
        ),
    ] = None,
    batch: Annotated[int, typer.Option(min=1, max=1000, help="Most updates in one webhook.")] = 1,
    duplicate: Annotated[float, typer.Option(min=0, max=1, help="Chance of a repeated webhook.")] = 0.0,
    disorder: Annotated[int, typer.Option(min=0, help="Places an update may move from its turn.")] = 0,
    speed: Annotated[float, typer.Option(help="How much faster than Meta's the repetitions come.")] = 1.0,
    env_file: Annotated[
        Path | None, typer.Option("--env-file", help="Also write the variables to this file.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Run the simulators until Ctrl-C, and print the CONNECTOR_* variables that make a deployment use them."""
    from connector.errors import Terminal
    from connector.sandbox.courier import Courier
    from connector.sandbox.environment import sandbox_environment
    from connector.sandbox.hubspot.config import HubSpotConfig
    from connector.sandbox.retries import RetrySchedule
    from connector.sandbox.salesforce.config import SalesforceConfig
    from connector.sandbox.server import SandboxServer
    from connector.sandbox.whatsapp.config import WhatsAppConfig
    from connector.sandbox.whatsapp.sender import Weather, WebhookSender
    from connector.settings import load_settings

    hubspot = _config(HubSpotConfig, hubspot_config, option="--hubspot-config")
    salesforce = _config(SalesforceConfig, salesforce_config, option="--salesforce-config")
    whatsapp = _config(WhatsAppConfig, whatsapp_config, option="--whatsapp-config")
    ingress = load_settings().ingress
    own = f"http://{ingress.host}:{ingress.port}/webhooks/whatsapp"
    url = own if webhook_url is None else webhook_url
    public_url = ingress.public_url or (_origin(url) if url else "")

    async def serve() -> None:
        sender = courier = None
        if url:
            courier = Courier(url=_origin(url), public_url=public_url, speed=speed)
            sender = WebhookSender(
                url=url,
                app_secret=whatsapp.app_secret,
                weather=Weather(batch=batch, duplicate=duplicate, disorder=disorder),
                retries=RetrySchedule(speed=speed),
            )
        server = SandboxServer(
            hubspot=hubspot,
            salesforce=salesforce,
            whatsapp=whatsapp,
            sender=sender,
            courier=courier,
            host=host,
            hubspot_port=hubspot_port,
            salesforce_port=salesforce_port,
            whatsapp_port=whatsapp_port,
        )
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        async with server:
            environment = sandbox_environment(
                hubspot_url=server.hubspot_url,
                salesforce_url=server.salesforce_url,
                whatsapp_url=server.whatsapp_url,
                hubspot=hubspot,
                salesforce=salesforce,
                whatsapp=whatsapp,
            )
            if public_url:  # HubSpot's signatures are over it
                environment = {**environment, "CONNECTOR_INGRESS__PUBLIC_URL": public_url}
            if env_file is not None:
                await asyncio.to_thread(env_file.write_text, "".join(_lines(environment)), "utf-8")
            if as_json:
                _tell_programs(server, environment)
            else:
                _tell_people(server, environment, webhook_url=url, env_file=env_file)
            await stop.wait()

    try:
        asyncio.run(serve())
    except OSError as error:
        raise Terminal(
            f"The simulators could not listen: {error}. None of them runs.",
            advice="choose other ports with --hubspot-port, --salesforce-port and --whatsapp-port; 0 takes a free one",
        ) from error


def _config(model: type[_Config], text: str, *, option: str) -> _Config:
    from pydantic import ValidationError

    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        problems = [
            f"{'.'.join(map(str, item['loc'])) or 'the whole'}: {item['msg']}"
            for item in error.errors(include_url=False)
        ]
        raise typer.BadParameter("; ".join(problems), param_hint=option) from None


def _origin(url: str) -> str:
    """Scheme, host and port of a URL."""
    from urllib.parse import urlsplit

    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _lines(environment: Mapping[str, str]) -> list[str]:
    return [f"{name}={shlex.quote(value)}\n" for name, value in environment.items()]


def _tell_programs(server: SandboxServer, environment: Mapping[str, str]) -> None:
    """One line, flushed: a program waits for it to know that the simulators answer."""
    document = {
        "hubspot_url": server.hubspot_url,
        "salesforce_url": server.salesforce_url,
        "whatsapp_url": server.whatsapp_url,
        "environment": environment,
    }
    typer.echo(json.dumps(document))


def _tell_people(
    server: SandboxServer, environment: Mapping[str, str], *, webhook_url: str, env_file: Path | None
) -> None:
    out.print(
        f"hubspot     {server.hubspot_url}\nsalesforce  {server.salesforce_url}\nwhatsapp    {server.whatsapp_url}  "
        f"(webhooks go to {webhook_url or 'nobody'})\n\nA deployment uses them with these variables:\n"
    )
    typer.echo("".join(_lines(environment)))
    use = f"set -a; . {env_file}; set +a; " if env_file else "export them, then "
    out.print(
        f"next: {use}connector run ROLE. People act through {server.whatsapp_url}/_sandbox/whatsapp/events, faults "
        "through /_sandbox/faults of each (docs/sandbox.md). Ctrl-C stops the simulators; they keep nothing."
    )
