"""docs/performance.md: one section a command, each written by the command that measured it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

MEGABYTE = 1024 * 1024
BENCH, SENDS, SOAK = "Speed", "Sends", "Memory and growth"
_TITLE = "# Performance\n"
_PAGE = Path("docs/performance.md")


@dataclass(frozen=True, kw_only=True)
class Line:
    """One figure. `met` None: it has no bar."""

    what: str
    figure: str
    reference: str = ""
    bar: str = ""
    met: bool | None = None

    def row(self) -> str:
        """Its row of the table."""
        verdict = "" if self.met is None else "met" if self.met else "missed"
        return f"| {self.what} | {self.figure} | {self.reference} | {self.bar} | {verdict} |"


def table(lines: Sequence[Line]) -> str:
    """The figures as Markdown."""
    rows = "\n".join(line.row() for line in lines)
    return f"| what | figure | reference | bar | verdict |\n|--|--|--|--|--|\n{rows}\n"


def write_section(name: str, text: str, *, page: Path = _PAGE) -> None:
    """Put a section in the place of its last version; the others stay."""
    old = page.read_text(encoding="utf-8") if page.exists() else ""
    sections = dict(part.split("\n", 1) for part in f"\n{old}".split("\n## ")[1:])
    sections[name] = f"\n{text.strip()}\n"
    body = "\n".join(
        f"## {title}\n{sections[title].rstrip()}\n" for title in (BENCH, SENDS, SOAK) if title in sections
    )
    page.write_text(f"{_TITLE}\n{body}", encoding="utf-8")
