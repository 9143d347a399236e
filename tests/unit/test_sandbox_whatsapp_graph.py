"""The simulator of the Graph API: what a business may send to whom, and what it is told."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest

from connector.sandbox.faults import Fault, FaultKind
from connector.sandbox.whatsapp import (
    KINDS,
    Number,
    RetrySchedule,
    WebhookSender,
    WhatsAppConfig,
    WhatsAppSandbox,
)
from connector.sandbox.whatsapp.config import ACCESS_TOKEN
from connector.whatsapp.send_errors import RULES

NUMBER = Number()
ANA = "16505550001"


class World:
    """A portfolio whose time is in the test's hands, and the webhook that it reports to."""

    def __init__(self, **config: Any) -> None:
        self.now = 1_790_000_000.0
        self.posts: list[dict[str, Any]] = []
        sender = WebhookSender(
            url="http://connector.test/",
            app_secret="s",
            retries=RetrySchedule(speed=1_000),
            client=httpx.AsyncClient(transport=httpx.MockTransport(self._received)),
        )
        quick = {"sent_after": 0, "delivered_after": 0, "read_after": 0}
        self.sandbox = WhatsAppSandbox(
            sender, config=WhatsAppConfig(**(quick | config)), clock=lambda: self.now
        )
        self.http = httpx.AsyncClient(
            transport=httpx.ASGITransport(app=self.sandbox.app), base_url="http://graph.test"
        )

    def _received(self, request: httpx.Request) -> httpx.Response:
        self.posts.append(json.loads(request.content))
        return httpx.Response(200)

    async def graph(
        self, path: str, document: Any = None, *, token: str = ACCESS_TOKEN, **query: str
    ) -> httpx.Response:
        return await self.http.request(
            "GET" if document is None else "POST",
            f"/v24.0/{path}",
            json=document,
            params=query,
            headers={"Authorization": f"Bearer {token}"},
        )

    async def send(self, to: str = f"+{ANA}", **content: Any) -> httpx.Response:
        body = {"messaging_product": "whatsapp", "to": to, **content}
        return await self.graph(f"{NUMBER.id}/messages", body)

    async def template(
        self, name: str, *components: dict[str, Any], language: str = "en_US", **more: Any
    ) -> httpx.Response:
        template = {"name": name, "language": {"code": language}, "components": list(components)}
        return await self.send(**({"type": "template", "template": template} | more))

    async def text(self, **more: Any) -> httpx.Response:
        return await self.send(**({"type": "text", "text": {"body": "hello"}} | more))

    async def happens(
        self, kind: str = "inbound.text", *, by: dict[str, str] | None = None, **more: Any
    ) -> str:
        """Let a person do something; the wamid."""
        event = {"kind": kind, "from": by or {"wa_id": ANA}} | more
        answer = await self.http.post("/_sandbox/whatsapp/events", json=event)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["wamid"])

    async def statuses(self, wamid: str, *, count: int) -> list[dict[str, Any]]:
        """The statuses of a message, once there are so many, in the order of their life."""
        async with asyncio.timeout(10):
            while len(found := [item for item in self._statuses() if item["id"] == wamid]) < count:
                await asyncio.sleep(0.001)
        order = ["sent", "delivered", "read", "failed"]
        return sorted(found, key=lambda item: order.index(item["status"]))

    def _statuses(self) -> list[dict[str, Any]]:
        values = [change["value"] for post in self.posts for change in post["entry"][0]["changes"]]
        return [item for value in values for item in value.get("statuses", [])]


@pytest.fixture
async def world() -> AsyncIterator[World]:
    one = World()
    yield one
    await one.http.aclose()
    await one.sandbox.aclose()


@pytest.fixture
async def make() -> AsyncIterator[Callable[..., World]]:
    """Make worlds with a configuration of their own."""
    made: list[World] = []

    def build(**config: Any) -> World:
        made.append(World(**config))
        return made[-1]

    yield build
    for one in made:
        await one.http.aclose()
        await one.sandbox.aclose()


