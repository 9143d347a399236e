"""A deployment that sends: what was asked of it, what WhatsApp took and refused, and what it says became of each send."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import asyncpg
import httpx

from connector.embedded.deployment import LocalDeployment, SandboxOptions
from connector.embedded.supervisor import RestartPolicy, State, Supervisor
from connector.sandbox.environment import TRIGGER_CLIENT
from connector.sandbox.whatsapp.templates import Template

MOST_RECIPIENTS = 1_000
"""In one call of POST /triggers/templates or /triggers/consent."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """One send that was answered 202."""

    send_id: str
    trigger_id: str
    phone: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Taken:
    """One message as WhatsApp's journal has it: accepted, or refused with a code."""

    send_id: str
    phone_number_id: str
    phone: str
    """Digits."""
    at: float
    """Unix seconds of WhatsApp's clock, which is this machine's."""
    code: int = 0
    """0: accepted."""

    @property
    def phone_e164(self) -> str:
        """As it was asked for."""
        return f"+{self.phone}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Journal:
    """What WhatsApp was sent, in its order."""

    accepted: Sequence[Taken]
    refused: Sequence[Taken]


def phone(place: int) -> str:
    """A mobile phone of somebody in Germany, E.164: up to ten million of them."""
    return f"+49151{20_000_000 + place}"


def number(place: int, **fields: Any) -> dict[str, Any]:
    """A business number of the simulated portfolio."""
    known = {
        "id": f"10654063916{place:04d}",
        "display_phone_number": f"+1 555-078-{4000 + place}",
        "messaging_limit": "TIER_UNLIMITED",
    }
    return known | fields


