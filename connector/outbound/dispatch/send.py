"""A row of `outbound.sends` as the dispatcher works on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Self
from uuid import UUID


@dataclass(frozen=True, kw_only=True, slots=True)
class BusinessNumber:
    """The number that a send leaves from, as events name it. Empty: not known to us."""

    phone_number_id: str
    waba_id: str = ""
    display_phone: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Send:
    """One template to one person, as it stands in the table."""

    send_id: str
    trigger_id: str
    template_name: str
    template_language: str
    purpose: str
    contact_id: UUID | None
    obstacle: str
    phone: str
    bsuid: str
    phone_number_id: str
    parameters: Mapping[str, Any]
    reference: str
    callback: Mapping[str, Any] | None
    created_at: datetime
    expires_at: datetime
    expiry_given: bool
    attempts: int
    category: str
    rendered: str
    problem: Mapping[str, Any] | None
    topic: str
    partition: int
    offset: int
    recipient: Mapping[str, Any] = field(default_factory=dict)
    """As it was asked for."""

    @classmethod
    def of(cls, row: Any) -> Self:
        """From a row with `COLUMNS`."""
        return cls(**{name: row[name] for name in _NAMES})


_NAMES = tuple(Send.__dataclass_fields__)
COLUMNS = ", ".join(f's."{name}"' for name in _NAMES)
"""What `Send.of` reads; the table is `s`."""