def body(*texts: str) -> dict[str, Any]:
    return {"type": "body", "parameters": [{"type": "text", "text": text} for text in texts]}


def code(answer: httpx.Response) -> tuple[int, int]:
    return answer.status_code, answer.json()["error"]["code"]


async def test_a_template_is_accepted_and_its_statuses_carry_the_callback_data(world: World) -> None:
    """A 200 names wa_id and wamid; sent, delivered and read follow with what was given to correlate them."""
    answer = await world.template("order_shipped", body("Ana", "#1"), biz_opaque_callback_data="send-1")
    document = answer.json()
    assert document["contacts"] == [{"input": f"+{ANA}", "wa_id": ANA}]
    assert document["messages"][0]["message_status"] == "accepted"
    statuses = await world.statuses(document["messages"][0]["id"], count=3)
    assert [item["status"] for item in statuses] == ["sent", "delivered", "read"]
    assert {item["biz_opaque_callback_data"] for item in statuses} == {"send-1"}
    assert statuses[0]["pricing"]["category"] == "utility"


@pytest.mark.parametrize(
    ("name", "components", "language", "expected"),
    [
        ("nobody_wrote_it", [], "en_US", (404, 132001)),
        ("order_shipped", [body("Ana", "#1")], "de", (404, 132001)),
        ("new_offer", [body("Ana", "#1")], "en_US", (404, 132001)),
        ("paused_offer", [body("Ana", "#1")], "en_US", (400, 132015)),
        ("worn_out", [body("Ana", "#1")], "en_US", (400, 132016)),
        ("order_shipped", [], "en_US", (400, 132000)),
        ("order_shipped", [body("Ana", "#1", "more")], "en_US", (400, 132000)),
        ("order_shipped", [body("Ana", "")], "en_US", (400, 131008)),
        ("order_shipped", [body("Ana", "two\nlines")], "en_US", (400, 132018)),
        ("order_shipped", [body("Ana", "far     apart")], "en_US", (400, 132018)),
        ("order_shipped", [body("Ana", "x" * 1_024)], "en_US", (400, 132005)),
        ("order_shipped", [{"type": "carousel"}], "en_US", (400, 100)),
        ("appointment_reminder", [body("Ana", "noon")], "en_US", (400, 132000)),
        ("spring_sale", [body("Ana", "20%")], "en_US", (400, 132012)),
        ("track_parcel", [], "en_US", (400, 131008)),
        ("coupon", [], "en_US", (400, 131008)),
    ],
    ids=[
        "unknown",
        "not-in-that-language",
        "pending",
        "paused",
        "disabled",
        "too-few",
        "too-many",
        "empty",
        "new-line",
        "spaces",
        "too-long",
        "unknown-component",
        "no-header-parameter",
        "no-header-image",
        "no-url-parameter",
        "no-coupon-code",
    ],
)
async def test_a_template_that_does_not_fit_is_refused(
    world: World,
    name: str,
    components: list[dict[str, Any]],
    language: str,
    expected: tuple[int, int],
) -> None:
    """What Meta would refuse is refused with Meta's code, and nothing was sent."""
    answer = await world.template(name, *components, language=language)
    assert code(answer) == expected
    assert world.sandbox.business.sent == []


async def test_named_parameters_come_in_any_order_and_by_their_names(world: World) -> None:
    """A template with named parameters takes them by name only."""

    def named(**values: str) -> list[dict[str, Any]]:
        return [{"type": "text", "parameter_name": name, "text": text} for name, text in values.items()]

    header = {"type": "header", "parameters": named(first_name="Ana")}
    right = {"type": "body", "parameters": named(time="noon", day="Monday")}
    wrong = {"type": "body", "parameters": named(time="noon", weekday="Monday")}
    assert (await world.template("appointment_reminder", header, right)).status_code == 200
    assert code(await world.template("appointment_reminder", header, wrong)) == (400, 132012)
    nameless = body("noon", "Monday")
    assert code(await world.template("appointment_reminder", header, nameless)) == (400, 100)


