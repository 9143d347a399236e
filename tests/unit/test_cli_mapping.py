"""`connector mapping`: what it prints, and that it writes nothing."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from golden_conversations import body_of, conversations
from typer.testing import CliRunner

from connector.cli import app
from connector.errors import SettingsError
from connector.sync.mapping import built_in

run = CliRunner()

MAPPING = """version: 1
contact:
  hubspot:
    lead_source: {value: WhatsApp, only: new}
    firstname: off
  salesforce:
    Description: {fact: ad_source, only: new}
activity:
  families:
    text: {subject: ["{who} writes", "A {kind}"], details: [channel]}
"""


@pytest.fixture
def mapping(tmp_path: Path) -> Path:
    """A mapping of one's own."""
    file = tmp_path / "mapping.yaml"
    file.write_text(MAPPING, "utf-8")
    return file


@pytest.fixture
def payloads(tmp_path: Path) -> list[str]:
    """The webhooks of the first golden conversation, one file each."""
    files = []
    for place, post in enumerate(conversations()["a-new-customer"]["posts"]):
        file = tmp_path / f"{place:03d}.json"
        file.write_bytes(body_of(post))
        files.append(str(file))
    return files


def test_show_prints_a_file_to_begin_with() -> None:
    """What is printed is the built-in mapping, comments included, and is YAML."""
    result = run.invoke(app, ["mapping", "show"])
    assert result.exit_code == 0
    assert result.output.startswith("# The built-in mapping")
    assert yaml.safe_load(result.output)["contact"]["hubspot"]["whatsapp_bsuid"] == "bsuid"


def test_show_tells_where_each_rule_comes_from(mapping: Path) -> None:
    """Of a file of one's own it shows the outcome: rules of the file by line, the others as built-in."""
    document = json.loads(run.invoke(app, ["mapping", "show", str(mapping), "--json"]).output)
    rules = {rule["property"]: rule for rule in document["contact"]["hubspot"]}
    assert rules["lead_source"] == {
        "property": "lead_source",
        "value": "WhatsApp",
        "only": "new",
        "empty": "keep",
        "format": "plain",
        "line": 4,
    }
    assert rules["phone"]["line"] is None
    assert "firstname" not in rules
    assert document["activity"]["families"]["text"]["details"] == ["channel"]
    assert document["version"] != built_in().version
    table = run.invoke(app, ["mapping", "show", str(mapping)]).output
    assert ["lead_source", "'WhatsApp'", "new", "records", "line", "4"] in [
        line.split() for line in table.split("\n")
    ]


def test_test_shows_what_each_crm_would_be_told(mapping: Path, payloads: list[str]) -> None:
    """Properties as the adapters send them, of a new record and of a later write, and every activity."""
    result = run.invoke(app, ["mapping", "test", str(mapping), *payloads, "--json"])
    assert result.exit_code == 0, result.output
    document: dict[str, Any] = json.loads(result.output)
    assert document["refused"] == []
    (contact,) = document["crms"]["hubspot"]["contacts"]
    assert contact["new_record"]["lead_source"] == "WhatsApp"
    assert "firstname" not in contact["new_record"]
    assert "lead_source" not in contact["later_write"]
    assert contact["later_write"]["whatsapp_phone"] == "+16505550123"
    (person,) = document["crms"]["salesforce"]["contacts"]
    assert (
        person["new_record"] | {"Description": "Spring sale", "LastName": "Ana Souza"} == person["new_record"]
    )
    golden = conversations()["a-new-customer"]["timeline"]
    activities = document["crms"]["salesforce"]["activities"]
    assert len(activities) == len(golden)
    assert activities[0]["subject"] == activities[0]["properties"]["Subject"] == "Ana Souza writes"
    assert activities[0]["properties"]["Description"] == activities[0]["body"]
    assert activities[0]["body"].split("\n")[0] == golden[0]["body"][0]
    untouched = [
        (one["subject"], one["body"]) for one in activities if one["subject"].startswith("WhatsApp image")
    ]
    assert untouched
    assert set(untouched) <= {(one["subject"], "\n".join(one["body"])) for one in golden}
    in_hubspot = document["crms"]["hubspot"]["activities"][0]["properties"]
    assert in_hubspot["hs_communication_body"] == activities[0]["body"].replace("\n", "<br>")


def test_test_reads_for_people_too(mapping: Path, payloads: list[str]) -> None:
    """Without --json the same stands in tables and texts."""
    result = run.invoke(app, ["mapping", "test", str(mapping), payloads[0]])
    assert result.exit_code == 0
    assert "salesforce activity: Ana Souza writes" in result.output
    assert "  Hi! Do you have the blue armchair in stock?\n  —\n" in result.output
    assert ["lead_source", "WhatsApp", "—"] in [line.split() for line in result.output.split("\n")]
    assert "Nothing was written." in result.output


def test_test_shows_markup_that_people_type_as_it_is(tmp_path: Path, mapping: Path) -> None:
    """A name in brackets is not taken for the terminal's markup."""
    post = json.loads(json.dumps(conversations()["a-new-customer"]["posts"][0]))
    post["contacts"][0]["profile"]["name"] = "[bold]Ana[/] [/x]"
    file = tmp_path / "post.json"
    file.write_bytes(body_of(post))
    result = run.invoke(app, ["mapping", "test", str(mapping), str(file)])
    assert result.exit_code == 0, result.output
    assert "[bold]Ana[/] [/x]" in result.output


def test_test_reads_a_payload_from_a_pipe(mapping: Path) -> None:
    """`connector trigger inbound.text --dry-run | connector mapping test FILE -` works."""
    payload = run.invoke(app, ["trigger", "inbound.text", "--dry-run", "--seed", "1"]).output
    result = run.invoke(app, ["mapping", "test", str(mapping), "-", "--json"], input=payload)
    assert len(json.loads(result.output)["crms"]["hubspot"]["activities"]) == 1


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param("hello", "something else than a WhatsApp webhook: 1", id="no-json"),
        pytest.param('{"hello": "world"}', "unreadable_update: ", id="no-update"),
    ],
)
def test_test_says_what_is_no_webhook(tmp_path: Path, mapping: Path, text: str, reason: str) -> None:
    """A payload that the connector could not read ends with exit code 1 and says so."""
    file = tmp_path / "post.json"
    file.write_text(text)
    result = run.invoke(app, ["mapping", "test", str(mapping), str(file)])
    assert result.exit_code == 1
    assert reason in result.output.split("refused: ")[1]
    assert "next:" not in result.output


def test_test_says_that_a_payload_is_not_there(mapping: Path, tmp_path: Path) -> None:
    """A path that leads nowhere names itself and where payloads come from."""
    result = run.invoke(app, ["mapping", "test", str(mapping), str(tmp_path / "none.json")])
    assert isinstance(result.exception, SettingsError)
    assert "none.json cannot be read: No such file" in result.exception.message


@pytest.mark.parametrize("command", ["test", "show"])
def test_a_wrong_mapping_is_refused(tmp_path: Path, command: str) -> None:
    """The command fails as a role would, with line and reason."""
    file = tmp_path / "mapping.yaml"
    file.write_text("version: 1\ncontact: {hubspot: {city: town}}")
    also = ["post.json"] if command == "test" else []
    result = run.invoke(app, ["mapping", command, str(file), *also])
    assert result.exit_code == 1
    assert isinstance(result.exception, SettingsError)
    assert "line 2: there is no fact town" in result.exception.message
