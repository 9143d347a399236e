import base64
import hashlib
import hmac
import json
from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from connector.sandbox.whatsapp import (
    BusinessNumber,
    Person,
    RetrySchedule,
    Update,
    Weather,
    WebhookSender,
    conversations,
    envelope,
    payloads,
    serialise,
    signature,
)

SECRET = "sandbox-app-secret"
NUMBER = BusinessNumber()
ANA = Person(name="Ana", wa_id="16505550001", bsuid="US.1001")
BSUID_ONLY = Person(name="Bea", bsuid="US.1002", username="bea")


class Receiver:
    """A webhook endpoint that keeps what it was sent and answers as told."""

    def __init__(self, answer: Callable[[int], int] = lambda _count: 200) -> None:
        self.bodies: list[bytes] = []
        self.unsigned = 0
        self._answer = answer
        self.app = Starlette(routes=[Route("/webhook", self._receive, methods=["POST"])])

    async def _receive(self, request: Request) -> Response:
        body = await request.body()
        wanted = "sha256=" + hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
        self.unsigned += request.headers["X-Hub-Signature-256"] != wanted
        self.bodies.append(body)
        return Response(status_code=self._answer(len(self.bodies)))

    @property
    def items(self) -> list[str]:
        """The ids of all messages received, in order, repetitions included."""
        return [
            item["id"]
            for body in self.bodies
            for entry in json.loads(body)["entry"]
            for change in entry["changes"]
            for item in change["value"].get("messages", [])
        ]

    def sender(self, **weather: Any) -> WebhookSender:
        """Return a sender whose minutes are milliseconds."""
        return WebhookSender(
            url="http://connector.test/webhook",
            app_secret=SECRET,
            weather=Weather(**weather),
            retries=RetrySchedule(speed=100_000),
            client=httpx.AsyncClient(transport=httpx.ASGITransport(app=self.app)),
        )


def texts(count: int, person: Person = ANA) -> list[Update]:
    """Return text messages with the ids m0, m1, ..."""
    return [
        payloads.text(person, NUMBER, message_id=f"m{place}", at=1_790_000_000 + place, body="hi")
        for place in range(count)
    ]


def test_bytes_are_escaped_as_meta_escapes_them() -> None:
    """Non-ASCII, slashes and @ are escaped on the wire, and mean the same once parsed."""
    document = {"b": "café 😮 a@b.co https://x.co/y \\ /"}
    body = serialise(document)
    assert body == rb'{"b":"caf\u00e9 \ud83d\ude2e a\u0040b.co https:\/\/x.co\/y \\ \/"}'
    assert json.loads(body) == document


def test_the_signature_is_over_the_bytes() -> None:
    """The header is what openssl computes over the escaped bytes."""
    body = rb'{"b":"caf\u00e9 a\u0040b.co https:\/\/x.co\/y"}'
    assert signature(body, SECRET) == (
        "sha256=af68b590b1c99686745deff4c9649f41c62da6693727c7e15cb539bcc93acbc7"
    )


def test_a_phone_that_is_not_shared_is_an_absent_key() -> None:
    """A BSUID-only message has neither `from` nor `wa_id`, and names its BSUID in both places."""
    update = payloads.text(BSUID_ONLY, NUMBER, message_id="m", at=1, body="hi")
    value = envelope([update])["entry"][0]["changes"][0]["value"]
    assert value["contacts"] == [{"profile": {"name": "Bea", "username": "bea"}, "user_id": "US.1002"}]
    assert "from" not in value["messages"][0]
    assert value["messages"][0]["from_user_id"] == "US.1002"
    assert value["messages"][0]["timestamp"] == "1"


@pytest.mark.parametrize(
    ("update", "expected"),
    [
        (
            payloads.media(ANA, NUMBER, message_id="m", at=1, caption="look"),
            {"type": "image", "image": {"caption": "look", "mime_type": "image/jpeg"}},
        ),
        (
            payloads.text(ANA, NUMBER, message_id="m", at=1, body="hi", reply_to="w"),
            {"context": {"from": NUMBER.display_phone_number, "id": "w"}},
        ),
        (
            payloads.unsupported(ANA, NUMBER, message_id="m", at=1),
            {"type": "unsupported", "unsupported": {"type": "poll_creation"}},
        ),
        (
            payloads.message(ANA, NUMBER, message_id="m", at=1, type="hologram", content={"z": 1}),
            {"type": "hologram", "hologram": {"z": 1}},
        ),
    ],
    ids=["media", "reply", "unsupported", "unknown-type"],
)
def test_messages_carry_what_is_theirs(update: Update, expected: dict[str, Any]) -> None:
    """Each kind of message has its type's own object, with sender and id as always."""
    for key, value in expected.items():
        found = update.content[key]
        assert found == value or {**found, **value} == found
    assert (update.content["from"], update.content["id"]) == (ANA.wa_id, "m")


