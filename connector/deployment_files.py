"""Files of docker/ and k8s/ that follow from the code: `connector schemas --write` writes them, --check compares."""

from __future__ import annotations

from pathlib import Path

from connector.sandbox.environment import sandbox_environment
from connector.sandbox.hubspot.config import HubSpotConfig
from connector.sandbox.salesforce.config import SalesforceConfig
from connector.sandbox.whatsapp.config import WhatsAppConfig

_SANDBOX_HEAD = """\
# What `connector sandbox` at the host `sandbox` asks of a deployment. No secret is in here: they are the simulators' own.
# Written by `make schemas`.
"""


def rendered_deployment_files() -> dict[Path, str]:
    """Path in a checkout → content, deterministic."""
    return {
        Path("docker/sandbox.env"): _sandbox_env(ingress="http://ingress:8080"),
    }


def _sandbox_env(*, ingress: str) -> str:
    """NAME=value lines. Values are bare: Compose would take quotes away, kustomize would keep them."""
    environment = {
        **sandbox_environment(
            hubspot_url="http://sandbox:8701",
            salesforce_url="http://sandbox:8702",
            whatsapp_url="http://sandbox:8703",
            hubspot=HubSpotConfig(),
            salesforce=SalesforceConfig(),
            whatsapp=WhatsAppConfig(),
        ),
        "CONNECTOR_INGRESS__PUBLIC_URL": ingress,
    }
    return _SANDBOX_HEAD + "".join(f"{name}={value}\n" for name, value in environment.items())
