"""What the worker is measured against: loops that promise nothing, against the same light CRM in the same run."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import httpx
import httpx_aiohttp
import orjson
import uvicorn
from aiokafka import AIOKafkaConsumer
from bench_world import CALLS_IN_FLIGHT
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from connector.embedded.ports import free_ports

_CONTACTS = "/crm/objects/2026-09/contacts/batch/upsert"
_MESSAGES = "/crm/objects/2026-09/communications/batch/create"


async def raw_loop(*, bootstrap_servers: str, crm_url: str, count: int) -> float:
    """Events a second of `getmany` with two CRM calls for each hundred records, and no state at all."""
    consumer = AIOKafkaConsumer(
        "whatsapp.updates",
        bootstrap_servers=bootstrap_servers,
        auto_offset_reset="earliest",
        group_id=None,
    )
    await consumer.start()
    slots = asyncio.Semaphore(CALLS_IN_FLIGHT)
    seen = 0
    began = time.perf_counter()
    try:
        async with (
            httpx_aiohttp.HttpxAiohttpClient(base_url=crm_url, timeout=30) as client,
            asyncio.TaskGroup() as group,
        ):
            while seen < count:
                batches = await consumer.getmany(timeout_ms=1000, max_records=100)
                records = [record.value for batch in batches.values() for record in batch]
                seen += len(records)
                if records:
                    await slots.acquire()
                    group.create_task(_two_calls(client, records, slots))
    finally:
        await consumer.stop()
    return count / (time.perf_counter() - began)


async def _two_calls(client: httpx.AsyncClient, records: list[bytes], slots: asyncio.Semaphore) -> None:
    try:
        parsed = [orjson.loads(record) for record in records]
        people = [_person(item["event_id"][-16:]) for item in parsed]
        messages = [_message(str(item["update"])[:500]) for item in parsed]
        for path, inputs in ((_CONTACTS, people), (_MESSAGES, messages)):
            answer = await client.post(path, content=orjson.dumps({"inputs": inputs}))
            answer.raise_for_status()
            orjson.loads(answer.content)
    finally:
        slots.release()


async def inline_way(*, crm_url: str, count: int, at_once: int) -> float:
    """Events a second of a web handler that makes two CRM calls for each event before it answers."""
    async with httpx.AsyncClient(
        base_url=crm_url, timeout=30, limits=httpx.Limits(max_connections=at_once)
    ) as client:

        async def webhook(request: Request) -> Response:
            update = await request.json()
            await client.post(_CONTACTS, json={"inputs": [_person(update["id"])]})
            await client.post(_MESSAGES, json={"inputs": [_message(update["text"])]})
            return Response()

        port = free_ports(1)[0]
        app = Starlette(routes=[Route("/", webhook, methods=["POST"])])
        server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error"))
        serving = asyncio.create_task(server.serve())
        try:
            while not server.started:
                await asyncio.sleep(0.01)
            return await _post_all(f"http://127.0.0.1:{port}/", count=count, at_once=at_once)
        finally:
            server.should_exit = True
            await serving


async def _post_all(url: str, *, count: int, at_once: int) -> float:
    numbers = iter(range(count))
    async with httpx_aiohttp.HttpxAiohttpClient(timeout=30) as poster:

        async def poster_loop() -> None:
            for number in numbers:
                answer = await poster.post(url, json={"id": f"inline-{number}", "text": "hello"})
                answer.raise_for_status()

        began = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for _ in range(at_once):
                group.create_task(poster_loop())
        return count / (time.perf_counter() - began)


def _person(key: str) -> dict[str, Any]:
    return {"id": key, "idProperty": "whatsapp_contact_key", "properties": {"firstname": key}}


def _message(text: str) -> dict[str, Any]:
    return {
        "properties": {
            "hs_communication_channel_type": "WHATS_APP",
            "hs_communication_logged_from": "CRM",
            "hs_communication_body": text,
            "hs_timestamp": "2026-01-01T00:00:00Z",
        }
    }
