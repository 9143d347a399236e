"""Salesforce's error codes as the connector's errors."""

from typing import Any

import pytest

from connector.crm.port import Gone, Later, Refused
from connector.crm.salesforce.failures import (
    SalesforceRefusal,
    SetupLacking,
    call_failure,
    row_failure,
    row_result,
)
from connector.errors import RateLimited, Terminal, Transient, Uncertain


def _error(code: str, message: str = "m") -> list[dict[str, str]]:
    return [{"errorCode": code, "message": message}]


@pytest.mark.parametrize(
    ("status", "content", "kind"),
    [
        pytest.param(500, _error("UNKNOWN_EXCEPTION"), Uncertain, id="500"),
        pytest.param(502, "<html>", Uncertain, id="502-page"),
        pytest.param(503, _error("SERVER_UNAVAILABLE"), Uncertain, id="503"),
        pytest.param(400, _error("INVALID_FIELD"), SetupLacking, id="missing-field"),
        pytest.param(404, _error("NOT_FOUND"), SetupLacking, id="missing-key"),
        pytest.param(403, _error("API_CURRENTLY_DISABLED"), Terminal, id="no-api"),
        pytest.param(403, _error("SOMETHING_ELSE"), SetupLacking, id="forbidden"),
        pytest.param(400, _error("UNABLE_TO_LOCK_ROW"), Transient, id="locked"),
        pytest.param(400, _error("JSON_PARSER_ERROR"), SalesforceRefusal, id="unreadable"),
        pytest.param(414, "<h1>URI Too Long</h1>", SalesforceRefusal, id="too-long"),
    ],
)
def test_a_calls_status_and_code_decide(status: int, content: Any, kind: type[Exception]) -> None:
    """Each refusal of a whole call has its class."""
    assert type(call_failure(status, content, {}, writes=True)) is kind


def test_a_failed_read_is_never_in_doubt() -> None:
    """A 5xx on a read did nothing."""
    assert type(call_failure(503, "", {}, writes=False)) is Transient


@pytest.mark.parametrize(
    ("usage", "seconds", "says"),
    [
        pytest.param("api-usage=15000/15000; api-bursts=1/750", 300.0, "last 24 h", id="day"),
        pytest.param("api-usage=10/15000", 5.0, "long calls", id="at-once"),
        pytest.param("", 5.0, "long calls", id="not-told"),
    ],
)
def test_the_usage_tells_the_two_limits_apart(usage: str, seconds: float, says: str) -> None:
    """A full day waits minutes, too many long calls wait seconds."""
    error = call_failure(403, _error("REQUEST_LIMIT_EXCEEDED"), {"Sforce-Limit-Info": usage}, writes=True)
    assert isinstance(error, RateLimited)
    assert error.retry_after == seconds
    assert says in error.message


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        pytest.param("UNABLE_TO_LOCK_ROW", Later, id="locked"),
        pytest.param("UNKNOWN_EXCEPTION", Later, id="unknown"),
        pytest.param("ENTITY_IS_DELETED", Gone, id="deleted"),
        pytest.param("CANNOT_UPDATE_CONVERTED_LEAD", Gone, id="converted"),
        pytest.param("STRING_TOO_LONG", Refused, id="too-long"),
        pytest.param("FIELD_CUSTOM_VALIDATION_EXCEPTION", Refused, id="validation-rule"),
        pytest.param("A_CODE_OF_NEXT_YEAR", Refused, id="unheard-of"),
    ],
)
def test_a_rows_code_decides_for_its_item(code: str, kind: type) -> None:
    """Each refusal of one record has its result."""
    failure = row_failure([{"statusCode": code, "message": "m", "fields": []}])
    assert failure is not None
    assert isinstance(row_result(failure), kind)


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        pytest.param(
            "duplicate value found: Key__c duplicates value on record with id: 003", Later, id="race"
        ),
        pytest.param("Duplicate external id specified: Key__c", Later, id="twice-in-a-request"),
        pytest.param(
            "duplicate value found: <unknown> duplicates value on record with id: <unknown>",
            Refused,
            id="hidden-record",
        ),
        pytest.param("duplicate value found: Other__c duplicates value", Refused, id="another-field"),
    ],
)
def test_a_duplicate_of_our_key_is_a_race_and_any_other_a_refusal(message: str, kind: type) -> None:
    """Only a race for our own key passes at the next try."""
    failure = row_failure([{"statusCode": "DUPLICATE_VALUE", "message": message, "fields": []}])
    assert failure is not None
    assert isinstance(row_result(failure, keys=("Key__c",)), kind)


@pytest.mark.parametrize("spelling", ["duplicateResut", "duplicateResult"])
def test_a_duplicate_rule_is_named_with_its_matches(spelling: str) -> None:
    """The refusal tells which rule matched which record, in both spellings."""
    details = {
        "duplicateRule": "Phones",
        "matchResults": [{"matchRecords": [{"record": {"Id": "003x"}}]}],
    }
    failure = row_failure([{"statusCode": "DUPLICATES_DETECTED", "message": "Use one", spelling: details}])
    assert failure is not None
    result = row_result(failure)
    assert isinstance(result, Refused)
    assert result.reason == "Use one (rule Phones: 003x)"
    assert result.advice.startswith("adopt the record")


@pytest.mark.parametrize(
    "errors", [None, [], {}, "x", [5]], ids=["none", "empty", "nothing", "text", "number"]
)
def test_errors_that_say_nothing_are_no_failure(errors: Any) -> None:
    """What cannot be read is left in doubt."""
    assert row_failure(errors) is None


@pytest.mark.parametrize(
    ("errors", "code"),
    [
        pytest.param({"statusCode": "REQUIRED_FIELD_MISSING"}, "REQUIRED_FIELD_MISSING", id="no list"),
        pytest.param(
            [{"statusCode": "UNABLE_TO_LOCK_ROW"}, {"statusCode": "REQUIRED_FIELD_MISSING"}],
            "REQUIRED_FIELD_MISSING",
            id="never passes, and locked",
        ),
        pytest.param(
            [{"statusCode": "REQUIRED_FIELD_MISSING"}, {"statusCode": "ENTITY_IS_DELETED"}],
            "ENTITY_IS_DELETED",
            id="deleted, and incomplete",
        ),
        pytest.param(["words", {"errorCode": "STRING_TOO_LONG"}], "STRING_TOO_LONG", id="words before it"),
    ],
)
def test_of_several_errors_of_a_record_the_one_that_decides_counts(errors: Any, code: str) -> None:
    """A record that never passes is not tried again for ever because a lock is named first."""
    failure = row_failure(errors)
    assert failure is not None
    assert failure.code == code