async def test_a_header_image_and_a_url_are_filled_in(world: World) -> None:
    """Media headers take an id or a link, dynamic URLs one text."""
    image = {
        "type": "header",
        "parameters": [{"type": "image", "image": {"link": "https://x.example/a.jpg"}}],
    }
    assert (await world.template("spring_sale", image, body("Ana", "20%"))).status_code == 200
    button = {
        "type": "button",
        "sub_type": "url",
        "index": "0",
        "parameters": [{"type": "text", "text": "7"}],
    }
    assert (await world.template("track_parcel", button)).status_code == 200
    call = {"type": "button", "sub_type": "url", "index": "1", "parameters": []}
    assert code(await world.template("track_parcel", button, call)) == (400, 132012)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"messaging_product": "sms"}, 100),
        ({"type": "poem"}, 100),
        ({"text": {}}, 100),
        ({"text": {"body": "x" * 4_097}}, 100),
        ({"to": ""}, 100),
        ({"to": "nobody"}, 131009),
        ({"to": f"+{NUMBER.digits}"}, 131021),
        ({"to": "", "recipient": "US.777"}, 131009),
        ({"recipient_type": "group"}, 100),
        ({"biz_opaque_callback_data": "x" * 513}, 100),
    ],
    ids=[
        "product",
        "type",
        "no-content",
        "long-text",
        "no-recipient",
        "no-phone",
        "to-itself",
        "unknown-user-id",
        "group",
        "long-callback-data",
    ],
)
async def test_a_message_that_is_not_one_is_refused(
    world: World, change: dict[str, Any], expected: int
) -> None:
    """A request that Meta would refuse is refused with 400 and Meta's code."""
    await world.happens()
    assert code(await world.text(**change)) == (400, expected)


async def test_without_a_plus_sign_the_business_own_country_is_called(world: World) -> None:
    """Digits alone are a number of the business's country: a stranger is called."""
    answer = await world.template("hello_world", to=ANA)
    assert answer.json()["contacts"] == [{"input": ANA, "wa_id": f"1{ANA}"}]


async def test_a_brazilian_number_reaches_its_account(world: World) -> None:
    """The phone with its ninth digit finds the wa_id without it, and the answer names the latter."""
    await world.happens(by={"wa_id": "551187650001"})
    answer = await world.template("hello_world", to="+55 11 98765-0001")
    assert answer.json()["contacts"][0]["wa_id"] == "551187650001"


async def test_anything_may_be_sent_for_a_day_after_a_message(world: World) -> None:
    """Within 24 hours of a message a text arrives; after that it fails with 131047, a template does not."""
    await world.happens()
    inside = (await world.text()).json()["messages"][0]["id"]
    world.now += 24 * 3600
    outside = (await world.text()).json()["messages"][0]["id"]
    template = (await world.template("hello_world")).json()["messages"][0]["id"]
    assert [item["status"] for item in await world.statuses(inside, count=3)][-1] == "read"
    (failed,) = await world.statuses(outside, count=1)
    assert (failed["status"], failed["errors"][0]["code"]) == ("failed", 131047)
    assert [item["status"] for item in await world.statuses(template, count=3)][-1] == "read"


async def test_a_closed_window_may_be_told_at_once(make: Callable[..., World]) -> None:
    """With `closed_window: answer` the request itself is refused."""
    world = make(closed_window="answer")
    assert code(await world.text()) == (400, 131047)


async def test_the_window_is_one_of_a_number(make: Callable[..., World]) -> None:
    """A message to one number opens no window of another."""
    other = Number(id="2", display_phone_number="+1 555 078 3882")
    world = make(numbers=(NUMBER, other))
    await world.happens(phone_number_id="2")
    answer = await world.text()
    (failed,) = await world.statuses(answer.json()["messages"][0]["id"], count=1)
    assert failed["errors"][0]["code"] == 131047


