"""Filling a template in: what is wrong before a call, what the call carries, and what the person reads."""

from typing import Any

import pytest
from gate_facts import NOW, template
from hypothesis import given, settings, strategies as st

from connector.outbound.templates.checking import check
from connector.outbound.templates.payload import payload
from connector.outbound.templates.reading import node_change
from connector.outbound.templates.slots import slots_of
from connector.outbound.templates.template import Template, folded
from connector.outbound.templates.values import Unfit
from connector.outbound.templates.wording import content_key, rendered
from connector.sandbox.whatsapp import templates as simulator

BODY = {"type": "BODY", "text": "Hi {{1}}, order {{2}}."}


def with_components(*components: dict[str, Any], **changes: Any) -> Template:
    return template(components=list(components), **changes)


def buttons(*items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "BUTTONS", "buttons": list(items)}


def codes(found: Template, parameters: dict[str, Any]) -> list[tuple[str, str]]:
    return [(problem.parameter, problem.code) for problem in check(found, parameters)]


URL = {"type": "URL", "text": "Track", "url": "https://shop.example/track/{{1}}"}
PLAIN_URL = {"type": "URL", "text": "Shop", "url": "https://shop.example"}
IMAGE = {"type": "HEADER", "format": "IMAGE"}
DOCUMENT = {"type": "HEADER", "format": "DOCUMENT"}
LOCATION = {"type": "HEADER", "format": "LOCATION"}
OFFER = {"type": "LIMITED_TIME_OFFER", "limited_time_offer": {"text": "Ends soon", "has_expiration": True}}
GOOD = {"1": "Ana", "2": "77"}

