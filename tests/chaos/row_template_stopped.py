"""Row 15: Meta pauses, rejects or recategorises a template in the middle of its campaign, with and without a webhook.

What counts is the last request that WhatsApp got for it, whatever it answered.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chaos_campaign import Campaigns, number, sending
from chaos_campaign_judge import judge_sends
from chaos_figures import Figure, Row, at_least, at_most, told

from connector.sandbox.whatsapp.templates import Template

HEARD_WITHIN = 5.0
"""Seconds after the webhook."""
PERIOD = 30.0
"""CONNECTOR_OUTBOUND__TEMPLATES_EVERY where the webhook is lost: the shortest that may be set. Seconds."""
_READING = 2.0
"""Seconds that a reading takes, with the look for what is due."""
_RATE = 80


@dataclass(frozen=True, kw_only=True)
class Change:
    """What Meta does to a template. `within`: seconds after which nothing is sent any more."""

    name: str
    fields: dict[str, Any]
    within: float
    announce: bool = True

    @property
    def template(self) -> Template:
        """The template before it."""
        place = 1 + sum(map(ord, self.name))
        body = {"type": "BODY", "text": "Hi {{1}}, your order {{2}} is on its way."}
        return Template(id=f"13000000{place:08d}", name=self.name, components=(body,))


ANNOUNCED = (
    Change(name="paused", fields={"status": "PAUSED"}, within=HEARD_WITHIN),
    Change(name="rejected", fields={"status": "REJECTED"}, within=HEARD_WITHIN),
    Change(name="recategorised", fields={"category": "MARKETING"}, within=HEARD_WITHIN),
)
SILENT = (
    Change(name="paused_silently", fields={"status": "PAUSED"}, within=PERIOD + _READING, announce=False),
    Change(
        name="recategorised_silently",
        fields={"category": "MARKETING"},
        within=PERIOD + _READING,
        announce=False,
    ),
)
WHATSAPP = {
    "numbers": [number(0, throughput=_RATE)],
    "templates": [change.template.model_dump(mode="json") for change in (*ANNOUNCED, *SILENT)],
}
ENV: dict[str, str] = {}
SILENT_ENV = {"CONNECTOR_OUTBOUND__TEMPLATES_EVERY": f"{PERIOD:g}"}


async def play(world: Campaigns, *, changes: Sequence[Change], extra: int) -> list[Figure]:
    """One campaign a change, so long that it would go on for `extra` messages after nothing may be sent any more."""
    figures: list[Figure] = []
    ended: dict[str, tuple[set[str], float, float]] = {}
    for change in changes:
        asked = await world.ask(world.strangers(int(change.within * _RATE) + 2 * extra), template=change.name)
        before = await world.messages()
        async with asyncio.timeout(120):
            while await world.messages() - before < extra / 2:
                await asyncio.sleep(0.05)
        at = await world.template(change.template.model_copy(update=change.fields), announce=change.announce)
        await asyncio.sleep(max(0.0, at + change.within + 2.0 - time.time()))
        ended[change.name] = {one.send_id for one in asked}, at, change.within
    journal = await world.journal()
    requests = [*journal.accepted, *journal.refused]
    for name, (ids, at, within) in ended.items():
        mine = [message for message in requests if message.send_id in ids]
        last = max((message.at - at for message in mine), default=0.0)
        left = len(ids - {message.send_id for message in mine})
        what = name.replace("_", " ")
        figures += [
            told(
                f"{what}: requests before, and after",
                f"{sum(one.at <= at for one in mine):,}, {sum(one.at > at for one in mine):,}",
            ),
            at_most(f"{what}: last request after it", max(last, 0.0), within, unit=" s"),
            at_least(f"{what}: sends that never left", left, 1),
        ]
    return [
        *figures,
        *judge_sends(world.asked, journal, await world.fates(), may_be=("held", "queued", "failed")),
    ]


async def run(data_dir: Path, seed: int) -> Sequence[Figure]:
    async with sending(data_dir / "announced", seed=seed, replicas=2, whatsapp=WHATSAPP, env=ENV) as world:
        figures = await play(world, changes=ANNOUNCED, extra=1_000)
    async with sending(
        data_dir / "silent", seed=seed, replicas=2, whatsapp=WHATSAPP, env=SILENT_ENV
    ) as world:
        return figures + await play(world, changes=SILENT, extra=1_000)


async def small(data_dir: Path, seed: int) -> Sequence[Figure]:
    async with sending(data_dir, seed=seed, replicas=2, whatsapp=WHATSAPP, env=ENV) as world:
        return await play(world, changes=ANNOUNCED, extra=100)


ROW = Row(
    number=15,
    title="a template paused, rejected, recategorised in mid-campaign, with and without its webhook",
    run=run,
    small=small,
)
