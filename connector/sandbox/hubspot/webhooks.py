"""HubSpot's webhooks: what happens to contacts, in batches of up to 100, at least once and in no order.

developers.hubspot.com/docs/api-reference/latest/webhooks/guide: any answer but a 2xx within five seconds is repeated
up to ten times over 24 hours, the whole batch; eventId is not unique; events of one batch are in no order.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any

from connector.sandbox.courier import Courier
from connector.sandbox.hubspot.config import HubSpotConfig
from connector.sandbox.hubspot.records import RecordEvent
from connector.sandbox.hubspot.signing import v1_headers, v3_headers
from connector.sandbox.retries import RetrySchedule

WEBHOOK_PATH = "/hubspot/webhooks"
WATCHED_PROPERTIES = frozenset({"whatsapp_marketing_consent", "whatsapp_utility_consent"})
"""The subscriptions of docs/crm/hubspot: these two properties, merges, deletions, erasures."""

_BATCH = 100
_RETRIES = RetrySchedule(first=60.0, factor=2.0, longest=4 * 3600.0, give_up=86_400.0)
_ATTEMPTS = 11
_ANSWER_WITHIN = 5.0


class WebhookFeed:
    """Collects a portal's events and delivers them. `clock` gives Unix seconds."""

    def __init__(
        self, courier: Courier, *, config: Callable[[], HubSpotConfig], clock: Callable[[], float]
    ) -> None:
        self._courier = courier
        self._config = config
        self._clock = clock
        self._random = Random(config().seed)
        self._waiting: list[dict[str, Any]] = []
        self.delivered: list[Mapping[str, Any]] = []
        """Every event that was answered 2xx, as often as it was."""
        self.lost = 0
        """Events given up after the last attempt."""

    def heard(self, event: RecordEvent) -> None:
        """Remember an event that is subscribed to, until the next `flush`."""
        if event.kind == "propertyChange" and event.name not in WATCHED_PROPERTIES:
            return
        config = self._config()
        told: dict[str, Any] = {
            "eventId": self._random.randrange(1, 2**32),
            "subscriptionId": 2_084_013,
            "portalId": config.portal_id,
            "appId": int(config.tokens[0].app_id) if config.tokens else 0,
            "occurredAt": round(event.at.timestamp() * 1000),
            "subscriptionType": f"contact.{event.kind}",
            "attemptNumber": 0,
            "objectId": int(event.record_id),
            "changeSource": event.caller.source_type if event.caller else "CRM_UI",
        }
        if event.caller is not None:
            told |= {
                "propertyName": event.name,
                "propertyValue": event.value,
                "sourceId": event.caller.source_id,
            }
        if event.kind == "merge":
            primary, *others = (int(record_id) for record_id in event.merged)
            told |= {
                "objectId": primary,
                "primaryObjectId": primary,
                "mergedObjectIds": others,
                "newObjectId": int(event.record_id),
                "numberOfPropertiesMoved": 0,
                "changeFlag": "MERGED",
            }
        self._waiting.append(told)

    def flush(self) -> None:
        """Deliver what was heard, in the background."""
        waiting, self._waiting = self._waiting, []
        self._random.shuffle(waiting)
        for start in range(0, len(waiting), _BATCH):
            batch = waiting[start : start + _BATCH]
            self._courier.spawn(self._deliver(batch))
            if self._random.random() < self._config().webhook_duplicate:
                self._courier.spawn(self._deliver(batch))

    def clear(self) -> None:
        """Forget what was heard and delivered."""
        self._waiting.clear()
        self.delivered.clear()
        self.lost = 0

    async def _deliver(self, batch: Sequence[Mapping[str, Any]]) -> None:
        waits = _RETRIES.faster(self._courier.speed).waits()
        for attempt in range(_ATTEMPTS):
            events = [{**event, "attemptNumber": attempt} for event in batch]
            body = json.dumps(events).encode()
            secret, uri = self._config().client_secret, self._courier.public_url + WEBHOOK_PATH
            headers = {
                "Content-Type": "application/json",
                **v1_headers(body, secret=secret),
                **v3_headers(body, uri=uri, secret=secret, at=self._clock()),
            }
            if await self._is_taken(body, headers):
                self.delivered += events
                return
            wait = next(waits, None)
            if wait is None:
                break
            await asyncio.sleep(wait)
        self.lost += len(batch)

    async def _is_taken(self, body: bytes, headers: Mapping[str, str]) -> bool:
        try:
            async with asyncio.timeout(_ANSWER_WITHIN):
                return (await self._courier.post(WEBHOOK_PATH, body, headers)).is_success
        except TimeoutError:
            return False
