"""Meta's send errors: one table, decided by the code, and what an answer that is none of Meta's means."""

import json
from datetime import timedelta
from typing import Any

import pytest

from connector.whatsapp.send_answers import Refused, SendAnswer, Taken, Unclear, read_answer
from connector.whatsapp.send_errors import RULES, ErrorClass, MetaError, read_error, rule_of


def refused(code: int, *, status: int = 400, **more: Any) -> SendAnswer:
    error = {"message": f"(#{code}) text", "type": "OAuthException", "code": code, **more}
    return read_answer(http_status=status, body=json.dumps({"error": error}).encode())


CLASSES = {
    ErrorClass.RETRY: (1, 2, 131000, 131016, 131053, 133004),
    ErrorClass.PAIR: (131056,),
    ErrorClass.NUMBER: (130429, 131042, 131045, 131048, 131057, 133010, 133015, 33),
    ErrorClass.ACCOUNT: (4, 80007),
    ErrorClass.PORTFOLIO: (368, 131031, 131064),
    ErrorClass.PARK: (131049, 132015, 134101),
    ErrorClass.OPT_OUT: (131050,),
    ErrorClass.STOP: (0, 3, 10, 190, 131005),
    ErrorClass.FAIL: (
        *(
            100,
            130472,
            130497,
            131008,
            131009,
            131021,
            131026,
            131030,
            131037,
            131047,
            131051,
            131062,
            131063,
        ),
        *(132000, 132001, 132005, 132007, 132008, 132012, 132016, 132018, 132068, 132069, 135000, 137000),
    ),
}


@pytest.mark.parametrize(("error_class", "codes"), CLASSES.items(), ids=list(CLASSES))
def test_each_code_has_its_class(error_class: Any, codes: Any) -> None:
    """The table of Meta's error page, as read by people who send for a living."""
    assert {code: rule_of(MetaError(code=code)).error_class for code in codes} == dict.fromkeys(
        codes, error_class
    )


def test_the_classes_above_are_the_whole_table() -> None:
    """No code is in the table that this file does not look at."""
    assert set(RULES) == {code for codes in CLASSES.values() for code in codes}


@pytest.mark.parametrize("status", [200, 400, 403, 429, 500, 503])
def test_the_http_status_does_not_change_what_a_known_code_means(status: Any) -> None:
    """Rate limits come with 400, 403 or 429, by source."""
    answer = refused(130429, status=status)
    assert isinstance(answer, Refused)
    assert (answer.rule.error_class, answer.rule.cause) == (ErrorClass.NUMBER, "throughput")


@pytest.mark.parametrize(
    ("code", "status", "more", "expected"),
    [
        (999999, 500, {}, ErrorClass.RETRY),
        (999999, 400, {"is_transient": True}, ErrorClass.RETRY),
        (999999, 429, {}, ErrorClass.ACCOUNT),
        (999999, 401, {}, ErrorClass.STOP),
        (999999, 400, {}, ErrorClass.FAIL),
        (999999, 400, {"is_transient": False}, ErrorClass.FAIL),
        (200, 403, {}, ErrorClass.STOP),
        (299, 403, {}, ErrorClass.STOP),
        (300, 403, {}, ErrorClass.FAIL),
    ],
)
def test_a_code_that_is_not_in_the_table(code: Any, status: Any, more: Any, expected: Any) -> None:
    """Then Meta's is_transient decides, then the status; permissions are a range."""
    answer = refused(code, status=status, **more)
    assert isinstance(answer, Refused)
    assert answer.rule.error_class is expected


def test_an_object_that_is_not_there_stops_the_number_and_not_each_message() -> None:
    """A wrong phone number id is not the fault of 10,000 recipients."""
    answer = refused(100, error_subcode=33)
    assert isinstance(answer, Refused)
    assert (answer.rule.error_class, answer.rule.cause) == (ErrorClass.NUMBER, "number_unknown")


