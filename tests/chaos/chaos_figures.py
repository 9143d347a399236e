"""What a row of the chaos suite measured, beside the bar it is held to."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One number of a run. Without a bar it is told for the reader and decides nothing."""

    name: str
    seen: str
    bar: str = ""
    held: bool = True
    timed: bool = False
    """Whether it is one of time, which says something only on a machine that does nothing else."""


def none_of(name: str, found: int | Sequence[object]) -> Figure:
    """Nothing of the kind may be there; the first few are shown."""
    count = found if isinstance(found, int) else len(found)
    some = "" if isinstance(found, int) or not found else f" (e.g. {', '.join(map(str, found[:3]))})"
    return Figure(name=name, seen=f"{count:,}{some}", bar="0", held=count == 0)


def at_most(name: str, seen: float, bar: float, *, unit: str = "") -> Figure:
    """A number that may not pass the bar. With a unit it is one of time."""
    shown = (f"{seen:,.4g}{unit}", f"≤ {bar:,.4g}{unit}")
    return Figure(name=name, seen=shown[0], bar=shown[1], held=seen <= bar, timed=bool(unit))


def at_least(name: str, seen: float, bar: float, *, unit: str = "") -> Figure:
    """A number that must reach the bar. With a unit it is one of time."""
    shown = (f"{seen:,.4g}{unit}", f"≥ {bar:,.4g}{unit}")
    return Figure(name=name, seen=shown[0], bar=shown[1], held=seen >= bar, timed=bool(unit))


def equal(name: str, seen: object, bar: object) -> Figure:
    """A value that must be this one."""
    return Figure(name=name, seen=str(seen), bar=str(bar), held=seen == bar)


def told(name: str, seen: object) -> Figure:
    """A number for the reader."""
    return Figure(name=name, seen=f"{seen:,}" if isinstance(seen, int) else str(seen))


def named(when: str, figures: Sequence[Figure]) -> list[Figure]:
    """The same figures, of this moment."""
    return [replace(figure, name=f"{when}: {figure.name}") for figure in figures]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One scenario. `run` plays it at full size under a folder of its own with a seed; `small`: in minutes."""

    number: int
    title: str
    run: Callable[[Path, int], Awaitable[Sequence[Figure]]]
    small: Callable[[Path, int], Awaitable[Sequence[Figure]]] | None = None
    """None: its short form is one of test_chaos_short.py."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A row that was run."""

    row: Row
    seed: int
    at: datetime
    seconds: float
    figures: Sequence[Figure]
    error: str = ""
    """Why it could not be judged; empty when it could."""

    @property
    def held(self) -> bool:
        """Every bar was held."""
        return not self.error and all(figure.held for figure in self.figures)
