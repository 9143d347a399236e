"""`connector doctor`: is it set up right? Each line ok, warn or fail, with what mends it."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from connector.cli.output import JsonOption, out, print_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from connector.recovery.doctor.finding import Finding

_STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red", "-": "dim"}


def doctor(
    *,
    no_post: Annotated[
        bool,
        typer.Option("--no-post", help="Post no test webhook. It becomes two records that nobody acts on."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Check settings, Kafka, the database, the webhook's whole way in, WhatsApp and the CRMs, and the clock.

    Exits 0 when all is fine, 1 with a warning, 2 when something does not work.
    """
    from connector.errors import SettingsError
    from connector.recovery.doctor.examine import examine
    from connector.recovery.doctor.finding import exit_code, fail, worst
    from connector.settings import load_settings

    try:
        settings = load_settings()
    except SettingsError as error:
        findings: Sequence[Finding] = [fail("settings", "settings", error.message, mend=error.advice)]
    else:
        findings = asyncio.run(examine(settings, nonce=f"doctor-{uuid.uuid4()}", post=not no_post))
    level = worst(findings)
    if as_json:
        print_json({"worst": str(level), "findings": [asdict(item) for item in findings]})
    else:
        _show(findings)
    raise typer.Exit(exit_code(level))


def _show(findings: Sequence[Finding]) -> None:
    for item in findings:
        out.print(
            f"[{_STYLES[item.level]}]{item.level:<4}[/] {item.area:<12} {escape(item.what)}: {escape(item.says)}"
        )
        if item.mend:
            out.print(f"       next: {item.mend}", markup=False)
    counts = {level: sum(item.level == level for item in findings) for level in ("ok", "warn", "fail")}
    out.print(f"\n{counts['ok']} ok, {counts['warn']} to look at, {counts['fail']} that do not work")