def test_a_changed_number_links_both_identities_without_contacts() -> None:
    """The system message has old and new phone and BSUID, and its change has no contacts."""
    after = Person(name="Ana", wa_id="16505550009", bsuid="US.2001")
    update = payloads.changed_number(ANA, after, NUMBER, message_id="m", at=1)
    value = envelope([update])["entry"][0]["changes"][0]["value"]
    assert "contacts" not in value
    assert value["messages"][0]["from"] == ANA.wa_id
    system = value["messages"][0]["system"]
    assert (system["wa_id"], system["user_id"]) == (after.wa_id, after.bsuid)
    assert system["previous_user_id"] == ANA.bsuid


def test_a_changed_user_id_has_no_phone() -> None:
    """A replaced BSUID comes without any phone."""
    after = Person(name="Ana", wa_id="16505550009", bsuid="US.2001")
    update = payloads.changed_user_id(ANA, after, NUMBER, message_id="m", at=1)
    assert "from" not in update.content
    assert "wa_id" not in update.content["system"]


def test_a_failed_status_names_its_recipient_by_phone_alone() -> None:
    """failed has errors and no BSUID or contact; delivered has pricing, BSUID and contact."""
    failed, delivered = (
        payloads.status(ANA, NUMBER, message_id="m", at=1, status=name) for name in ("failed", "delivered")
    )
    assert failed.content["errors"][0]["code"] == 131026
    assert "recipient_user_id" not in failed.content
    assert failed.contact is None
    assert delivered.content["recipient_user_id"] == ANA.bsuid
    assert delivered.content["pricing"]["category"] == "utility"
    assert failed.id != delivered.id


def test_account_updates_have_a_time_and_no_metadata() -> None:
    """An account-level update is routed by its entry's id."""
    update = payloads.account(NUMBER, at=5, field="account_update", value={"event": "ACCOUNT_DELETED"})
    entry = envelope([update])["entry"][0]
    assert (entry["id"], entry["time"]) == (NUMBER.waba_id, 5)
    assert entry["changes"] == [{"value": {"event": "ACCOUNT_DELETED"}, "field": "account_update"}]


def test_an_envelope_keeps_order_and_joins_neighbours() -> None:
    """Updates of two numbers and two accounts stay in order, in as few changes as neighbours allow."""
    other = BusinessNumber(phone_number_id="2", display_phone_number="2")
    foreign = BusinessNumber(waba_id="9", phone_number_id="3", display_phone_number="3")
    updates = [
        payloads.text(ANA, number, message_id=f"m{place}", at=1, body="hi")
        for place, number in enumerate((NUMBER, NUMBER, other, foreign, NUMBER))
    ]
    entries = envelope(updates)["entry"]
    shape = [
        [[item["id"] for item in change["value"]["messages"]] for change in entry["changes"]]
        for entry in entries
    ]
    assert shape == [[["m0", "m1"], ["m2"]], [["m3"]], [["m4"]]]
    assert entries[0]["changes"][0]["value"]["contacts"] == [ANA.contact()]


def test_a_webhook_carries_at_most_1000_updates() -> None:
    """1,000 updates fit, one more does not."""
    assert envelope(texts(1_000))
    with pytest.raises(ValueError, match="1 to 1,000"):
        envelope(texts(1_001))


@pytest.mark.parametrize(
    ("outbound", "kind", "length"), [(False, b"\x12\x18\x14", 20), (True, b"\x11\x18\x12", 18)]
)
def test_message_ids_are_built_as_meta_builds_them(*, outbound: bool, kind: bytes, length: int) -> None:
    """An id is base64 of the peer's digits and a serial, and no two are alike."""
    random = Random(1)
    ids = {payloads.wamid("16505550001", random, outbound=outbound) for _ in range(1_000)}
    decoded = [base64.b64decode(one.removeprefix("wamid.")) for one in ids]
    head = b"\x1c\x18\x0b16505550001\x15\x02\x00" + kind
    assert len(ids) == 1_000
    assert all(one.startswith(head) and len(one) == len(head) + length + 1 for one in decoded)


async def test_every_post_is_signed_and_every_update_arrives_once() -> None:
    """Without bad weather each update is posted once, in order, signed."""
    receiver = Receiver()
    async with receiver.sender(in_flight=1) as sender:
        await sender.deliver(texts(20))
        assert receiver.unsigned == 0
        assert receiver.items == [f"m{place}" for place in range(20)]
        assert {entry.posts for entry in sender.journal.acknowledged()} == {1}


async def test_bad_weather_batches_disorders_and_repeats() -> None:
    """Updates come in batches, out of order, some twice, and none is missing."""
    receiver = Receiver()
    async with receiver.sender(seed=3, batch=5, disorder=10, duplicate=0.3, delay=0.01) as sender:
        await sender.deliver(texts(200))
    arrived = Counter(receiver.items)
    first_seen = list(dict.fromkeys(receiver.items))
    assert len(arrived) == 200
    assert max(arrived.values()) == 2
    assert len(receiver.bodies) < 150
    assert first_seen != sorted(first_seen, key=lambda wamid: int(wamid[1:]))


