"""One line of a diagnosis."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """Worst last."""

    NOT_ASKED = "-"
    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


_WEIGHT = {level: weight for weight, level in enumerate(Level)}


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """`area`: kafka, database, …; `mend`: the command or page that helps, "" for what is fine."""

    area: str
    what: str
    level: Level
    says: str
    mend: str = ""


def ok(area: str, what: str, says: str) -> Finding:
    """Nothing to do."""
    return Finding(area=area, what=what, level=Level.OK, says=says)


def warn(area: str, what: str, says: str, *, mend: str) -> Finding:
    """It works, and somebody should look."""
    return Finding(area=area, what=what, level=Level.WARN, says=says, mend=mend)


def fail(area: str, what: str, says: str, *, mend: str) -> Finding:
    """It does not work."""
    return Finding(area=area, what=what, level=Level.FAIL, says=says, mend=mend)


def not_asked(area: str, what: str, says: str) -> Finding:
    """It could not be looked at, or is not in use; `says` why."""
    return Finding(area=area, what=what, level=Level.NOT_ASKED, says=says)


def worst(findings: Iterable[Finding]) -> Level:
    """The level of the whole."""
    return max((finding.level for finding in findings), key=_WEIGHT.__getitem__, default=Level.OK)


def exit_code(level: Level) -> int:
    """0 when all is fine, 1 with a warning, 2 when something does not work."""
    return {Level.WARN: 1, Level.FAIL: 2}.get(level, 0)
