"""`connector send` and `connector why` on real engines, with dispatchers against the simulated WhatsApp."""

from collections.abc import AsyncIterator

import pytest
from admission_role import admitting
from conversation_events import message
from dispatch_world import NUMBER, DispatchWorld, dispatch_world
from operator_shell import Operator

from connector.outbound.policies import POLICIES
from connector.settings import KafkaSettings

ANA, BEN = "+16505550100", "+16505550101"
ORDER = ("order_shipped", "--language", "en_US", "-p", "1=Ana", "-p", "2=#7")


@pytest.fixture
def kafka_settings(bootstrap_servers: str, topic_prefix: str) -> KafkaSettings:
    return KafkaSettings(bootstrap_servers=bootstrap_servers, topic_prefix=topic_prefix)


@pytest.fixture
async def world(database_url: str, kafka_settings: KafkaSettings) -> AsyncIterator[DispatchWorld]:
    async with dispatch_world(database_url) as world, admitting(world.stages, kafka_settings):
        await world.known("ana", ANA)
        yield world


@pytest.fixture
def operator(monkeypatch: pytest.MonkeyPatch, database_url: str, kafka_settings: KafkaSettings) -> Operator:
    return Operator(
        monkeypatch,
        database__url=database_url,
        kafka__bootstrap_servers=kafka_settings.bootstrap_servers,
        kafka__topic_prefix=kafka_settings.topic_prefix,
        whatsapp__default_phone_number_id=NUMBER.id,
    )


async def test_a_send_is_shown_until_it_left_and_its_key_sends_once(
    operator: Operator, world: DispatchWorld
) -> None:
    """The same key is the same send, whoever waits for it; with another body it is refused, and why it was sent is kept."""
    async with world.dispatching():
        asked = await operator.json("send", ANA, *ORDER, "--key", "k1", "--by", "olga")
        again = await operator.json("send", "template", ANA, *ORDER, "--key", "k1", "--by", "olga")
        other = await operator.run("send", ANA, "hello_world", "--key", "k1", "--by", "olga")
    send = asked["send"]
    assert (send["state"], send["client"], send["source"]) == ("accepted", "olga", "cli")
    assert again["send_id"] == asked["send_id"]
    assert (other[0], "error" in other[2], "--key" in other[2]) == (1, True, True)
    assert world.sent == {asked["send_id"]: 1}

    recorded = await operator.json("why", asked["send_id"])
    assert [line["policy"] for line in recorded["verdict"]["lines"]] == [policy.name for policy in POLICIES]
    code, out, _ = await operator.run("why", asked["send_id"])
    assert code == 0
    for said in ("by olga (cli)", "It may be sent", "Did the person say stop?", send["wamid"]):
        assert said in out

    traced = await operator.json("trace", send["wamid"])
    assert (traced["send"]["send_id"], traced["contact_id"]) == (asked["send_id"], send["contact_id"])
    person = await operator.json("trace", "--contact", ANA)
    assert [(item["send_id"], item["state"]) for item in person["sends"]] == [(asked["send_id"], "accepted")]


async def test_a_stop_is_the_answer_before_and_after(operator: Operator, world: DispatchWorld) -> None:
    """Asked beforehand nothing is written; asked for, the send is blocked with the same sentence, and never leaves."""
    await world.stages.tell(message("m1", "ana", text="STOP"))
    tables = ("sends", "people", "paces", "portfolio_people", "consent_acts", "windows")
    before = [await world.stages.fetch(f"SELECT * FROM outbound.{table}") for table in tables]
    code, out, _ = await operator.run("why", ANA, *ORDER)
    assert (code, "Hi Ana, your order #7 is on its way." in out, "Nothing was sent." in out) == (
        1,
        True,
        True,
    )
    assert before == [await world.stages.fetch(f"SELECT * FROM outbound.{table}") for table in tables]
    (sentence,) = (line for line in out.splitlines() if line.startswith("It is not sent"))

    async with world.dispatching():
        code, out, _ = await operator.run("send", ANA, *ORDER)
    assert (code, sentence in out) == (1, True)
    assert await world.states() == {"blocked": 1}
    (row,) = await world.stages.fetch("SELECT send_id FROM outbound.sends")
    code, out, _ = await operator.run("trace", row["send_id"])
    assert (code, sentence in out, f"connector why {row['send_id']}" in out) == (0, True, True)
    assert not world.sent


