"""Message templates: what Graph shows of them, and whether a send fills one in as it was approved.

developers.facebook.com/docs/whatsapp/business-management-api/message-templates (components, parameter formats) and
…/cloud-api/support/error-codes (1320xx).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from connector.sandbox.whatsapp.graph_errors import GraphError, missing

LONGEST_BODY = 1_024
"""Characters of a body once its parameters are filled in."""

_PLACEHOLDER = re.compile(r"\{\{\s*([a-z0-9_]+)\s*\}\}")
_MEDIA = ("image", "video", "document")
_BODY_TYPES = ("text", "currency", "date_time")

Parameters = Sequence[Mapping[str, Any]]


class Template(BaseModel):
    """One template in one language: an account, a name and a language name it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    name: str = Field(pattern=r"^[a-z0-9_]{1,512}$")
    language: str = Field(default="en_US", pattern=r"^[a-z]{2,3}(_[A-Z]{2,3})?$")
    category: Literal["MARKETING", "UTILITY", "AUTHENTICATION"] = "UTILITY"
    status: Literal[
        "APPROVED", "PENDING", "REJECTED", "PAUSED", "DISABLED", "IN_APPEAL", "PENDING_DELETION", "ARCHIVED"
    ] = "APPROVED"
    parameter_format: Literal["POSITIONAL", "NAMED"] = "POSITIONAL"
    components: tuple[dict[str, Any], ...]
    quality: Literal["GREEN", "YELLOW", "RED", "UNKNOWN"] = "UNKNOWN"
    rejected_reason: str = "NONE"
    previous_category: str | None = None
    message_send_ttl_seconds: int | None = None
    waba_id: str | None = None
    """The account it belongs to; None: every account of the sandbox has it."""

    @property
    def key(self) -> tuple[str, str]:
        """Name and language."""
        return self.name, self.language

    def component(self, kind: str) -> Mapping[str, Any] | None:
        """Return the HEADER, BODY, FOOTER or BUTTONS; None when it has none."""
        return next((item for item in self.components if item["type"] == kind), None)

    def node(self, fields: Sequence[str]) -> dict[str, Any]:
        """Return what Graph shows: the fields asked for, or its default choice, and always the id."""
        everything: dict[str, Any] = {
            "name": self.name,
            "parameter_format": self.parameter_format,
            "components": list(self.components),
            "language": self.language,
            "status": self.status,
            "category": self.category,
            "previous_category": self.previous_category,
            "quality_score": {"score": self.quality, "date": 1_790_000_000},
            "rejected_reason": self.rejected_reason,
            "message_send_ttl_seconds": self.message_send_ttl_seconds,
        }
        standard = ("name", "parameter_format", "components", "language", "status", "category")
        shown = {name: everything.get(name) for name in fields or (*standard, "previous_category")}
        return {**{name: value for name, value in shown.items() if value is not None}, "id": self.id}


def check_sendable(template: Template) -> None:
    """Raise the `GraphError` of a template that may not be sent now."""
    if template.status == "PAUSED":
        raise GraphError(code=132015, details=f"Template {template.name} is paused due to low quality.")
    if template.status == "DISABLED":
        raise GraphError(code=132016, details=f"Template {template.name} was paused too many times.")
    if template.status != "APPROVED":
        raise not_there(template.name, template.language)


def not_there(name: str, language: str) -> GraphError:
    """No such template, or not (any more) approved in that language."""
    return GraphError(code=132001, details=f"template name ({name}) does not exist in {language}")


def check_filled(template: Template, components: Sequence[Mapping[str, Any]]) -> None:
    """Raise the `GraphError` of a send whose parameters are not those of the template."""
    for item in components:
        if str(item.get("type", "")).lower() not in ("header", "body", "button"):
            raise GraphError(code=100, details=f"components: unknown type {item.get('type')!r}")
    _check_header(template, _given(components, "header"))
    _check_body(template, _given(components, "body"))
    _check_buttons(template, [item for item in components if str(item["type"]).lower() == "button"])


def _given(components: Sequence[Mapping[str, Any]], kind: str) -> Parameters:
    found = [item for item in components if str(item["type"]).lower() == kind]
    if len(found) > 1:
        raise GraphError(code=132012, details=f"{kind}: given more than once")
    parameters = found[0].get("parameters", []) if found else []
    if not isinstance(parameters, list) or not all(isinstance(item, dict) for item in parameters):
        raise GraphError(code=100, details=f"{kind}: parameters must be a list of objects")
    return parameters