async def test_an_update_moves_at_most_its_disorder() -> None:
    """With a disorder of 3 no update is more than 3 places from its turn."""
    receiver = Receiver()
    async with receiver.sender(in_flight=1, disorder=3) as sender:
        await sender.deliver(texts(100))
    places = [abs(place - int(wamid[1:])) for place, wamid in enumerate(receiver.items)]
    assert 0 < max(places) <= 3


@pytest.mark.parametrize("status", [500, 503, 403, 202, 302])
async def test_anything_but_200_is_repeated_as_the_same_bytes(status: int) -> None:
    """Every other answer has the whole POST repeated until there is a 200."""
    receiver = Receiver(lambda count: 200 if count == 3 else status)
    async with receiver.sender() as sender:
        await sender.deliver(texts(1))
        (entry,) = sender.journal.acknowledged()
    assert entry.answers == [status, status, 200]
    assert len(set(receiver.bodies)) == 1


async def test_a_failing_post_delays_no_other() -> None:
    """While the first POST is refused again and again, all others are acknowledged."""
    receiver = Receiver(lambda count: 500 if count in (1, 4, 5, 6) else 200)
    async with receiver.sender() as sender:
        await sender.deliver(texts(3))
        assert len(sender.journal.acknowledged()) == 3


async def test_delivery_is_given_up_after_seven_days() -> None:
    """An endpoint that never answers 200 loses its updates, and the journal says so."""
    receiver = Receiver(lambda _count: 500)
    sender = WebhookSender(
        url="http://connector.test/webhook",
        app_secret=SECRET,
        retries=RetrySchedule(speed=10_000_000),
        client=httpx.AsyncClient(transport=httpx.ASGITransport(app=receiver.app)),
    )
    async with sender:
        await sender.deliver(texts(1))
        (entry,) = sender.journal.unacknowledged()
    assert entry.lost
    assert entry.posts == len(receiver.bodies) > 20


def test_repetitions_become_rarer_over_seven_days() -> None:
    """Waits grow up to six hours and fill seven days."""
    waits = list(RetrySchedule().waits())
    assert waits == sorted(waits)
    assert max(waits) == 6 * 3600
    assert 6.5 * 86_400 < sum(waits) <= 7 * 86_400


async def test_no_answer_at_all_is_repeated() -> None:
    """A connection error counts as no 200, by its name in the journal."""
    calls: list[int] = []

    def refuse_once(_request: httpx.Request) -> httpx.Response:
        calls.append(1)
        if len(calls) == 1:
            msg = "refused"
            raise httpx.ConnectError(msg)
        return httpx.Response(200)

    sender = WebhookSender(
        url="http://connector.test/webhook",
        app_secret=SECRET,
        retries=RetrySchedule(speed=100_000),
        client=httpx.AsyncClient(transport=httpx.MockTransport(refuse_once)),
    )
    async with sender:
        await sender.deliver(texts(1))
        assert sender.journal.acknowledged()[0].answers == ["ConnectError", 200]


def test_conversations_are_reproducible() -> None:
    """The same seed gives the same bytes, another seed other ones."""
    one, same, other = (
        [serialise(envelope([update])) for update in conversations(seed=s, people=9, messages=60).updates]
        for s in (1, 1, 2)
    )
    assert one == same
    assert one != other


def test_conversations_know_what_must_come_of_them() -> None:
    """What is expected of each person is what the updates say, message by message."""
    stream = conversations(seed=4, people=40, messages=400, outbound=60)
    messages = [update for update in stream.updates if update.kind == "messages"]
    spoken = [update.wamid for update in messages if update.content["type"] != "system"]
    assert sorted(map(str, spoken)) == sorted(stream.wamids)
    assert len(spoken) == len(stream.wamids) == 400
    assert len(stream.people) == 40
    by_bsuid = {bsuid: person for person in stream.people for bsuid in person.bsuids}
    for update in messages:
        person = by_bsuid[update.content["from_user_id"]]
        if update.content["type"] != "system":
            assert update.wamid in {message.wamid for message in person.messages}
            assert update.content.get("from") in {None, *person.phones}
    statuses = {update.wamid for update in stream.updates if update.kind == "statuses"}
    assert statuses == {wamid for person in stream.people for wamid in person.outbound}
    assert len(statuses) == 60


def test_conversations_mix_the_identities_that_matter() -> None:
    """There are people without a phone, with a late phone, and with a new number; none share one."""
    stream = conversations(seed=4, people=40, messages=400)
    assert any(not person.phones for person in stream.people)
    assert any(len(person.phones) == 2 and len(person.bsuids) == 2 for person in stream.people)
    late = [
        person
        for person in stream.people
        if len({update.content.get("from") for update in stream.updates if _is_by(update, person)}) == 2
        and len(person.bsuids) == 1
    ]
    assert late
    phones = [phone for person in stream.people for phone in person.phones]
    assert len(phones) == len(set(phones))


def _is_by(update: Update, person: Any) -> bool:
    return update.content.get("from_user_id") in person.bsuids