async def test_an_opt_out_stops_marketing_and_nothing_else(world: World) -> None:
    """After `stop` a marketing template fails with 131050, a utility one arrives; `resume` undoes it."""
    image = {"type": "header", "parameters": [{"type": "image", "image": {"id": "1"}}]}

    async def sale() -> str:
        answer = await world.template("spring_sale", image, body("Ana", "20%"))
        wamid = answer.json()["messages"][0]["id"]
        return str((await world.statuses(wamid, count=1))[0]["status"])

    await world.happens("marketing.stopped")
    assert await sale() == "failed"
    utility = (await world.template("hello_world")).json()["messages"][0]["id"]
    assert len(await world.statuses(utility, count=3)) == 3
    await world.happens("marketing.resumed")
    assert await sale() != "failed"


async def test_who_cannot_be_reached_gets_131026_and_who_blocks_stays_at_sent(
    make: Callable[..., World],
) -> None:
    """An unreachable person's message fails; a blocked business is never told why nothing arrives."""
    world = make(unreachable=(ANA,), blocking=("16505550002",))
    gone = (await world.template("hello_world")).json()["messages"][0]["id"]
    blocked = (await world.template("hello_world", to="+16505550002")).json()["messages"][0]["id"]
    (failed,) = await world.statuses(gone, count=1)
    assert failed["errors"][0]["code"] == 131026
    assert "recipient_user_id" not in failed
    assert [item["status"] for item in await world.statuses(blocked, count=1)] == ["sent"]


async def test_a_user_id_is_sent_to_without_showing_a_phone(world: World) -> None:
    """`recipient` with a user id: the answer and the statuses name no phone; login codes are refused."""
    bsuid = "US.1234567890"
    await world.happens(by={"bsuid": bsuid, "username": "ana"})
    answer = await world.template("hello_world", to="", recipient=bsuid)
    assert answer.json()["contacts"] == [{"input": bsuid, "user_id": bsuid}]
    for status in await world.statuses(answer.json()["messages"][0]["id"], count=3):
        assert status["recipient_user_id"] == bsuid
        assert "recipient_id" not in status
    assert code(await world.template("login_code", body("123456"), to="", recipient=bsuid)) == (400, 131062)


async def test_a_person_who_moved_is_found_under_the_new_number(world: World) -> None:
    """After `number.changed` the window goes with the person, and the old number is a stranger's."""
    await world.happens()
    await world.happens("number.changed")
    moved = next(item for item in world.sandbox.business.people.everybody())
    assert moved.person.wa_id != ANA
    answer = await world.text(to=f"+{moved.person.wa_id}")
    assert len(await world.statuses(answer.json()["messages"][0]["id"], count=3)) == 3


async def test_one_person_gets_one_message_in_six_seconds_after_a_burst(world: World) -> None:
    """45 messages may be borrowed ahead; then one each six seconds, for this person alone."""
    for _ in range(45):
        world.now += 0.02
        assert (await world.template("hello_world")).status_code == 200
    assert code(await world.template("hello_world")) == (400, 131056)
    assert (await world.template("hello_world", to="+16505550002")).status_code == 200
    world.now += 6
    assert (await world.template("hello_world")).status_code == 200
    assert code(await world.template("hello_world")) == (400, 131056)


async def test_a_number_sends_so_many_messages_a_second(make: Callable[..., World]) -> None:
    """Beyond the throughput of a number requests answer 130429, until a second has passed."""
    world = make(numbers=(Number(throughput=2),))
    answers = [(await world.template("hello_world", to=f"+1650555{n:04d}")).status_code for n in range(3)]
    assert answers == [200, 200, 400]
    world.now += 1.01
    assert (await world.template("hello_world")).status_code == 200


async def test_templates_come_in_pages(make: Callable[..., World]) -> None:
    """Cursors lead through all templates once; a cursor that nobody gave is 131059."""
    world = make(template_page=4)
    path = f"{NUMBER.waba_id}/message_templates"
    found: list[str] = []
    page = (await world.graph(path, fields="name,status")).json()
    found += [item["id"] for item in page["data"]]
    while "next" in page["paging"]:
        page = (await world.graph(path, after=page["paging"]["cursors"]["after"])).json()
        found += [item["id"] for item in page["data"]]
    assert len(found) == len(set(found)) == len(world.sandbox.business.config.templates)
    assert code(await world.graph(path, after="guessed")) == (400, 131059)
    filtered = (await world.graph(path, status="APPROVED", language="ar")).json()["data"]
    assert [item["name"] for item in filtered] == ["order_shipped"]


