"""`connector trigger hubspot.workflow` and `salesforce.outbound`: a simulated CRM asks for a send, as its admin made it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from connector.cli.output import out, print_json
from connector.errors import Terminal

if TYPE_CHECKING:
    import httpx

    from connector.settings import Settings

CRM_KINDS: Mapping[str, str] = {
    "hubspot.workflow": "a contact reaches the action of a workflow in the simulated HubSpot",
    "salesforce.outbound": "a flow asks for a template by an outbound message of the simulated Salesforce",
}
_WAIT = 10.0
"""Seconds for the connector to answer."""
_PERSON = {"Authorization": "Bearer sandbox-person"}


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What is to be sent to whom: the record with that phone, made when there is none."""

    phone: str
    name: str
    template: str
    language: str
    parameters: Sequence[str]
    """name=value each."""
    purpose: str


def trigger_crm(kind: str, wish: Wish, *, settings: Settings, as_json: bool) -> None:
    """Let the simulator act, wait until the connector has answered it, and show what it answered."""
    import httpx

    url = settings.hubspot.base_url if kind == "hubspot.workflow" else settings.salesforce.base_url
    with httpx.Client(base_url=url, timeout=10.0, trust_env=False) as client:
        try:
            shown = (
                _workflow(client, wish, version=settings.hubspot.api_version)
                if kind == "hubspot.workflow"
                else _outbound(client, wish, version=settings.salesforce.api_version)
            )
        except (httpx.HTTPError, ValueError, LookupError) as error:
            raise Terminal(
                f"{url or 'Salesforce'} is no simulator that calls a connector: {type(error).__name__}. "
                "Nothing was triggered.",
                advice="start connector up --sandbox and use its settings: the file is named when it starts",
            ) from error
    if as_json:
        print_json(shown)
        return
    for key, value in shown.items():
        out.print(f"{key:<12} {value}", markup=False)


def _workflow(client: httpx.Client, wish: Wish, *, version: str) -> Mapping[str, Any]:
    contacts = f"/crm/objects/{version}/contacts"
    record_id = _record_with(
        wish.phone,
        [
            (item["id"], item["properties"])
            for item in _json(client.get("/_sandbox/hubspot/state"))["contacts"]
        ],
        ("whatsapp_phone", "phone"),
    )
    if record_id is None:
        first, _, last = wish.name.partition(" ")
        properties = {"firstname": first, "lastname": last, "phone": wish.phone}
        made = client.post(contacts, json={"properties": properties}, headers=_PERSON)
        record_id = str(_json(made)["id"])
    inputs = {
        "template": wish.template,
        "language": wish.language,
        "parameters": "\n".join(wish.parameters),
        "purpose": wish.purpose,
    }
    begun = client.post("/_sandbox/hubspot/workflows", json={"contacts": [record_id], "inputs": inputs})
    (callback_id,) = _json(begun)["callback_ids"]
    path, deadline = f"/_sandbox/hubspot/workflows/{callback_id}", time.monotonic() + _WAIT
    execution = _json(client.get(path))
    while execution["state"] == "running" and time.monotonic() < deadline:
        time.sleep(0.1)
        execution = _json(client.get(path))
    kept = ("callback_id", "contact_id", "state", "branch", "answers", "outputs", "finished_by")
    return {name: execution[name] for name in kept} | {"see": f"{str(client.base_url).rstrip('/')}{path}"}


def _outbound(client: httpx.Client, wish: Wish, *, version: str) -> Mapping[str, Any]:
    contacts = f"/services/data/v{version}/sobjects/Contact"
    found = _json(client.get("/_sandbox/salesforce/state"))["contacts"]
    record_id = _record_with(
        wish.phone, [(item["id"], item["values"]) for item in found], ("WA_Phone__c", "MobilePhone", "Phone")
    )
    if record_id is None:
        first, _, last = wish.name.partition(" ")
        values = {"FirstName": first, "LastName": last or first, "MobilePhone": wish.phone}
        record_id = str(_json(client.post(contacts, json=values, headers=_PERSON))["id"])
    request = {
        "WA_Template__c": wish.template,
        "WA_Language__c": wish.language or None,
        "WA_Parameters__c": "\n".join(wish.parameters) or None,
        "WA_Purpose__c": wish.purpose or None,
        "WA_Send_Requested_At__c": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%f}"[:-3] + "+0000",
    }
    path = "/_sandbox/salesforce/outbound-messages"
    before = {item["id"] for item in _json(client.get(path))["messages"]}
    client.patch(f"{contacts}/{record_id}", json=request, headers=_PERSON).raise_for_status()
    deadline = time.monotonic() + _WAIT
    while True:
        mine = [
            item
            for item in _json(client.get(path))["messages"]
            if item["record_id"] == record_id and item["id"] not in before
        ]
        if (mine and mine[-1]["answers"]) or time.monotonic() >= deadline:
            return {**mine[-1], "see": f"{str(client.base_url).rstrip('/')}{path}"}
        time.sleep(0.1)


def _record_with(
    phone: str, records: Sequence[tuple[str, Mapping[str, Any]]], names: Sequence[str]
) -> str | None:
    from connector.whatsapp.numbers import bare_number

    wanted = bare_number(phone)
    for record_id, values in records:
        if wanted in {bare_number(str(values.get(name) or "")) for name in names}:
            return record_id
    return None


def _json(answer: httpx.Response) -> dict[str, Any]:
    answer.raise_for_status()
    document: dict[str, Any] = answer.json()
    return document
