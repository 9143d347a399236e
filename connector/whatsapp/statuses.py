"""`statuses[]`: what became of a message that the business sent.

Any status word passes: `played` was added in November 2025, and others will be.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from connector.events import StatusError
from connector.whatsapp.lenient import as_int, as_list, as_object, as_text
from connector.whatsapp.text import identifier


@dataclass(frozen=True, kw_only=True, slots=True)
class StatusParts:
    """The typed parts of one status; who and when are read elsewhere."""

    wamid: str
    status: str
    errors: list[StatusError]
    callback_data: str
    pricing_category: str
    pricing_type: str


def read_status(raw: Mapping[str, Any]) -> StatusParts:
    """Never raises; `wamid` and `status` are "" when Meta sent none."""
    pricing = as_object(raw.get("pricing"))
    return StatusParts(
        wamid=identifier(raw.get("id")),
        status=identifier(raw.get("status")).lower(),
        errors=[_error(item) for item in as_list(raw.get("errors"))],
        callback_data=as_text(raw.get("biz_opaque_callback_data")),
        # Meta's own pages spell one of them both ways.
        pricing_category=identifier(pricing.get("category")).lower().replace("-", "_"),
        pricing_type=identifier(pricing.get("type")).lower(),
    )


def _error(raw: object) -> StatusError:
    error = as_object(raw)
    return StatusError(
        code=as_int(error.get("code")),
        title=as_text(error.get("title")),
        message=as_text(error.get("message")),
        details=as_text(as_object(error.get("error_data")).get("details")),
    )