async def test_numbers_are_shown_with_the_fields_asked_for(world: World) -> None:
    """A number's node has Graph's own choice of fields, or those that were named; the id always."""
    listed = (await world.graph(f"{NUMBER.waba_id}/phone_numbers")).json()["data"]
    one = (await world.graph(NUMBER.id, fields="throughput")).json()
    assert [item["id"] for item in listed] == [NUMBER.id]
    assert one == {"throughput": {"level": "STANDARD"}, "id": NUMBER.id}


async def test_calls_about_an_account_are_limited_an_hour(make: Callable[..., World]) -> None:
    """The header says how much is used; beyond the limit 80007; an hour later there is room again."""
    world = make(management_limit=2)
    first = await world.graph(f"{NUMBER.waba_id}/phone_numbers")
    usage = json.loads(first.headers["x-business-use-case-usage"])
    assert usage[NUMBER.waba_id][0]["call_count"] == 50
    await world.graph(NUMBER.id)
    assert code(await world.graph(NUMBER.id)) == (400, 80007)
    assert (await world.template("hello_world")).status_code == 200
    world.now += 3_601
    assert (await world.graph(NUMBER.id)).status_code == 200


async def test_webhooks_are_subscribed_to_by_account(world: World) -> None:
    """POST subscribes, GET lists, DELETE ends it; the app of a fresh sandbox is subscribed."""
    path = f"{NUMBER.waba_id}/subscribed_apps"
    assert len((await world.graph(path)).json()["data"]) == 1
    await world.http.delete(f"/v24.0/{path}", headers={"Authorization": f"Bearer {ACCESS_TOKEN}"})
    assert (await world.graph(path)).json() == {"data": []}
    assert (await world.graph(path, {})).json() == {"success": True}
    assert len((await world.graph(path)).json()["data"]) == 1


@pytest.mark.parametrize(
    ("path", "token", "expected"),
    [
        (NUMBER.id, "another", (401, 190)),
        ("123", ACCESS_TOKEN, (400, 100)),
        (f"{NUMBER.id}/nothing", ACCESS_TOKEN, (400, 100)),
    ],
    ids=["token", "object", "edge"],
)
async def test_who_and_what_is_unknown_is_refused(
    world: World, path: str, token: str, expected: tuple[int, int]
) -> None:
    """A wrong token is 401, an unknown object or edge 400."""
    assert code(await world.graph(path, token=token)) == expected


@pytest.mark.parametrize("version", ["", "/v19.0", "/v99.0"], ids=["none", "retired", "future"])
async def test_a_version_that_is_not_served_is_refused(world: World, version: str) -> None:
    """A path without a version, or with one that Graph has not, is an error."""
    answer = await world.http.get(
        f"{version}/{NUMBER.id}", headers={"Authorization": f"Bearer {ACCESS_TOKEN}"}
    )
    assert code(answer) == (400, 100)


async def test_messages_can_be_marked_as_read(world: World) -> None:
    """A receipt for a message that came is a success, for any other an error."""
    wamid = await world.happens()
    body = {"messaging_product": "whatsapp", "status": "read", "message_id": wamid}
    assert (await world.graph(f"{NUMBER.id}/messages", body)).json() == {"success": True}
    assert code(await world.graph(f"{NUMBER.id}/messages", body | {"message_id": "w"})) == (400, 131009)


async def test_a_lost_answer_leaves_the_message_sent(world: World) -> None:
    """A reset after the request was handled: the client knows nothing, and the person has the message."""
    fault = Fault(kind=FaultKind.RESET, when="after", path="*/messages", times=1)
    world.sandbox.faults.add(fault)
    with pytest.raises(ConnectionResetError):
        await world.template("hello_world", biz_opaque_callback_data="once")
    (sent,) = world.sandbox.business.sent
    assert sent.callback_data == "once"
    await world.template("hello_world", biz_opaque_callback_data="once")
    assert world.sandbox.state()["doubled"] == {"callback_data": {"once": 2}}