WRONG: dict[str, tuple[Template, dict[str, Any], list[tuple[str, str]]]] = {
    "nothing given": (template(), {}, [("1", "missing_parameter"), ("2", "missing_parameter")]),
    "one too few": (template(), {"1": "Ana"}, [("2", "missing_parameter")]),
    "one too many": (template(), {**GOOD, "3": "x"}, [("3", "unknown_parameter")]),
    "null": (template(), {"1": None, "2": "x"}, [("1", "missing_parameter")]),
    "empty": (template(), {"1": "", "2": "x"}, [("1", "empty_text")]),
    "blank": (template(), {"1": "  ", "2": "x"}, [("1", "empty_text")]),
    "line break": (template(), {"1": "a\nb", "2": "x"}, [("1", "line_break")]),
    "tab": (template(), {"1": "a\tb", "2": "x"}, [("1", "line_break")]),
    "five spaces": (template(), {"1": "a     b", "2": "x"}, [("1", "line_break")]),
    "a list": (template(), {"1": ["a"], "2": "x"}, [("1", "not_text")]),
    "true": (template(), {"1": True, "2": "x"}, [("1", "not_text")]),
    "not a number": (template(), {"1": float("nan"), "2": "x"}, [("1", "not_text")]),
    "too long": (template(), {"1": "x" * 1000, "2": "77"}, [("1", "too_long")]),
    "wrong name": (
        with_components({"type": "BODY", "text": "Hi {{first_name}}"}, parameter_format="NAMED"),
        {"name": "Ana"},
        [("first_name", "missing_parameter"), ("name", "unknown_parameter")],
    ),
    "long header": (
        with_components(
            {"type": "HEADER", "format": "TEXT", "text": "For {{1}}"}, {"type": "BODY", "text": "Hi"}
        ),
        {"header": "x" * 60},
        [("header", "too_long")],
    ),
    "no image": (with_components(IMAGE, BODY), GOOD, [("header", "missing_parameter")]),
    "image of a script": (
        with_components(IMAGE, BODY),
        {**GOOD, "header": "javascript:alert(1)"},
        [("header", "media")],
    ),
    "image with a space": (
        with_components(IMAGE, BODY),
        {**GOOD, "header": "https://a.example/a b.png"},
        [("header", "media")],
    ),
    "both id and link": (
        with_components(IMAGE, BODY),
        {**GOOD, "header": {"id": "1", "link": "https://a.example/a.png"}},
        [("header", "media")],
    ),
    "place without latitude": (
        with_components(LOCATION, BODY),
        {**GOOD, "header": {"longitude": 4}},
        [("header", "location")],
    ),
    "place off the globe": (
        with_components(LOCATION, BODY),
        {**GOOD, "header": {"latitude": 91, "longitude": 4}},
        [("header", "location")],
    ),
    "no end of the address": (with_components(BODY, buttons(URL)), GOOD, [("button.0", "missing_parameter")]),
    "the whole address": (
        with_components(BODY, buttons(URL)),
        {**GOOD, "button.0": "https://shop.example/track/99"},
        [("button.0", "url_suffix")],
    ),
    "an address with a space": (
        with_components(BODY, buttons(URL)),
        {**GOOD, "button.0": "9 9"},
        [("button.0", "url_suffix")],
    ),
    "a button that takes nothing": (
        with_components(BODY, buttons(PLAIN_URL)),
        {**GOOD, "button.0": "x"},
        [("button.0", "unknown_parameter")],
    ),
    "no coupon": (
        with_components(BODY, buttons({"type": "COPY_CODE"})),
        GOOD,
        [("button.0", "missing_parameter")],
    ),
    "long coupon": (
        with_components(BODY, buttons({"type": "COPY_CODE"})),
        {**GOOD, "button.0": "X" * 16},
        [("button.0", "too_long")],
    ),
    "no end of the offer": (
        with_components(OFFER, BODY),
        GOOD,
        [("limited_time_offer", "missing_parameter")],
    ),
    "an offer that ends some day": (
        with_components(OFFER, BODY),
        {**GOOD, "limited_time_offer": "some day"},
        [("limited_time_offer", "offer_end")],
    ),
    "no products": (
        with_components(BODY, buttons({"type": "MPM"})),
        GOOD,
        [("button.0", "missing_parameter")],
    ),
    "no product in the sections": (
        with_components(BODY, buttons({"type": "MPM"})),
        {**GOOD, "button.0": {"sections": [{"title": "New", "product_items": []}]}},
        [("button.0", "products")],
    ),
    "a flow of text": (
        with_components(BODY, buttons({"type": "FLOW", "text": "Book"})),
        {**GOOD, "button.0": {"data": 1}},
        [("button.0", "flow")],
    ),
    "a header of tomorrow": (
        with_components({"type": "HEADER", "format": "HOLOGRAM"}, BODY),
        GOOD,
        [("header", "unsupported")],
    ),
}


@pytest.mark.parametrize(("found", "parameters", "expected"), WRONG.values(), ids=list(WRONG))
def test_what_is_wrong_is_named_before_a_call(
    found: Template, parameters: dict[str, Any], expected: list[tuple[str, str]]
) -> None:
    """Each with a sentence and what to do."""
    assert codes(found, parameters) == expected
    for problem in check(found, parameters):
        assert problem.parameter in problem.sentence or problem.code == "too_long"
        assert problem.advice


def test_a_missing_parameter_says_what_the_template_takes() -> None:
    """The most frequent complaint of people who send templates."""
    problem = check(
        with_components(IMAGE, BODY, buttons(URL)), {"header": "https://a.example/a.png", **GOOD}
    )[0]
    assert problem.sentence == "parameter button.0 is missing: the end of the address of the button “Track”"
    assert problem.advice == "the template takes: header, 1, 2, button.0"


