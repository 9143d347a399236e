"""`connector up --sandbox` as a person runs it from a script: lines, a working loop, and a clean end."""

import asyncio
import json
import os
import re
import shlex
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from connector.embedded.ports import free_ports
from connector.sandbox.audit import CrmRecords, hubspot_records, salesforce_records


async def _run(*words: str, env: Mapping[str, str] | None = None) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "connector", *words),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **(env or {})},
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def _status_is_fine(settings: Path) -> None:
    """With the settings that `up` wrote every role, CRM and engine answers, and nothing is to be done."""
    text = await asyncio.to_thread(settings.read_text)
    lines = (shlex.split(line)[0].partition("=") for line in text.splitlines())
    code, out, err = await _run("status", "--json", env={name: value for name, _, value in lines})
    assert (code, err) == (0, ""), out
    seen = json.loads(out)
    assert {item["name"]: item["works"] for item in seen["dependencies"]} == dict.fromkeys(
        ["kafka", "postgresql", "hubspot", "salesforce"], True
    )
    assert {role["name"]: role["ready"] for role in seen["roles"]} == dict.fromkeys(
        ["ingress", "route", "sync-hubspot", "sync-salesforce", "media", "outbound"], True
    )
    assert all(group["members"] == 1 for group in seen["groups"])
    assert seen["advice"] == []


async def _until_has(
    url: str, read: Callable[[Mapping[str, Any]], CrmRecords], state: str, wamid: str
) -> CrmRecords:
    async with httpx.AsyncClient(base_url=url, timeout=10) as crm, asyncio.timeout(60):
        while True:
            found = read((await crm.get(state)).json())
            if any(message.wamid == wamid for message in found.messages):
                return found
            await asyncio.sleep(0.1)


@pytest.mark.timeout(240)
async def test_up_says_where_everything_is_and_stops_on_a_signal(tmp_path: Path) -> None:
    """A message posted by `connector trigger` reaches both simulated CRMs; SIGINT ends everything with 0."""
    (port,) = free_ports(1)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "connector", "up", "--sandbox"),
        *("--data-dir", str(tmp_path), "--port", str(port)),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        assert process.stdout is not None
        said = ""
        async with asyncio.timeout(120):
            while "next: connector trigger" not in said:
                line = (await process.stdout.readline()).decode()
                assert line, f"it ended: {said}"
                said += line
        for role in ("sandbox", "ingress", "route", "sync-hubspot", "sync-salesforce", "media"):
            assert re.search(rf"^{role} +ready", said, re.MULTILINE), said
        urls = dict(re.findall(r"^(webhooks|hubspot|salesforce) +(http\S+)", said, re.MULTILINE))
        code, out, err = await _run(
            *(
                "trigger",
                "inbound.text",
                "--json",
                "--url",
                urls["webhooks"],
                "--secret",
                "sandbox-app-secret",
            )
        )
        assert (code, err) == (0, "")
        wamid = json.loads(out)["posted"][0]["id"]
        hubspot = await _until_has(urls["hubspot"], hubspot_records, "/_sandbox/hubspot/state", wamid)
        salesforce = await _until_has(
            urls["salesforce"], salesforce_records, "/_sandbox/salesforce/state", wamid
        )
        assert (hubspot.people, salesforce.people) == (1, 1)
        await _status_is_fine(tmp_path / "connector.env")
        process.send_signal(signal.SIGINT)
        rest, _ = await asyncio.wait_for(process.communicate(), 60)
        assert process.returncode == 0, rest.decode()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