async def test_a_template_review_is_announced(world: World) -> None:
    """A template that is put with another status is announced to its account, and sendable at once."""
    pending = next(item for item in world.sandbox.business.config.templates if item.name == "new_offer")
    approved = pending.model_copy(update={"status": "APPROVED"})
    answer = await world.http.post("/_sandbox/whatsapp/templates", content=approved.model_dump_json())
    assert answer.json() == {"announced": 1}
    async with asyncio.timeout(10):
        while not world.posts:
            await asyncio.sleep(0.001)
    change = world.posts[0]["entry"][0]["changes"][0]
    assert change["field"] == "message_template_status_update"
    assert (change["value"]["event"], change["value"]["message_template_name"]) == ("APPROVED", "new_offer")
    assert (await world.template("new_offer", body("Ana", "#1"))).status_code == 200


async def test_the_webhook_of_a_review_can_be_lost(world: World) -> None:
    """With `announce=no` the template is another one and nobody is told; any other word is refused."""
    changed = world.sandbox.business.templates_of(NUMBER.waba_id)[0].model_dump(mode="json")
    for status, announce, expected in (("REJECTED", "no", 202), ("APPROVED", "perhaps", 400)):
        answer = await world.http.post(
            "/_sandbox/whatsapp/templates", json=changed | {"status": status}, params={"announce": announce}
        )
        assert answer.status_code == expected
    assert world.sandbox.business.templates_of(NUMBER.waba_id)[0].status == "REJECTED"
    assert world.posts == []


