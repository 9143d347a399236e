import hashlib
import hmac
from typing import Any

import pytest

from connector.ingress.signatures import SignatureVerdict, signature_of, signature_verdict

SECRET = b"app-secret-of-the-tests"
BODIES = [
    pytest.param(b"", id="empty"),
    pytest.param(b'{"object":"whatsapp_business_account","entry":[]}', id="plain"),
    pytest.param(
        b'{"body":"\\u0645\\u0631\\u062d\\u0628\\u0627 \\ud83d\\ude00"}', id="Arabic and emoji, escaped"
    ),
    pytest.param('{"body":"مرحبا 😀"}'.encode(), id="Arabic and emoji, raw"),
    pytest.param(b'{"url":"https:\\/\\/example.com\\/a"}', id="escaped slashes"),
    pytest.param(b"\xff\x00 not a text", id="no text at all"),
]


@pytest.mark.parametrize("body", BODIES)
def test_a_signature_over_the_exact_bytes_is_valid(body: Any) -> None:
    """What Meta signs with the app secret is accepted, byte for byte."""
    header = "sha256=" + hmac.new(SECRET, body, hashlib.sha256).hexdigest()

    assert signature_of(body, secret=SECRET) == header
    assert signature_verdict(body, header, secrets=[SECRET]) is SignatureVerdict.VALID


def test_a_fixed_vector_is_valid() -> None:
    """HMAC-SHA256 of RFC 4231, test case 2, in the header's form."""
    header = "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"

    verdict = signature_verdict(b"what do ya want for nothing?", header, secrets=[b"Jefe"])

    assert verdict is SignatureVerdict.VALID


@pytest.mark.parametrize(
    ("signed", "received"),
    [
        pytest.param(b'{"a":"\\u00e9"}', '{"a":"é"}'.encode(), id="unescaped accents"),
        pytest.param(b'{"a":"\\/"}', b'{"a":"/"}', id="unescaped slash"),
        pytest.param(b'{"a":1}', b'{"a": 1}', id="added space"),
        pytest.param(b'{"a":1}', b'{"a":1}\n', id="added newline"),
    ],
)
def test_a_body_that_was_serialised_again_is_wrong(signed: Any, received: Any) -> None:
    """An equal document in other bytes does not fit the signature."""
    header = signature_of(signed, secret=SECRET)

    assert signature_verdict(received, header, secrets=[SECRET]) is SignatureVerdict.WRONG


@pytest.mark.parametrize("header", [None, ""])
def test_no_header_is_missing(header: Any) -> None:
    """A POST without the header is told apart from a wrong one."""
    assert signature_verdict(b"{}", header, secrets=[SECRET]) is SignatureVerdict.MISSING


GOOD = signature_of(b"{}", secret=SECRET)


@pytest.mark.parametrize(
    "header",
    [
        pytest.param(GOOD.removeprefix("sha256="), id="no prefix"),
        pytest.param(GOOD.replace("sha256", "sha1"), id="another algorithm"),
        pytest.param(GOOD[:-1], id="one digit short"),
        pytest.param(GOOD + "0", id="one digit long"),
        pytest.param(GOOD + "\n", id="trailing newline"),
        pytest.param("sha256=" + GOOD.removeprefix("sha256=").upper(), id="upper case"),
        pytest.param("sha256=" + "٣" * 64, id="Arabic digits"),
        pytest.param("sha256=" + "g" * 64, id="not hexadecimal"),
    ],
)
def test_another_shape_is_malformed(header: Any) -> None:
    """Only `sha256=` and 64 lower-case hexadecimal digits are compared at all."""
    assert signature_verdict(b"{}", header, secrets=[SECRET]) is SignatureVerdict.MALFORMED


@pytest.mark.parametrize("secrets", [[b"new", SECRET], [SECRET, b"old"], [b"a", SECRET, b"b"]])
def test_any_secret_of_a_rotation_fits(secrets: Any) -> None:
    """While a secret is rotated, POSTs signed with either are accepted."""
    assert signature_verdict(b"{}", GOOD, secrets=secrets) is SignatureVerdict.VALID


@pytest.mark.parametrize("secrets", [[], [b"another"], [b"another", b"and another"]])
def test_no_fitting_secret_is_wrong(secrets: Any) -> None:
    """Without a secret, or with others only, nothing is valid."""
    assert signature_verdict(b"{}", GOOD, secrets=secrets) is SignatureVerdict.WRONG
