"""Templates for people: what there is, what one needs, how it reads, and a new reading from Meta."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from difflib import get_close_matches
from typing import Any

from connector.errors import Rejected
from connector.outbound.personalisation.filling import CrmProperties, Personalisation, filled
from connector.outbound.personalisation.languages import chosen
from connector.outbound.store.account_syncs import want_sync
from connector.outbound.store.templates import load_templates
from connector.outbound.templates.checking import Problem, check
from connector.outbound.templates.template import Template
from connector.outbound.templates.wording import rendered
from connector.state.database import Connection

_LOOK_AGAIN = 0.25  # seconds

CRMS = ("hubspot", "salesforce")
"""In the order in which their values are preferred."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AccountSync:
    """When an account's templates were last read as a whole. `asked_at` None: never."""

    waba_id: str
    asked_at: datetime | None
    wanted_at: datetime | None
    templates: int
    problem: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Preview:
    """A template filled in. `problems` empty: as far as parameters go, it can be sent."""

    template: Template
    text: str
    parameters: Mapping[str, Any]
    sources: Mapping[str, str]
    problems: Sequence[Problem]


async def all_templates(connection: Connection) -> list[Template]:
    """Every template in every language that is not known to be deleted, by name, language and account."""
    rows = await connection.fetch(
        "SELECT document FROM outbound.templates WHERE status <> 'DELETED' ORDER BY name, language, waba_id"
    )
    return [Template.model_validate(row["document"]) for row in rows]


async def versions_of(connection: Connection, name: str, *, account: str = "") -> list[Template]:
    """Every language of one template in one account.

    Raises `Rejected` when there is none of that name, or several accounts have one and none is named.
    """
    known = await load_templates(connection, [name])
    found = [template for template in known if template.waba_id == account or not account]
    accounts = sorted({template.waba_id for template in found})
    if len(accounts) > 1:
        raise Rejected(
            f"Several business accounts have a template {name}: {', '.join(accounts)}.",
            cause="ambiguous_template",
            advice=f"say which: --account {accounts[0]}",
        )
    if not found:
        near = get_close_matches(name, {template.name for template in await all_templates(connection)}, n=1)
        raise Rejected(
            f"There is no template {name}{f' (is it {near[0]}?)' if near else ''}"
            f"{f' in the account {account}' if account else ''}.",
            cause="unknown_template",
            advice="connector templates list; connector templates sync, if it was just made in WhatsApp Manager",
        )
    return found


async def account_syncs(connection: Connection) -> list[AccountSync]:
    """Every account that was read, or is to be."""
    rows = await connection.fetch(
        "SELECT waba_id, asked_at, wanted_at, templates, problem FROM outbound.account_syncs ORDER BY waba_id"
    )
    return [AccountSync(**row) for row in rows]


async def sync(
    connection: Connection, configured: Collection[str], *, timeout: float
) -> tuple[list[AccountSync], bool]:
    """Have the outbound role read every account anew; (how it stands, whether all were read within `timeout` s).

    `configured`: the accounts of the settings. Those that are known from numbers are read, too.
    """
    now: datetime = await connection.fetchval("SELECT clock_timestamp()")
    rows = await connection.fetch(
        "SELECT waba_id FROM outbound.numbers UNION SELECT waba_id FROM outbound.account_syncs"
    )
    accounts = sorted({*configured, *(row["waba_id"] for row in rows)})
    await want_sync(connection, accounts)
    # Only what the new reading says counts: it may fail in the same words as the last one.
    await connection.execute(
        "UPDATE outbound.account_syncs SET problem = '' WHERE waba_id = ANY($1::text[])", accounts
    )
    deadline = asyncio.get_running_loop().time() + timeout
    while True:
        found = [item for item in await account_syncs(connection) if item.waba_id in accounts]
        done = [item for item in found if item.asked_at is not None and item.asked_at >= now]
        failed = [item for item in found if item.problem]
        if len(done) + len(failed) >= len(accounts) or asyncio.get_running_loop().time() >= deadline:
            return found, len(done) == len(accounts)
        await asyncio.sleep(_LOOK_AGAIN)


def preview(
    versions: Sequence[Template],
    given: Mapping[str, Any],
    *,
    language: str,
    personalisation: Personalisation,
    properties: CrmProperties,
) -> Preview | None:
    """The version that a send would take, filled in; None when no language suits. Pure."""
    template = chosen(
        versions,
        asked=language,
        contact=personalisation.languages(properties, crms=CRMS),
        fallbacks=personalisation.fallback_languages,
    )
    if template is None:
        return None
    found = filled(personalisation, template, given, properties, crms=CRMS)
    return Preview(
        template=template,
        text=rendered(template, found.parameters),
        parameters=found.parameters,
        sources=found.sources,
        problems=check(template, found.parameters),
    )
