"""What an error of a send means, as one table: Meta's code → who has to slow down, and what becomes of the send.

developers.facebook.com/documentation/business-messaging/whatsapp/support/error-codes. The same error comes as the
answer to the request or later in `statuses[].errors`, and the HTTP status of one code differs between Meta's page,
providers and what is observed, so `error.code` decides; the HTTP status only where the code is not known.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any

from connector.whatsapp.lenient import as_int, as_list, as_object, as_text

_LONGEST_DETAILS = 1_000


class ErrorClass(StrEnum):
    """Who is meant by an error.

    In an answer to the request: of all but FAIL and OPT_OUT the send goes back into the queue, because nothing was sent.
    In a status: WhatsApp had taken the message, so that send is over whatever the class (it may even be delivered to
    another device later); the class then only says who has to slow down.
    """

    RETRY = "retry"
    """This send, with a growing pause."""
    PAIR = "pair"
    """This number to this person: 4^X seconds (`pacing.pair`)."""
    NUMBER = "number"
    """Every send of the business number."""
    ACCOUNT = "account"
    """Every call of the app and the WhatsApp Business Account."""
    PORTFOLIO = "portfolio"
    """Every number of the business portfolio."""
    PARK = "park"
    """This send, not before `wait`, or until what it waits for has happened."""
    FAIL = "fail"
    """Never again: the same request can only fail."""
    OPT_OUT = "opt_out"
    """Never again, and the person wants no more marketing."""
    STOP = "stop"
    """The line, until a person has corrected the credential or the permission. Nothing is lost meanwhile."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ErrorRule:
    """One line of the table. `cause` is stable and countable; `says` and `advice` are for people."""

    error_class: ErrorClass
    cause: str
    says: str
    advice: str = ""
    wait: timedelta | None = None
    """How long whoever is meant rests; None: the class's own back-off."""
    attempts: int | None = None
    """How many in all before it counts as failed; None: until the send expires."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MetaError:
    """Meta's error object, from an answer or a status."""

    code: int
    subcode: int | None = None
    title: str = ""
    details: str = ""
    is_transient: bool = False
    trace_id: str = ""

    @property
    def sentence(self) -> str:
        """What Meta says, with its code."""
        return f"{self.details or self.title or 'no text'} ({self.code})"


_MINUTE, _HOUR = timedelta(minutes=1), timedelta(hours=1)
_R, _F = ErrorClass.RETRY, ErrorClass.FAIL


def _rule(
    error_class: ErrorClass,
    cause: str,
    says: str,
    advice: str = "",
    *,
    wait: timedelta | None = None,
    attempts: int | None = None,
) -> ErrorRule:
    return ErrorRule(
        error_class=error_class, cause=cause, says=says, advice=advice, wait=wait, attempts=attempts
    )


_TOKEN = _rule(
    ErrorClass.STOP,
    "access_token",
    "WhatsApp does not accept the access token",
    "set CONNECTOR_WHATSAPP__ACCESS_TOKEN to a valid system-user token",
)
_PERMISSION = _rule(
    ErrorClass.STOP,
    "permission",
    "the access token may not send for this account",
    "give the system user whatsapp_business_messaging and the account as an asset",
)
_UNKNOWN_NUMBER = _rule(
    ErrorClass.NUMBER,
    "number_unknown",
    "WhatsApp does not know the business number, or the token may not see it",
    "check the phone number id and that the number is assigned to the system user",
    wait=5 * _MINUTE,
)
_NOT_REGISTERED = _rule(
    ErrorClass.NUMBER,
    "number_not_registered",
    "the business number is not registered with the Cloud API",
    "register it (POST /{phone number id}/register)",
    wait=5 * _MINUTE,
)
_PARAMETERS = "compare them with the template: connector templates preview"
_RESTRICTED = "see Account quality in WhatsApp Manager; account_update tells when the restriction ends"

