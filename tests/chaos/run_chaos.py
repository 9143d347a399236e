"""`make chaos`: play the rows at full size, print each with its bars, and write docs/reliability.md.

`--rows 1,2` plays some and keeps the others' sections of the report; `--small` plays them in minutes and writes nothing.
The exit status is 1 when a bar was not held.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import chaos_report
import row_bad_items
import row_broken_mapping
import row_broker_away
import row_campaign_killed
import row_crm_away
import row_database_away
import row_killed_roles
import row_lost_answers
import row_opt_out
import row_paced
import row_quota
import row_redelivered
import row_restored
import row_state_machine
import row_template_stopped
import row_workers_come_and_go
import structlog
from chaos_figures import Figure, Outcome, Row

_MODULES = (
    row_killed_roles,
    row_lost_answers,
    row_redelivered,
    row_broker_away,
    row_database_away,
    row_restored,
    row_crm_away,
    row_quota,
    row_bad_items,
    row_workers_come_and_go,
    row_broken_mapping,
    row_state_machine,
    row_campaign_killed,
    row_opt_out,
    row_template_stopped,
    row_paced,
)
ROWS: dict[int, Row] = {module.ROW.number: module.ROW for module in _MODULES}
TITLES = {number: row.title for number, row in ROWS.items()}

# Long waits under little load: side by side they take as long as one of them. Row → seconds after which it begins, so
# that one has caught up before the other has to.
_SIDE_BY_SIDE = {7: 0.0, 6: 240.0}


async def measure(row: Row, *, seed: int, folder: Path, delay: float = 0.0) -> Outcome:
    """Play one row after `delay` seconds; what goes wrong with the play itself is its outcome too."""
    await asyncio.sleep(delay)
    at, began = datetime.now(UTC), time.monotonic()
    figures: Sequence[Figure] = ()
    error = ""
    data_dir = folder / f"row-{row.number}"
    try:
        figures = await row.run(data_dir, seed)
    except Exception:  # noqa: BLE001 - a row that cannot be judged has failed, and the others go on
        error = "".join(traceback.format_exc().splitlines(keepends=True)[-12:])
    outcome = Outcome(
        row=row, seed=seed, at=at, seconds=time.monotonic() - began, figures=figures, error=error
    )
    _show(outcome)
    return outcome


def _show(outcome: Outcome) -> None:
    verdict = "held" if outcome.held else "FAILED"
    print(f"\n{outcome.row.number:>2}. {outcome.row.title}: {verdict} ({outcome.seconds:,.0f} s)")
    for figure in outcome.figures:
        mark = " " if not figure.bar else "✓" if figure.held else "✗"
        print(f"  {mark} {figure.name}: {figure.seen}" + (f"   [{figure.bar}]" if figure.bar else ""))
    if outcome.error:
        print(outcome.error)
    sys.stdout.flush()


async def play(numbers: Sequence[int], *, seed: int, folder: Path, command: str, write: bool) -> bool:
    """Play these rows; whether all of them held."""
    lanes: list[list[int]] = []
    for number in numbers:
        if number in _SIDE_BY_SIDE and lanes and lanes[-1][0] in _SIDE_BY_SIDE:
            lanes[-1].append(number)
        else:
            lanes.append([number])
    held = True
    for lane in lanes:
        delays = _SIDE_BY_SIDE if len(lane) > 1 else {}
        measured = [
            measure(ROWS[number], seed=seed, folder=folder, delay=delays.get(number, 0.0)) for number in lane
        ]
        outcomes = await asyncio.gather(*measured)
        if write:  # after each lane: a run that is broken off has told what it knows
            chaos_report.record(outcomes, titles=TITLES, command=command)
        held = held and all(outcome.held for outcome in outcomes)
    return held


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", default="", help="numbers, comma-separated; all when empty")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--no-report", action="store_true", help="print only; leave docs/reliability.md alone"
    )
    parser.add_argument("--small", action="store_true", help="play the small forms; no report is written")
    parser.add_argument("--keep", type=Path, help="keep data and logs in this folder")
    asked = parser.parse_args()
    numbers = sorted({int(part) for part in asked.rows.split(",") if part.strip()} or ROWS)
    if unknown := [number for number in numbers if number not in ROWS]:
        parser.error(f"there is no row {unknown[0]}; there are {', '.join(map(str, ROWS))}")
    if asked.small:
        if without := [number for number in numbers if ROWS[number].small is None]:
            parser.error(f"the short form of row {without[0]} is in tests/chaos/test_chaos_short.py")
        ROWS.update(
            (number, replace(ROWS[number], run=small)) for number in numbers if (small := ROWS[number].small)
        )
    folder = asked.keep or Path(tempfile.mkdtemp(prefix="connector-chaos-"))
    command = "make chaos" + (f" ROWS={asked.rows}" if asked.rows else "")
    # In row 12 the product runs in this process, and what it says of each crash is not for the reader.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        held = asyncio.run(
            play(
                numbers,
                seed=asked.seed,
                folder=folder,
                command=command,
                write=not (asked.no_report or asked.small),
            )
        )
    finally:
        if asked.keep is None:
            shutil.rmtree(folder, ignore_errors=True)
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
