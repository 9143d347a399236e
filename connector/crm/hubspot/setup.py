"""Our properties in a portal: what is there, what is missing, and what the portal allows. Idempotent.

Whether communications take a unique custom property is not documented: it is probed by asking for one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from connector.crm.hubspot.activities import ActivityGuard
from connector.crm.hubspot.client import HubSpotClient
from connector.crm.hubspot.failures import HubSpotRefusal
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
_HAS_NO_SUCH = frozenset({400, 404, 405})


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
    guard = await _guard(client, expected=MESSAGE_ID in report.found)
    if guard is not ActivityGuard.NONE:
        await _ensure(client, "communications", COMMUNICATION_PROPERTIES, create=create, report=report)
    key_is_unique = (
        await _unique(client, "contacts", CONTACT_KEY, expected=CONTACT_KEY in report.found)
    ) is True
    if CONTACT_KEY in report.found and not key_is_unique:
        raise Terminal(
            f"HubSpot's contact property {CONTACT_KEY} exists but is not unique, and that cannot be changed. "
            "Nothing was written.",
            advice=f"archive the property {CONTACT_KEY} in HubSpot's settings, then: connector setup hubspot",
        )
    misfits = await mapped_misfits(client, mapped)
    ready = key_is_unique and not report.missing and not misfits
    advice = "run: connector setup hubspot"
    if misfits and not report.missing:
        advice = "make these properties in HubSpot's settings or correct the mapping, then restart the role"
    return (
        SetupReport(
            ready=ready,
            unique_activities=guard is ActivityGuard.UNIQUE,
            found=tuple(report.found),
            missing=(*report.missing, *misfits),
            advice="" if ready else advice,
        ),
        guard,
    )


class _Findings:
    def __init__(self) -> None:
        self.found: list[str] = []
        self.missing: list[str] = []


async def _ensure(
    client: HubSpotClient,
    object_type: str,
    wanted: Sequence[Property],
    *,
    create: bool,
    report: _Findings,
    optional: bool = False,
) -> None:
    try:
        _, answer = await client.call("GET", client.path("properties", object_type), writes=False)
    except HubSpotRefusal as refusal:
        if optional and refusal.status in _HAS_NO_SUCH:
            return  # the portal's communications have no properties of their own
        raise
    there = {item.get("name") for item in answer.get("results") or ()}
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
    except HubSpotRefusal as refusal:
        if optional:
            return
        raise _no_property(refusal, object_type) from refusal
    for item in absent:
        if await _create(client, object_type, item):
            report.found.append(item.name)
        elif not optional:
            report.missing.append(item.name)


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


async def _guard(client: HubSpotClient, *, expected: bool) -> ActivityGuard:
    unique = await _unique(client, "communications", MESSAGE_ID, expected=expected)
    if unique is None:
        return ActivityGuard.NONE
    return ActivityGuard.UNIQUE if unique else ActivityGuard.PLAIN


async def _unique(client: HubSpotClient, object_type: str, name: str, *, expected: bool) -> bool | None:
    """Whether a property is unique; None: there is no such property.

    One that is `expected`, because it was listed or made a moment ago, is waited for: taking it for absent would
    guard activities by the wrong means until the next start. Raises `Transient` when it does not show up.
    """
    deadline = asyncio.get_running_loop().time() + _READABLE_WITHIN
    while True:
        try:
            _, answer = await client.call(
                "GET", client.path("properties", f"{object_type}/{name}"), writes=False
            )
        except HubSpotRefusal as refusal:
            if refusal.status not in _HAS_NO_SUCH:
                raise _no_property(refusal, object_type) from refusal
            if not expected:
                return None
        else:
            return bool(answer.get("hasUniqueValue"))
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
