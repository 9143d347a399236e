"""Templates as Graph and webhooks write them → `TemplateChange`. Lenient: reading never raises.

GET /{WABA}/message_templates; webhooks message_template_status_update, message_template_quality_update,
message_template_components_update, template_category_update. What a webhook says is decided by the keys it has:
Meta's own example of a quality update carries the field of a status update.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from connector.events.account import AccountEvent
from connector.outbound.templates.template import Attribute, TemplateChange, TemplateKey
from connector.whatsapp.lenient import as_int, as_list, as_object, as_text
from connector.whatsapp.text import identifier, storable_json
from connector.whatsapp.timestamps import unix_time

FIELDS = frozenset(
    {
        "message_template_status_update",
        "message_template_quality_update",
        "message_template_components_update",
        "template_category_update",
    }
)

GONE = "DELETED"

CLOCKS_APART = timedelta(seconds=60)
"""What was read counts as this much older: a webhook carries Meta's clock, a reading ours, and a pause must win."""

# Events of a status update that are not themselves what Graph then calls the status.
_STATUS_OF_EVENT = {"REINSTATED": "APPROVED", "UNPAUSED": "APPROVED"}


def language_code(value: object) -> str:
    """en-US and en_us → en_US; pt_BR, zh_CN, fil, ar as they are."""
    language, _, country = identifier(value).replace("-", "_").partition("_")
    return f"{language.lower()}_{country.upper()}" if country else language.lower()


def node_change(node: Mapping[str, Any], *, waba_id: str, asked_at: datetime) -> TemplateChange | None:
    """What Graph's node says. `asked_at`: when the request was made. None: it names no template."""
    key = _key(waba_id, node.get("name"), node.get("language"))
    if key is None:
        return None
    quality = node.get("quality_score")
    score = as_object(quality).get("score") if isinstance(quality, dict) else quality
    values: dict[Attribute, Any] = {
        "id": identifier(node.get("id")),
        "status": as_text(node.get("status")).upper() or "UNKNOWN",
        "status_note": "",
        "category": as_text(node.get("category")).upper(),
        "parameter_format": as_text(node.get("parameter_format")).upper(),
        "components": _objects(node.get("components")),
        "rejected_reason": _reason(node.get("rejected_reason")),
    }
    if score:
        values["quality"] = as_text(score).upper()
    if "message_send_ttl_seconds" in node:
        values["ttl_seconds"] = as_int(node["message_send_ttl_seconds"])
    return _change(key, at=asked_at - CLOCKS_APART, values=values)


def gone(key: TemplateKey, *, asked_at: datetime) -> TemplateChange:
    """A template that a complete listing did not have any more."""
    return _change(key, at=asked_at - CLOCKS_APART, values={"status": GONE, "status_note": "not listed"})


def webhook_change(event: AccountEvent) -> TemplateChange | None:
    """What a webhook says about a template; None when it is not about one, or says nothing that we keep."""
    if event.field not in FIELDS:
        return None
    content = event.content
    key = _key(event.waba_id, content.get("message_template_name"), content.get("message_template_language"))
    if key is None:
        return None
    values: dict[Attribute, Any] = {}
    if template_id := identifier(content.get("message_template_id")):
        values["id"] = template_id
    if happened := as_text(content.get("event")).upper():
        values |= _status(happened, content)
    if quality := as_text(content.get("new_quality_score")).upper():
        values["quality"] = quality
    if "message_template_element" in content:
        values["edited"] = _edited(content)
    if category := as_text(content.get("new_category")).upper():
        values |= _category(category, content, event.at)
    return _change(key, at=event.at, values=values) if values.keys() - {"id"} else None


def _status(happened: str, content: Mapping[str, Any]) -> dict[Attribute, Any]:
    other = as_object(content.get("other_info"))
    values: dict[Attribute, Any] = {
        "status": _STATUS_OF_EVENT.get(happened, happened),
        "status_note": as_text(other.get("title")),
        "rejected_reason": _reason(content.get("reason")) if happened == "REJECTED" else "",
    }
    if category := as_text(content.get("message_template_category")).upper():
        values["category"] = category
    return values


def _category(new: str, content: Mapping[str, Any], at: datetime) -> dict[Attribute, Any]:
    """Two shapes. Before a change `new_category` is the *current* category and `correct_category` the coming one."""
    coming = as_text(content.get("correct_category")).upper()
    if not coming:
        return {"category": new, "coming": None}
    when = unix_time(content.get("category_update_timestamp")) or at + timedelta(days=1)
    return {"category": new, "coming": {"category": coming, "at": when}}


def _edited(content: Mapping[str, Any]) -> tuple[dict[str, Any], ...]:
    found: list[dict[str, Any]] = []
    if title := as_text(content.get("message_template_title")):
        found.append({"type": "HEADER", "format": "TEXT", "text": title})
    found.append({"type": "BODY", "text": as_text(content.get("message_template_element"))})
    if footer := as_text(content.get("message_template_footer")):
        found.append({"type": "FOOTER", "text": footer})
    buttons = [
        {
            name.removeprefix("message_template_button_"): value
            for name, value in as_object(storable_json(button)).items()
        }
        for button in as_list(content.get("message_template_buttons"))
    ]
    if buttons:
        found.append({"type": "BUTTONS", "buttons": buttons})
    return tuple(found)


def _objects(value: object) -> tuple[dict[str, Any], ...]:
    return tuple(storable_json(item) for item in as_list(value) if isinstance(item, dict))


def _reason(value: object) -> str:
    text = as_text(value)
    return "" if text.upper() == "NONE" else text


def _key(waba_id: str, name: object, language: object) -> TemplateKey | None:
    named, spoken = identifier(name, limit=512), language_code(language)
    return TemplateKey(waba_id=waba_id, name=named, language=spoken) if named and spoken else None


def _change(key: TemplateKey, *, at: datetime, values: dict[Attribute, Any]) -> TemplateChange:
    return TemplateChange(waba_id=key.waba_id, name=key.name, language=key.language, at=at, values=values)