class Campaigns:
    """One running deployment with a simulated WhatsApp."""

    def __init__(self, deployment: LocalDeployment, *, seed: int) -> None:
        self.deployment = deployment
        self.seed = seed
        self.asked: dict[str, Asked] = {}
        self._keys = count()
        self._people = count()
        secret = str(TRIGGER_CLIENT["secret"])
        self._ingress = httpx.AsyncClient(
            base_url=deployment.ingress_url, timeout=30, headers={"Authorization": f"Bearer {secret}"}
        )
        self._whatsapp = httpx.AsyncClient(base_url=deployment.whatsapp_url, timeout=120)

    async def close(self) -> None:
        """Close the connections."""
        await self._ingress.aclose()
        await self._whatsapp.aclose()

    # What is asked for

    def strangers(self, people: int) -> list[str]:
        """Phones of so many people of whom nobody has heard."""
        return [phone(next(self._people)) for _ in range(people)]

    async def ask(
        self,
        phones: Sequence[str],
        *,
        template: str = "order_shipped",
        parameters: Mapping[str, Any] | None = None,
        sender: str = "",
    ) -> list[Asked]:
        """Ask for a template to each of them, in as few calls as may be; each with an order number of its own."""
        found: list[Asked] = []
        for begin in range(0, len(phones), MOST_RECIPIENTS):
            part = phones[begin : begin + MOST_RECIPIENTS]
            recipients = [
                {
                    "to": {"phone": one},
                    "parameters": parameters or {"1": "Ana", "2": f"#{len(self.asked) + place}"},
                }
                for place, one in enumerate(part)
            ]
            body: dict[str, Any] = {
                "template": {"name": template, "language": "en_US"},
                "recipients": recipients,
            }
            answer = await self._post("/triggers/templates", body | ({"from": sender} if sender else {}))
            asked = [
                Asked(send_id=item["send_id"], trigger_id=answer["trigger_id"], phone=one)
                for item, one in zip(answer["recipients"], part, strict=True)
            ]
            self.asked |= {one.send_id: one for one in asked}
            found += asked
        return found

    async def consent(self, phones: Sequence[str], state: str, *, purpose: str = "marketing") -> None:
        """These people agreed to it on a form, or refused it there."""
        for begin in range(0, len(phones), MOST_RECIPIENTS):
            acts = [
                {
                    "to": {"phone": one},
                    "purpose": purpose,
                    "state": state,
                    "at": datetime.now(UTC).isoformat(),
                    "by_person": True,
                    "evidence": "form 7",
                }
                for one in phones[begin : begin + MOST_RECIPIENTS]
            ]
            await self._post("/triggers/consent", {"acts": acts})

    async def _post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Until it is answered 202; again under the same key."""
        headers = {"Idempotency-Key": f"chaos-{self.seed}-{next(self._keys)}"}
        async with asyncio.timeout(120):
            while True:
                answer = await self._ingress.post(path, json=body, headers=headers)
                if answer.status_code == 202:
                    document: dict[str, Any] = answer.json()
                    return document
                assert answer.status_code >= 500, answer.text
                await asyncio.sleep(0.5)

    async def fates(self) -> dict[str, dict[str, Any]]:
        """Send → what the connector says of it, as the caller is told by GET /triggers/{trigger_id}."""
        found: dict[str, dict[str, Any]] = {}
        for trigger_id in dict.fromkeys(one.trigger_id for one in self.asked.values()):
            answer = await self._ingress.get(f"/triggers/{trigger_id}")
            if answer.status_code == 200:
                found |= {item["send_id"]: item for item in answer.json()["recipients"]}
        return found

    # WhatsApp

    async def journal(self) -> Journal:
        """All that it was sent until now."""
        state = (await self._whatsapp.get("/_sandbox/whatsapp/state")).json()
        return Journal(
            accepted=[_taken(item, to=item["wa_id"] or "") for item in state["sent"]],
            refused=[_taken(item, to=item["to"].lstrip("+")) for item in state["refused"]],
        )

    async def messages(self, *, status: str = "") -> int:
        """How many messages it was sent until now; only those that were answered with this HTTP status."""
        counters = (await self._whatsapp.get("/_sandbox/journal", params={"since": 10**12})).json()[
            "counters"
        ]
        return sum(times for name, times in counters.items() if f"/messages {status}" in name)

    async def lost_answers(self) -> int:
        """Messages that it accepted, and whose answer was lost or spoilt."""
        asked: dict[str, str | int] = {"path": "*/messages", "limit": 100_000}
        calls = (await self._whatsapp.get("/_sandbox/journal", params=asked)).json()["calls"]
        return sum(1 for call in calls if call["effects"] and call["faults"])

    async def fault(self, **fault: Any) -> None:
        """Put a fault of `connector.sandbox.faults` in force."""
        answer = await self._whatsapp.post("/_sandbox/faults", json=fault)
        assert answer.status_code == 201, answer.text

    async def refuse(self, **refusal: Any) -> None:
        """Let messages meet an error of Meta's."""
        answer = await self._whatsapp.post("/_sandbox/whatsapp/refusals", json=refusal)
        assert answer.status_code == 201, answer.text

    async def says(self, phone: str, text: str) -> float:
        """Somebody writes to the first business number; Unix seconds just before."""
        at = time.time()
        event = {"from": {"wa_id": phone.lstrip("+")}, "text": text}
        answer = await self._whatsapp.post("/_sandbox/whatsapp/events", json=event)
        assert answer.status_code == 202, answer.text
        return at

    async def template(self, template: Template, *, announce: bool = True) -> float:
        """Meta reviews a template; Unix seconds just before. `announce`: else its webhook is lost."""
        at = time.time()
        answer = await self._whatsapp.post(
            "/_sandbox/whatsapp/templates",
            content=template.model_dump_json(),
            params={"announce": "yes" if announce else "no"},
        )
        assert answer.status_code == 202, answer.text
        return at

    # The tables, only to know when it is worth looking

    async def states(self) -> dict[str, int]:
        """State → how many sends; `silent`: unknown and not reported, `missing`: not admitted, `relay`: to be told."""
        connection = await asyncpg.connect(self.deployment.stack.database_url, timeout=30)
        try:
            rows = await connection.fetch(
                "SELECT state, count(*) AS sends FROM outbound.sends WHERE admitted_at IS NOT NULL GROUP BY state"
            )
            states = {row["state"]: int(row["sends"]) for row in rows}
            states["missing"] = len(self.asked) - sum(states.values())
            states["silent"] = int(
                await connection.fetchval(
                    "SELECT count(*) FROM outbound.sends WHERE state = 'unknown' AND settled_at IS NULL"
                )
            )
            states["relay"] = int(await connection.fetchval("SELECT count(*) FROM shared.outgoing"))
        finally:
            await connection.close()
        return states

    async def over(self, *, within: float, statuses: int = 1) -> bool:
        """Wait until nothing more becomes of any send by itself; whether that came to pass in time.

        `statuses`: how many WhatsApp is to tell of each, 0 or more; with 0 accepted ones are over.
        """
        open_states = _NOT_OVER if statuses else [name for name in _NOT_OVER if name != "accepted"]
        deadline = time.monotonic() + within
        while time.monotonic() < deadline:
            try:
                states = await self.states()
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
                states = {"missing": -1}
            if not any(states.get(name) for name in open_states):
                return True
            await asyncio.sleep(0.5)
        return False

    # Processes

    @property
    def supervisor(self) -> Supervisor:
        """Keeps the roles running."""
        assert self.deployment.supervisor is not None
        return self.deployment.supervisor

    @property
    def replicas(self) -> list[str]:
        """The processes of the role `outbound`."""
        return [name for name in self.deployment.role_urls if name.startswith("outbound")]

    def dispatchers(self) -> int:
        """How often a process got a number's lock, by the logs of all."""
        logs = [(self.deployment.log_dir / f"{name}.log").read_text("utf-8") for name in self.replicas]
        return sum(text.count("sends of a number are dispatched here") for text in logs)

    def kill(self, name: str) -> State | None:
        """`kill -9` of a process, if there is one now; what it was doing."""
        status = self.supervisor.statuses[name]
        if status.pid is None:
            return None
        try:
            os.kill(status.pid, signal.SIGKILL)
        except ProcessLookupError:
            return None
        return status.state


