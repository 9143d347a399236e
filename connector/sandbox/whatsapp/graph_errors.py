"""Graph's error answers: `{"error": {message, type, code, error_data, fbtrace_id}}`.

Codes and their HTTP statuses: developers.facebook.com/docs/whatsapp/cloud-api/support/error-codes. The page asks
to decide by `code`, never by the HTTP status.
"""

from __future__ import annotations

from connector.sandbox.gateway import Answer

_TITLES = {
    0: "AuthException",
    1: "An unknown error occurred",
    2: "An unexpected error occurred. Please retry your request",
    3: "API Method",
    4: "Application request limit reached",
    10: "Application does not have permission for this action",
    33: "Parameter value is not valid",
    100: "Invalid parameter",
    190: "Invalid OAuth access token - Cannot parse access token",
    200: "Permissions error",
    368: "Temporarily blocked for policies violations",
    80007: "WhatsApp Business Account has hit rate limits",
    130429: "Rate limit hit",
    130472: "User's number is part of an experiment",
    130497: "Business account is restricted from messaging users in this country",
    131000: "Something went wrong",
    131005: "Access denied",
    131008: "Required parameter is missing",
    131009: "Parameter value is not valid",
    131016: "Service unavailable",
    131021: "Recipient cannot be sender",
    131026: "Message undeliverable",
    131030: "Recipient phone number not in allowed list",
    131031: "Account has been locked",
    131037: "WhatsApp provided number needs display name approval before message can be sent",
    131042: "Business eligibility payment issue",
    131045: "Incorrect certificate",
    131047: "Re-engagement message",
    131048: "Spam rate limit hit",
    131049: "This message was not delivered to maintain healthy ecosystem engagement",
    131050: "User has stopped marketing messages",
    131051: "Unsupported message type",
    131053: "Media upload error",
    131056: "(Business Account, Consumer Account) pair rate limit hit",
    131057: "Account in maintenance mode",
    131059: "Invalid paging cursor",
    131062: "Business-scoped user id is not supported for this message",
    131063: "Marketing messages are not available on Cloud API for this account",
    131064: "Messaging is limited because templates are misclassified",
    132000: "Number of parameters does not match the expected number of params",
    132001: "Template name does not exist in the translation",
    132005: "Translated text too long",
    132007: "Template format character policy violated",
    132008: "Parameter value format does not match",
    132012: "Parameter format does not match format in the created template",
    132015: "Template is paused",
    132016: "Template is disabled",
    132018: "There is an issue with the parameters in your template message",
    132068: "Flow is blocked",
    132069: "Flow is throttled",
    133004: "Server temporarily unavailable",
    133010: "Phone number not registered",
    133015: "Please wait a few minutes before attempting to register this phone number",
    134101: "Template is not ready yet",
    135000: "Generic user error",
    137000: "Message is undeliverable: the identity key changed",
}
CODES = frozenset(_TITLES)
"""Every error that can be answered."""
_STATUSES = {
    0: 401,
    2: 503,
    3: 500,
    10: 403,
    190: 401,
    200: 403,
    131000: 500,
    131005: 403,
    131016: 500,
    131057: 500,
    132001: 404,
    133004: 503,
}
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
        numbered = self.code not in (0, 1, 2, 3, 4, 190)
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
