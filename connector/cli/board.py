"""The live table of `connector up`: each role with its state, and what it and its metrics say about its work."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    import httpx

    from connector.embedded.supervisor import Status

_GOOD = frozenset({"ready", "running"})
_DEPENDENCY_TIMEOUT = 1.0


@dataclass(frozen=True, kw_only=True)
class Reading:
    """One look at a role. None: the role has no such thing, or did not answer."""

    at: float
    """Monotonic seconds."""
    lag: int | None = None
    """Records between the committed offsets and the end of the log."""
    waiting: int | None = None
    """Items whose desired state is ahead of the CRM."""
    oldest: float | None = None
    """Seconds that the oldest of them has waited."""
    handled: float | None = None
    """Updates kept or records acknowledged since the process started."""
    errors: int | None = None
    """Dead letters, items that the CRM refused, and POSTs not signed by us, since the process started."""
    held_up_by: str = ""
    """Why it is not ready, in its own words."""


def read_role(health: Mapping[str, Any] | None, metrics: str, *, at: float) -> Reading:
    """Read a role's `/readyz` document and `/metrics` text."""
    if health is None:
        return Reading(at=at)
    lags = [part["lag"] for part in health["parts"] if "lag" in part]
    values = dict(_summed(metrics))
    waiting = values.get("connector_items_waiting")
    return Reading(
        at=at,
        lag=sum(lags) if lags else None,
        waiting=None if waiting is None else int(waiting),
        oldest=values.get("connector_oldest_waiting_seconds"),
        handled=values.get("handled"),
        errors=int(values.get("errors", 0)),
        held_up_by="; ".join(_hold_ups(health["parts"])),
    )


def records_per_second(before: Reading | None, after: Reading) -> float | None:
    """How fast a role worked between two looks; None when it did not answer or is another process by now."""
    if before is None or before.handled is None or after.handled is None:
        return None
    seconds, records = after.at - before.at, after.handled - before.handled
    return records / seconds if seconds > 0 and records >= 0 else None


_COUNTED = {
    "connector_stream_records_total": "handled",
    "connector_ingress_updates_total": "handled",
    "connector_stream_dead_letters_total": "errors",
    "connector_ingress_dead_letters_total": "errors",
    "connector_ingress_bad_signatures_total": "errors",
}
_SHOWN = frozenset({"connector_items_waiting", "connector_oldest_waiting_seconds"})


def _summed(metrics: str) -> Iterator[tuple[str, float]]:
    """The values that the table shows, over all labels."""
    from prometheus_client.parser import text_string_to_metric_families

    sums: dict[str, float] = {}
    for family in text_string_to_metric_families(metrics):
        for sample in family.samples:
            name = _COUNTED.get(sample.name, sample.name if sample.name in _SHOWN else "")
            if sample.name == "connector_crm_items_total" and sample.labels["result"] == "refused":
                name = "errors"
            if name:
                sums[name] = sums.get(name, 0.0) + sample.value
    yield from sums.items()


def _hold_ups(parts: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for part in parts:
        for why in ("stopped", "stalled"):
            if why in part:
                yield f"{part['part']} {why}: {part[why]['reason']}"
        for name, waiting in part.get("waiting_for", {}).items():
            yield f"{part['part']} waits for {name}: {waiting['reason']}"


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
        import httpx

        url = self._urls.get(name)
        if url is None:
            return None
        try:
            health = await self._client.get(f"{url}/readyz", timeout=_DEPENDENCY_TIMEOUT)
            metrics = await self._client.get(f"{url}/metrics", timeout=_DEPENDENCY_TIMEOUT)
            return read_role(health.json(), metrics.text, at=time.monotonic())
        except (httpx.HTTPError, ValueError, KeyError):
            return read_role(None, "", at=time.monotonic())
