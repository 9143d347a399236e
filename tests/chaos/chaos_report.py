"""docs/reliability.md: one section a row, written by the run that measured it; the other sections are kept."""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from chaos_figures import Figure, Outcome

REPORT = Path(__file__).parents[2] / "docs" / "reliability.md"

_SECTION = re.compile(r"^## (\d+)\. (.+?)$\n\n\*\*(held|failed)\*\* · (\S+)", re.MULTILINE)

_HEAD = """# Reliability

<!-- Written by `make chaos`, never by hand; `make chaos ROWS=1,2` measures some rows again and keeps the others. -->

What the connector is put through, at full size, on the real engines (Kafka, PostgreSQL, every role a process) and the
simulated CRMs, which lose answers, lock rows and count calls as the vendors' do. The judge stands outside: what was
posted and answered 200 is compared with the CRMs' own records (each message once, on its person's one contact, with
its text and its furthest status), and the CRMs' journals tell of two writes of one contact at once. Of what is sent (rows
13 to 16) the simulated WhatsApp's journal is the judge: what it accepted, what it refused, and when.
"""


def section(outcome: Outcome, *, command: str) -> str:
    """One row as it stands in the report."""
    row = outcome.row
    verdict = "held" if outcome.held else "failed"
    run = f"`{command}` · seed {outcome.seed} · {outcome.seconds:,.0f} s"
    lines = [
        f"## {row.number}. {row.title}",
        "",
        f"**{verdict}** · {outcome.at:%Y-%m-%d} {outcome.at:%H:%M} UTC · {machine()} · {run}",
        "",
    ]
    if outcome.error:
        # The traceback was printed; its paths are of one machine.
        lines += [f"It could not be judged: `{outcome.error.strip().splitlines()[-1]}`", ""]
    if outcome.figures:
        lines += ["| measured | bar | seen | |", "|--|--|--|--|", *map(_line, outcome.figures), ""]
    return "\n".join(lines)


def _line(figure: Figure) -> str:
    verdict = "" if not figure.bar else "held" if figure.held else "**failed**"
    return f"| {figure.name} | {figure.bar} | {figure.seen.replace('|', '/')} | {verdict} |"


def machine() -> str:
    """The machine's size, for people."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    python = f"Python {sys.version_info.major}.{sys.version_info.minor}"
    return f"{os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()}, {python}"


def sections_of(text: str) -> dict[int, str]:
    """Row number → its section in a report."""
    starts = [(int(found[1]), found.start()) for found in _SECTION.finditer(text)]
    ends = [start for _, start in starts[1:]] + [len(text)]
    return {
        number: text[start:end].rstrip() + "\n" for (number, start), end in zip(starts, ends, strict=True)
    }


def report(sections: Mapping[int, str], *, titles: Mapping[int, str]) -> str:
    """The whole page. `titles`: every row there is; one without a section is said to be not measured."""
    table = ["| # | scenario | verdict | measured |", "|--|--|--|--|"]
    for number in sorted({*sections, *titles}):
        found = _SECTION.match(sections.get(number, ""))
        title, verdict, day = found.groups()[1:] if found else (titles[number], "not measured", "")
        table.append(f"| {number} | {title} | {verdict} | {day} |")
    return "\n".join([_HEAD, *table, "", *(sections[number] for number in sorted(sections))])


def record(
    outcomes: Sequence[Outcome], *, titles: Mapping[int, str], command: str, file: Path = REPORT
) -> None:
    """Put these rows into the report, and keep the others; `titles`: of all rows there are."""
    kept = sections_of(file.read_text("utf-8")) if file.exists() else {}
    fresh = {outcome.row.number: section(outcome, command=command) for outcome in outcomes}
    file.write_text(report({**kept, **fresh}, titles=titles), "utf-8")
