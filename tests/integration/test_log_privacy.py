"""No phone, name or text of a person is in what the roles log from INFO up, whatever goes wrong with them."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import structlog
from captured_logs import captured_logs
from golden_conversations import body_of, conversations
from message_line import MessageLine, message_line, stage_runner

from connector.sandbox.faults import Fault, FaultKind
from connector.streams.outcomes import Outcome, Record
from connector.topics import DEAD_LETTERS, WHATSAPP_UPDATES, Topic

_PEOPLES = frozenset(
    {
        *(
            "name",
            "formatted_name",
            "first_name",
            "last_name",
            "username",
            "filename",
            "address",
            "street",
            "email",
        ),
        *("body", "caption", "text", "title", "description", "headline"),
        *("wa_id", "from", "to", "recipient_id", "phone", "user_id", "from_user_id", "to_user_id"),
    }
)
_SHORTEST = 5  # characters: shorter words are in the log for reasons of their own
_OURS = frozenset({"15550100100", "image", "video", "document", "contacts"})


def _said(value: Any, key: str = "") -> Iterator[str]:
    """What the document says of people, by the names of Meta's fields."""
    if isinstance(value, dict):
        for name, content in value.items():
            yield from _said(content, name)
    elif isinstance(value, list):
        for content in value:
            yield from _said(content, key)
    elif isinstance(value, str) and key in _PEOPLES and len(value) >= _SHORTEST and value not in _OURS:
        yield value


def leaks(log: str, secrets: set[str]) -> set[str]:
    """Those that the log has; also as JSON or Python would write them, and a text by its first line."""
    forms = {
        secret: {secret, secret.splitlines()[0], json.dumps(secret)[1:-1], repr(secret)[1:-1]}
        for secret in secrets
    }
    return {
        secret
        for secret, written in forms.items()
        if any(form in log for form in written if len(form) >= _SHORTEST)
    }


class Careless:
    """A stage with a defect: its error quotes the record."""

    name = "careless"
    topic: Topic = WHATSAPP_UPDATES
    batch_size = 100

    async def handle(self, records: Sequence[Record]) -> Sequence[Outcome]:
        raise ValueError(f"cannot handle {records[0].value!r}")


async def _play(line: MessageLine, posts: Sequence[dict[str, Any]]) -> None:
    faults = line.sink.people.faults
    faults.add(Fault(kind=FaultKind.STATUS, status=503, skip=1, times=2))
    faults.add(Fault(kind=FaultKind.POISON, text="armchair"))
    for post in posts:
        assert (await line.post(body_of(post))).status_code == 200
    await line.work()


@pytest.mark.parametrize("sink", ["hubspot", "salesforce"])
async def test_whole_conversations_leave_no_trace_of_people_in_the_log(database_url: str, sink: str) -> None:
    """Every golden conversation, while the CRM is away and refuses, POSTs are damaged, and a stage has a defect."""
    posts = [post for conversation in conversations().values() for post in conversation["posts"]]
    secrets = {text for post in posts for text in _said(post)}
    assert len(secrets) > 50
    with captured_logs() as lines:
        async with message_line(database_url, sink=sink) as line:
            await _play(line, posts)
            first = posts[0]
            half = json.dumps(first).encode()[:-30]
            assert (await line.post(half)).status_code == 200, "kept as a dead letter"
            careless = stage_runner(Careless(), line.topics)
            updates = [
                Record(topic="whatsapp.updates", partition=0, offset=n, key=record.key, value=record.value)
                for n, record in enumerate(line.topics.on(WHATSAPP_UPDATES)[:3])
            ]
            assert await careless.run(updates)
            assert len(line.topics.on(DEAD_LETTERS)) >= 4
        logged = lines()
    assert {"a record could not be handled", "kept as a dead letter"} <= {entry["event"] for entry in logged}
    assert leaks("\n".join(json.dumps(entry, ensure_ascii=False) for entry in logged), secrets) == set()


def test_a_leak_would_be_found() -> None:
    """A phone in a sentence, a text under a name that nobody masks, and an error that quotes a record."""
    with captured_logs() as lines:
        log = structlog.get_logger("connector.test")
        log.info("could not write to 16505550123")
        log.warning("odd", detail="Hi! Do you have\nthe blue armchair?")
        try:
            raise ValueError("cannot handle 'Ana Souza'")
        except ValueError:
            log.exception("failed")
        text = "\n".join(json.dumps(entry, ensure_ascii=False) for entry in lines())
    assert leaks(text, {"16505550123", "Hi! Do you have\nthe blue armchair?", "Ana Souza", "Layla"}) == {
        "16505550123",
        "Hi! Do you have\nthe blue armchair?",
        "Ana Souza",
    }
