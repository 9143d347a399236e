"""The live table of `connector up`: each role with its state, and what it and its metrics say about its work."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from connector.telemetry.reading import Reading, ask_role, records_per_second

if TYPE_CHECKING:
    import httpx

    from connector.embedded.supervisor import Status

_GOOD = frozenset({"ready", "running"})


@dataclass(frozen=True, kw_only=True)
class Row:
    """One program as the table shows it."""

    status: Status
    reading: Reading | None = None
    rate: float | None = None


def board(rows: Sequence[Row]) -> Table:
    """Return the table."""
    table = Table(box=None, pad_edge=False, header_style="bold", expand=True)
    for column, justify in (
        ("role", "left"),
        ("state", "left"),
        ("pid", "right"),
        ("restarts", "right"),
        ("lag", "right"),
        ("waiting", "right"),
        ("oldest", "right"),
        ("rate/s", "right"),
        ("errors", "right"),
    ):
        table.add_column(column, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    table.add_column("what holds it up", ratio=1, no_wrap=True, overflow="ellipsis")
    for row in rows:
        status, reading = row.status, row.reading or Reading(at=0.0)
        table.add_row(
            status.name,
            Text(str(status.state), style="green" if str(status.state) in _GOOD else "yellow"),
            _shown(status.pid),
            Text(str(status.restarts), style="red" if status.restarts else ""),
            _shown(reading.lag),
            _shown(reading.waiting),
            "" if reading.oldest is None else f"{reading.oldest:.1f} s",
            "" if row.rate is None else f"{row.rate:.1f}",
            Text(_shown(reading.errors), style="red" if reading.errors else ""),
            Text(reading.held_up_by or (status.detail if str(status.state) not in _GOOD else "")),
        )
    return table


def _shown(value: int | None) -> str:
    return "" if value is None else str(value)


class Watch:
    """Looks at roles again and again. `urls`: program name → base URL of `/readyz` and `/metrics`."""

    def __init__(self, client: httpx.AsyncClient, urls: Mapping[str, str]) -> None:
        self._client = client
        self._urls = urls
        self._before: dict[str, Reading] = {}

    async def look(self, statuses: Mapping[str, Status]) -> list[Row]:
        """Return a row for each program, in the order given; one that does not answer shows its state alone."""
        readings = await asyncio.gather(*(self._read(name) for name in statuses))
        rows = []
        for status, reading in zip(statuses.values(), readings, strict=True):
            before = self._before.get(status.name)
            rate = None if reading is None else records_per_second(before, reading)
            rows.append(Row(status=status, reading=reading, rate=rate))
            if reading is not None:
                self._before[status.name] = reading
        return rows

    async def _read(self, name: str) -> Reading | None:
        url = self._urls.get(name)
        return None if url is None else (await ask_role(self._client, url))[1]
