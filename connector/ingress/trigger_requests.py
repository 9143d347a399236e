"""The bodies of POST /triggers/templates and /triggers/consent: strict, and every mistake told with its place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from connector.events import Recipient
from connector.events.triggers import Purpose
from connector.ingress import trigger_fields as fields
from connector.ingress.answers import Refusal
from connector.ingress.strict_json import UnreadableJson, read_json

MOST_RECIPIENTS = 1000
LONGEST_EVIDENCE = 2000
_MOST_PROBLEMS = 20

_Body = TypeVar("_Body", bound=BaseModel)
_Moment = Annotated[datetime, BeforeValidator(fields.moment)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class To(_Strict):
    """Who it is for; several ids name the same person, bsuid before phone before a CRM's id."""

    phone: Annotated[str, AfterValidator(fields.phone)] | None = None
    bsuid: Annotated[str, AfterValidator(fields.bsuid)] | None = None
    hubspot_id: Annotated[str, AfterValidator(fields.hubspot_id)] | None = None
    salesforce_id: Annotated[str, AfterValidator(fields.salesforce_id)] | None = None

    @model_validator(mode="after")
    def _somebody(self) -> Self:
        if not any((self.phone, self.bsuid, self.hubspot_id, self.salesforce_id)):
            raise ValueError("must have at least one of phone, bsuid, hubspot_id, salesforce_id")
        return self

    def recipient(self) -> Recipient:
        """As it is kept."""
        return Recipient(**self.model_dump(exclude_none=True))


class WantedTemplate(_Strict):
    """Which template; without a language the contact's own."""

    name: Annotated[str, AfterValidator(fields.template_name)]
    language: Annotated[str, AfterValidator(fields.language)] = ""


class WantedSend(_Strict):
    """One recipient."""

    to: To
    parameters: Annotated[dict[str, Any], BeforeValidator(fields.parameters)] = Field(default_factory=dict)
    reference: Annotated[str, AfterValidator(fields.reference)] = ""


class TemplateTrigger(_Strict):
    """One template to up to 1,000 people."""

    sender: Annotated[str, AfterValidator(fields.sender)] = Field(default="", alias="from")
    template: WantedTemplate
    purpose: Purpose | None = None
    expires_at: _Moment | None = None
    idempotency_key: str | None = None
    """The same as the header's: put here, a signature covers it."""
    recipients: list[WantedSend] = Field(min_length=1, max_length=MOST_RECIPIENTS)


class ConsentAct(_Strict):
    """What one person allowed or refused, and where it can be seen again."""

    to: To
    purpose: Literal["marketing", "utility"]
    state: Literal["granted", "denied"]
    at: _Moment
    by_person: bool = False
    evidence: str = Field(default="", max_length=LONGEST_EVIDENCE)

    @model_validator(mode="after")
    def _shown(self) -> Self:
        if (self.state == "granted" or self.by_person) and not self.evidence.strip():
            raise ValueError("must have evidence: the form, page, wording or recording that shows it")
        return self


class ConsentReport(_Strict):
    """Up to 1,000 acts of consent."""

    idempotency_key: str | None = None
    acts: list[ConsentAct] = Field(min_length=1, max_length=MOST_RECIPIENTS)


def read_body(model: type[_Body], body: bytes, *, idempotency_key: str) -> tuple[_Body, Mapping[str, Any]]:
    """The request, and the document it was read from. Raises `Refusal`: 400 not JSON, 422 wrong fields."""
    try:
        document = read_json(body)
    except UnreadableJson as error:
        raise Refusal(
            "not_json",
            status=400,
            error=f"The body is not JSON that can be kept: {error}.",
            advice="send one JSON object in UTF-8",
        ) from None
    try:
        request = model.model_validate(document)
    except ValidationError as error:
        raise _invalid(problems_of(error)) from None
    if getattr(request, "idempotency_key", None) not in (None, idempotency_key):
        raise _invalid([{"path": "idempotency_key", "problem": "differs from the header Idempotency-Key"}])
    return request, document


def problems_of(error: ValidationError) -> Sequence[Mapping[str, str]]:
    """Every mistake (the first 20) with its place in the document, in words a caller can act on."""
    return [
        {"path": _path(item["loc"]), "problem": _sentence(item)}
        for item in error.errors(include_url=False)[:_MOST_PROBLEMS]
    ]


def _path(loc: Sequence[int | str]) -> str:
    path = ""
    for part in loc:
        path += f"[{part}]" if isinstance(part, int) else f"{'.' if path else ''}{part[:80]}"
    return path or "the whole body"


def _sentence(item: Any) -> str:
    kind, context = item["type"], item.get("ctx", {})
    if kind == "value_error":
        return str(context["error"])
    if kind == "missing":
        return "is required"
    if kind == "extra_forbidden":
        return "is not a field that is known here"
    if kind in ("model_type", "model_attributes_type", "dict_type"):
        return "must be an object"
    if kind == "literal_error":
        return f"must be {context['expected']}"
    if kind in ("too_long", "too_short"):
        least, most = context.get("min_length"), context.get("max_length")
        return f"must have {f'at least {least}' if kind == 'too_short' else f'at most {most}'} entries"
    return str(item["msg"]).replace("Input should", "must").replace("String should", "must")


def _invalid(problems: Sequence[Mapping[str, str]]) -> Refusal:
    first = problems[0]
    return Refusal(
        "invalid",
        status=422,
        error=f"The request is not valid: {first['path']} {first['problem']}.",
        advice="correct what problems lists and send it again; nothing of it was kept",
        problems=problems,
    )
