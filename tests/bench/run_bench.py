"""Every figure of docs/performance.md in one run, each beside its reference and its bar: `make bench`.

Broker, database, CRM stub, load and roles share the machine, so that only ratios and CPU seconds say something about
the code; what a run could not meet is printed as missed, not left out.
"""

from __future__ import annotations

import asyncio
import os
import platform
import shutil
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from bench_world import CALLS_IN_FLIGHT, BenchWorld, RoleProcess, Work, bench_world
from live_load import percentile, post_paced
from performance_page import BENCH, MEGABYTE, Line, table, write_section
from references import inline_way, raw_loop

from connector.sandbox.audit import audit, hubspot_records, salesforce_records
from connector.sandbox.whatsapp.conversations import Conversations, conversations
from connector.sandbox.whatsapp.payloads import Update

UPDATES = int(os.environ.get("BENCH_UPDATES", "20000"))
PEOPLE = max(1, UPDATES // 20)
_QUOTA, _QUOTA_WINDOW = 190, 10.0


def _split(expected: Conversations) -> tuple[tuple[Update, ...], tuple[Update, ...]]:
    """The first message of each person, and everything else: the people of a backlog are known by then."""
    first: list[Update] = []
    rest: list[Update] = []
    seen: set[str] = set()
    for update in expected.updates:
        person = str(update.content.get("from_user_id") or update.content.get("from") or "")
        fresh = update.kind == "messages" and person not in seen
        seen.add(person)
        (first if fresh else rest).append(update)
    return tuple(first), tuple(rest)


async def measure(data_dir: Path) -> list[Line]:
    """Play everything once, in an order in which nothing disturbs what is measured."""
    expected = conversations(
        seed=10, people=PEOPLE, messages=int(UPDATES * 0.7), outbound=int(UPDATES * 0.12)
    )
    first, rest = _split(expected)
    lines: list[Line] = []
    async with bench_world(data_dir) as world:
        await world.configure("hubspot", latency=0.05)
        await world.configure("salesforce", latency=0.2)
        await world.post(first)
        await world.start("route")
        await world.routed(len(first))
        await world.stop("route")
        new = await world.time("sync-hubspot", schema="hubspot", done=lambda: world.is_synced("hubspot"))
        await world.stop("sync-hubspot")
        searches = await _searches(world)
        lines.append(
            Line(
                what="people new to HubSpot, looked up and written; people a search",
                figure=f"{new.rate:,.0f} a second; {PEOPLE / searches:.1f}",
                reference=f"five searches a second are {5 * PEOPLE / searches:,.0f} people",
            )
        )

        await world.post(rest)
        count = len(first) + len(rest)
        raw = max([await _raw(world, count) for _ in range(2)])
        inline = await inline_way(crm_url=world.stub_url, count=400, at_once=CALLS_IN_FLIGHT)
        route = await world.time("route", schema="identity", done=lambda: _folded(world, count))
        await world.routed(count)
        lines.append(_rate_line("route", route, raw=raw, inline=inline))

        size = await world.size()
        calls = await _calls(world, "hubspot")
        work = await world.time("sync-hubspot", schema="hubspot", done=lambda: world.is_synced("hubspot"))
        calls = await _calls(world, "hubspot") - calls
        lines += _backlog_lines(work, raw=raw, inline=inline, calls=calls)
        lines += _growth_lines(size, await world.size(), work.events)

        sales = await world.time(
            "sync-salesforce", schema="salesforce", done=lambda: world.is_synced("salesforce")
        )
        lines.append(
            Line(
                what="sync-salesforce, backlog, calls of 200 ms, everybody new",
                figure=f"{sales.rate:,.0f} events/s, {sales.cpu_per_thousand:.2f} s CPU for 1,000",
                reference=f"raw loop {raw:,.0f}",
                bar="≥ 2,000 events/s",
                met=sales.rate >= 2000,
            )
        )
        lines += await _judge(world, expected)
        lines += await _live(world)
        lines.append(await _quota(world))
        lines += [_memory(role) for role in ("route", "sync-hubspot", "sync-salesforce")]
    return lines


async def _folded(world: BenchWorld, count: int) -> bool:
    return await world.offset("identity") >= count


async def _raw(world: BenchWorld, count: int) -> float:
    rate = await raw_loop(
        bootstrap_servers=world.deployment.stack.bootstrap_servers, crm_url=world.stub_url, count=count
    )
    await world.crm.post("/hubspot/forget", json={})
    return rate


async def _calls(world: BenchWorld, sink: str) -> int:
    counts = await world.counts(sink)
    return sum(number for name, number in counts["calls"].items() if "batch" in name or "search" in name)


async def _searches(world: BenchWorld) -> int:
    counts = await world.counts("hubspot")
    return sum(number for name, number in counts["calls"].items() if "search" in name)


def _rate_line(what: str, work: Work, *, raw: float, inline: float) -> Line:
    return Line(
        what=what,
        figure=f"{work.rate:,.0f} events/s, {work.cpu_per_thousand:.2f} s CPU for 1,000",
        reference=f"raw loop {raw:,.0f}, inline way {inline:,.0f}",
    )


def _backlog_lines(work: Work, *, raw: float, inline: float, calls: int) -> list[Line]:
    rate = _rate_line("sync-hubspot, backlog, calls of 50 ms, no quota", work, raw=raw, inline=inline)
    return [
        Line(
            what=rate.what,
            figure=rate.figure,
            reference=rate.reference,
            bar="≥ 4,000 events/s",
            met=work.rate >= 4000,
        ),
        Line(
            what="sync-hubspot ÷ raw loop",
            figure=f"{work.rate / raw:.2f}",
            bar="≥ 0.70",
            met=work.rate >= 0.7 * raw,
        ),
        Line(
            what="sync-hubspot, own CPU for 1,000 events",
            figure=f"{work.cpu_per_thousand:.2f} s",
            bar="≤ 0.8 s",
            met=work.cpu_per_thousand <= 0.8,
        ),
        Line(
            what="CRM calls an event",
            figure=f"{calls / work.events:.4f}",
            reference="raw loop 0.02, inline way 2",
            bar="≤ 0.025",
            met=calls <= 0.025 * work.events,
        ),
    ]


def _growth_lines(before: dict[str, int], after: dict[str, int], events: int) -> list[Line]:
    grown = {name: after[name] - before.get(name, 0) for name in after if name in ("hubspot", "shared")}
    return [
        Line(
            what=f"growth of the schema {name} an event", figure=f"{max(0, grown[name]) / events:,.0f} bytes"
        )
        for name in sorted(grown)
    ]


async def _judge(world: BenchWorld, expected: Conversations) -> list[Line]:
    lines = []
    for sink, records in (("hubspot", hubspot_records), ("salesforce", salesforce_records)):
        verdict = audit(expected, records((await world.crm.get(f"/{sink}/state")).json()))
        doubled = len(verdict.doubled_activities) + len(verdict.doubled_contacts)
        wrong = (len(verdict.missing), doubled, len(verdict.misplaced), len(verdict.wrong_statuses))
        lines.append(
            Line(
                what=f"{sink}: missing, doubled, on the wrong person, wrong status",
                figure=f"{', '.join(map(str, wrong))} of {verdict.messages:,}",
                bar="0",
                met=not any(wrong),
            )
        )
    return lines


async def _live(world: BenchWorld) -> list[Line]:
    """Everything runs: five events a second, then three hundred posts a second."""
    quiet = conversations(seed=11, people=20, messages=100, start=1_795_000_000)
    paced = await post_paced(world, quiet.updates, per_second=5)
    await world.until(lambda: world.is_synced("hubspot"))
    written = (await world.crm.get("/hubspot/written")).json()
    delays = [written[wamid] - at for wamid, at in paced.due.items() if wamid in written]
    busy = conversations(seed=12, people=300, messages=3000, start=1_796_000_000)
    storm = await post_paced(world, busy.updates, per_second=300)
    acks = [1000 * value for value in storm.answered]
    return [
        Line(
            what="5 events a second, webhook to CRM, p50 and p95",
            figure=f"{percentile(delays, 0.5):.2f} s, {percentile(delays, 0.95):.2f} s",
            reference="0.1 s of them the CRM's two calls",
            bar="p95 ≤ 1 s",
            met=len(delays) == len(paced.due) and percentile(delays, 0.95) <= 1,
        ),
        Line(
            what="ingress, 300 posts a second in an open loop while all roles sync, p50 and p99",
            figure=f"{percentile(acks, 0.5):.0f} ms, {percentile(acks, 0.99):.0f} ms",
            bar="p99 ≤ 50 ms",
            met=percentile(acks, 0.99) <= 50,
        ),
    ]


async def _quota(world: BenchWorld) -> Line:
    """Everything is to be said anew, in small batches: how much of the quota is used, and is any call refused?"""
    await world.until(lambda: world.is_synced("hubspot"))
    await world.stop("sync-hubspot")
    world.deployment.env |= {
        "CONNECTOR_HUBSPOT__BURST_CALLS": str(_QUOTA),
        "CONNECTOR_SYNC__DRAIN_BATCH": "25",
    }
    await world.database.execute(
        "UPDATE hubspot.activities SET desired_version = desired_version + 1, written_digest = NULL WHERE wamid IN "
        "(SELECT wamid FROM hubspot.activities WHERE desired_version = written_version LIMIT 12500)"
    )
    await world.configure("hubspot", latency=0.15, quota=_QUOTA)
    await world.crm.post("/hubspot/clock", json={})
    before, calls = await world.counts("hubspot"), await _calls(world, "hubspot")
    await world.start("sync-hubspot")
    await world.until(lambda: world.is_synced("hubspot"))
    after = await world.counts("hubspot")
    calls = await _calls(world, "hubspot") - calls
    seconds = after["last_call"] - after["first_call"]
    share = calls / (seconds * _QUOTA / _QUOTA_WINDOW)
    refused = after["refused"] - before["refused"]
    return Line(
        what=f"HubSpot's quota of {_QUOTA} calls in 10 s, calls of 150 ms: used, refused",
        figure=f"{share:.0%} of {seconds:.0f} s, {refused}",
        bar="≥ 95 %, 0",
        met=share >= 0.95 and not refused,
    )


def _memory(role: str) -> Line:
    rss = RoleProcess(role).rss / MEGABYTE
    return Line(what=f"memory of {role}", figure=f"{rss:.0f} MB", bar="≤ 120 MB", met=rss <= 120)


def section(lines: Sequence[Line], *, load: float) -> str:
    """The section, with what is needed to repeat it."""
    return (
        f"`make bench` of {datetime.now(UTC):%Y-%m-%d %H:%M} UTC: {os.cpu_count()} cores shared by broker, database, "
        f"CRM stub, load and roles, Python {platform.python_version()}, {UPDATES:,} updates of {PEOPLE:,} people, "
        f"{CALLS_IN_FLIGHT} calls in flight. Load average before the run: {load:.1f}; above 0.5 something else ran "
        "beside it, and rates are lower than the machine's (ratios and CPU seconds less so).\n\n"
        f"{table(lines)}\n"
        "* **Raw loop**: aiokafka `getmany`, two CRM calls for each hundred records, as many in flight as ours; it "
        "knows no people, remembers nothing and loses what a crash interrupts.\n"
        "* **Inline way**: a Starlette handler that makes two CRM calls with httpx for each event before it answers, "
        "as many at once.\n"
        "* The CRM is a stub that answers after the stated time and keeps the records, which are judged at the end; "
        "the simulators check every rule of the CRMs and would be what is measured.\n"
    )


def main() -> None:
    """Measure, print, write."""
    load = os.getloadavg()[0]
    data_dir = Path(tempfile.mkdtemp(prefix="connector-bench-"))
    try:
        lines = asyncio.run(measure(data_dir))
    finally:
        shutil.rmtree(data_dir, ignore_errors=True)
    text = section(lines, load=load)
    print(text)
    write_section(BENCH, text)


if __name__ == "__main__":
    main()
