"""The published contract: what the AsyncAPI document says is what the code does."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, TypeAdapter

from connector.events import ContactChanged, Origin, Person
from connector.roles import ROLES
from connector.schema_compatibility import Verdict, schema_changes
from connector.streams.codec import decode, encode
from connector.topics import ALL_TOPICS, CONVERSATION_EVENTS, OPERATOR, Topic
from connector.topics_reference import (
    CONTRACT_VERSION,
    asyncapi_document,
    message_types,
    rendered_contract,
    schema_name,
    value_schema,
)

SCHEMAS = Path(__file__).parents[2] / "schemas"
RELEASED = SCHEMAS / f"v{CONTRACT_VERSION}"
DOCUMENT = asyncapi_document()
ORIGIN = Origin(topic="whatsapp.updates", partition=0, offset=1, received_at=datetime(2026, 6, 1, tzinfo=UTC))
EVENT = ContactChanged(
    event_id="e", waba_id="1", at=datetime(2026, 6, 1, tzinfo=UTC), person=Person(), origin=ORIGIN, reason="r"
)


def nodes(item: Any) -> Iterator[dict[str, Any]]:
    """Every object of a document."""
    if isinstance(item, dict):
        yield item
        for value in item.values():
            yield from nodes(value)
    elif isinstance(item, list):
        for value in item:
            yield from nodes(value)


def resolve(reference: str) -> Any:
    found: Any = DOCUMENT
    for part in reference.removeprefix("#/").split("/"):
        found = found[part]
    return found


@pytest.mark.parametrize("name", rendered_contract())
def test_the_committed_files_are_what_the_code_says(name: str) -> None:
    """A file under schemas/ that differs from its model is stale: `make schemas`."""
    assert (SCHEMAS / name).read_text("utf-8") == rendered_contract()[name]


def test_every_reference_leads_somewhere() -> None:
    """No $ref of the document is dangling."""
    references = [node["$ref"] for node in nodes(DOCUMENT) if "$ref" in node]
    assert len(references) > 20
    for reference in references:
        assert resolve(reference)


def test_names_are_what_asyncapi_allows() -> None:
    """Keys of channels, operations and components are letters, digits, hyphens and underscores."""
    keys = [*DOCUMENT["channels"], *DOCUMENT["operations"]]
    keys += [name for group in DOCUMENT["components"].values() for name in group]
    assert [key for key in keys if not re.fullmatch(r"[A-Za-z0-9_-]+", key)] == []


@pytest.mark.parametrize("topic", ALL_TOPICS, ids=lambda topic: topic.name)
def test_a_channel_says_what_the_broker_is_told(topic: Topic) -> None:
    """Address, retention, size and cleanup of each topic are those it is created with."""
    channel = DOCUMENT["channels"][topic.name.replace(".", "-")]
    configs = channel["bindings"]["kafka"]["topicConfiguration"]
    assert channel["address"].format(topicPrefix="prod.") == topic.full_name("prod.")
    assert {**configs, "cleanup.policy": ",".join(configs["cleanup.policy"])} == {
        name: int(value) if value.isdecimal() else value for name, value in topic.configs.items()
    }
    assert len(channel["messages"]) == len(message_types(topic))


def test_operations_name_roles_that_exist_and_cover_every_topic() -> None:
    """Whoever writes or reads a topic is a role or the operator, and no topic is without a writer."""
    for topic in ALL_TOPICS:
        assert topic.written_by
        assert {*topic.written_by, *topic.read_by} <= {*ROLES, OPERATOR}
    sends = [item for item in DOCUMENT["operations"].values() if item["action"] == "send"]
    assert {item["channel"]["$ref"] for item in sends} == {
        f"#/channels/{name}" for name in DOCUMENT["channels"]
    }


def test_every_stage_is_declared_as_a_reader_of_its_topic() -> None:
    """The stages' own topics are the ones whose readers name their role."""
    from connector.identity.history_stage import HistoryStage
    from connector.identity.role import RouteStage
    from connector.sync.agent import SyncStage

    assert "route" in RouteStage.topic.read_by
    assert "route" in HistoryStage.topic.read_by
    assert {"sync-hubspot", "sync-salesforce"} <= {*SyncStage.topic.read_by}


def test_headers_are_the_ones_that_records_carry() -> None:
    """The codec writes the headers that the document requires, with the values it fixes."""
    record = encode(CONVERSATION_EVENTS, key="k", value=EVENT, origin="route")
    written = {name: value.decode() for name, value in record.headers}
    assert written["schema"] == schema_name(CONVERSATION_EVENTS, ContactChanged)
    message = DOCUMENT["components"]["messages"]["conversation-events-ContactChanged"]
    declared = message["headers"]
    assert set(declared["required"]) == set(written)
    for name, value in written.items():
        assert declared["properties"][name].get("const", value) == value