async def test_without_a_webhook_messages_are_taken_and_events_refused() -> None:
    """A sandbox that delivers nowhere still accepts sends; people cannot do anything."""
    sandbox = WhatsAppSandbox()
    transport = httpx.ASGITransport(app=sandbox.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://graph.test") as http:
        event = await http.post("/_sandbox/whatsapp/events", json={"from": {"wa_id": ANA}})
        assert event.status_code == 409
        sent = await http.post(
            f"/v24.0/{NUMBER.id}/messages",
            json={
                "messaging_product": "whatsapp",
                "to": f"+{ANA}",
                "type": "template",
                "template": {"name": "hello_world", "language": {"code": "en_US"}},
            },
            headers={"Authorization": f"Bearer {ACCESS_TOKEN}"},
        )
        assert sent.status_code == 200
    await sandbox.aclose()


@pytest.mark.parametrize("kind", KINDS)
async def test_every_kind_of_event_is_delivered(world: World, kind: str) -> None:
    """Each kind of the catalogue makes one webhook with one update."""
    await world.happens(kind, by={"wa_id": ANA, "name": "Ana"})
    async with asyncio.timeout(10):
        while not world.posts:
            await asyncio.sleep(0.001)
    (entry,) = world.posts[0]["entry"]
    assert len(entry["changes"]) == 1


async def test_a_reset_forgets_people_and_changes_the_configuration(world: World) -> None:
    """After a reset the window is closed again, and the new switches are in force."""
    await world.happens()
    answer = await world.http.post("/_sandbox/reset", json={"closed_window": "answer"})
    assert answer.status_code == 204
    assert code(await world.text()) == (400, 131047)
    wrong = await world.http.post("/_sandbox/reset", json={"closed_window": "sometimes"})
    assert wrong.status_code == 400


@pytest.mark.parametrize("code", sorted(RULES), ids=str)
async def test_every_error_can_be_asked_for_as_an_answer(world: World, code: int) -> None:
    """Each code of Meta's table is answered once, and the next message is accepted again."""
    asked = await world.http.post("/_sandbox/whatsapp/refusals", json={"code": code, "times": 1})
    assert asked.status_code == 201, asked.text
    answer = await world.template("order_shipped", body("Ana", "#1"))
    assert answer.json()["error"]["code"] == code
    assert answer.status_code >= 400
    assert world.sandbox.business.sent == []
    (refused,) = world.sandbox.state()["refused"]
    assert (refused["code"], refused["to"], refused["phone_number_id"]) == (code, f"+{ANA}", NUMBER.id)
    assert (await world.template("order_shipped", body("Ana", "#1"))).status_code == 200


async def test_an_error_can_come_later_as_a_status(world: World) -> None:
    """Accepted, then failed with the code; only to whom and for what it was asked for."""
    refusal = {"code": 131049, "when": "status", "to": ANA, "template": "order_shipped"}
    await world.http.post("/_sandbox/whatsapp/refusals", json=refusal)
    accepted = await world.template("order_shipped", body("Ana", "#1"))
    (failed,) = await world.statuses(accepted.json()["messages"][0]["id"], count=1)
    assert (failed["status"], failed["errors"][0]["code"]) == ("failed", 131049)
    other = await world.template("order_shipped", body("Bo", "#2"), to="+16505550002")
    assert len(await world.statuses(other.json()["messages"][0]["id"], count=3)) == 3
    await world.http.delete("/_sandbox/whatsapp/refusals")
    again = await world.template("order_shipped", body("Ana", "#1"))
    assert len(await world.statuses(again.json()["messages"][0]["id"], count=3)) == 3


async def test_an_unknown_error_cannot_be_asked_for(world: World) -> None:
    """The answer names those there are."""
    answer = await world.http.post("/_sandbox/whatsapp/refusals", json={"code": 7})
    assert answer.status_code == 400
    assert "131056" in answer.text


@pytest.mark.parametrize(
    ("end", "statuses"), [("released", ["sent", "delivered", "read"]), ("dropped", ["failed"])]
)
async def test_a_held_message_is_released_or_dropped(
    make: Callable[..., World], end: str, statuses: list[str]
) -> None:
    """Template pacing: accepted as held, then sent, or failed as the template was paused (132015)."""
    world = make(held=["order_shipped"], held_for=0, held_end=end)
    answer = await world.template("order_shipped", body("Ana", "#1"))
    message = answer.json()["messages"][0]
    assert message["message_status"] == "held_for_quality_assessment"
    told = await world.statuses(message["id"], count=len(statuses))
    assert [item["status"] for item in told] == statuses
    assert [error["code"] for item in told for error in item.get("errors", [])] == [132015] * (
        end == "dropped"
    )


async def test_a_recategorised_template_is_announced(world: World) -> None:
    """Utility that Meta takes for marketing: previous and new category, and no change of status."""
    template = next(
        item for item in world.sandbox.business.templates_of(NUMBER.waba_id) if item.name == "order_shipped"
    )
    changed = template.model_dump(mode="json") | {"category": "MARKETING"}
    answer = await world.http.post("/_sandbox/whatsapp/templates", json=changed)
    assert answer.json() == {"announced": 1}
    async with asyncio.timeout(10):
        while not world.posts:
            await asyncio.sleep(0.001)
    (change,) = world.posts[0]["entry"][0]["changes"]
    assert change["field"] == "template_category_update"
    assert (change["value"]["previous_category"], change["value"]["new_category"]) == ("UTILITY", "MARKETING")


async def test_a_token_is_told_with_its_permissions_and_its_end(make: Callable[..., World]) -> None:
    """`debug_token` answers 200 for any token: of one that is not known it says that it is not valid."""
    world = make(token_expires_at=1_800_000_000)
    known = (await world.graph("debug_token", input_token=ACCESS_TOKEN)).json()["data"]
    assert (known["is_valid"], known["expires_at"]) == (True, 1_800_000_000)
    assert known["scopes"] == ["whatsapp_business_management", "whatsapp_business_messaging"]
    unknown = await world.graph("debug_token", input_token="another")
    assert (unknown.status_code, unknown.json()["data"]["is_valid"]) == (200, False)
    assert (await world.graph("debug_token")).json()["error"]["code"] == 100
