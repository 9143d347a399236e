"""`schemas/`, rendered from the topics: a JSON Schema of each value, and one AsyncAPI 3 document of it all.

https://www.asyncapi.com/docs/reference/specification/v3.0.0 and its Kafka bindings 0.5.0.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, get_args

from pydantic import BaseModel, TypeAdapter

from connector.streams.codec import (
    HEADER_EVENT_ID,
    HEADER_ORIGIN,
    HEADER_SCHEMA,
    HEADER_TRACE,
    HEADER_VERSION,
)
from connector.topics import ALL_TOPICS, Topic

CONTRACT_VERSION = 1
"""Version of the values. Within one, changes are such that the last release reads what the next writes, and the
other way round (docs/events.md).
"""

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_BINDING = "0.5.0"


def rendered_contract() -> Mapping[str, str]:
    """File name below `schemas/` → content, deterministic."""
    files = {f"{topic.name}.json": _text(value_schema(topic)) for topic in ALL_TOPICS}
    return {**files, "asyncapi.json": _text(asyncapi_document())}


def value_schema(topic: Topic) -> dict[str, Any]:
    """The JSON Schema of a topic's values, complete in itself."""
    return {
        "$schema": _DIALECT,
        "$id": f"urn:whatsapp-crm-connector:{topic.name}:{CONTRACT_VERSION}",
        **TypeAdapter(topic.value).json_schema(mode="serialization"),
    }


def message_types(topic: Topic) -> Sequence[type[BaseModel]]:
    """The models that a topic carries: the members of a union, or the one."""
    union = get_args(topic.value)  # Annotated[A | B, …]
    return get_args(union[0]) if union else (topic.value,)


def schema_name(topic: Topic, model: type[BaseModel]) -> str:
    """What the header `schema` of such a record says, as `connector.streams.codec` writes it."""
    tag = model.model_fields.get("type")
    return f"{topic.name}/{tag.default if tag else 'update'}"


def asyncapi_document() -> dict[str, Any]:
    """Channels, keys, headers, retention, and who writes and reads each topic."""
    types = {model.__name__: model for topic in ALL_TOPICS for model in message_types(topic)}
    inputs: list[tuple[str, Literal["serialization"], TypeAdapter[Any]]] = [
        (name, "serialization", TypeAdapter(model)) for name, model in types.items()
    ]
    _, schemas = TypeAdapter.json_schemas(inputs, ref_template="#/components/schemas/{model}")
    return {
        "asyncapi": "3.0.0",
        "id": "urn:whatsapp-crm-connector",
        "info": {
            "title": "WhatsApp ⇄ CRM connector",
            "version": f"{CONTRACT_VERSION}.0.0",
            "description": "The connector's Kafka topics: a public contract. Values are JSON, keys are UTF-8 text. "
            "The partition of a key spreads load and keeps the usual order; correctness never relies on order. "
            "Every record may come twice and late: `event-id` tells. What may change is in docs/events.md.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {
            "kafka": {
                "host": "{bootstrapServer}",
                "protocol": "kafka",
                "description": "CONNECTOR_KAFKA__BOOTSTRAP_SERVERS",
                "variables": {"bootstrapServer": {"default": "127.0.0.1:9092"}},
            }
        },
        "channels": {_channel_id(topic): _channel(topic) for topic in ALL_TOPICS},
        "operations": dict(_operations()),
        "components": {
            "messages": dict(_messages()),
            "schemas": schemas["$defs"],
        },
    }


def _channel(topic: Topic) -> dict[str, Any]:
    return {
        "address": f"{{topicPrefix}}{topic.name}",
        "title": topic.name,
        "description": topic.description,
        "parameters": {
            "topicPrefix": {
                "default": "",
                "description": "CONNECTOR_KAFKA__TOPIC_PREFIX: several deployments share a cluster.",
            }
        },
        "messages": {
            model.__name__: {"$ref": f"#/components/messages/{_message_id(topic, model)}"}
            for model in message_types(topic)
        },
        "bindings": {
            "kafka": {
                "topic": topic.name,
                "topicConfiguration": {
                    "cleanup.policy": topic.configs["cleanup.policy"].split(","),
                    "retention.ms": topic.retention_ms,
                    "max.message.bytes": topic.max_message_bytes,
                },
                "bindingVersion": _BINDING,
            }
        },
    }


def _operations() -> Iterator[tuple[str, dict[str, Any]]]:
    for topic in ALL_TOPICS:
        for action, verb, roles in (
            ("send", "writes", topic.written_by),
            ("receive", "reads", topic.read_by),
        ):
            for role in roles:
                operation: dict[str, Any] = {
                    "action": action,
                    "channel": {"$ref": f"#/channels/{_channel_id(topic)}"},
                    "title": f"{role} {verb} {topic.name}",
                }
                yield f"{role}-{verb}-{_channel_id(topic)}", operation


def _messages() -> Iterator[tuple[str, dict[str, Any]]]:
    for topic in ALL_TOPICS:
        for model in message_types(topic):
            yield (
                _message_id(topic, model),
                {
                    "name": schema_name(topic, model),
                    "title": model.__name__,
                    "summary": (model.__doc__ or "").strip().splitlines()[0],
                    "contentType": "application/json",
                    "headers": _headers(schema_name(topic, model)),
                    "payload": {"$ref": f"#/components/schemas/{model.__name__}"},
                    "bindings": {
                        "kafka": {
                            "key": {"type": "string", "description": topic.key},
                            "bindingVersion": _BINDING,
                        }
                    },
                },
            )


def _message_id(topic: Topic, model: type[BaseModel]) -> str:
    return f"{_channel_id(topic)}-{model.__name__}"


def _channel_id(topic: Topic) -> str:
    """Keys of an AsyncAPI document are letters, digits, hyphens and underscores."""
    return topic.name.replace(".", "-")


def _headers(name: str) -> dict[str, Any]:
    texts = {
        HEADER_EVENT_ID: {
            "description": "Deterministic: the same fact has the same id, whoever says it again."
        },
        HEADER_SCHEMA: {
            "const": name,
            "description": "Topic and type, to filter by without reading the value.",
        },
        HEADER_VERSION: {"const": str(CONTRACT_VERSION), "description": "Of the value's schema."},
        HEADER_ORIGIN: {"description": "The stage that wrote the record."},
        HEADER_TRACE: {"description": "W3C trace context, where there is one."},
    }
    return {
        "type": "object",
        "required": [HEADER_EVENT_ID, HEADER_SCHEMA, HEADER_VERSION, HEADER_ORIGIN],
        "properties": {header: {"type": "string", **text} for header, text in texts.items()},
    }


def _text(document: Mapping[str, Any]) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
