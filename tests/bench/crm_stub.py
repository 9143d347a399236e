"""A CRM that costs next to nothing: HubSpot's and Salesforce's answers to the calls we make, from one asyncio process.

The simulators of `connector.sandbox` check every rule of the CRMs, and their own CPU would be what a benchmark
measures. This one keeps records (so that a run can be judged), waits its latency, counts its calls, and can hold
HubSpot's ten-second quota. It refuses what would double a record: a unique message id that is taken.

    python tests/bench/crm_stub.py --port 8123
"""

from __future__ import annotations

import argparse
import asyncio
import re
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

import orjson
import uvloop

from connector.crm.hubspot.schema import COMMUNICATION_PROPERTIES, CONTACT_PROPERTIES, MESSAGE_ID_PROPERTY
from connector.crm.salesforce.schema import FIELDS

_LONG_AGO = "2026-01-01T00:00:00.000Z"
_WINDOW = 10.0  # seconds of HubSpot's rolling burst quota
_UUID = 36  # characters of our keys
_QUOTED = re.compile(r"'([^']*)'")
_IN = re.compile(r"(\w+) IN \(([^)]*)\)")

Answer = tuple[int, Any]


class Account:
    """The records of one CRM account, and what was asked of it."""

    def __init__(self) -> None:
        self.latency = 0.0
        self.quota: int | None = None
        self.refused = 0
        self.reset()

    def reset(self) -> None:
        """Forget records and counts; latency and quota stay."""
        self.calls: Counter[str] = Counter()
        self.first_call = self.last_call = 0.0
        self._recent: deque[float] = deque()
        self._next_id = 1000
        self.people: dict[str, dict[str, Any]] = {}
        self.messages: dict[str, dict[str, Any]] = {}
        self.by_key: dict[str, str] = {}
        self.by_wamid: dict[str, str] = {}
        self.written_at: dict[str, float] = {}

    def forget_references(self) -> None:
        """Drop what the reference loops wrote: messages without an id, and people under a short key."""
        self.messages = {name: self.messages[name] for name in self.by_wamid.values()}
        uuids = {key: name for key, name in self.by_key.items() if len(key) == _UUID}
        self.people = {name: self.people[name] for name in uuids.values()}
        self.by_key = uuids

    def new_id(self) -> str:
        """A record id."""
        self._next_id += 1
        return str(self._next_id)

    def drop_person(self, record_id: str) -> None:
        """Delete a person's record."""
        self.people.pop(record_id, None)
        self.by_key = {key: name for key, name in self.by_key.items() if name != record_id}

    def over_quota(self, now: float) -> bool:
        """Whether one more call within ten seconds is one too many."""
        if self.quota is None:
            return False
        while self._recent and self._recent[0] <= now - _WINDOW:
            self._recent.popleft()
        if len(self._recent) >= self.quota:
            self.refused += 1
            return True
        self._recent.append(now)
        return False

    def count(self, name: str, now: float) -> None:
        """Note a call."""
        self.calls[name] += 1
        if "batch" in name:  # not those that look at the properties, long before there is work
            self.first_call = self.first_call or now
            self.last_call = now


