"""`connector consent` on a real Kafka and PostgreSQL, with the admission stage behind the topic."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from admission_role import admitting
from conversation_events import contact, message
from operator_shell import Operator
from outbound_world import OutboundWorld, outbound_world

from connector.settings import KafkaSettings

ANA, BEN, EVE = "+15551230000", "+15551230001", "+15551230002"


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[OutboundWorld]:
    async with outbound_world(database_url) as world:
        await world.introduce("ana", phone=ANA.lstrip("+"))
        await world.introduce("ben", phone=BEN.lstrip("+"))
        yield world


@pytest.fixture
def operator(
    monkeypatch: pytest.MonkeyPatch, database_url: str, bootstrap_servers: str, topic_prefix: str
) -> Operator:
    return Operator(
        monkeypatch,
        database__url=database_url,
        kafka__bootstrap_servers=bootstrap_servers,
        kafka__topic_prefix=topic_prefix,
    )


@pytest.fixture
async def admitted(
    world: OutboundWorld, bootstrap_servers: str, topic_prefix: str
) -> AsyncIterator[OutboundWorld]:
    async with admitting(
        world, KafkaSettings(bootstrap_servers=bootstrap_servers, topic_prefix=topic_prefix)
    ):
        yield world


async def test_only_an_act_of_the_person_undoes_their_stop(
    operator: Operator, admitted: OutboundWorld
) -> None:
    """An operator's grant after a STOP is recorded and said to change nothing; the person's own, with evidence, counts."""
    await admitted.tell(message("m1", "ana", text="STOP"))
    grant = ("consent", "set", "+1 555-123-0000", "marketing", "granted")
    code, _, err = await operator.run(*grant)
    assert (code, "--evidence is needed" in " ".join(err.split())) == (2, True)
    code, out, err = await operator.run(*grant, "--evidence", "told us by phone", "--by", "olga")
    assert (code, err) == (0, "")
    assert "The denial stands: only a later act of the person undoes it." in out
    found = await operator.json(*grant, "--evidence", "form 7", "--by-person", "--by", "olga")
    assert found["applied"] == {"recorded": 1, "waiting": 0, "outstanding": 0}
    assert found["standings"]["marketing"]["state"] == "granted"
    assert found["standings"]["utility"]["state"] == "denied"

    shown = await operator.json("consent", "show", ANA)
    assert shown["contact_id"] == str(contact("ana"))
    assert [(act["purpose"], act["state"], act["source"]) for act in shown["acts"]] == [
        ("marketing", "granted", "operator"),
        ("marketing", "granted", "operator"),
        ("marketing", "denied", "keyword"),
        ("utility", "denied", "keyword"),
    ]
    _, out, _ = await operator.run("consent", "show", str(contact("ana")))
    assert "utility is not sent to them" in out
    assert "“STOP”" in out


async def test_an_act_of_somebody_unknown_waits_for_them(operator: Operator, admitted: OutboundWorld) -> None:
    """It is said to wait, and shown as waiting: it counts before anything is sent to them."""
    code, out, _ = await operator.run("consent", "set", EVE, "marketing", "denied")
    assert (code, "The person is not known yet" in out) == (0, True)
    shown = await operator.json("consent", "show", EVE)
    assert (shown["contact_id"], [act["state"] for act in shown["waiting"]]) == (None, ["denied"])
    assert len(await admitted.fetch("SELECT 1 FROM outbound.waiting_acts")) == 1


async def test_what_is_exported_can_be_imported_elsewhere(
    operator: Operator, admitted: OutboundWorld, tmp_path: Path
) -> None:
    """A file goes in once however often it is imported, comes out again, and a wrong line stops all unless told not to."""
    lines = [
        "phone;purpose;state;at;by_person;evidence",
        f"{ANA};marketing;granted;2026-01-01T09:00:00Z;yes;'=form 1",
        f"{BEN[1:]};utility;denied;2026-01-02T09:00:00+02:00;;",
        f"{BEN};marketing;yes;2026-01-02;no;x",
        f"{ANA};marketing;granted;2026-01-01T09:00:00Z;YES;'=form 1",
    ]
    file = tmp_path / "consents.csv"
    file.write_text("\ufeff" + "\r\n".join(lines), encoding="utf-8")
    code, out, err = await operator.run("consent", "import", str(file))
    assert (code, "Nothing was imported." in out) == (1, True)
    assert "line 4: state must be 'granted' or 'denied'; at must be a time with its offset" in err
    assert await admitted.fetch("SELECT 1 FROM outbound.consent_acts") == []

    for _ in range(2):
        code, out, _ = await operator.run("consent", "import", str(file), "--skip-wrong", "--by", "olga")
        assert (code, "In the ledger: 2." in out) == (1, True)
    assert len(await admitted.fetch("SELECT 1 FROM outbound.consent_acts")) == 2

    exported = tmp_path / "exported.csv"
    await operator.run("consent", "export", str(exported))
    assert exported.read_text(encoding="utf-8").splitlines() == [
        "phone,bsuid,hubspot_id,salesforce_id,purpose,state,at,by_person,evidence,contact_id,source",
        *sorted(
            [
                f"{ANA},,,,marketing,granted,2026-01-01T09:00:00+00:00,yes,'=form 1,{contact('ana')},import",
                f"{BEN},,,,utility,denied,2026-01-02T07:00:00+00:00,no,,{contact('ben')},import",
            ],
            key=lambda line: line.split(",")[-2],
        ),
    ]
    again = await operator.json("consent", "import", str(exported))
    assert (again["acts"], again["problems"]) == (2, [])
    assert await admitted.consent("ana") == "granted"
    assert await admitted.consent("ben", "utility") == "denied"


async def test_a_broker_that_is_away_is_said_and_nothing_is_kept(
    operator: Operator, world: OutboundWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the broker's word there is no act, and the command says what to do."""
    monkeypatch.setenv("CONNECTOR_KAFKA__BOOTSTRAP_SERVERS", "127.0.0.1:9")
    code, _, err = await operator.run("consent", "set", ANA, "marketing", "denied")
    assert (code, "Kafka does not answer" in err, "0 of 1 records" in err) == (1, True, True)
    assert await world.fetch("SELECT 1 FROM outbound.consent_acts") == []