@pytest.mark.parametrize("topic", ALL_TOPICS, ids=lambda topic: topic.name)
def test_a_value_is_of_the_contract_s_version(topic: Topic) -> None:
    """Each model writes the version that the document names."""
    for model in message_types(topic):
        assert model.model_fields["version"].default == CONTRACT_VERSION


@pytest.mark.parametrize("topic", ALL_TOPICS, ids=lambda topic: topic.name)
def test_nothing_breaks_with_what_was_released(topic: Topic) -> None:
    """The schema of the last release and today's differ by additions only."""
    released = json.loads((RELEASED / f"{topic.name}.json").read_text("utf-8"))
    changes = schema_changes(released, value_schema(topic))
    assert [change for change in changes if change.verdict is Verdict.BREAKING] == []


def test_a_record_of_the_next_release_is_read_by_this_one() -> None:
    """Fields that nobody knows yet are passed over: N and N-1 run side by side."""
    record = encode(CONVERSATION_EVENTS, key="k", value=EVENT, origin="route")
    later = json.dumps(json.loads(record.value) | {"mood": "fine"}).encode()
    assert decode(CONVERSATION_EVENTS, later) == EVENT


class Plain(BaseModel):
    name: str
    size: int = 0
    tag: str | None = None


def changed(**overrides: Any) -> dict[str, Any]:
    """The schema of `Plain` with parts replaced; None takes a property away."""
    schema = TypeAdapter(Plain).json_schema(mode="serialization")
    for name, value in overrides.items():
        if name == "required":
            schema["required"] = value
        elif value is None:
            del schema["properties"][name]
        else:
            schema["properties"][name] = value
    return schema


@pytest.mark.parametrize(
    ("overrides", "verdicts"),
    [
        ({}, []),
        ({"mood": {"type": "string", "default": ""}}, []),
        ({"size": {"type": "integer", "default": 0, "description": "Bytes."}}, []),
        ({"size": None}, ["breaking"]),
        ({"size": {"type": "string", "default": 0}}, ["breaking", "readers first"]),
        ({"size": {"type": "integer", "default": 1}}, ["breaking"]),
        ({"size": {"type": "integer", "default": 0, "maximum": 9}}, ["breaking"]),
        ({"required": ["name", "size"]}, ["breaking"]),
        ({"mood": {"type": "string"}, "required": ["name", "mood"]}, ["breaking"]),
        ({"required": []}, ["readers first"]),
        ({"name": {"anyOf": [{"type": "string"}, {"type": "null"}]}}, ["readers first"]),
        ({"tag": {"type": "string", "default": None}}, ["breaking"]),
        ({"name": {"enum": ["a", "b"], "type": "string"}}, ["breaking"]),
        ({"name": {}}, ["readers first"]),
    ],
    ids=[
        "same",
        "new-optional",
        "prose",
        "removed",
        "other-type",
        "other-default",
        "narrower",
        "now-required",
        "new-required",
        "no-longer-required",
        "may-be-null",
        "no-longer-null",
        "only-some-values",
        "anything",
    ],
)
def test_a_change_is_judged(overrides: dict[str, Any], verdicts: list[str]) -> None:
    """Additions pass, what old records or old readers could not bear does not."""
    assert [str(change.verdict) for change in schema_changes(changed(), changed(**overrides))] == verdicts


@pytest.mark.parametrize(
    ("old", "new", "verdicts"),
    [
        (["a", "b"], ["a", "b", "c"], ["readers first"]),
        (["a", "b"], ["a"], ["breaking"]),
    ],
    ids=["new-value", "lost-value"],
)
def test_values_are_added_in_readers_first(old: list[str], new: list[str], verdicts: list[str]) -> None:
    """A value that the last release refuses must be readable one release before it is written."""
    before, after = ({"enum": values, "type": "string"} for values in (old, new))
    assert [str(change.verdict) for change in schema_changes(before, after)] == verdicts


def test_a_new_event_is_for_readers_first_and_a_lost_one_breaks() -> None:
    """Types of a topic are compared by their tag, whatever their order."""
    schema = value_schema(CONVERSATION_EVENTS)
    fewer = {**schema, "oneOf": schema["oneOf"][1:]}
    assert [str(change.verdict) for change in schema_changes(fewer, schema)] == ["readers first"]
    assert [str(change.verdict) for change in schema_changes(schema, fewer)] == ["breaking"]
    assert schema_changes(schema, {**schema, "oneOf": list(reversed(schema["oneOf"]))}) == []
