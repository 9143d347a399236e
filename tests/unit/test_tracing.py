"""Trace ids, headers and spans, without a collector."""

import gzip
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from captured_logs import captured_logs
from conversation_events import message, status
from outbound_world import request, taken

from connector.settings import TracingSettings
from connector.streams.codec import HEADER_TRACE, encode
from connector.telemetry import tracing
from connector.telemetry.trace_ids import TraceContext, context_in, context_of, subject_of
from connector.topics import CONVERSATION_EVENTS, CRM_TRIGGERS

pytest.importorskip("opentelemetry.sdk", reason="the extra `tracing` is not installed")
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter


@pytest.fixture
def exported() -> Iterator[InMemorySpanExporter]:
    """What is sent while tracing is on."""
    exporter = InMemorySpanExporter()
    with tracing.traced(tracing.Traces(SimpleSpanProcessor(exporter), role="test")):
        yield exporter


def _headers(topic: Any, value: Any) -> dict[str, bytes]:
    return dict(encode(topic, key="k", value=value, origin="test").headers)


def test_nothing_is_added_to_records_while_tracing_is_off() -> None:
    """No role is active by itself, and a record has no header."""
    assert tracing.active() is None
    assert HEADER_TRACE not in _headers(CONVERSATION_EVENTS, message("wamid.1", "ana"))


def test_records_about_one_message_or_send_name_one_trace(exported: InMemorySpanExporter) -> None:
    """A message and a status of it; a trigger, its acceptance, and the status that gives our callback data back."""
    sent = message("wamid.1", "ana"), status("wamid.1", "read", "ana", callback_data="somebody else's")
    send = (
        (CRM_TRIGGERS, request("k")),
        (CONVERSATION_EVENTS, taken("trg_k.0", "ana", wamid="wamid.2")),
        (CONVERSATION_EVENTS, status("wamid.2", "read", "ana", callback_data="trg_k.0")),
    )
    assert len({_headers(CONVERSATION_EVENTS, event)[HEADER_TRACE] for event in sent}) == 1
    assert len({_headers(topic, event)[HEADER_TRACE] for topic, event in send}) == 1
    assert _headers(*send[0])[HEADER_TRACE] != _headers(CONVERSATION_EVENTS, sent[0])[HEADER_TRACE]
    assert not exported.get_finished_spans(), "a header alone is no span"


@pytest.mark.parametrize(
    ("update", "subject"),
    [
        pytest.param({"id": "wamid.1"}, "message:wamid.1", id="message"),
        pytest.param(
            {"id": "wamid.1", "biz_opaque_callback_data": "trg_k.0"}, "send:trg_k.0", id="status-of-ours"
        ),
        pytest.param(
            {"id": "wamid.1", "biz_opaque_callback_data": 7}, "message:wamid.1", id="odd-callback-data"
        ),
        pytest.param({"id": 7}, "", id="odd-id"),
        pytest.param(["odd"], "", id="no-object"),
        pytest.param(None, "", id="nothing"),
    ],
)
def test_what_an_update_is_about(update: Any, subject: str) -> None:
    """The message or the send that it names; whatever else Meta writes there is about nothing."""
    assert subject_of({"kind": "message", "update": update}) == subject


def test_a_share_of_traces_is_the_same_in_every_role() -> None:
    """A tenth of many is about a tenth, whoever asks; all or none at the ends."""
    contexts = [context_of(f"message:wamid.{n}") for n in range(2_000)]
    tenth = {context.trace_id for context in contexts if context.is_among(0.1)}
    assert 120 < len(tenth) < 280
    assert tenth <= {context.trace_id for context in contexts if context.is_among(0.2)}
    assert all(context.is_among(1.0) and not context.is_among(0.0) for context in contexts)


@pytest.mark.parametrize(
    "header",
    [
        pytest.param(None, id="none"),
        pytest.param(b"", id="empty"),
        pytest.param("00-" + "0" * 32 + "-" + "1" * 16 + "-01", id="zero-trace"),
        pytest.param("00-" + "a" * 32 + "-" + "0" * 16 + "-01", id="zero-span"),
        pytest.param("00-" + "a" * 32 + "-" + "1" * 16 + "-00", id="not-sampled"),
        pytest.param("00-" + "A" * 32 + "-" + "1" * 16 + "-01", id="upper-case"),
        pytest.param(b"\xff\xfe", id="no-ascii"),
        pytest.param("00-" + "a" * 32 + "-" + "1" * 16 + "-01-more", id="longer"),
    ],
)
def test_a_header_that_is_not_one_is_no_trace(header: bytes | str | None) -> None:
    """Callers send what they like."""
    assert context_in(header) is None


def test_a_header_is_read_as_it_was_written() -> None:
    """W3C's form: version, 32 and 16 hexadecimal digits, sampled."""
    context = TraceContext(0xAB, 0xCD)
    assert context.header == "00-" + "0" * 30 + "ab-" + "0" * 14 + "cd-01"
    assert context_in(context.header.encode()) == context


def test_spans_reach_the_collector_at_the_end_of_a_role_at_the_latest() -> None:
    """As OTLP over HTTP at the path that the protocol names, under the role's name."""
    bodies: dict[str, bytes] = {}

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            bodies[self.path] = gzip.decompress(body) if self.headers.get("Content-Encoding") else body
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its base's name
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Collector) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        settings = TracingSettings(endpoint=f"http://127.0.0.1:{server.server_port}")
        with tracing.tracing_as_set(settings, role="route"):
            active = tracing.active()
            assert active is not None
            active.add("a span of ours", context_of("message:wamid.1"), began=active.now())
        server.shutdown()
    assert set(bodies) == {"/v1/traces"}
    assert {b"connector-route" in bodies["/v1/traces"], b"a span of ours" in bodies["/v1/traces"]} == {True}
    assert context_of("message:wamid.1").trace_id.to_bytes(16) in bodies["/v1/traces"]


def test_a_collector_that_is_away_holds_nothing_up() -> None:
    """The end of a role does not wait for it, and tracing is off again."""
    settings = TracingSettings(endpoint="http://127.0.0.1:9")
    with captured_logs(), tracing.tracing_as_set(settings, role="test"):
        active = tracing.active()
        assert active is not None
        active.add("x", None, began=active.now())
    assert tracing.active() is None


def test_an_endpoint_without_the_extra_is_refused_at_start() -> None:
    """With what to install; tracing that silently does nothing is found out when it is needed."""
    script = (
        "import sys\n"
        "sys.modules['opentelemetry.exporter.otlp.proto.http.trace_exporter'] = None\n"
        "from connector.settings import TracingSettings\n"
        "from connector.telemetry.tracing import tracing_as_set\n"
        "with tracing_as_set(TracingSettings(endpoint='http://c:4318'), role='test'): pass\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert (
        "SettingsError: CONNECTOR_TRACING__ENDPOINT is set, and OpenTelemetry is not installed" in done.stderr
    )
