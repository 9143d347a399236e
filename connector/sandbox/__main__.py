"""Run the simulators as a process: `python -m connector.sandbox --hubspot-port 8701`.

Prints one line of JSON with their URLs once they answer, and runs until SIGTERM or SIGINT.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys

from pydantic import ValidationError

from connector.sandbox.hubspot.config import HubSpotConfig
from connector.sandbox.salesforce.config import SalesforceConfig
from connector.sandbox.server import SandboxServer
from connector.sandbox.whatsapp.sender import RetrySchedule, Weather, WebhookSender


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m connector.sandbox", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--hubspot-port", type=int, default=0, help="0 takes a free port (default)")
    parser.add_argument("--hubspot-config", default="{}", help="fields of HubSpotConfig as a JSON object")
    parser.add_argument("--salesforce-port", type=int, default=0, help="0 takes a free port (default)")
    parser.add_argument(
        "--salesforce-config", default="{}", help="fields of SalesforceConfig as a JSON object"
    )
    parser.add_argument("--whatsapp-port", type=int, default=0, help="0 takes a free port (default)")
    parser.add_argument(
        "--webhook-url", help="where WhatsApp's side delivers; without it there is no WhatsApp side"
    )
    parser.add_argument(
        "--app-secret", default="sandbox-app-secret", help="signs the webhooks (default: %(default)s)"
    )
    parser.add_argument("--batch", type=int, default=1, help="most updates in one webhook")
    parser.add_argument("--duplicate", type=float, default=0.0, help="chance of a repeated webhook")
    parser.add_argument("--disorder", type=int, default=0, help="places an update may move from its turn")
    parser.add_argument("--speed", type=float, default=1.0, help="how much faster repetitions come")
    return parser.parse_args()


def _sender(arguments: argparse.Namespace) -> WebhookSender | None:
    if not arguments.webhook_url:
        return None
    return WebhookSender(
        url=arguments.webhook_url,
        app_secret=arguments.app_secret,
        weather=Weather(batch=arguments.batch, duplicate=arguments.duplicate, disorder=arguments.disorder),
        retries=RetrySchedule(speed=arguments.speed),
    )


async def _run(arguments: argparse.Namespace, hubspot: HubSpotConfig, salesforce: SalesforceConfig) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    server = SandboxServer(
        hubspot=hubspot,
        salesforce=salesforce,
        sender=_sender(arguments),
        host=arguments.host,
        hubspot_port=arguments.hubspot_port,
        salesforce_port=arguments.salesforce_port,
        whatsapp_port=arguments.whatsapp_port,
    )
    async with server:
        urls = {
            "hubspot_url": server.hubspot_url,
            "salesforce_url": server.salesforce_url,
            "whatsapp_url": server.whatsapp_url,
        }
        sys.stdout.write(json.dumps(urls) + "\n")
        sys.stdout.flush()
        await stop.wait()


def main() -> int:
    """Run until asked to stop; 2 when the command line is wrong, 1 when a port is taken."""
    arguments = _arguments()
    try:
        hubspot = HubSpotConfig.model_validate_json(arguments.hubspot_config)
        salesforce = SalesforceConfig.model_validate_json(arguments.salesforce_config)
    except ValidationError as error:
        name = "salesforce" if error.title == SalesforceConfig.__name__ else "hubspot"
        sys.stderr.write(f"--{name}-config is not valid:\n{error}\n")
        return 2
    try:
        asyncio.run(_run(arguments, hubspot, salesforce))
    except OSError as error:
        sys.stderr.write(
            f"the simulators could not listen: {error}. Choose other ports, or 0 for free ones.\n"
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