_NOT_OVER = ("missing", "queued", "held", "sending", "accepted", "silent", "relay")


def _taken(item: Mapping[str, Any], *, to: str) -> Taken:
    return Taken(
        send_id=item["callback_data"] or "",
        phone_number_id=item["phone_number_id"],
        phone=to,
        at=item["at"],
        code=item.get("code", 0),
    )


@asynccontextmanager
async def sending(
    data_dir: Path,
    *,
    seed: int,
    replicas: int,
    whatsapp: Mapping[str, object],
    env: Mapping[str, str] | None = None,
) -> AsyncIterator[Campaigns]:
    """Start ingress, route and so many replicas of outbound with a fresh WhatsApp; stop them at the end.

    There are no quiet hours, and no CRM: nobody is asked for, and nobody is told.
    """
    deployment = LocalDeployment(
        data_dir,
        roles=["ingress", "route", *["outbound"] * replicas],
        sandbox=SandboxOptions(whatsapp={"read_after": None, "delivered_after": None, **whatsapp}),
        env={
            "CONNECTOR_LOG__LEVEL": "INFO",
            "CONNECTOR_HUBSPOT__ENABLED": "false",
            "CONNECTOR_SALESFORCE__ENABLED": "false",
            "CONNECTOR_OUTBOUND__QUIET_FROM": "00:00",
            "CONNECTOR_OUTBOUND__QUIET_UNTIL": "00:00",
            **(env or {}),
        },
        policy=RestartPolicy(first=0.1, limit=0.5),
    )
    async with deployment:
        world = Campaigns(deployment, seed=seed)
        try:
            await _templates_known(deployment)
            yield world
        finally:
            await world.close()


async def _templates_known(deployment: LocalDeployment) -> None:
    connection = await asyncpg.connect(deployment.stack.database_url, timeout=30)
    try:
        async with asyncio.timeout(60):
            while not await connection.fetchval("SELECT count(*) FROM outbound.templates"):
                await asyncio.sleep(0.1)
    finally:
        await connection.close()
