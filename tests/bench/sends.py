"""What a send costs: verdicts of the gate and sends of a dispatcher, for docs/performance.md: part of `make bench`."""

from __future__ import annotations

import asyncio
import os
import platform
from datetime import UTC, datetime

from dispatcher import Dispatched, dispatched
from gate import verdicts
from performance_page import SENDS, Line, table, write_section

_CAMPAIGN = int(os.environ.get("BENCH_SENDS", "5000"))


def lines(judged: float, written: float, sent: Dispatched) -> list[Line]:
    """The figures beside their bars."""
    once = sent.states == {"accepted": sent.sends} and sent.requests == sent.sends
    return [
        Line(
            what="verdicts of the gate, one core",
            figure=f"{judged:,.0f} a second; {written:,.0f} with their JSON",
            bar="≥ 5,000 a second",
            met=judged >= 5_000,
        ),
        Line(
            what="a dispatcher's sends, WhatsApp of 60 ms, a number that may send 1,000 a second",
            figure=f"{sent.rate:,.0f} a second",
            reference=f"its own CPU alone would allow {sent.sends / sent.cpu:,.0f}",
            bar="≥ 500 a second",
            met=sent.rate >= 500,
        ),
        Line(
            what="a dispatcher's own CPU for 1,000 sends",
            figure=f"{1_000 * sent.cpu / sent.sends:.2f} s",
        ),
        Line(
            what="sends accepted, messages that WhatsApp got",
            figure=f"{sent.states.get('accepted', 0):,}, {sent.requests:,} of {sent.sends:,}",
            bar="each once",
            met=once,
        ),
    ]


def main() -> None:
    """Measure, print, write."""
    load = os.getloadavg()[0]
    judged, written = verdicts()
    sent = asyncio.run(dispatched(_CAMPAIGN))
    text = (
        f"`make bench` of {datetime.now(UTC):%Y-%m-%d %H:%M} UTC: {os.cpu_count()} cores shared by dispatcher, database and "
        f"the simulated WhatsApp, Python {platform.python_version()}, {_CAMPAIGN:,} sends. Load average before the run: "
        f"{load:.1f}; above 0.5 something else ran beside it, and sends a second are fewer than the machine's (CPU seconds "
        "less so).\n\n"
        f"{table(lines(judged, written, sent))}\n"
        "* A send is claimed, judged by all policies, paced, announced on the log, sent, and its answer written down; the "
        "log is a list here, everything else is real.\n"
    )
    print(text)
    write_section(SENDS, text)


if __name__ == "__main__":
    main()
