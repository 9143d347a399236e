"""Our properties in a portal: what is there, what is missing, and what the portal allows. Idempotent.

Whether communications take a unique custom property is not documented: it is probed by asking for one.

An account may not let us look (no scope to read properties, no such endpoint): what cannot be checked is said and does
not keep us from writing, as a write that lacks a property says so itself and stops the line.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from connector.crm.hubspot.activities import ActivityGuard
from connector.crm.hubspot.client import HubSpotClient
from connector.crm.hubspot.failures import HubSpotRefusal, MissingScope
from connector.crm.hubspot.mapped import mapped_misfits
from connector.crm.hubspot.schema import (
    COMMUNICATION_PROPERTIES,
    CONTACT_KEY,
    CONTACT_PROPERTIES,
    GROUP,
    GROUP_LABEL,
    MESSAGE_ID,
    MESSAGE_ID_PROPERTY,
    Property,
)
from connector.crm.port import SetupReport
from connector.crm.properties import MappedProperty
from connector.errors import Terminal, Transient

_READABLE_WITHIN = 5.0  # seconds; live portals show a property 0.25 to 0.7 s after it was made
_LOOK_EVERY = 0.25  # seconds
_HAS_NO_SUCH = frozenset({400, 404, 405, 410, 501})


async def check_setup(
    client: HubSpotClient, *, create: bool, mapped: Sequence[MappedProperty] = ()
) -> tuple[SetupReport, ActivityGuard]:
    """Look at the portal's properties and, with `create`, make those of ours that are missing.

    `mapped`: properties of the portal's own that the mapping writes. They are looked at, never made.
    """
    report = _Findings()
    await _ensure(client, "contacts", CONTACT_PROPERTIES, create=create, report=report)
    await _ensure(
        client, "communications", (MESSAGE_ID_PROPERTY,), create=create, report=report, optional=True
    )
    guard = await _guard(client, report=report)
    if guard is not ActivityGuard.NONE:
        await _ensure(client, "communications", COMMUNICATION_PROPERTIES, create=create, report=report)
    key = await _shown(client, "contacts", CONTACT_KEY, report=report)
    if key is not None and key.get("hasUniqueValue") is False:
        raise Terminal(
            f"HubSpot's contact property {CONTACT_KEY} exists but is not unique, and that cannot be changed. "
            "Nothing was written.",
            advice=f"archive the property {CONTACT_KEY} in HubSpot's settings, then: connector setup hubspot",
        )
    misfits = await mapped_misfits(client, mapped) if report.listed("contacts") else []
    ready = not report.missing and not misfits
    advice = "run: connector setup hubspot"
    if misfits and not report.missing:
        advice = "make these properties in HubSpot's settings or correct the mapping, then restart the role"
    return (
        SetupReport(
            ready=ready,
            unique_activities=guard is ActivityGuard.UNIQUE,
            found=tuple(report.found),
            missing=(*report.missing, *misfits),
            unchecked=tuple(report.unchecked),
            advice="" if ready else advice,
        ),
        guard,
    )


class _Findings:
    def __init__(self) -> None:
        self.found: list[str] = []
        self.missing: list[str] = []
        self.unchecked: list[str] = []
        self.documents: dict[str, dict[str, Mapping[str, Any]]] = {}
        """Object type → property → what the portal says of it, of those types that could be listed."""

    def listed(self, object_type: str) -> bool:
        """Whether the portal shows what properties an object has."""
        return object_type in self.documents


async def _ensure(
    client: HubSpotClient,
    object_type: str,
    wanted: Sequence[Property],
    *,
    create: bool,
    report: _Findings,
    optional: bool = False,
) -> None:
    there = await _listed(client, object_type)
    if there is None:
        if not optional:  # else the object has no properties of its own
            await _ensure_unseen(client, object_type, wanted, create=create, report=report)
        return
    report.documents[object_type] = there
    report.found.extend(item.name for item in wanted if item.name in there)
    absent = [item for item in wanted if item.name not in there]
    if not absent:
        return
    if not create:
        if not optional:
            report.missing.extend(item.name for item in absent)
        return
    try:
        await _create_group(client, object_type)
    except MissingScope:
        if optional:
            return
        raise
    except HubSpotRefusal as refusal:
        if optional:
            return
        if refusal.status not in _HAS_NO_SUCH:  # else the properties themselves are asked for all the same
            raise _no_property(refusal, object_type) from refusal
    for item in absent:
        if await _create(client, object_type, item):
            report.found.append(item.name)
        elif not optional:
            report.missing.append(item.name)


async def _ensure_unseen(
    client: HubSpotClient,
    object_type: str,
    wanted: Sequence[Property],
    *,
    create: bool,
    report: _Findings,
) -> None:
    """Ask for properties that the portal does not list: it tells whether it has each one, or it does not tell."""
    tells = create
    for item in wanted:
        made = False
        if tells:
            try:
                await client.call("POST", client.path("properties", object_type), item.body(), writes=False)
                made = True
            except MissingScope:
                tells = False
            except HubSpotRefusal as refusal:
                made = refusal.status == 409
        (report.found if made else report.unchecked).append(item.name)


async def _listed(client: HubSpotClient, object_type: str) -> dict[str, Mapping[str, Any]] | None:
    """The object's properties by name; None: the portal does not show them."""
    try:
        _, answer = await client.call("GET", client.path("properties", object_type), writes=False)
    except MissingScope:
        return None
    except HubSpotRefusal as refusal:
        if refusal.status not in _HAS_NO_SUCH:
            raise
        return None
    return {str(item.get("name")): item for item in answer.get("results") or ()}