def _check_header(template: Template, given: Parameters) -> None:
    header = template.component("HEADER")
    shape = "" if header is None else str(header["format"])
    if shape in ("", "TEXT"):
        wanted = [] if header is None else _PLACEHOLDER.findall(str(header["text"]))
        _check_texts("header", template.parameter_format, wanted, given)
        return
    kind = shape.lower()
    if len(given) != 1 or given[0].get("type") != kind:
        raise GraphError(
            code=132012, details=f"header: Format mismatch, expected {shape}, received {_types(given)}"
        )
    content = given[0].get(kind)
    needed: Sequence[str] = ("id", "link") if kind in _MEDIA else ("latitude", "longitude")
    present = [name for name in needed if isinstance(content, dict) and content.get(name) not in (None, "")]
    if len(present) != (1 if kind in _MEDIA else 2):
        raise GraphError(code=132012, details=f"header: {kind} needs {' or '.join(needed)}")


def _check_body(template: Template, given: Parameters) -> None:
    body = template.component("BODY")
    text = "" if body is None else str(body.get("text", ""))
    wanted = _PLACEHOLDER.findall(text)
    if template.category == "AUTHENTICATION" and not wanted:
        wanted = ["1"]  # its text is Meta's own, with the code as the one parameter
    _check_texts("body", template.parameter_format, wanted, given)
    filled = len(_PLACEHOLDER.sub("", text)) + sum(len(str(item.get("text", ""))) for item in given)
    if filled > LONGEST_BODY:
        raise GraphError(code=132005, details=f"body: {filled} characters, at most {LONGEST_BODY}")


def _check_texts(place: str, form: str, wanted: Sequence[str], given: Parameters) -> None:
    if len(set(wanted)) != len(given):
        raise GraphError(
            code=132000,
            details=f"{place}: number of localizable_params ({len(given)}) does not match the expected number "
            f"of params ({len(set(wanted))})",
        )
    if form == "NAMED" and wanted:
        names = [item.get("parameter_name") for item in given]
        if set(names) != set(wanted):
            raise GraphError(
                code=132012 if None not in names else 100,
                details=f"{place}: Parameter name is missing or empty"
                if None in names
                else f"{place}: parameters {sorted(map(str, names))}, expected {sorted(set(wanted))}",
            )
    for item in given:
        if item.get("type") not in _BODY_TYPES:
            raise GraphError(code=132012, details=f"{place}: unexpected parameter type {item.get('type')!r}")
        if item["type"] == "text":
            _check_text(place, item.get("text"))


def _check_text(place: str, text: object) -> None:
    if not isinstance(text, str) or not text:
        raise GraphError(code=131008, details=f"{place}: Parameter of type text is missing text value")
    if "\n" in text or "\t" in text or "     " in text:
        raise GraphError(
            code=132018,
            details="Param text cannot have new-line/tab characters or more than 4 consecutive spaces",
        )


def _check_buttons(template: Template, given: Sequence[Mapping[str, Any]]) -> None:
    found = template.component("BUTTONS")
    buttons: Sequence[Mapping[str, Any]] = [] if found is None else found["buttons"]
    by_index: dict[int, Mapping[str, Any]] = {}
    for item in given:
        try:
            index = int(item["index"])
        except (KeyError, TypeError, ValueError):
            raise missing("index") from None
        if not 0 <= index < len(buttons):
            raise GraphError(code=132012, details=f"button at index {index}: the template has none")
        by_index[index] = item
    for index, button in enumerate(buttons):
        _check_button(index, button, by_index.get(index))


def _check_button(index: int, button: Mapping[str, Any], given: Mapping[str, Any] | None) -> None:
    kind = str(button["type"])
    dynamic = bool(_PLACEHOLDER.search(str(button.get("url", ""))))
    if given is None:
        if dynamic or kind == "COPY_CODE":
            raise GraphError(
                code=131008, details=f"buttons: Button at index {index} of type {kind} requires a parameter"
            )
        return
    if str(given.get("sub_type", "")).upper() != kind:
        raise GraphError(
            code=132012, details=f"button at index {index}: {given.get('sub_type')}, expected {kind.lower()}"
        )
    parameters = given.get("parameters") or []
    if kind == "URL":
        if not dynamic and parameters:
            raise GraphError(code=132018, details=f"button at index {index}: its URL takes no parameter")
        if dynamic and [item.get("type") for item in parameters] != ["text"]:
            raise GraphError(code=132012, details=f"button at index {index}: one text is expected")
        for item in parameters:
            _check_text(f"button at index {index}", item.get("text"))


