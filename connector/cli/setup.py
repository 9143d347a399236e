"""`connector setup`: make or check what the connector needs in a CRM."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from connector.cli.output import JsonOption, out, print_json, print_table
from connector.crm.port import SetupReport

app = typer.Typer(help="Prepare a CRM account.", no_args_is_help=True)


@app.command("hubspot")
def hubspot(
    check: Annotated[bool, typer.Option("--check", help="Only look; change nothing.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Create our property group and properties, and find out how activities can be guarded. Idempotent."""
    from connector.crm.hubspot.adapter import HubSpot
    from connector.crm.hubspot.quota import account_limits
    from connector.crm.quota import governed
    from connector.settings import load_settings
    from connector.sync.mapping import load_mapping

    async def look() -> tuple[SetupReport, str]:
        settings = load_settings()
        mapping = load_mapping(settings.sync.mapping)
        limits = account_limits(settings.hubspot)
        async with governed(limits, settings.database, needs_database=False) as quota:
            crm = HubSpot(settings.hubspot, mapped=mapping.mapped(HubSpot.name), quota=quota)
            try:
                return await crm.check_setup(create=not check), str(crm.guard)
            finally:
                await crm.close()

    report, guard = asyncio.run(look())
    if as_json:
        print_json(
            {
                "ready": report.ready,
                "guard": guard,
                "found": report.found,
                "missing": report.missing,
                "unchecked": report.unchecked,
                "advice": report.advice,
            }
        )
    else:
        print_table(["property", "state"], _states(report))
        explained = {
            "unique": "HubSpot refuses a second activity of one message: lost answers are settled at once.",
            "plain": "The portal takes no unique property on communications: lost answers are settled by looking "
            "through the contact's timeline, after a wait.",
            "none": "The portal takes no property of ours on communications: lost answers are settled by a reference "
            "in the text, and whatsapp_status cannot be kept.",
        }
        out.print(f"activities: {guard}. {explained[guard]}")
        out.print("next: connector run sync-hubspot" if report.ready else f"next: {report.advice}")
    if not report.ready:
        raise typer.Exit(1)


@app.command("salesforce")
def salesforce(as_json: JsonOption = False) -> None:
    """Check the fields that an admin deploys from docs/crm/salesforce, and that our user may write them."""
    from connector.crm.quota import governed
    from connector.crm.salesforce.adapter import Salesforce
    from connector.crm.salesforce.quota import account_limits
    from connector.settings import load_settings
    from connector.sync.mapping import load_mapping

    async def look() -> SetupReport:
        settings = load_settings()
        mapping = load_mapping(settings.sync.mapping)
        limits = account_limits(settings.salesforce)
        async with governed(limits, settings.database, needs_database=False) as quota:
            crm = Salesforce(settings.salesforce, mapped=mapping.mapped(Salesforce.name), quota=quota)
            try:
                return await crm.check_setup(create=False)
            finally:
                await crm.close()

    report = asyncio.run(look())
    if as_json:
        print_json(
            {
                "ready": report.ready,
                "found": report.found,
                "missing": report.missing,
                "unchecked": report.unchecked,
                "advice": report.advice,
            }
        )
    else:
        print_table(["field", "state"], _states(report))
        out.print("next: connector run sync-salesforce" if report.ready else f"next: {report.advice}")
    if not report.ready:
        raise typer.Exit(1)


def _states(report: SetupReport) -> list[tuple[str, str]]:
    states = {"there": report.found, "missing": report.missing, "not shown to us": report.unchecked}
    return sorted((name, state) for state, names in states.items() for name in names)