RULES: Mapping[int, ErrorRule] = {
    # again, with the same content
    1: _rule(_R, "meta_unknown", "WhatsApp had an unknown error"),
    2: _rule(_R, "meta_unavailable", "WhatsApp is temporarily not available"),
    131000: _rule(_R, "meta_failed", "WhatsApp failed for an unknown reason", attempts=4),
    131016: _rule(_R, "meta_overloaded", "a service of WhatsApp is overloaded"),
    131053: _rule(
        _R,
        "media_not_fetched",
        "WhatsApp could not fetch or read the file of the header",
        "check that the link is public and the file of a supported type and size",
        attempts=3,
    ),
    133004: _rule(_R, "meta_unavailable", "WhatsApp is temporarily not available"),
    # slower
    131056: _rule(ErrorClass.PAIR, "pair_limit", "too many messages to this person in a short time"),
    130429: _rule(ErrorClass.NUMBER, "throughput", "the business number sent faster than it may"),
    131057: _rule(
        ErrorClass.NUMBER, "number_maintenance", "the business number is being upgraded", wait=_MINUTE
    ),
    133015: _rule(
        ErrorClass.NUMBER,
        "number_just_deleted",
        "the business number was deleted a moment ago and is being set up",
        wait=5 * _MINUTE,
    ),
    131048: _rule(
        ErrorClass.NUMBER,
        "spam_limit",
        "too many people blocked or reported the business number",
        "look at its quality in WhatsApp Manager before it sends on",
        wait=_HOUR,
    ),
    131042: _rule(
        ErrorClass.NUMBER,
        "payment",
        "the account cannot pay for the message",
        "correct the payment method in Meta's billing hub",
        wait=15 * _MINUTE,
    ),
    131045: _NOT_REGISTERED,
    133010: _NOT_REGISTERED,
    33: _UNKNOWN_NUMBER,
    4: _rule(ErrorClass.ACCOUNT, "app_rate_limit", "the app made too many calls", wait=_MINUTE),
    80007: _rule(
        ErrorClass.ACCOUNT,
        "account_rate_limit",
        "the WhatsApp Business Account made too many calls",
        wait=_MINUTE,
    ),
    # restrictions
    368: _rule(
        ErrorClass.PORTFOLIO,
        "policy_block",
        "Meta blocked the account for a policy violation",
        _RESTRICTED,
        wait=_HOUR,
    ),
    131031: _rule(ErrorClass.PORTFOLIO, "account_locked", "Meta locked the account", _RESTRICTED, wait=_HOUR),
    131064: _rule(
        ErrorClass.PORTFOLIO,
        "misclassified_templates",
        "Meta limits the account because templates had the wrong category",
        "correct the categories of the templates",
        wait=_HOUR,
    ),
    # later, not now
    131049: _rule(
        ErrorClass.PARK,
        "per_user_marketing_limit",
        "WhatsApp limits how much marketing this person gets from all businesses",
        wait=24 * _HOUR,
    ),
    132015: _rule(
        ErrorClass.PARK, "template_paused", "Meta paused the template for low quality", wait=5 * _MINUTE
    ),
    134101: _rule(
        ErrorClass.PARK,
        "template_not_ready",
        "a new template is not ready for marketing yet",
        wait=10 * _MINUTE,
    ),
    # never
    131026: _rule(
        _F,
        "undeliverable",
        "the message cannot be delivered: most often the number is not on WhatsApp",
        "check the number, or use another channel",
    ),
    131047: _rule(
        _F, "window_closed", "the person did not write within the last 24 hours", "send a template"
    ),
    131050: _rule(
        ErrorClass.OPT_OUT,
        "marketing_stopped",
        "the person stopped marketing messages in WhatsApp",
        "only they can resume them",
    ),
    130472: _rule(
        _F,
        "experiment",
        "the person is in an experiment of Meta and gets no marketing",
        "use another channel",
    ),
    130497: _rule(
        _F, "country_restricted", "the account may not write to people in this country", _RESTRICTED
    ),
    131051: _rule(_F, "message_type", "WhatsApp does not know this type of message"),
    131008: _rule(_F, "parameter_missing", "a required parameter is missing", _PARAMETERS),
    131009: _rule(_F, "parameter_invalid", "a parameter's value is not valid", _PARAMETERS),
    100: _rule(_F, "request_invalid", "WhatsApp does not accept the request", _PARAMETERS),
    132000: _rule(_F, "parameter_count", "the number of parameters is not that of the template", _PARAMETERS),
    132001: _rule(
        _F,
        "template_missing",
        "the template does not exist in this language, or is not approved",
        "connector templates sync, then connector templates list",
    ),
    132005: _rule(_F, "text_too_long", "the filled-in text is too long", "shorten the parameters"),
    132007: _rule(_F, "template_policy", "the template's content breaks a policy", "change the template"),
    132008: _rule(_F, "parameter_format", "a parameter has another format than in the template", _PARAMETERS),
    132012: _rule(_F, "parameter_format", "a parameter has another format than in the template", _PARAMETERS),
    132016: _rule(
        _F, "template_disabled", "Meta disabled the template after several pauses", "make a new template"
    ),
    132018: _rule(_F, "parameter_text", "a parameter has line breaks, tabs or many spaces", _PARAMETERS),
    132068: _rule(
        _F, "flow_blocked", "the template's flow is blocked", "correct the flow in WhatsApp Manager"
    ),
    132069: _rule(
        _F, "flow_throttled", "the template's flow is throttled", "correct the flow in WhatsApp Manager"
    ),
    131021: _rule(_F, "own_number", "the recipient is the sender"),
    131030: _rule(
        _F,
        "not_a_test_recipient",
        "a test number sends only to its list of recipients",
        "add the person to the list in the app's dashboard",
    ),
    131037: _rule(
        _F,
        "display_name",
        "the number's display name is not approved",
        "correct the display name in WhatsApp Manager",
    ),
    131062: _rule(
        _F,
        "phone_needed",
        "this kind of message needs a phone, and only a user id is known",
        "ask the person for their number",
    ),
    131063: _rule(
        _F,
        "marketing_not_here",
        "the account sends marketing through the Marketing Messages API only",
        "allow the Cloud API for marketing in WhatsApp Manager",
    ),
    135000: _rule(_F, "generic", "WhatsApp does not accept the message, and says no more"),
    137000: _rule(_F, "identity_key", "the person's identity key changed", "let them confirm who they are"),
    # the line
    0: _TOKEN,
    190: _TOKEN,
    3: _PERMISSION,
    10: _PERMISSION,
    131005: _PERMISSION,
}
_PERMISSIONS = range(200, 300)
_OBJECT_NOT_THERE = (100, 33)