def hubspot(account: Account, method: str, target: str, body: Any) -> Answer:
    """Answer one call to HubSpot."""
    parts = target.partition("?")[0].split("/")  # "", crm, family, version, …
    if parts[2] == "properties":
        return _hubspot_property(method, parts)
    operation = "/".join(parts[4:])
    if operation.startswith("communications/contacts/batch/"):
        return 201, {
            "status": "COMPLETE",
            "results": [_hubspot_link(account, operation, item) for item in body["inputs"]],
        }
    inputs: list[dict[str, Any]] = body.get("inputs", []) if body else []
    if method == "GET" and len(parts) == 6 and parts[5] in account.people:
        return 200, {"id": parts[5], "properties": {}, "propertiesWithHistory": {}, "associations": {}}
    if operation == "contacts/batch/archive":
        for item in inputs:
            account.drop_person(item["id"])
        return 204, None
    if operation == "contacts/search":
        return 200, {"total": 0, "results": []}
    if operation in ("contacts/batch/upsert", "contacts/batch/update", "contacts/batch/create"):
        return 200, {"status": "COMPLETE", "results": [_hubspot_person(account, item) for item in inputs]}
    if operation == "communications/batch/create":
        return _hubspot_messages(account, inputs)
    if operation == "communications/batch/update":
        results = []
        for item in inputs:
            account.messages[item["id"]].update(item["properties"])
            account.written_at[item["id"]] = time.time()
            results.append(_hubspot_record(item["id"], item["properties"], item.get("objectWriteTraceId")))
        return 200, {"status": "COMPLETE", "results": results}
    if operation in ("contacts/batch/read", "communications/batch/read"):
        people = operation.startswith("contacts")
        index, records = (account.by_key, account.people) if people else (account.by_wamid, account.messages)
        names = [index.get(item["id"], item["id"]) for item in inputs]
        found = [_hubspot_record(name, records[name], None) for name in names if name in records]
        return 200, {"status": "COMPLETE", "results": found}
    return 404, {"status": "error", "category": "NOT_FOUND", "message": f"the stub has no {method} {target}"}


def _hubspot_property(method: str, parts: list[str]) -> Answer:
    if method != "GET":
        return 201, {}
    wanted = (
        CONTACT_PROPERTIES if parts[4] == "contacts" else (MESSAGE_ID_PROPERTY, *COMMUNICATION_PROPERTIES)
    )
    shown = [{**item.body(), "hasUniqueValue": item.unique} for item in wanted]
    if len(parts) == 5:
        return 200, {"results": shown}
    found = [item for item in shown if item["name"] == parts[5]]
    return (
        (200, found[0]) if found else (404, {"category": "OBJECT_NOT_FOUND", "message": "no such property"})
    )


def _hubspot_person(account: Account, item: Mapping[str, Any]) -> dict[str, Any]:
    properties = item["properties"]
    by_key = item.get("idProperty") is not None
    known = account.by_key.get(item["id"]) if by_key else item.get("id")
    record_id = known or account.new_id()
    account.people.setdefault(record_id, {}).update(properties)
    if by_key:
        account.by_key[item["id"]] = record_id
    return {
        **_hubspot_record(record_id, properties, item.get("objectWriteTraceId")),
        "new": known is None,
    }


def _hubspot_messages(account: Account, inputs: list[dict[str, Any]]) -> Answer:
    results, errors = [], []
    for item in inputs:
        properties = item["properties"]
        wamid = properties.get("whatsapp_message_id")
        trace = item.get("objectWriteTraceId")
        if wamid in account.by_wamid:
            errors.append(
                {
                    "status": "error",
                    "category": "CONFLICT",
                    "message": f"whatsapp_message_id {wamid} already has that value",
                    "context": {"objectWriteTraceId": [trace]},
                }
            )
            continue
        record_id = account.new_id()
        record = dict(properties)
        record["associations"] = [link["to"]["id"] for link in item.get("associations", ())]
        account.messages[record_id] = record
        account.written_at[record_id] = time.time()
        if wamid is not None:
            account.by_wamid[wamid] = record_id
        results.append(_hubspot_record(record_id, properties, trace))
    if errors:
        return 207, {"status": "COMPLETE", "results": results, "errors": errors, "numErrors": len(errors)}
    return 201, {"status": "COMPLETE", "results": results}


def _hubspot_link(account: Account, operation: str, item: Mapping[str, Any]) -> dict[str, Any]:
    """Hang a message on a contact, or take it away from some."""
    links: list[str] = account.messages[item["from"]["id"]]["associations"]
    if operation.endswith("create"):
        if item["to"]["id"] not in links:
            links.append(item["to"]["id"])
        return {"fromObjectId": item["from"]["id"], "toObjectId": item["to"]["id"], "labels": []}
    for to in item["to"]:
        if to["id"] in links:
            links.remove(to["id"])
    return {}


