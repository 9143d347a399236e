"""The Faust app of one stage: one topic, one agent, one consumer group. Every setting has its reason.

Faust is used for its consumer, its rebalancing and its batch stream; not for tables, producing or its web server.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import faust

from connector.settings import KafkaSettings
from connector.streams.connection import faust_credentials
from connector.streams.hardened import HardenedTransport, check_faust

REBALANCE_TIMEOUT = 60.0
"""Seconds a member has to finish what it is doing when the group rebalances; then it is evicted."""

HANDLER_TIMEOUT = REBALANCE_TIMEOUT / 2
"""Seconds a stage may work on one batch: it has to end, or be abandoned, well inside a rebalance."""


class StageApp(faust.App):
    """A Faust app that leaves no directory behind and whose transport is the hardened one."""

    def _create_directories(self) -> None:
        """Nothing is stored on disk."""


def group_name(settings: KafkaSettings, stage: str) -> str:
    """The consumer group of a stage."""
    return f"{settings.topic_prefix}{stage}"


def make_app(
    *,
    stage: str,
    topic: str,
    settings: KafkaSettings,
    agent: Callable[[StageApp, Any], Awaitable[None]],
) -> StageApp:
    """Build the app inside the running loop. `topic` is the full name; `agent(app, stream)` runs until stopped.

    Raises `Terminal` when the installed Faust is not the one this is written for.
    """
    check_faust()
    loop = asyncio.get_running_loop()
    app = StageApp(
        group_name(settings, stage),
        loop=loop,
        broker=[f"kafka://{server.strip()}" for server in settings.bootstrap_servers.split(",")],
        broker_credentials=faust_credentials(settings),
        broker_client_id=f"connector-{stage}",
        broker_session_timeout=settings.session_timeout,
        broker_heartbeat_interval=settings.heartbeat_interval,
        broker_rebalance_timeout=REBALANCE_TIMEOUT,
        broker_request_timeout=max(90.0, settings.session_timeout),  # a join may wait for the whole rebalance
        # A sink may be away for hours; the member keeps its partitions by heartbeat and waits.
        broker_max_poll_interval=86400.0,
        broker_max_poll_records=500,  # the default drains one topic to its end before it looks at another
        broker_commit_interval=1.0,  # what a kill may repeat
        consumer_auto_offset_reset="earliest",
        stream_buffer_maxsize=1024,  # two batches
        stream_wait_empty=True,  # False cancels a batch in flight and acknowledges it
        stream_publish_on_commit=False,
        processing_guarantee="at_least_once",
        store="memory://",
        table_standby_replicas=0,
        topic_allow_declare=False,  # `connector topics create` makes them
        topic_disable_leader=True,
        key_serializer="raw",
        value_serializer="raw",  # the stage parses: one undecodable record would stall a batch stream for ever
        producer_acks=-1,
        producer_request_timeout=60.0,
        web_enabled=False,
        web_tables_enabled=False,
        worker_redirect_stdouts=False,
    )
    app.transport = HardenedTransport(app.conf.broker_consumer, app, loop=loop)
    source = app.topic(topic, key_serializer="raw", value_serializer="raw")

    async def run(stream: AsyncIterator[Any]) -> None:
        await agent(app, stream)

    app.agent(source, name=f"{stage}-agent", concurrency=1)(run)
    return app
