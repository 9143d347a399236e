"""The trace of one message, from the POST to the CRM's record id, and of one send, from its trigger to its status."""

import json
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from dispatch_world import NUMBER, WABA, dispatch_world
from golden_conversations import body_of, conversations
from message_line import Topics, ingress_of, message_line, post_webhook, stage_runner

from connector.identity.role import RouteStage
from connector.telemetry import tracing
from connector.telemetry.trace_ids import context_of, message_subject, send_subject
from connector.topics import CONVERSATION_EVENTS, CRM_TRIGGERS, WHATSAPP_UPDATES

pytest.importorskip("opentelemetry.sdk", reason="the extra `tracing` is not installed")
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter


@pytest.fixture
def exporter() -> Iterator[InMemorySpanExporter]:
    """Where spans go."""
    found = InMemorySpanExporter()
    with tracing.traced(tracing.Traces(SimpleSpanProcessor(found), role="test")):
        yield found


def _of(spans: Sequence[ReadableSpan], trace_id: int) -> list[ReadableSpan]:
    return [span for span in spans if span.context and span.context.trace_id == trace_id]


def _attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


@pytest.mark.parametrize("sink", ["hubspot", "salesforce"])
async def test_the_trace_of_a_message_shows_every_stage(
    database_url: str, exporter: InMemorySpanExporter, sink: str
) -> None:
    """Received, routed, folded and written, under one first span, each linked with its batch; and nothing of the person."""
    post = conversations()["a-new-customer"]["posts"][0]
    wamid = post["messages"][0]["id"]
    async with message_line(database_url, sink=sink) as line:
        assert (await line.post(body_of(post))).status_code == 200
        await line.work()
        [record_id] = [
            row["record_id"] for row in await line.sink.fetch("SELECT record_id FROM {sink}.activities")
        ]
    spans = exporter.get_finished_spans()
    first = context_of(message_subject(wamid))
    trace = _of(spans, first.trace_id)
    assert [span.name for span in trace] == ["received whatsapp", "route", f"sync-{sink}", f"write {sink}"]
    assert _attributes(trace[-1])["connector.record_id"] == record_id
    assert trace[0].parent is None
    assert trace[0].context is not None
    assert trace[0].context.span_id == first.span_id
    assert {span.parent.span_id for span in trace[1:] if span.parent} == {first.span_id}
    assert all(span.start_time and span.end_time and span.start_time <= span.end_time for span in trace)
    linked = {link.context.span_id for span in trace for link in span.links}
    batches = {span.name: span for span in spans if span.context and span.context.span_id in linked}
    assert set(batches) == {"POST whatsapp", "route batch", f"sync-{sink} batch", f"{sink} drain"}
    assert all(first.trace_id in {link.context.trace_id for link in span.links} for span in batches.values())
    said = " ".join(span.to_json() for span in spans)
    for secret in (wamid, "16505550123", "US.1anaSouza", "Ana Souza", "armchair"):
        assert secret not in said


_CLIENT = {"name": "shop", "secret": "a-secret-of-the-shop"}


def _status(wamid: str, phone: str, send_id: str) -> bytes:
    """What Meta posts when a person has read a send of ours."""
    status = {
        "id": wamid,
        "status": "read",
        "timestamp": str(int(time.time())),
        "recipient_id": phone.lstrip("+"),
        "biz_opaque_callback_data": send_id,
    }
    metadata = {"display_phone_number": "15550100100", "phone_number_id": NUMBER.id}
    value = {"messaging_product": "whatsapp", "metadata": metadata, "statuses": [status]}
    change = {"field": "messages", "value": value}
    document = {"object": "whatsapp_business_account", "entry": [{"id": WABA, "changes": [change]}]}
    return json.dumps(document).encode()


async def test_the_trace_of_a_send_goes_from_its_trigger_to_its_status(
    database_url: str, exporter: InMemorySpanExporter
) -> None:
    """Asked for, admitted, judged, sent, and read; and the message that WhatsApp made of it has a trace that links back."""
    topics = Topics()
    configured = {"triggers": {"clients": [_CLIENT]}}
    async with dispatch_world(database_url) as world, ingress_of(topics, **configured) as client:
        [phone] = await world.introduced(1)
        request = {
            "template": {"name": "order_shipped", "language": "en_US"},
            "recipients": [{"to": {"phone": phone}, "parameters": {"1": "Ana", "2": "#1"}}],
        }
        headers = {"Authorization": f"Bearer {_CLIENT['secret']}", "Idempotency-Key": "order-1"}
        answer = await client.post("/triggers/templates", json=request, headers=headers)
        assert answer.status_code == 202
        send_id = answer.json()["recipients"][0]["send_id"]
        assert await stage_runner(world.stages.admission, topics).run(topics.unread(CRM_TRIGGERS))
        async with world.dispatching():
            await world.until(accepted=1)
        wamid = (await world.stages.send(send_id))["wamid"]
        assert (await post_webhook(client, _status(wamid, phone, send_id))).status_code == 200
        assert await stage_runner(RouteStage(world.pool), topics).run(topics.unread(WHATSAPP_UPDATES))
        assert await stage_runner(world.stages.conversation, topics).run(topics.unread(CONVERSATION_EVENTS))
        assert await world.states() == {"read": 1}
    spans = exporter.get_finished_spans()
    first = context_of(send_subject(send_id))
    trace = _of(spans, first.trace_id)
    assert [span.name for span in trace] == [
        *("received triggers", "outbound-admission", "judged", "send to WhatsApp"),
        *("received whatsapp", "route", "outbound"),
    ]
    assert {span.parent.span_id for span in trace[1:] if span.parent} == {first.span_id}
    [taken] = _of(spans, context_of(message_subject(wamid)).trace_id)
    sent = trace[3]
    assert taken.name == "taken by WhatsApp"
    assert sent.context is not None
    assert [link.context.span_id for link in taken.links] == [sent.context.span_id]
    assert [link.context.trace_id for link in sent.links] == [context_of(message_subject(wamid)).trace_id]
    said = " ".join(span.to_json() for span in spans)
    for secret in (wamid, phone, phone.lstrip("+"), "Ana"):
        assert secret not in said