FILLED: dict[str, tuple[Template, dict[str, Any], list[dict[str, Any]]]] = {
    "texts in their order": (
        with_components({"type": "BODY", "text": "{{2}} {{1}} {{10}}"}),
        {"10": "c", "2": "b", "1": "a"},
        [{"type": "body", "parameters": [{"type": "text", "text": text} for text in "abc"]}],
    ),
    "four spaces": (
        with_components({"type": "BODY", "text": "{{1}}"}),
        {"1": "a    b"},
        [{"type": "body", "parameters": [{"type": "text", "text": "a    b"}]}],
    ),
    "a number": (
        with_components({"type": "BODY", "text": "{{1}}"}),
        {"1": 77},
        [{"type": "body", "parameters": [{"type": "text", "text": "77"}]}],
    ),
    "names": (
        with_components(
            {"type": "HEADER", "format": "TEXT", "text": "See you, {{first_name}}"},
            {"type": "BODY", "text": "On {{day}}, {{first_name}}."},
            parameter_format="NAMED",
        ),
        {"first_name": "Ana", "day": "Monday"},
        [
            {
                "type": "header",
                "parameters": [{"type": "text", "parameter_name": "first_name", "text": "Ana"}],
            },
            {
                "type": "body",
                "parameters": [
                    {"type": "text", "parameter_name": "day", "text": "Monday"},
                    {"type": "text", "parameter_name": "first_name", "text": "Ana"},
                ],
            },
        ],
    ),
    "a positional header": (
        with_components(
            {"type": "HEADER", "format": "TEXT", "text": "For {{1}}"}, {"type": "BODY", "text": "Hi {{1}}"}
        ),
        {"header": "you", "1": "Ana"},
        [
            {"type": "header", "parameters": [{"type": "text", "text": "you"}]},
            {"type": "body", "parameters": [{"type": "text", "text": "Ana"}]},
        ],
    ),
    "a document by id": (
        with_components(DOCUMENT, {"type": "BODY", "text": "Here."}),
        {"header": {"id": "1166846181421424", "filename": "invoice.pdf"}},
        [
            {
                "type": "header",
                "parameters": [
                    {"type": "document", "document": {"id": "1166846181421424", "filename": "invoice.pdf"}}
                ],
            }
        ],
    ),
    "a media id that came as a number": (
        with_components(IMAGE, {"type": "BODY", "text": "Here."}),
        {"header": 1166846181421424},
        [{"type": "header", "parameters": [{"type": "image", "image": {"id": "1166846181421424"}}]}],
    ),
    "a place": (
        with_components(LOCATION, {"type": "BODY", "text": "Here."}),
        {"header": {"latitude": 37.44, "longitude": "-122.16", "name": "Shop"}},
        [
            {
                "type": "header",
                "parameters": [
                    {
                        "type": "location",
                        "location": {"latitude": "37.44", "longitude": "-122.16", "name": "Shop"},
                    }
                ],
            }
        ],
    ),
    "buttons at their index": (
        with_components(
            {"type": "BODY", "text": "Hi."},
            buttons(
                {"type": "PHONE_NUMBER", "text": "Call", "phone_number": "+1"},
                URL,
                {"type": "QUICK_REPLY", "text": "No"},
            ),
        ),
        {"button.1": "99", "button.2": "NO_99"},
        [
            {
                "type": "button",
                "sub_type": "url",
                "index": "1",
                "parameters": [{"type": "text", "text": "99"}],
            },
            {
                "type": "button",
                "sub_type": "quick_reply",
                "index": "2",
                "parameters": [{"type": "payload", "payload": "NO_99"}],
            },
        ],
    ),
    "a quick reply without a payload": (
        with_components({"type": "BODY", "text": "Hi."}, buttons({"type": "QUICK_REPLY", "text": "No"})),
        {},
        [],
    ),
    "a flow without a token": (
        with_components({"type": "BODY", "text": "Hi."}, buttons({"type": "FLOW", "text": "Book"})),
        {},
        [
            {
                "type": "button",
                "sub_type": "flow",
                "index": "0",
                "parameters": [{"type": "action", "action": {"flow_token": "unused"}}],
            }
        ],
    ),
    "a one-time password": (
        with_components(
            {"type": "BODY", "text": "*{{1}}* is your verification code."},
            buttons(
                {
                    "type": "URL",
                    "text": "Copy code",
                    "url": "https://www.whatsapp.com/otp/code/?code=otp{{1}}",
                }
            ),
            category="AUTHENTICATION",
        ),
        {"1": "J$FpnYnP"},
        [
            {"type": "body", "parameters": [{"type": "text", "text": "J$FpnYnP"}]},
            {
                "type": "button",
                "sub_type": "url",
                "index": "0",
                "parameters": [{"type": "text", "text": "J$FpnYnP"}],
            },
        ],
    ),
    "an offer": (
        with_components(OFFER, {"type": "BODY", "text": "Hi."}),
        {"limited_time_offer": "2026-12-31T20:00:00+01:00"},
        [
            {
                "type": "limited_time_offer",
                "parameters": [
                    {
                        "type": "limited_time_offer",
                        "limited_time_offer": {"expiration_time_ms": 1798743600000},
                    }
                ],
            }
        ],
    ),
    "a carousel": (
        with_components(
            {"type": "BODY", "text": "Look, {{1}}"},
            {
                "type": "CAROUSEL",
                "cards": [
                    {
                        "components": [
                            {"type": "header", "format": "image"},
                            {"type": "body", "text": "{{1}} off"},
                        ]
                    },
                    {"components": [{"type": "header", "format": "image"}, buttons(URL)]},
                ],
            },
        ),
        {
            "1": "Ana",
            "card.0.header": "https://a.example/0.png",
            "card.0.1": "5 %",
            "card.1.header": "12345",
            "card.1.button.0": "99",
        },
        [
            {"type": "body", "parameters": [{"type": "text", "text": "Ana"}]},
            {
                "type": "carousel",
                "cards": [
                    {
                        "card_index": 0,
                        "components": [
                            {
                                "type": "header",
                                "parameters": [
                                    {"type": "image", "image": {"link": "https://a.example/0.png"}}
                                ],
                            },
                            {"type": "body", "parameters": [{"type": "text", "text": "5 %"}]},
                        ],
                    },
                    {
                        "card_index": 1,
                        "components": [
                            {"type": "header", "parameters": [{"type": "image", "image": {"id": "12345"}}]},
                            {
                                "type": "button",
                                "sub_type": "url",
                                "index": "0",
                                "parameters": [{"type": "text", "text": "99"}],
                            },
                        ],
                    },
                ],
            },
        ],
    ),
}


