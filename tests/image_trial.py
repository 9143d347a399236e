"""The image at work: every role and the simulators run from it, read-only and as nobody, beside a Kafka and a PostgreSQL.

`make image-trial` builds nothing and needs root and buildah: it unpacks the image, starts all roles from it with the
settings that docker/Dockerfile gives them, brings one message into both simulated CRMs and stops the roles by SIGTERM.
"""

import argparse
import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import httpx

from connector.embedded.deployment import SANDBOX_APP_SECRET, LocalDeployment, SandboxOptions
from connector.roles import ROLES
from connector.sandbox.audit import hubspot_records, salesforce_records
from connector.sandbox.whatsapp import payloads
from connector.sandbox.whatsapp.payloads import BusinessNumber, Person
from connector.sandbox.whatsapp.sender import WebhookSender

IN_IMAGE = Path(__file__).resolve().parents[1] / "docker" / "in_image.sh"
LONGEST_STOP = 25.0  # seconds; k8s/base gives 40 and a preStop of 5
_ARRIVAL = 60.0


@contextmanager
def unpacked(image: str) -> Iterator[Path]:
    """The image's files, as a folder."""
    container = _buildah("from", "--pull=never", image)
    try:
        yield Path(_buildah("mount", container))
    finally:
        _buildah("umount", container)
        _buildah("rm", container)


def _buildah(*words: str) -> str:
    return subprocess.run(["buildah", *words], check=True, capture_output=True, text=True).stdout.strip()


async def trial(root: Path, folder: Path) -> list[str]:
    """What went wrong."""
    media = folder / "media"
    media.mkdir(parents=True)
    os.chown(media, 10001, 10001)
    deployment = LocalDeployment(
        folder / "data",
        roles=list(ROLES),
        sandbox=SandboxOptions(),
        env={"CONNECTOR_MEDIA__STORE": "/var/lib/connector/media", "CONNECTOR_LOG__FORMAT": "json"},
        command=(str(IN_IMAGE), str(root), str(media), "connector"),
        say=lambda text: print(text, flush=True),
    )
    try:
        async with deployment:
            problems = await _message_arrives(deployment)
            problems += await _stops(deployment)
    finally:
        for log in sorted(deployment.log_dir.glob("*.log")):
            print(f"{log.stem}: {sum(1 for _ in log.open(errors='replace'))} lines in its log")
    return problems


async def _message_arrives(deployment: LocalDeployment) -> list[str]:
    ana = Person(name="Ana", wa_id="15551230001", bsuid="US.1180000000000001")
    update = payloads.text(
        ana,
        BusinessNumber(),
        message_id=payloads.wamid("15551230001", Random(1)),
        at=int(time.time()),
        body="From the image",
    )
    url = f"{deployment.ingress_url}/webhooks/whatsapp"
    waiting = {
        deployment.hubspot_url + "/_sandbox/hubspot/state": hubspot_records,
        deployment.salesforce_url + "/_sandbox/salesforce/state": salesforce_records,
    }
    async with WebhookSender(url=url, app_secret=SANDBOX_APP_SECRET) as sender, httpx.AsyncClient() as client:
        answer = await sender.post([update])
        if answer != 200:
            return [f"the webhook was answered {answer}"]
        deadline = time.monotonic() + _ARRIVAL
        while waiting and time.monotonic() < deadline:
            for state, read in list(waiting.items()):
                logged = read((await client.get(state)).json()).messages
                if any(message.wamid == update.wamid for message in logged):
                    print(f"there: {state}", flush=True)
                    del waiting[state]
            await asyncio.sleep(0.1)
    return [f"the message did not come to {state} within {_ARRIVAL:.0f} s" for state in waiting]


async def _stops(deployment: LocalDeployment) -> list[str]:
    assert deployment.supervisor is not None
    began = time.monotonic()
    await deployment.supervisor.stop(timeout=LONGEST_STOP + 5)
    seconds = time.monotonic() - began
    print(f"all stopped within {seconds:.1f} s", flush=True)
    problems = [
        f"{name}: {status.detail or status.state}"
        for name, status in deployment.supervisor.statuses.items()
        if status.restarts or status.detail != "ended with status 0"
    ]
    if seconds > LONGEST_STOP:
        problems.append(f"stopping took {seconds:.1f} s")
    return problems


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--image", required=True)
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="image trial "))
    try:
        with unpacked(arguments.image) as root:
            problems = asyncio.run(trial(root, folder))
    finally:
        shutil.rmtree(folder)
    for problem in problems:
        print(f"error {problem}")
    print("the image does not work" if problems else "the image works")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
