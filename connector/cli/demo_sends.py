"""The demo's other direction: a HubSpot workflow sends a template that is answered, and one that a STOP blocks."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from connector.cli.output import out

if TYPE_CHECKING:
    import httpx

    from connector.embedded.deployment import LocalDeployment
    from connector.sandbox.audit import LoggedMessage

_TIMEOUT = 30.0
_LOOK_EVERY = 0.05

ANA = {"wa_id": "5511987650001", "bsuid": "BR.1180000000000001", "name": "Ana Souza"}
LAYLA = {"bsuid": "AE.1180000000000002", "username": "layla.h", "name": "ليلى حداد"}


@dataclass(frozen=True, kw_only=True)
class PlayedSend:
    """What a workflow asked for, and what came of it."""

    person: str
    template: str
    branch: str
    """Where the workflow went: the outcome that it was told."""
    reason: str
    wanted: str
    timelines: Mapping[str, str]
    """CRM → the status of the message on the person's timeline."""
    answered: Sequence[str]
    """CRMs whose timeline shows the person's answer."""
    callback_id: str
    passed: bool
    send_id: str = ""
    explanation: str = ""
    """What `connector why` says about it."""


class Workflows:
    """Plays the two sends. `crms`: name → (what reads its timelines)."""

    def __init__(
        self,
        deployment: LocalDeployment,
        *,
        hubspot: httpx.AsyncClient,
        whatsapp: httpx.AsyncClient,
        crms: Mapping[str, Callable[[], Any]],
        say: Callable[[str], None],
    ) -> None:
        self._deployment = deployment
        self._hubspot = hubspot
        self._whatsapp = whatsapp
        self._crms = crms
        self._say = say

    async def play(self) -> list[PlayedSend]:
        """One template that is read and answered, one that the person's STOP forbids."""
        self._say("[bold]A HubSpot workflow sends Ana a template; she reads it and answers[/]")
        sent = await self._run(
            ANA,
            inputs={"template": "order_shipped", "language": "pt_BR", "parameters": "1=Ana\n2=#1042"},
            wanted="sent",
            status="read",
            answer="Obrigada! 💚",
        )
        self._say("[bold]Layla writes STOP; a workflow that still wants to write to her is told no[/]")
        await self._write(LAYLA, "STOP")
        record = await self._record(LAYLA)
        await self._until(lambda: self._property(record, "whatsapp_marketing_consent"), "denied")
        blocked = await self._run(
            LAYLA,
            inputs={"template": "order_shipped", "language": "ar", "parameters": "1=ليلى\n2=#1043"},
            wanted="blocked",
            status="failed",
        )
        answers = await asyncio.gather(*(self._why(item.callback_id) for item in (sent, blocked)))
        return [
            replace(item, send_id=send_id, explanation=explanation)
            for item, (send_id, explanation) in zip((sent, blocked), answers, strict=True)
        ]

    async def _run(
        self,
        person: Mapping[str, str],
        *,
        inputs: Mapping[str, str],
        wanted: str,
        status: str,
        answer: str = "",
    ) -> PlayedSend:
        begun = await self._hubspot.post(
            "/_sandbox/hubspot/workflows",
            json={"contacts": [await self._record(person)], "inputs": {**inputs, "purpose": ""}},
        )
        (callback_id,) = begun.json()["callback_ids"]
        known = {name: {item.wamid for item in await self._messages(name)} for name in self._crms}
        execution = await self._finished(callback_id)
        outputs = execution["outputs"]
        self._say(
            f"  [green]→[/] the workflow goes on: {execution['branch']}{_because(outputs.get('reason', ''))}"
        )
        wamid = outputs.get("message_id", "")
        timelines = {
            name: await self._logged(name, known[name], wamid=wamid, status=status) for name in self._crms
        }
        for name, message in timelines.items():
            if message is not None:
                self._say(f"  [green]→[/] {name:<10} outbound {message.status:<9} {message.text}")
        answered = await self._answered(person, answer) if answer else ()
        shown = {name: message.status if message else "missing" for name, message in timelines.items()}
        return PlayedSend(
            person=person["name"],
            template=inputs["template"],
            branch=execution["branch"],
            reason=outputs.get("reason", ""),
            wanted=wanted,
            timelines=shown,
            answered=answered,
            callback_id=callback_id,
            passed=execution["branch"] == wanted
            and set(shown.values()) == {status}
            and (not answer or set(answered) == set(self._crms)),
        )

    async def _record(self, person: Mapping[str, str]) -> str:
        """The person's record in HubSpot, once it is there."""
        deadline = time.monotonic() + _TIMEOUT
        while time.monotonic() < deadline:
            for contact in (await self._hubspot.get("/_sandbox/hubspot/state")).json()["contacts"]:
                if contact["properties"].get("whatsapp_bsuid") == person["bsuid"]:
                    return str(contact["id"])
            await asyncio.sleep(_LOOK_EVERY)
        return "0"

    async def _property(self, record_id: str, name: str) -> str:
        for contact in (await self._hubspot.get("/_sandbox/hubspot/state")).json()["contacts"]:
            if contact["id"] == record_id:
                return str(contact["properties"].get(name) or "")
        return ""

    async def _until(self, read: Callable[[], Any], value: str) -> bool:
        deadline = time.monotonic() + _TIMEOUT
        while await read() != value:
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(_LOOK_EVERY)
        return True

    async def _write(self, person: Mapping[str, str], text: str) -> str:
        """The person writes to the business; the message's id."""
        answer = await self._whatsapp.post(
            "/_sandbox/whatsapp/events", json={"from": dict(person), "text": text}
        )
        answer.raise_for_status()
        return str(answer.json()["wamid"])

    async def _finished(self, callback_id: str) -> dict[str, Any]:
        deadline = time.monotonic() + _TIMEOUT
        while True:
            shown = await self._hubspot.get(f"/_sandbox/hubspot/workflows/{callback_id}")
            execution: dict[str, Any] = shown.json()
            if execution["state"] not in ("running", "waiting") or time.monotonic() > deadline:
                return execution
            await asyncio.sleep(_LOOK_EVERY)

    async def _messages(self, crm: str) -> Sequence[LoggedMessage]:
        found: Sequence[LoggedMessage] = (await self._crms[crm]()).messages
        return found

    async def _logged(self, crm: str, known: set[str], *, wamid: str, status: str) -> LoggedMessage | None:
        """The message on the timeline, once it has its status: by its id, or the new one that was never sent."""
        deadline = time.monotonic() + _TIMEOUT
        found: LoggedMessage | None = None
        while time.monotonic() < deadline:
            for message in await self._messages(crm):
                if message.wamid not in known and (
                    message.wamid == wamid or (not wamid and message.wamid.startswith("send:"))
                ):
                    found = message
            if found is not None and found.status == status:
                break
            await asyncio.sleep(_LOOK_EVERY)
        return found

    async def _answered(self, person: Mapping[str, str], text: str) -> Sequence[str]:
        """Let the person answer; the CRMs that show it."""
        wamid = await self._write(person, text)
        waiting, deadline = set(self._crms), time.monotonic() + _TIMEOUT
        while waiting and time.monotonic() < deadline:
            for name in sorted(waiting):
                for message in await self._messages(name):
                    if message.wamid == wamid:
                        waiting.discard(name)
                        self._say(f"  [green]→[/] {name:<10} inbound  {message.status:<9} {message.text}")
            await asyncio.sleep(_LOOK_EVERY)
        return sorted(set(self._crms) - waiting)

    async def _why(self, callback_id: str) -> tuple[str, str]:
        """(send id, what `connector why` answers): the command itself, as a person would ask."""
        send_id = await self._send_id(callback_id)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "connector", "why", send_id, "--json"),
            env=self._deployment.env,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        answer, _ = await process.communicate()
        verdict = json.loads(answer)["verdict"] if answer else None
        return send_id, verdict["explanation"] if verdict else ""

    async def _send_id(self, callback_id: str) -> str:
        from connector.state.database import connect

        connection = await connect(self._deployment.stack.database_url)
        try:
            found: str | None = await connection.fetchval(
                "SELECT send_id FROM outbound.sends WHERE callback ->> 'callback_id' = $1", callback_id
            )
        finally:
            await connection.close()
        return found or "none"


def _because(reason: str) -> str:
    return f": {reason}" if reason else ""


def show_sends(sends: Sequence[Mapping[str, Any]]) -> None:
    """What became of each, and how to ask about it."""
    from connector.cli.output import print_table

    out.print()
    print_table(
        ["asked by a HubSpot workflow", "told", "HubSpot", "Salesforce", "answered in"],
        [
            [
                f"{item['template']} to {item['person']}",
                item["branch"] or "nothing",
                item["timelines"].get("HubSpot", ""),
                item["timelines"].get("Salesforce", ""),
                ", ".join(item["answered"]) or "-",
            ]
            for item in sends
        ],
    )
    for item in sends:
        out.print(f"$ connector why {item['send_id']}\n  {item['explanation']}", markup=False)


def documents(sends: Sequence[PlayedSend]) -> list[dict[str, Any]]:
    """As the summary has them."""
    return [asdict(item) for item in sends]