@pytest.mark.parametrize(("found", "parameters", "expected"), FILLED.values(), ids=list(FILLED))
def test_what_is_sent_is_what_the_cloud_api_takes(
    found: Template, parameters: dict[str, Any], expected: list[dict[str, Any]]
) -> None:
    """…/templates: components, media card carousels, limited-time offers, authentication."""
    assert check(found, parameters) == ()
    sent = payload(found, parameters)
    assert sent["language"] == {"code": found.language}
    assert sent.get("components", []) == expected


def test_a_template_that_is_not_filled_in_makes_no_payload() -> None:
    """Whoever forgets the check does not send half a message."""
    with pytest.raises(Unfit):
        payload(template(), {"1": "Ana"})


def test_the_person_reads_header_body_footer_and_buttons() -> None:
    """As a timeline shows it."""
    found = with_components(
        DOCUMENT,
        BODY,
        {"type": "FOOTER", "text": "Sandbox Store"},
        buttons(
            URL,
            {"type": "PHONE_NUMBER", "text": "Call", "phone_number": "+15550783881"},
            {"type": "QUICK_REPLY", "text": "Stop"},
        ),
    )
    parameters = {
        **GOOD,
        "header": {"link": "https://a.example/a.pdf", "filename": "a.pdf"},
        "button.0": "99",
    }
    assert rendered(found, parameters).splitlines() == [
        "[Document: a.pdf]",
        "Hi Ana, order 77.",
        "Sandbox Store",
        "[Track: https://shop.example/track/99]",
        "[Call: +15550783881]",
        "[Stop]",
    ]