_TRANSIENT = _rule(_R, "meta_transient", "WhatsApp had an error that it calls transient")
_SERVER = _rule(_R, "meta_server_error", "WhatsApp had an error that is not in its list")
_TOO_MANY = _rule(ErrorClass.ACCOUNT, "rate_limit", "WhatsApp wants fewer calls", wait=_MINUTE)
_UNAUTHORISED = _TOKEN
_NOT_LISTED = _rule(
    _F, "refused", "WhatsApp refuses the message with an error that is not in its list", "look up Meta's text"
)


def rule_of(error: MetaError, *, http_status: int | None = None) -> ErrorRule:
    """What an error means. `http_status`: of the answer it came in; None for an error of a status webhook."""
    if (error.code, error.subcode) == _OBJECT_NOT_THERE:
        return _UNKNOWN_NUMBER
    known = RULES.get(error.code)
    if known is not None:
        return known
    if error.code in _PERMISSIONS:
        return _PERMISSION
    if error.is_transient:
        return _TRANSIENT
    if http_status == 429:
        return _TOO_MANY
    if http_status is not None and http_status >= 500:
        return _SERVER
    if http_status == 401:
        return _UNAUTHORISED
    return _NOT_LISTED


def read_error(document: object) -> MetaError | None:
    """The error of an answer (`{"error": {…}}`) or of `statuses[].errors`; None when there is none in Meta's form."""
    found: Any = as_object(document).get("error") if isinstance(document, dict) else None
    if found is None:
        items = as_object(document).get("errors") if isinstance(document, dict) else document
        found = next((item for item in as_list(items) if isinstance(item, dict)), None)
    error = as_object(found)
    code = as_int(error.get("code"))
    if code is None:
        return None
    data = as_object(error.get("error_data"))
    return MetaError(
        code=code,
        subcode=as_int(error.get("error_subcode")),
        title=as_text(error.get("title") or error.get("message"), limit=_LONGEST_DETAILS),
        details=as_text(data.get("details") or error.get("details"), limit=_LONGEST_DETAILS),
        is_transient=error.get("is_transient") is True,
        trace_id=as_text(error.get("fbtrace_id"), limit=255),
    )