async def _create_group(client: HubSpotClient, object_type: str) -> None:
    try:
        await client.call(
            "POST",
            client.path("properties", f"{object_type}/groups"),
            {"name": GROUP, "label": GROUP_LABEL},
            writes=False,
        )
    except HubSpotRefusal as refusal:
        if not refusal.is_conflict and refusal.status != 409:
            raise


async def _create(client: HubSpotClient, object_type: str, item: Property) -> bool:
    path = client.path("properties", object_type)
    try:
        await client.call("POST", path, item.body(), writes=False)
    except HubSpotRefusal as refusal:
        if refusal.status == 409:
            return True  # another replica made it a moment ago
        if not item.unique or object_type == "contacts":
            if object_type == "communications":
                return False
            raise _no_property(refusal, object_type) from refusal
        plain = {name: value for name, value in item.body().items() if name != "hasUniqueValue"}
        try:
            await client.call("POST", path, plain, writes=False)
        except HubSpotRefusal as second:
            return second.status == 409
    return True


async def _guard(client: HubSpotClient, *, report: _Findings) -> ActivityGuard:
    shown = await _shown(client, "communications", MESSAGE_ID, report=report)
    if shown is None:
        return ActivityGuard.NONE
    # Not said is not promised: doubts are settled among the contact's communications then.
    return ActivityGuard.UNIQUE if shown.get("hasUniqueValue") else ActivityGuard.PLAIN


async def _shown(
    client: HubSpotClient, object_type: str, name: str, *, report: _Findings
) -> Mapping[str, Any] | None:
    """What the portal says of one property; None: there is none, or the portal does not show any.

    One that was listed or made a moment ago is waited for: taking it for absent would guard activities by the wrong
    means until the next start. Raises `Transient` when one that was made does not show up.
    """
    listed = report.documents.get(object_type, {}).get(name)
    deadline = asyncio.get_running_loop().time() + _READABLE_WITHIN
    while True:
        try:
            _, answer = await client.call(
                "GET", client.path("properties", f"{object_type}/{name}"), writes=False
            )
        except MissingScope:
            return listed
        except HubSpotRefusal as refusal:
            if refusal.status not in _HAS_NO_SUCH:
                raise _no_property(refusal, object_type) from refusal
            if listed is not None or name not in report.found or not report.listed(object_type):
                return listed
        else:
            return answer
        if asyncio.get_running_loop().time() > deadline:
            raise Transient(
                f"HubSpot does not show the property {name} of {object_type} yet, although it has it.",
                advice="run: connector setup hubspot",
            )
        await asyncio.sleep(_LOOK_EVERY)


def _no_property(refusal: HubSpotRefusal, object_type: str) -> Terminal:
    return Terminal(
        f"HubSpot refuses a property of {object_type}: {refusal.message} ({refusal.category}, {refusal.correlation_id}).",
        advice="mend what HubSpot names (scopes, property limits), then: connector setup hubspot",
    )