def test_a_preview_shows_what_is_missing_as_its_placeholder() -> None:
    """And a value that is itself a placeholder is not filled in again."""
    assert rendered(template(), {"1": "{{2}}"}) == "Hi {{2}}, everything is {{2}} off until Sunday."


def test_content_is_the_same_by_what_is_read_not_by_its_template() -> None:
    """Two templates of equal words are a duplicate, two fillings of one template are not."""
    one, other = template(), template(name="spring_sale_copy")
    keys = {content_key(rendered(found, GOOD)) for found in (one, other)}
    assert len(keys) == 1
    assert content_key(rendered(one, {"1": "Bea", "2": "77"})) not in keys


def test_a_code_has_metas_own_text() -> None:
    """Graph shows no text of a one-time password that was made without one."""
    found = with_components(
        {"type": "BODY", "add_security_recommendation": True},
        {"type": "FOOTER", "code_expiration_minutes": 10},
        category="AUTHENTICATION",
    )
    assert (
        rendered(found, {"1": "123456"})
        == "123456 is your verification code.\nThis code expires in 10 minutes."
    )


SIMULATED = simulator.standard_templates()
READ = [
    folded(None, change)
    for item in SIMULATED
    if (
        change := node_change(
            item.node(["name", "status", "category", "language", "components", "parameter_format"]),
            waba_id="1",
            asked_at=NOW,
        )
    )
]
KEYS = ["1", "2", "3", "header", "first_name", "day", "time", "button.0", "button.1"]
VALUES: list[Any] = [
    "Ana",
    "",
    " ",
    "a\nb",
    "a     b",
    "a    b",
    7,
    1.5,
    True,
    None,
    "x" * 1100,
    "https://a.example/a.png",
    "1166846181421424",
    {"link": "https://a.example/a.png"},
    {"id": "1166846181421424"},
    {"latitude": 1, "longitude": 2},
    ["a"],
    "SPRING25",
]


SAMPLES: dict[str, Any] = {
    "text": "Ana",
    "url_suffix": "99",
    "coupon": "SPRING25",
    "image": "https://a.example/a.png",
    "video": {"id": "1166846181421424"},
    "document": {"link": "https://a.example/a.pdf", "filename": "a.pdf"},
    "location": {"latitude": 37.44, "longitude": -122.16},
}


def valid(found: Template) -> dict[str, Any]:
    return {slot.key: SAMPLES[slot.kind] for slot in slots_of(found) if slot.required}


@pytest.mark.parametrize("index", range(len(READ)), ids=[f"{item.name}-{item.language}" for item in READ])
def test_the_simulator_takes_what_is_right(index: int) -> None:
    """Every template of a fresh sandbox can be filled in."""
    found = READ[index]
    assert check(found, valid(found)) == ()
    simulator.check_filled(SIMULATED[index], payload(found, valid(found)).get("components", []))


@settings(max_examples=400, deadline=None)
@given(
    st.integers(0, len(READ) - 1),
    st.dictionaries(st.sampled_from(KEYS), st.sampled_from(VALUES), max_size=2),
    st.sets(st.sampled_from(KEYS), max_size=1),
)
def test_the_simulator_takes_whatever_the_check_lets_through(
    index: int, changed: dict[str, Any], dropped: set[str]
) -> None:
    """No call is made that Graph answers with a parameter error."""
    found = READ[index]
    parameters = {name: value for name, value in {**valid(found), **changed}.items() if name not in dropped}
    if check(found, parameters) == ():
        simulator.check_filled(SIMULATED[index], payload(found, parameters).get("components", []))


@settings(max_examples=200, deadline=None)
@given(
    st.integers(0, len(READ) - 1),
    st.dictionaries(st.sampled_from(KEYS), st.sampled_from(VALUES) | st.text(max_size=20), max_size=6),
)
def test_checking_and_rendering_never_raise(index: int, parameters: dict[str, Any]) -> None:
    """Whatever a trigger gives."""
    check(READ[index], parameters)
    rendered(READ[index], parameters)
