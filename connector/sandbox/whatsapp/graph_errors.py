"""Graph's error answers: `{"error": {message, type, code, error_data, fbtrace_id}}`.

Codes and their HTTP statuses: developers.facebook.com/docs/whatsapp/cloud-api/support/error-codes. The page asks
to decide by `code`, never by the HTTP status.
"""

from __future__ import annotations

from connector.sandbox.gateway import Answer

_TITLES = {
    1: "An unknown error occurred",
    2: "An unexpected error occurred. Please retry your request",
    4: "Application request limit reached",
    10: "Application does not have permission for this action",
    100: "Invalid parameter",
    190: "Invalid OAuth access token - Cannot parse access token",
    80007: "WhatsApp Business Account has hit rate limits",
    130429: "Rate limit hit",
    131008: "Required parameter is missing",
    131009: "Parameter value is not valid",
    131021: "Recipient cannot be sender",
    131026: "Message undeliverable",
    131047: "Re-engagement message",
    131050: "User has stopped marketing messages",
    131051: "Unsupported message type",
    131056: "(Business Account, Consumer Account) pair rate limit hit",
    131059: "Invalid paging cursor",
    131062: "Business-scoped user id is not supported for this message",
    132000: "Number of parameters does not match the expected number of params",
    132001: "Template name does not exist in the translation",
    132005: "Translated text too long",
    132012: "Parameter format does not match format in the created template",
    132015: "Template is paused",
    132016: "Template is disabled",
    132018: "There is an issue with the parameters in your template message",
    133010: "Phone number not registered",
}
_STATUSES = {1: 400, 2: 503, 10: 403, 190: 401, 132001: 404}
_TRANSIENT = frozenset({1, 2, 4})
_TRACE = "AsandboxTraceIdAAAAAAAA"


def title(code: int) -> str:
    """What Meta calls an error."""
    return _TITLES[code]


class GraphError(Exception):
    """A request that Graph refuses."""

    def __init__(self, *, code: int, details: str, subcode: int | None = None) -> None:
        super().__init__(code, details)
        self.code = code
        self.details = details
        self.subcode = subcode

    def answer(self) -> Answer:
        """Return it as Graph does."""
        numbered = self.code not in (1, 2, 4, 190)
        message = f"(#{self.code}) {title(self.code)}" if numbered else title(self.code)
        error: dict[str, object] = {
            "message": message,
            "type": "OAuthException",
            "code": self.code,
            "error_data": {"messaging_product": "whatsapp", "details": self.details},
            "fbtrace_id": _TRACE,
        }
        if self.subcode is not None:
            error["error_subcode"] = self.subcode
        if self.code in _TRANSIENT:
            error["is_transient"] = True
        return Answer(status=_STATUSES.get(self.code, 400), document={"error": error})


def unknown_object(object_id: str) -> GraphError:
    """An id that does not exist and one that the token may not see: Graph tells no difference."""
    return GraphError(
        code=100,
        subcode=33,
        details=f"Unsupported request. Object with ID '{object_id}' does not exist, cannot be loaded due to "
        "missing permissions, or does not support this operation.",
    )


def missing(name: str) -> GraphError:
    """A field that the request needs."""
    return GraphError(code=100, details=f"The parameter {name} is required.")