async def test_somebody_unknown_is_judged_by_what_waits_for_them(
    operator: Operator, world: DispatchWorld
) -> None:
    """A phone that never wrote may get a utility template; what was said about it before counts already."""
    assert (await operator.run("why", BEN, *ORDER))[0] == 0
    await operator.run("consent", "set", BEN, "utility", "denied")
    found = await operator.run("why", BEN, *ORDER)
    assert (found[0], "opt_out" in found[1]) == (1, True)
    code, _, err = await operator.run("why", "hubspot:77", *ORDER)
    assert (code, "give the person's phone or BSUID" in err) == (1, True)


@pytest.mark.parametrize(
    ("option", "state", "events"),
    [
        pytest.param("--sent", "sent", {"send.accepted": 1, "message": 1}, id="sent"),
        pytest.param("--not-sent", "failed", {"send.failed": 1, "message": 1}, id="not sent"),
    ],
)
async def test_an_operator_settles_what_nobody_knows(
    operator: Operator, world: DispatchWorld, option: str, state: str, events: dict[str, int]
) -> None:
    """The state, the reason and who found it out are recorded, the log and both timelines are told, once."""
    (send_id,) = await world.campaign(1)
    await world.execute("UPDATE outbound.sends SET state = 'unknown', attempts = 1, attempt_logged = 1")
    settled = await operator.json("send", "settle", send_id, option, "--reason", "asked her", "--by", "olga")
    assert (settled["state"], settled["settlement"]["who"]) == (state, "olga")
    assert settled["settlement"]["reason"] == "asked her"
    code, _, err = await operator.run("send", "settle", send_id, "--resend", "--reason", "x")
    assert (code, f"is {state}" in err) == (1, True)
    await world.relay()
    assert {kind: len(world.log.of(kind)) for kind in events} == events
    await world.fold()
    assert await world.states() == {state: 1}
    assert not world.sent


async def test_only_an_operator_sends_an_unknown_one_again(operator: Operator, world: DispatchWorld) -> None:
    """A resend is judged and sent like a new one, as the next attempt; when its time is over it is refused."""
    (send_id,) = await world.campaign(1)
    await world.execute("UPDATE outbound.sends SET state = 'unknown', attempts = 1, attempt_logged = 1")
    async with world.dispatching():
        await operator.json("send", "settle", send_id, "--resend", "--reason", "not in WhatsApp Manager")
        await world.until(accepted=1)
    assert world.sent == {send_id: 1}
    assert [event.attempt for event in world.log.of("send.attempted")] == [2]

    await world.execute("UPDATE outbound.sends SET state = 'unknown', expires_at = now()")
    code, _, err = await operator.run("send", "settle", send_id, "--resend", "--reason", "x")
    assert (code, "would expire" in err) == (1, True)
    assert await world.states() == {"unknown": 1}


async def test_a_question_that_names_nobody_is_refused(operator: Operator) -> None:
    """Before anything is asked of anybody: what is valid is said, and a send id that is none, too."""
    for arguments in (["send", "ana", "hello_world"], ["why", "12", "hello_world"]):
        code, _, err = await operator.run(*arguments)
        assert (code, "give a phone with its country code" in err) == (1, True)
    code, _, err = await operator.run("why", "trg_nothing.0")
    assert (code, "no send trg_nothing.0 has been admitted" in err) == (1, True)
    code, _, err = await operator.run(
        "send", "settle", "trg_nothing.0", "--sent", "--not-sent", "--reason", "x"
    )
    assert (code, "give one of" in " ".join(err.split())) == (2, True)