def _hubspot_record(record_id: str, properties: Mapping[str, Any], trace: str | None) -> dict[str, Any]:
    shown = {name: value for name, value in properties.items() if name != "associations"}
    record = {
        "id": record_id,
        "properties": {**shown, "hs_createdate": _LONG_AGO, "hs_lastmodifieddate": _LONG_AGO},
        "createdAt": _LONG_AGO,
        "updatedAt": _LONG_AGO,
        "archived": False,
    }
    return record if trace is None else {**record, "objectWriteTraceId": trace}


def salesforce(account: Account, method: str, target: str, body: Any) -> Answer:
    """Answer one call to Salesforce."""
    url = urlsplit(target)
    if url.path == "/services/oauth2/token":
        return 200, {
            "access_token": "stub",
            "instance_url": "https://stub.my.salesforce.com",
            "id": "https://login.salesforce.com/id/00D/005000000000001",
            "token_type": "Bearer",
        }
    parts = url.path.split("/")[4:]  # after /services/data/vXX.X/
    if parts[0] == "sobjects":
        return 200, {"fields": _describe(parts[1])}
    if parts[0] == "query":
        return 200, _select(account, parse_qs(url.query)["q"][0])
    if parts[:2] == ["composite", "sobjects"] and method == "PATCH":
        key = parts[3] if len(parts) > 3 else None
        return 200, [_salesforce_row(account, row, key) for row in body["records"]]
    return 404, [{"errorCode": "NOT_FOUND", "message": f"the stub has no {method} {target}"}]


def _describe(sobject: str) -> list[dict[str, Any]]:
    fields = [
        {
            "name": item.name,
            "type": "string",
            "length": item.length,
            "createable": True,
            "updateable": True,
            "externalId": item.key,
            "unique": item.key,
            "caseSensitive": item.key,
            "filterable": True,
        }
        for item in FIELDS[sobject]
    ]
    phone = {"type": "phone", "length": 40, "createable": True, "updateable": True, "filterable": True}
    return [*fields, {**phone, "name": "Phone"}, {**phone, "name": "MobilePhone"}]


def _select(account: Account, soql: str) -> dict[str, Any]:
    """Rows by external id or by Id; a search by phone finds nobody."""
    rows: list[dict[str, Any]] = []
    people = " FROM Task " not in soql
    index, records = (account.by_key, account.people) if people else (account.by_wamid, account.messages)
    match = _IN.search(soql)
    for value in _QUOTED.findall(match[2]) if match else ():
        record_id = value if match is not None and match[1] == "Id" else index.get(value)
        if record_id in records:
            rows.append({"Id": record_id, **records[record_id]})
    return {"done": True, "totalSize": len(rows), "records": rows}


def _salesforce_row(account: Account, row: dict[str, Any], key: str | None) -> dict[str, Any]:
    task = row["attributes"]["type"] == "Task"
    index, records = (account.by_wamid, account.messages) if task else (account.by_key, account.people)
    values = {name: value for name, value in row.items() if name not in ("attributes", "id")}
    record_id = index.get(row[key]) if key else row["id"]
    created = record_id is None
    if record_id is None:
        assert key is not None
        prefix = "00T" if task else "003"
        record_id = f"{prefix}{int(account.new_id()):015d}"
        index[row[key]] = record_id
    records.setdefault(record_id, {"CreatedDate": _LONG_AGO}).update(values)
    if task:
        account.written_at[record_id] = time.time()
    return {"id": record_id, "success": True, "created": created, "errors": []}


def hubspot_state(account: Account) -> dict[str, Any]:
    """The records as the HubSpot simulator shows them."""
    return {
        "contacts": [{"id": name} for name in account.people],
        "communications": [
            {
                "id": name,
                "properties": {
                    "hs_createdate": _LONG_AGO,
                    **{key: value for key, value in record.items() if key != "associations"},
                },
                "associations": {"contacts": record["associations"]},
            }
            for name, record in account.messages.items()
        ],
    }