def _types(given: Parameters) -> str:
    return ", ".join(str(item.get("type", "?")).upper() for item in given) or "UNKNOWN"


def standard_templates() -> tuple[Template, ...]:
    """The templates of a fresh sandbox: each form that a sender must cope with."""
    unsubscribe = {"type": "BUTTONS", "buttons": [{"type": "QUICK_REPLY", "text": "Stop promotions"}]}
    order = {"type": "BODY", "text": "Hi {{1}}, your order {{2}} is on its way."}
    return (
        Template(
            id="1192339204654487",
            name="hello_world",
            components=(
                {"type": "HEADER", "format": "TEXT", "text": "Hello World"},
                {
                    "type": "BODY",
                    "text": "Welcome and congratulations!! This message shows that you can send.",
                },
                {"type": "FOOTER", "text": "Sandbox Store"},
            ),
            quality="GREEN",
        ),
        Template(id="1200000000000001", name="order_shipped", components=(order,), quality="GREEN"),
        Template(
            id="1200000000000002",
            name="order_shipped",
            language="ar",
            components=({"type": "BODY", "text": "مرحبا {{1}}، طلبك {{2}} في الطريق إليك."},),
        ),
        Template(
            id="1200000000000003",
            name="order_shipped",
            language="pt_BR",
            components=({"type": "BODY", "text": "Olá {{1}}, seu pedido {{2}} está a caminho."},),
        ),
        Template(
            id="1200000000000004",
            name="appointment_reminder",
            parameter_format="NAMED",
            components=(
                {"type": "HEADER", "format": "TEXT", "text": "See you, {{first_name}}"},
                {"type": "BODY", "text": "Your appointment is on {{day}} at {{time}}."},
            ),
        ),
        Template(
            id="1200000000000005",
            name="spring_sale",
            category="MARKETING",
            previous_category="UTILITY",
            components=(
                {"type": "HEADER", "format": "IMAGE"},
                {"type": "BODY", "text": "Hi {{1}}, everything is {{2}} off until Sunday."},
                {"type": "FOOTER", "text": "Not interested? Tap Stop promotions"},
                unsubscribe,
            ),
        ),
        Template(
            id="1200000000000006",
            name="track_parcel",
            components=(
                {"type": "BODY", "text": "Your parcel has left."},
                {
                    "type": "BUTTONS",
                    "buttons": [
                        {"type": "URL", "text": "Track", "url": "https://shop.example/track/{{1}}"},
                        {"type": "PHONE_NUMBER", "text": "Call us", "phone_number": "+15550783881"},
                    ],
                },
            ),
        ),
        Template(
            id="1200000000000007",
            name="invoice",
            components=(
                {"type": "HEADER", "format": "DOCUMENT"},
                {"type": "BODY", "text": "Here is invoice {{1}}."},
            ),
        ),
        Template(
            id="1200000000000008",
            name="coupon",
            category="MARKETING",
            components=(
                {"type": "BODY", "text": "A coupon for you."},
                {
                    "type": "BUTTONS",
                    "buttons": [{"type": "COPY_CODE", "example": "SPRING25"}, unsubscribe["buttons"][0]],
                },
            ),
        ),
        Template(
            id="1200000000000009",
            name="login_code",
            category="AUTHENTICATION",
            message_send_ttl_seconds=600,
            components=(
                {"type": "BODY", "add_security_recommendation": True},
                {"type": "FOOTER", "code_expiration_minutes": 10},
            ),
        ),
        Template(
            id="1200000000000010",
            name="paused_offer",
            category="MARKETING",
            status="PAUSED",
            components=(order,),
        ),
        Template(
            id="1200000000000011",
            name="new_offer",
            category="MARKETING",
            status="PENDING",
            components=(order,),
        ),
        Template(
            id="1200000000000012",
            name="refused_offer",
            category="MARKETING",
            status="REJECTED",
            rejected_reason="PROMOTIONAL",
            components=(order,),
        ),
        Template(
            id="1200000000000013",
            name="worn_out",
            category="MARKETING",
            status="DISABLED",
            components=(order,),
        ),
    )
