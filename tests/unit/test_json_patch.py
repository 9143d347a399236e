"""JSON Patch as RFC 6902 describes it: its examples, and what it forbids."""

from typing import Any

import pytest

from connector.errors import Rejected
from connector.recovery.letters.json_patch import checked_patch, patched


@pytest.mark.parametrize(
    ("document", "step", "result"),
    [
        pytest.param(
            {"foo": "bar"}, {"op": "add", "path": "/baz", "value": 1}, {"foo": "bar", "baz": 1}, id="A1-add"
        ),
        pytest.param(
            {"f": [1, 3]}, {"op": "add", "path": "/f/1", "value": 2}, {"f": [1, 2, 3]}, id="A2-add-element"
        ),
        pytest.param({"f": [1]}, {"op": "add", "path": "/f/-", "value": 2}, {"f": [1, 2]}, id="A16-append"),
        pytest.param({"a": 1, "b": 2}, {"op": "remove", "path": "/a"}, {"b": 2}, id="A3-remove"),
        pytest.param({"f": [1, 2]}, {"op": "remove", "path": "/f/0"}, {"f": [2]}, id="A4-remove-element"),
        pytest.param({"a": 1}, {"op": "replace", "path": "/a", "value": None}, {"a": None}, id="A5-replace"),
        pytest.param([1], {"op": "replace", "path": "", "value": 2}, 2, id="replace-whole"),
        pytest.param(
            {"a": {"x": 1}, "b": {}},
            {"op": "move", "from": "/a/x", "path": "/b/y"},
            {"a": {}, "b": {"y": 1}},
            id="A6-move",
        ),
        pytest.param([1, 2, 3], {"op": "move", "from": "/0", "path": "/2"}, [2, 3, 1], id="A7-move-element"),
        pytest.param({"a": [1]}, {"op": "copy", "from": "/a", "path": "/b"}, {"a": [1], "b": [1]}, id="copy"),
        pytest.param({"~/": 1}, {"op": "replace", "path": "/~0~1", "value": 2}, {"~/": 2}, id="A14-escapes"),
        pytest.param({"a": 1.0}, {"op": "test", "path": "/a", "value": 1}, {"a": 1.0}, id="A8-test-numbers"),
    ],
)
def test_each_operation_does_what_the_rfc_says(document: Any, step: dict[str, Any], result: Any) -> None:
    """The document after the operation is the RFC's, and the given one is untouched."""
    before = repr(document)
    assert patched(document, checked_patch([step])) == result
    assert repr(document) == before


@pytest.mark.parametrize(
    "step",
    [
        pytest.param({"op": "test", "path": "/a", "value": True}, id="true-is-not-1"),
        pytest.param({"op": "replace", "path": "/z", "value": 1}, id="replace-absent"),
        pytest.param({"op": "remove", "path": "/l/2"}, id="remove-beyond"),
        pytest.param({"op": "add", "path": "/l/01", "value": 1}, id="leading-zero"),
        pytest.param({"op": "add", "path": "/a/b", "value": 1}, id="into-a-number"),
        pytest.param({"op": "add", "path": "/x/y", "value": 1}, id="A12-absent-parent"),
        pytest.param({"op": "move", "from": "/o", "path": "/o/p"}, id="move-into-itself"),
        pytest.param({"op": "remove", "path": ""}, id="remove-everything"),
        pytest.param({"op": "remove", "path": "/l/-"}, id="remove-past-the-end"),
    ],
)
def test_what_does_not_fit_fails_whole(step: dict[str, Any]) -> None:
    """An operation that does not fit refuses the patch, as the RFC's atomicity demands."""
    with pytest.raises(Rejected) as refused:
        patched({"a": 1, "l": [1, 2], "o": {}}, checked_patch([step]))
    assert refused.value.cause == "patch_failed"


@pytest.mark.parametrize(
    "patch",
    [
        pytest.param({}, id="no-list"),
        pytest.param([], id="empty"),
        pytest.param([{"op": "eval", "path": "/a"}], id="unknown-op"),
        pytest.param([{"op": "add", "path": "/a"}], id="no-value"),
        pytest.param([{"op": "move", "path": "/a"}], id="no-from"),
        pytest.param([{"op": "remove", "path": "a"}], id="no-pointer"),
    ],
)
def test_what_is_no_patch_is_refused_before_anything_is_tried(patch: Any) -> None:
    """The refusal says that nothing was changed and shows a patch."""
    with pytest.raises(Rejected) as refused:
        checked_patch(patch)
    assert refused.value.cause == "wrong_patch"
    assert "RFC 6902" in refused.value.advice
