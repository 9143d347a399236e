"""HubSpot's error bodies.

Shape: {status, message, correlationId, category, context?, subCategory?, errors?}
(developers.hubspot.com/docs/api-reference/error-handling); every field beyond `message` may be missing
on live portals, which is why the HTML 404 of unknown paths and the 429 differ from it here too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

CORRELATION_ID = "0192f7c4-5a1e-7d3b-9c60-2f4e8a9b1d57"
"""HubSpot draws one per answer; one value keeps the simulator's answers reproducible."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Why a request, or one record of it, is refused."""

    status: int
    category: str
    message: str
    context: Mapping[str, Sequence[str]] = field(default_factory=dict)
    sub_category: str | None = None
    errors: Sequence[Mapping[str, Any]] = ()

    def body(self) -> dict[str, Any]:
        """Return the body of an answer that refuses the whole request."""
        body: dict[str, Any] = {
            "status": "error",
            "message": self.message,
            "correlationId": CORRELATION_ID,
            "category": self.category,
        }
        if self.context:
            body["context"] = {name: list(values) for name, values in self.context.items()}
        if self.sub_category:
            body["subCategory"] = self.sub_category
        if self.errors:
            body["errors"] = [dict(error) for error in self.errors]
        return body

    def item(self, *, trace_id: str | None = None) -> dict[str, Any]:
        """Return the entry of a batch answer's `errors` that refuses one record."""
        context = {name: list(values) for name, values in self.context.items()}
        if trace_id is not None:
            context["objectWriteTraceId"] = [trace_id]
        return {
            "status": "error",
            "category": self.category,
            "message": self.message,
            "context": context,
            **({"subCategory": self.sub_category} if self.sub_category else {}),
        }


class HubSpotError(Exception):
    """A request that is refused whole; nothing was written."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


def invalid(message: str, **context: Sequence[str]) -> Problem:
    """Return a 400 VALIDATION_ERROR."""
    return Problem(status=400, category="VALIDATION_ERROR", message=message, context=context)


def refuse(message: str, **context: Sequence[str]) -> HubSpotError:
    """Return the error that refuses a whole request with a 400 VALIDATION_ERROR."""
    return HubSpotError(invalid(message, **context))


def not_found(message: str = "resource not found", **context: Sequence[str]) -> HubSpotError:
    """Return the error for a record or property that does not exist."""
    return HubSpotError(Problem(status=404, category="OBJECT_NOT_FOUND", message=message, context=context))


def missing_scopes(scope: str) -> HubSpotError:
    """Return the error for a token without the scope (seen on live portals with this category)."""
    message = (
        "This app hasn't been granted all required scopes to make this call. "
        "Read more about required scopes here: https://developers.hubspot.com/scopes."
    )
    detail = {
        "message": "One or more of the following scopes are required.",
        "context": {"requiredGranularScopes": [scope]},
    }
    return HubSpotError(Problem(status=403, category="MISSING_SCOPES", message=message, errors=(detail,)))


UNAUTHENTICATED = Problem(
    status=401,
    category="INVALID_AUTHENTICATION",
    message=(
        "Authentication credentials not found. This API supports OAuth 2.0 authentication and you can find "
        "more details at https://developers.hubspot.com/docs/methods/auth/oauth-overview"
    ),
)
