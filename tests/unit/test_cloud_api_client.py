"""The client of the Cloud API, against the simulator: what certainly did nothing, and what may have been sent."""

import json
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pydantic import SecretStr

from connector.errors import Terminal
from connector.sandbox import SandboxServer
from connector.sandbox.faults import Fault, FaultKind
from connector.sandbox.whatsapp import Number, WhatsAppConfig
from connector.sandbox.whatsapp.config import ACCESS_TOKEN
from connector.settings import WhatsAppSettings
from connector.whatsapp.client import CloudApi, message_to
from connector.whatsapp.send_answers import Refused, SendAnswer, Taken, Unclear, Unsent
from connector.whatsapp.send_errors import ErrorClass
from connector.whatsapp.usage import regained_after

NUMBER = Number()


@pytest.fixture
async def server() -> AsyncIterator[SandboxServer]:
    async with SandboxServer(whatsapp=WhatsAppConfig(pair_burst=2)) as one:
        yield one


def template(*texts: str, to: str = "+16505550001") -> dict[str, Any]:
    parameters = [{"type": "text", "text": text} for text in texts]
    return message_to(
        phone=to,
        bsuid="",
        template={
            "name": "order_shipped",
            "language": {"code": "en_US"},
            "components": [{"type": "body", "parameters": parameters}],
        },
        callback_data="send-1",
    )


async def sent(url: str, message: dict[str, Any], *, token: str = ACCESS_TOKEN, times: int = 1) -> SendAnswer:
    settings = WhatsAppSettings(base_url=url, access_token=SecretStr(token))
    client = CloudApi(settings, request_timeout=0.5, connections=2)
    try:
        for _ in range(times):
            answer = await client.send(NUMBER.id, message)
        return answer
    finally:
        await client.close()


async def test_a_template_is_taken_with_its_wamid(server: SandboxServer) -> None:
    """An acceptance names the message and the person as WhatsApp writes them."""
    answer = await sent(server.whatsapp_url, template("Ana", "#1"))
    assert isinstance(answer, Taken)
    assert (answer.wamid[:6], answer.wa_id) == ("wamid.", "16505550001")
    assert server.whatsapp.business.sent[0].callback_data == "send-1"


@pytest.mark.parametrize(
    ("message", "token", "times", "expected"),
    [
        pytest.param(template("Ana"), ACCESS_TOKEN, 1, ErrorClass.FAIL, id="a parameter is missing"),
        pytest.param(template("Ana", "#1"), "wrong", 1, ErrorClass.STOP, id="the token"),
        pytest.param(template("Ana", "#1"), ACCESS_TOKEN, 3, ErrorClass.PAIR, id="too many to one person"),
    ],
)
async def test_a_refusal_says_whom_it_is_about(
    server: SandboxServer, message: dict[str, Any], token: str, times: int, expected: ErrorClass
) -> None:
    """Meta's code decides the class."""
    answer = await sent(server.whatsapp_url, message, token=token, times=times)
    assert isinstance(answer, Refused)
    assert answer.rule.error_class is expected


@pytest.mark.parametrize(
    ("fault", "sends"),
    [
        (Fault(kind=FaultKind.RESET, when="after"), 1),
        (Fault(kind=FaultKind.RESET, when="before"), 0),
        (Fault(kind=FaultKind.STALL, when="after"), 1),
        (Fault(kind=FaultKind.NOT_JSON), 1),
        (Fault(kind=FaultKind.TRUNCATED_BODY), 1),
        (Fault(kind=FaultKind.INCOMPLETE_BODY), 1),
        (Fault(kind=FaultKind.EMPTY_BODY), 1),
        (Fault(kind=FaultKind.STATUS, status=502), 0),
        (Fault(kind=FaultKind.SLOW_BODY, seconds=5), 1),
    ],
    ids=lambda value: f"{value.kind} {value.when}" if isinstance(value, Fault) else "",
)
async def test_a_lost_answer_leaves_it_open_whether_it_was_sent(
    server: SandboxServer, fault: Fault, sends: int
) -> None:
    """Once a byte left, no failure is taken for a refusal, and nothing is repeated."""
    server.whatsapp.faults.add(fault)
    answer = await sent(server.whatsapp_url, template("Ana", "#1"))
    assert isinstance(answer, Unclear), answer
    assert len(server.whatsapp.business.sent) == sends


async def test_a_connection_that_breaks_while_it_is_kept_open_leaves_it_open(server: SandboxServer) -> None:
    """A reused connection that is closed under the request is no connection that was never made."""
    server.whatsapp.faults.add(Fault(kind=FaultKind.RESET, when="after", skip=1))
    answer = await sent(server.whatsapp_url, template("Ana", "#1"), times=2)
    assert isinstance(answer, Unclear)
    assert len(server.whatsapp.business.sent) == 2


async def test_nothing_was_sent_where_nobody_listens() -> None:
    """A refused connection is certain."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    answer = await sent(f"http://127.0.0.1:{port}", template("Ana", "#1"))
    assert isinstance(answer, Unsent)
    assert "ClientConnectorError" in answer.reason


async def test_without_a_token_the_line_stops() -> None:
    """Nothing leaves without a credential."""
    with pytest.raises(Terminal, match="ACCESS_TOKEN"):
        await sent("http://127.0.0.1:9", template("Ana", "#1"), token="")


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, None),
        ("no json", None),
        (json.dumps({"1": [{"call_count": 20, "estimated_time_to_regain_access": 0}]}), None),
        (json.dumps({"1": [{"estimated_time_to_regain_access": 2}], "2": [{}]}), 120.0),
        (json.dumps({"1": [{"estimated_time_to_regain_access": 10**9}]}), 86_400.0),
        (json.dumps([1]), None),
    ],
)
def test_the_usage_header_says_when_calls_are_taken_again(header: str | None, expected: float | None) -> None:
    """Minutes in the header, seconds here, a day at most."""
    headers = {} if header is None else {"x-business-use-case-usage": header}
    assert regained_after(headers) == expected
