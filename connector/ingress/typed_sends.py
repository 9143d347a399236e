"""A send as a CRM admin fills it in, and its recipient as a CRM record shows them: text fields. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from connector.events import Recipient, TemplateRef
from connector.events.triggers import Purpose
from connector.ingress import trigger_fields as fields
from connector.sync.core.typed_numbers import readings

_Value = TypeVar("_Value")
_LONGEST_SHOWN = 60


@dataclass(frozen=True, kw_only=True)
class TypedSend:
    """What was meant, as far as it can be read; `problem` says in one sentence what cannot."""

    template: TemplateRef
    from_number: str = ""
    purpose: Purpose | None = None
    parameters: dict[str, Any] = field(default_factory=dict)
    problem: str = ""


def typed_send(texts: Mapping[str, str], *, names: Mapping[str, str]) -> TypedSend:
    """Read the five fields. `names`: template, language, from, parameters, purpose → what the CRM calls each."""
    problems: list[str] = []

    def read(name: str, check: Callable[[str], _Value], otherwise: _Value) -> _Value:
        text = texts.get(names[name], "")
        try:
            return check(text)
        except ValueError as error:
            shown = f"{text[:_LONGEST_SHOWN]!r} " if text.strip() else ""
            problems.append(f"{names[name]}: {shown}{error}")
            return otherwise

    template = TemplateRef(
        name=read("template", fields.template_name, ""), language=read("language", fields.language, "")
    )
    return TypedSend(
        template=template,
        from_number=read("from", fields.sender, ""),
        purpose=read("purpose", fields.purpose, None),
        parameters=read("parameters", fields.typed_parameters, {}),
        problem="; ".join(problems),
    )


def typed_recipient(
    *,
    bsuid: str,
    phone: str,
    typed_phones: Sequence[str],
    region: str,
    hubspot_id: str = "",
    salesforce_id: str = "",
) -> Recipient:
    """Who a record is. `bsuid` and `phone` are our own fields of it, which say exactly whom WhatsApp knows.

    Only where both are empty do the phones that people typed count: the first that can mean one number alone, read as
    one of `region` (ISO 3166, "" for none) when it has no country code.
    """
    bsuid, phone = _checked(fields.bsuid, bsuid), _checked(fields.phone, phone)
    if not bsuid and not phone:
        meanings = (readings(typed, region=region) for typed in typed_phones if typed)
        phone = next((f"+{next(iter(found))}" for found in meanings if len(found) == 1), "")
    return Recipient(bsuid=bsuid, phone=phone, hubspot_id=hubspot_id, salesforce_id=salesforce_id)


def _checked(check: Callable[[str], str], text: str) -> str:
    try:
        return check(text)
    except ValueError:
        return ""