def test_every_rule_speaks_to_a_person_and_the_ones_that_need_one_say_what_to_do() -> None:
    """Countable causes, sentences without a full stop, advice where somebody must act."""
    for code, rule in RULES.items():
        assert rule.cause.replace("_", "").isalpha(), code
        assert rule.says, code
        assert not rule.says.endswith("."), code
        if rule.error_class in {ErrorClass.STOP, ErrorClass.PORTFOLIO}:
            assert rule.advice, code
        if rule.error_class in {ErrorClass.PARK, ErrorClass.ACCOUNT, ErrorClass.PORTFOLIO}:
            assert rule.wait, code


def test_marketing_to_a_person_who_gets_too_much_rests_a_day() -> None:
    """Meta: wait at least 24 hours, or it only fails again."""
    assert RULES[131049].wait == timedelta(hours=24)


def test_an_error_reads_the_same_from_an_answer_and_from_a_status() -> None:
    """`{"error": {…}}` and `statuses[].errors[]`; details before title."""
    details = {"details": "Message failed to send because the user stopped marketing."}
    sync = {"error": {"message": "(#131050) x", "code": 131050, "error_data": details, "fbtrace_id": "A1"}}
    later = {"errors": [{"code": 131050, "title": "x", "message": "x", "error_data": details}]}
    for document in (sync, later, later["errors"]):
        error = read_error(document)
        assert error is not None
        assert (error.code, error.sentence) == (
            131050,
            "Message failed to send because the user stopped marketing. (131050)",
        )


@pytest.mark.parametrize(
    "document", [{}, {"error": "text"}, {"error": {}}, {"errors": []}, [], None, 7, {"error": {"code": "x"}}]
)
def test_what_is_not_an_error_of_metas_is_none(document: Any) -> None:
    """Reading never raises."""
    assert read_error(document) is None


def test_an_acceptance_has_the_message_id_and_what_whatsapp_calls_the_person() -> None:
    """wa_id may differ from the number that was given."""
    body = {
        "messaging_product": "whatsapp",
        "contacts": [{"input": "+5511987654321", "wa_id": "551187654321"}],
        "messages": [{"id": "wamid.A", "message_status": "held_for_quality_assessment"}],
    }
    assert read_answer(http_status=200, body=json.dumps(body).encode()) == Taken(
        wamid="wamid.A", message_status="held_for_quality_assessment", wa_id="551187654321"
    )


def test_an_acceptance_of_a_user_id_has_no_phone() -> None:
    """wa_id is absent or empty."""
    for contact in ({"input": "US.1", "user_id": "US.1"}, {"input": "US.1", "user_id": "US.1", "wa_id": ""}):
        body = {"contacts": [contact], "messages": [{"id": "wamid.A"}]}
        assert read_answer(http_status=200, body=json.dumps(body).encode()) == Taken(
            wamid="wamid.A", user_id="US.1"
        )


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b""),
        (200, b"{}"),
        (200, b'{"messages": []}'),
        (200, b'{"messages": [{}]}'),
        (200, b'{"messages": [{"id": "wamid.A"'),
        (302, b'{"messages": [{"id": "wamid.A"}]}'),
        (404, b"<html>not found</html>"),
        (413, b""),
        (500, b'{"detail": "upstream"}'),
        (502, b"<html>Bad Gateway</html>"),
        (503, b"[]"),
        (504, b"\xff\xfe"),
        (500, b'{"error": "overloaded"}'),
    ],
)
def test_an_answer_without_metas_json_leaves_it_open(status: Any, body: Any) -> None:
    """A proxy's page says nothing about what happened behind it: never sent again blindly."""
    assert isinstance(read_answer(http_status=status, body=body), Unclear)


@pytest.mark.parametrize(
    ("header", "seconds"), [("", None), ("7", 7.0), ("soon", None), ("-1", None), ("inf", None)]
)
def test_a_pause_that_meta_asks_for_is_kept(header: Any, seconds: Any) -> None:
    """Retry-After in seconds, when it is plausible."""
    body = json.dumps({"error": {"code": 4}}).encode()
    answer = read_answer(http_status=400, body=body, retry_after=header)
    assert isinstance(answer, Refused)
    assert answer.retry_after == seconds
