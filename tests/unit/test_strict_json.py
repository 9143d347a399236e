"""What is taken for JSON at the doors of CRMs and clients."""

import json
from typing import Any

import pytest
from hypothesis import given, strategies as st

from connector.ingress.strict_json import UnreadableJson, canonical, read_json


@pytest.mark.parametrize(
    ("body", "says"),
    [
        pytest.param(b"", "line 1, column 1", id="nothing"),
        pytest.param(b"\xef\xbb\xbf{}", "BOM", id="byte order mark"),
        pytest.param('{"a": "é"}'.encode("latin-1"), "byte 7", id="latin-1"),
        pytest.param('{"a": 1}'.encode("utf-16"), "UTF-8", id="utf-16"),
        pytest.param(b'{"a": NaN}', "NaN", id="NaN"),
        pytest.param(b'{"a": -Infinity}', "-Infinity", id="Infinity"),
        pytest.param(b'{"a": 1e999}', "1e999", id="a float that overflows"),
        pytest.param(b'{"a": ' + b"9" * 5000 + b"}", "digits", id="5,000 digits"),
        pytest.param(b'{"to": 1, "to": 2}', "'to' is there twice", id="a name twice"),
        pytest.param(b'{"a": "x\\u0000"}', "U+0000", id="NUL"),
        pytest.param(b'{"x\\u0000": 1}', "U+0000", id="NUL in a name"),
        pytest.param(b'{"a": ["\\ud83d"]}', "surrogate", id="half an emoji"),
        pytest.param(b"[" * 17 + b"]" * 17, "16 levels", id="17 levels"),
        pytest.param(b"[" * 200_000, "16 levels", id="200,000 levels"),
        pytest.param(b'{"a": 1} x', "Extra data", id="more than one document"),
    ],
)
def test_what_could_be_read_in_two_ways_or_not_kept_is_refused(body: bytes, says: str) -> None:
    """The sentence names the place or the thing."""
    with pytest.raises(UnreadableJson, match=says.replace("+", r"\+")):
        read_json(body)


_PLAIN = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
_DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.text(_PLAIN),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(_PLAIN), inner, max_size=3),
    max_leaves=8,
)


@given(_DOCUMENTS)
def test_any_other_document_is_read_as_it_is(document: Any) -> None:
    """Also right-to-left text, emoji and large whole numbers; and its canonical bytes mean the same."""
    assert read_json(json.dumps(document, ensure_ascii=False).encode()) == document
    assert read_json(canonical(document)) == document