def salesforce_state(account: Account) -> dict[str, Any]:
    """The records as the Salesforce simulator shows them."""
    return {
        "contacts": [{"id": name} for name in account.people],
        "leads": [],
        "tasks": [{"id": name, "values": record} for name, record in account.messages.items()],
    }


class Stub:
    """Both accounts on one port; paths tell them apart."""

    def __init__(self) -> None:
        self.hubspot, self.salesforce = Account(), Account()

    def control(self, path: str, body: Any) -> Answer:
        """`/_stub/…`: what the benchmark asks, at once and uncounted."""
        name, _, action = path.removeprefix("/_stub/").partition("/")
        account = self.hubspot if name == "hubspot" else self.salesforce
        if action == "configure":
            account.latency = body.get("latency", account.latency)
            account.quota = body.get("quota", account.quota)
        elif action == "reset":
            account.reset()
        elif action == "forget":
            account.forget_references()
        elif action == "clock":
            account.first_call = 0.0
        elif action == "state":
            return 200, hubspot_state(account) if name == "hubspot" else salesforce_state(account)
        elif action == "written":  # wamid → when its record was last written, Unix seconds
            return 200, {wamid: account.written_at[record] for wamid, record in account.by_wamid.items()}
        return 200, {
            "calls": dict(account.calls),
            "people": len(account.people),
            "messages": len(account.messages),
            "distinct_messages": len(account.by_wamid),
            "refused": account.refused,
            "first_call": account.first_call,
            "last_call": account.last_call,
        }

    def answer(self, method: str, target: str, raw: bytes) -> tuple[int, Any, float]:
        """(status, document, seconds to wait before it leaves)."""
        body = orjson.loads(raw) if raw[:1] in (b"{", b"[") else None
        if target.startswith("/_stub/"):
            return *self.control(target, body), 0.0
        now = time.time()
        path = target.partition("?")[0]
        if target.startswith("/crm/"):
            account, respond = self.hubspot, hubspot
            name = "/".join(path.split("/")[4:7])
        else:
            account, respond = self.salesforce, salesforce
            name = "/".join(path.split("/")[4:6])
        if account.over_quota(now):
            refusal = {"category": "RATE_LIMITS", "policyName": "TEN_SECONDLY_ROLLING", "message": "too fast"}
            return 429, refusal, 0.0
        account.count(name, now)
        return *respond(account, method, target, body), account.latency


class _Connection(asyncio.Protocol):
    """HTTP/1.1 with keep-alive and bodies of a stated length: all that our clients send."""

    def __init__(self, answer: Callable[[str, str, bytes], tuple[int, Any, float]]) -> None:
        self._answer = answer
        self._buffer = b""
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end].decode("latin-1")
            length = 0
            for line in head.split("\r\n")[1:]:
                name, _, value = line.partition(":")
                if name.lower() == "content-length":
                    length = int(value)
                elif name.lower() == "expect":
                    self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            if len(self._buffer) < end + 4 + length:
                return
            body = self._buffer[end + 4 : end + 4 + length]
            self._buffer = self._buffer[end + 4 + length :]
            method, target, _ = head.split(" ", 2)
            status, document, wait = self._answer(method, target, body)
            asyncio.get_running_loop().call_later(
                wait, self._send, status, b"" if document is None else orjson.dumps(document)
            )

    def _send(self, status: int, body: bytes) -> None:
        if not self._transport.is_closing():
            head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
            self._transport.write(head.encode() + body)


async def _serve(port: int) -> None:
    stub = Stub()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Connection(stub.answer), "127.0.0.1", port)
    await server.serve_forever()


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    uvloop.run(_serve(parser.parse_args().port))


if __name__ == "__main__":
    main()
