"""HubSpot's signatures: its own published vectors, ours, and what does not fit."""

from datetime import UTC, datetime

import pytest

from connector.ingress.answers import Refusal
from connector.ingress.hubspot_signatures import check_headers, check_signature, v2_signature, v3_signature

# https://github.com/HubSpot/hubspot-api-python → tests/spec/utils/test_signature.py, and the example of
# https://developers.hubspot.com/docs/apps/legacy-apps/authentication/validating-requests
SECRET = "yyyyyyyy-yyyy-yyyy-yyyy-yyyyyyyyyyyy"
URI = "https://www.example.com/webhook_uri"
BODY = b"{'example_field':'example_value'}"
NOW = datetime(2023, 9, 1, 12, 26, tzinfo=UTC)  # 1693571160000


@pytest.mark.parametrize(
    ("timestamp", "signature"),
    [
        pytest.param("1693657560000", "K36dawei4A+QBNolUOqo7s91KQDWQ5MXZ/QufNYuk/Y=", id="milliseconds"),
        pytest.param("15000000", "HPW73RUtKmcYoEDADG0s6MmGFWUzWJKAW07r8RDgcQw=", id="the library's own"),
    ],
)
def test_the_published_v3_vectors_fit(timestamp: str, signature: str) -> None:
    """Method, URI, body and timestamp, by HMAC-SHA256, in base64."""
    assert v3_signature(method="POST", uri=URI, body=BODY, timestamp=timestamp, secret=SECRET) == signature


@pytest.mark.parametrize(
    ("method", "body", "signature"),
    [
        pytest.param(
            "POST", BODY, "4fe4e3a7d3cf09db53be39d0a58130e2aaba074ec123a9e355b876a689a1c383", id="POST"
        ),
        pytest.param(
            "GET", b"", "eee2dddcc73c94d699f5e395f4b9d454a069a6855fbfa152e91e88823087200e", id="GET"
        ),
    ],
)
def test_the_published_v2_vectors_fit(method: str, body: bytes, signature: str) -> None:
    """Secret, method, URI and body, by SHA-256, in hexadecimal."""
    assert v2_signature(method=method, uri=URI, body=body, secret=SECRET) == signature


@pytest.mark.parametrize(
    ("encoded", "decoded"),
    [
        pytest.param("/a%3Ab%2Fc%3Fd%40e", "/a:b/c?d@e", id="colon, slash, question mark, at"),
        pytest.param("/%21%24%27%28%29%2A%2C%3B", "/!$'()*,;", id="the other eight"),
        pytest.param("/%3a%2f", "/:/", id="lower-case digits"),
        pytest.param("/%20%25%26%3D%2B%23?x=%C3%A9", "/%20%25%26%3D%2B%23?x=%C3%A9", id="all others stay"),
        pytest.param("/%253A", "/%253A", id="no decoding twice"),
    ],
)
def test_v3_is_over_the_uri_with_twelve_characters_decoded(encoded: str, decoded: str) -> None:
    """Those of the documentation's table and no others."""
    one, two = (
        v3_signature(method="POST", uri=URI + path, body=b"", timestamp="1", secret=SECRET)
        for path in (encoded, decoded)
    )
    plain = v3_signature(method="POST", uri=URI + "/", body=b"", timestamp="1", secret=SECRET)
    assert one == two
    assert one != plain


def _v3(milliseconds: int, body: bytes = BODY) -> dict[str, str]:
    timestamp = str(milliseconds)
    return {
        "x-hubspot-request-timestamp": timestamp,
        "x-hubspot-signature-v3": v3_signature(
            method="POST", uri=URI, body=body, timestamp=timestamp, secret=SECRET
        ),
    }


def _judge(
    headers: dict[str, str], *, takes_v2: bool = False, body: bytes = BODY, method: str = "POST"
) -> str:
    try:
        check_headers(headers, now=NOW, takes_v2=takes_v2)
        check_signature(headers, method=method, uri=URI, body=body, secret=SECRET)
    except Refusal as refusal:
        return refusal.outcome if refusal.status == 403 and refusal.advice else "not explained"
    return "valid"


NOW_MS = int(NOW.timestamp() * 1000)
V2 = {"x-hubspot-signature": v2_signature(method="POST", uri=URI, body=BODY, secret=SECRET)}


@pytest.mark.parametrize(
    ("age", "verdict"),
    [
        pytest.param(0, "valid", id="now"),
        pytest.param(300_000, "valid", id="300,000 ms old"),
        pytest.param(300_001, "expired", id="1 ms older"),
        pytest.param(-60_000, "valid", id="a minute ahead"),
        pytest.param(-60_001, "from_the_future", id="further ahead"),
        pytest.param(NOW_MS - NOW_MS // 1000, "expired", id="seconds for milliseconds"),
    ],
)
def test_a_v3_signature_ends_after_five_minutes(age: int, verdict: str) -> None:
    """And is not taken from the future, which the client library does."""
    assert _judge(_v3(NOW_MS - age)) == verdict


@pytest.mark.parametrize(
    ("headers", "verdict"),
    [
        pytest.param({}, "bad_signature", id="unsigned"),
        pytest.param({**_v3(NOW_MS), "x-hubspot-signature-v3": ""}, "bad_signature", id="empty"),
        pytest.param({**_v3(NOW_MS), "x-hubspot-signature-v3": "é" * 44}, "bad_signature", id="not ASCII"),
        pytest.param(_v3(NOW_MS, BODY + b" "), "bad_signature", id="another body"),
        pytest.param(
            {**_v3(NOW_MS), "x-hubspot-request-timestamp": str(NOW_MS - 1)},
            "bad_signature",
            id="another time",
        ),
        pytest.param(
            {**_v3(NOW_MS), "x-hubspot-request-timestamp": "1e12"}, "bad_signature", id="no number for a time"
        ),
        pytest.param(V2, "bad_signature", id="v2 where it is not taken"),
    ],
)
def test_a_v3_request_that_hubspot_did_not_sign_is_refused(headers: dict[str, str], verdict: str) -> None:
    """Whatever is wrong with it."""
    assert _judge(headers) == verdict


@pytest.mark.parametrize(
    ("headers", "verdict"),
    [
        pytest.param(V2, "valid", id="v2"),
        pytest.param({**V2, "x-hubspot-signature-version": "v2"}, "valid", id="v2 and says so"),
        pytest.param({**V2, "x-hubspot-signature-version": "v1"}, "bad_signature", id="v1"),
        pytest.param({"x-hubspot-signature": "0" * 64}, "bad_signature", id="another signature"),
        pytest.param({"x-hubspot-signature": "x"}, "bad_signature", id="no signature at all"),
        pytest.param({**V2, **_v3(NOW_MS - 300_001)}, "expired", id="beside an old v3"),
        pytest.param({**V2, **_v3(NOW_MS, b"other")}, "bad_signature", id="beside a wrong v3"),
    ],
)
def test_v2_counts_only_where_it_is_taken_and_there_is_no_v3(headers: dict[str, str], verdict: str) -> None:
    """A replay cannot shake off its time by leaving the worse signature in."""
    assert _judge(headers, takes_v2=True) == verdict


def test_a_signature_is_of_one_method() -> None:
    """The same body by PUT was not signed."""
    assert _judge(_v3(NOW_MS), method="PUT") == "bad_signature"
