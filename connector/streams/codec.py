"""The one way a value becomes bytes on a topic and back.

Every stage goes through here, so that encryption per contact can be added without touching a stage. Values
are JSON; headers carry the event id, schema, version and origin so that tools can filter without decoding.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError, to_jsonable_python

from connector.errors import Rejected
from connector.telemetry import tracing
from connector.topics import Topic

HEADER_EVENT_ID = "event-id"
HEADER_SCHEMA = "schema"
HEADER_VERSION = "schema-version"
HEADER_ORIGIN = "origin"
HEADER_TRACE = "traceparent"

type_adapter = cache(TypeAdapter)


@dataclass(frozen=True, kw_only=True, slots=True)
class EncodedRecord:
    """What a producer sends: topic without prefix, key and value bytes, headers."""

    topic: Topic
    key: bytes
    value: bytes
    headers: Sequence[tuple[str, bytes]]


def encode(topic: Topic, *, key: str, value: BaseModel, origin: str) -> EncodedRecord:
    """`origin` names the stage that wrote the record."""
    fields = value.__dict__
    headers = [
        (HEADER_EVENT_ID, str(fields["event_id"]).encode("utf-8", "replace")),
        (HEADER_SCHEMA, f"{topic.name}/{fields.get('type', 'update')}".encode()),
        (HEADER_VERSION, str(fields["version"]).encode()),
        (HEADER_ORIGIN, origin.encode()),
    ]
    if (traces := tracing.active()) is not None and (trace := traces.header(fields)):
        headers.append((HEADER_TRACE, trace.encode()))
    return EncodedRecord(
        topic=topic,
        key=key.encode("utf-8", "replace"),
        value=_to_bytes(value),
        headers=headers,
    )


def _to_bytes(value: BaseModel) -> bytes:
    try:
        return value.model_dump_json().encode()
    except (PydanticSerializationError, UnicodeEncodeError):
        # A lone surrogate (half an emoji, cut by somebody's substring) is legal in JSON escapes only.
        return json.dumps(_plain(value), ensure_ascii=True, default=to_jsonable_python).encode()


def _plain(value: BaseModel) -> dict[str, Any]:
    try:
        return value.model_dump(mode="json")
    except UnicodeEncodeError:  # the surrogate is in the key of an object: JSON mode refuses those
        return value.model_dump()


def _from_bytes(topic: Topic, value: bytes) -> Any:
    adapter = type_adapter(topic.value)
    try:
        return adapter.validate_json(value)
    except ValidationError as strict:
        try:  # the standard parser accepts the lone surrogates that pydantic's refuses
            content = json.loads(value)
        except (ValueError, RecursionError):
            raise strict from None
        return adapter.validate_python(content)


def decode(topic: Topic, value: bytes | None) -> Any:
    """The typed value of a record. Raises `Rejected` (cause `undecodable`) for anything that is not one."""
    if value is None:
        raise Rejected(f"A record of {topic.name} has no value.", cause="undecodable")
    try:
        return _from_bytes(topic, value)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the whole value"
        raise Rejected(
            f"A record of {topic.name} does not fit its schema: {where}: {first['msg']}.",
            cause="undecodable",
            advice="see the schema under schemas/; redrive after the producer is corrected",
        ) from None
