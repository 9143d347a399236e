"""The roles: one a process, wired here and nowhere else."""

from __future__ import annotations

import asyncio
from importlib import import_module
from typing import Protocol, cast

from connector.settings import Settings

ROLES = {
    "ingress": "connector.roles.ingress",
    "route": "connector.roles.route",
    "sync-hubspot": "connector.roles.sync_hubspot",
    "sync-salesforce": "connector.roles.sync_salesforce",
    "media": "connector.roles.media",
    "outbound": "connector.roles.outbound",
}
"""Role → the module whose `run` is it."""


class Role(Protocol):
    """Runs until `stop` is set."""

    async def __call__(self, settings: Settings, *, stop: asyncio.Event) -> None: ...


def load_role(name: str) -> Role:
    """Import a role; only what it needs is loaded."""
    return cast("Role", import_module(ROLES[name]).run)
