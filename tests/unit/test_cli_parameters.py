"""Parameters of a template as an operator types them."""

import pytest
import typer

from connector.cli.parameters import given_parameters


def test_values_are_texts_and_objects_are_json() -> None:
    """What stands behind the first = is the value; one in braces is an object, such as a header's link."""
    assert given_parameters(["1=a=b ", 'header={"link": "https://x.example/a.png"}', "code=007"]) == {
        "1": "a=b",
        "header": {"link": "https://x.example/a.png"},
        "code": "007",
    }
    assert given_parameters(None) == {}


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        pytest.param(["first_name"], "give NAME=VALUE", id="no value"),
        pytest.param(["=x"], "give NAME=VALUE", id="no name"),
        pytest.param(["a=1", "a=2"], "is there twice", id="twice"),
        pytest.param(["header={link}"], "is not valid JSON", id="broken object"),
        pytest.param(["a b=1"], "is no parameter's name", id="not a name"),
    ],
)
def test_what_cannot_be_read_is_named(typed: list[str], says: str) -> None:
    """The mistake is said before anything is looked up."""
    with pytest.raises(typer.BadParameter, match=says):
        given_parameters(typed)
