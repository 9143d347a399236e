"""What a role says about its work, read from its `/readyz` and `/metrics`."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import httpx

_TIMEOUT = 1.0  # seconds


async def ask_role(client: httpx.AsyncClient, url: str) -> tuple[Mapping[str, Any] | None, Reading]:
    """A role's `/readyz` document, None when it did not answer, and the reading of it. `url`: scheme, host and port."""
    import httpx

    try:
        health = await client.get(f"{url}/readyz", timeout=_TIMEOUT)
        metrics = await client.get(f"{url}/metrics", timeout=_TIMEOUT)
        document: Mapping[str, Any] = health.json()
        return document, read_role(document, metrics.text, at=time.monotonic())
    except (httpx.HTTPError, ValueError, KeyError):
        return None, read_role(None, "", at=time.monotonic())


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
        held_up_by="; ".join(hold_ups(health["parts"])),
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


def hold_ups(parts: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Why the parts of a `/readyz` document are not ready, a sentence each."""
    for part in parts:
        for why in ("stopped", "stalled"):
            if why in part:
                yield f"{part['part']} {why}: {part[why]['reason']}"
        for name, waiting in part.get("waiting_for", {}).items():
            yield f"{part['part']} waits for {name}: {waiting['reason']}"
