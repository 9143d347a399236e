"""Parameters from what the CRM knows: formats, fall-backs, languages, and the file that says so."""

from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from gate_facts import template

from connector.errors import SettingsError
from connector.outbound.personalisation.filling import Personalisation, filled
from connector.outbound.personalisation.formats import Format, formatted
from connector.outbound.personalisation.languages import chosen
from connector.outbound.personalisation.loading import load_personalisation, read_personalisation
from connector.outbound.templates.checking import check
from connector.outbound.templates.slots import slots_of
from connector.outbound.templates.template import Template

SAO_PAULO = ZoneInfo("America/Sao_Paulo")


@pytest.mark.parametrize(
    ("value", "style", "language", "expected"),
    [
        (" Ana\n  Maria ", "text", "en", "Ana Maria"),
        (77, "text", "en", "77"),
        ("", "text", "en", None),
        (None, "text", "en", None),
        (True, "text", "en", None),
        ({"a": 1}, "text", "en", None),
        ("ANA MARIA O'NEIL-SMITH", "name", "en", "Ana Maria O'Neil-Smith"),
        ("ana", "name", "en", "Ana"),
        ("McDonald", "name", "en", "McDonald"),
        ("أحمد", "name", "ar", "أحمد"),
        ("2026-03-01", "date", "en_US", "March 1, 2026"),
        ("2026-03-01", "date", "pt_BR", "1 de março de 2026"),
        ("2026-03-01", "date", "de", "1. März 2026"),
        ("2026-03-01", "date", "ar", "1 مارس 2026"),
        ("1772323200000", "date", "en_US", "March 1, 2026"),  # HubSpot's midnight UTC is that day everywhere
        ("2026-03-02T01:30:00Z", "date", "en_US", "March 1, 2026"),  # still the 1st in São Paulo
        ("2026-03-02T01:30:00.000+0000", "date", "en_US", "March 1, 2026"),  # as Salesforce writes it
        ("next Monday", "date", "en_US", None),
        ("2026-03-01T18:30:00Z", "time", "de", "15:30"),
        ("noon", "time", "de", None),
        ("1234.5", "number", "de", "1.234,5"),
        ("1,234", "number", "de", None),
        ("NaN", "number", "de", None),
        ("1234.5", "money", "de", "1.234,50\xa0€"),
        ("1234.5", "money", "en_US", "€1,234.50"),
        ("1234.5", "money", "tlh", "€1,234.50"),
        ("a lot", "money", "de", None),
        ("9" * 40, "money", "de", None),
    ],
)
def test_a_value_reads_as_people_of_the_language_write_it(
    value: Any, style: Format, language: str, expected: str | None
) -> None:
    """What cannot be read as the style says is None, for the fall-back."""
    assert formatted(value, style=style, language=language, zone=SAO_PAULO, currency="EUR") == expected


def test_money_needs_a_currency_that_exists() -> None:
    """A CRM's currency field may be empty or hold anything."""
    assert formatted("5", style="money", language="en", currency="") is None
    assert formatted("5", style="money", language="en", currency="gold") is None
    assert formatted("5", style="money", language="ja", currency="jpy") == "￥5"


RULES = """
version: 1
languages:
  hubspot: hs_language
  salesforce: Language__c
  fallbacks: [pt-br, en]
templates:
  "*":
    first_name: {hubspot: firstname, salesforce: FirstName, format: name, otherwise: you}
  spring_sale:
    "1": {hubspot: firstname, salesforce: FirstName, format: name, otherwise: you}
    "2": {salesforce: Discount__c, format: money, currency: {salesforce: CurrencyIsoCode}, otherwise: a lot}
  invoice:
    header: {value: "https://a.example/a.png"}
    "1": {hubspot: due, format: date}
"""


def rules() -> Personalisation:
    return read_personalisation(RULES, source="rules.yaml")


def parameters(
    given: dict[str, Any],
    crm: dict[str, Any],
    *,
    crms: tuple[str, ...] = ("hubspot", "salesforce"),
) -> tuple[dict[str, Any], dict[str, str]]:
    found = filled(rules(), template(), given, crm, crms=crms)
    return dict(found.parameters), dict(found.sources)


def test_the_trigger_goes_before_the_crm_and_the_crm_before_the_fall_back() -> None:
    """Each parameter for itself."""
    crm = {"hubspot": {"firstname": "ANA"}, "salesforce": {"Discount__c": 5, "CurrencyIsoCode": "USD"}}
    assert parameters({}, crm) == (
        {"1": "Ana", "2": "US$5.00"},
        {"1": "hubspot.firstname", "2": "salesforce.Discount__c"},
    )
    assert parameters({"1": "Bea"}, crm)[0]["1"] == "Bea"
    assert parameters({}, {}) == ({"1": "you", "2": "a lot"}, {"1": "fall-back", "2": "fall-back"})


def test_the_crms_are_asked_in_the_order_of_the_trigger() -> None:
    """A Salesforce flow means Salesforce's name of the person."""
    crm = {"hubspot": {"firstname": "Ana"}, "salesforce": {"FirstName": "Anna"}}
    assert parameters({}, crm)[0]["1"] == "Ana"
    assert parameters({}, crm, crms=("salesforce", "hubspot"))[0]["1"] == "Anna"
    assert (
        parameters({}, {"hubspot": {"firstname": " "}, "salesforce": {"FirstName": "Anna"}})[0]["1"] == "Anna"
    )


def test_a_parameter_that_the_template_does_not_have_is_left_for_the_check() -> None:
    """It is named as unknown, not dropped."""
    found, _ = parameters({"3": "x"}, {})
    assert [problem.code for problem in check(template(), found)] == ["unknown_parameter"]


def test_rules_of_all_templates_fill_named_parameters_and_their_headers() -> None:
    """`*` is by name, whatever the template is called."""
    named = template(
        name="welcome",
        parameter_format="NAMED",
        components=[
            {"type": "HEADER", "format": "TEXT", "text": "Hi {{first_name}}"},
            {"type": "BODY", "text": "Welcome, {{first_name}}!"},
        ],
    )
    found = filled(rules(), named, {}, {"hubspot": {"firstname": "ana"}}, crms=("hubspot",))
    assert check(named, found.parameters) == ()
    assert dict(found.parameters) == {"first_name": "Ana"}


def test_what_has_no_value_anywhere_is_missing() -> None:
    """Without a fall-back the check says so, and nothing is sent with a gap in it."""
    invoice = template(
        name="invoice",
        components=[{"type": "HEADER", "format": "IMAGE"}, {"type": "BODY", "text": "Due {{1}}"}],
    )
    found = filled(rules(), invoice, {}, {"hubspot": {"due": "soon"}}, crms=("hubspot",))
    assert dict(found.sources) == {"header": "constant"}
    assert [problem.code for problem in check(invoice, found.parameters)] == ["missing_parameter"]


def test_the_properties_to_read_are_those_of_the_rules() -> None:
    """One read of a contact has everything that any message needs."""
    assert rules().read_from("hubspot") >= {"hs_language", "firstname"}
    assert rules().read_from("salesforce") >= {"Language__c", "FirstName", "Discount__c", "CurrencyIsoCode"}


def test_a_send_needs_only_what_its_trigger_leaves_out() -> None:
    """A request that gives all of it waits for no CRM; one that gives a language needs none."""
    sale, both = template(), ("hubspot", "salesforce")
    assert rules().needs([sale], {}, language="", crms=both)["hubspot"] == {"hs_language", "firstname"}
    assert rules().needs([sale], {}, language="en_GB", crms=("hubspot",)) == {
        "hubspot": frozenset({"firstname"})
    }
    given = {slot.key: "x" for slot in slots_of(sale)}
    assert rules().needs([sale], given, language="en_GB", crms=both) == {}
    assert rules().needs([], {}, language="", crms=both) == {}


def version(language: str, **changes: Any) -> Template:
    return template(language=language, **changes)


ENGLISH, BRAZILIAN, PORTUGUESE = version("en_US"), version("pt_BR"), version("pt_PT")
ARABIC, PAUSED = version("ar"), version("es", status="PAUSED")
VERSIONS = [ENGLISH, BRAZILIAN, PORTUGUESE, ARABIC, PAUSED]


@pytest.mark.parametrize(
    ("asked", "contact", "expected"),
    [
        ("pt-br", [], BRAZILIAN),
        ("fr", ["ar"], None),
        ("en", ["ar"], None),
        ("es", [], PAUSED),
        ("", ["ar"], ARABIC),
        ("", ["ar_EG"], ARABIC),
        ("", ["pt"], BRAZILIAN),
        ("", ["pt_PT"], PORTUGUESE),
        ("", ["pt_AO"], ENGLISH),
        ("", ["fr", "ar"], ARABIC),
        ("", ["fr"], ENGLISH),
        ("", ["es"], ENGLISH),
        ("", [], ENGLISH),
    ],
)
def test_the_language_is_the_one_asked_for_or_the_contacts_or_a_fall_back(
    asked: str, contact: list[str], expected: Template | None
) -> None:
    """What may be sent goes before what may not; another country's version is another language."""
    assert chosen(VERSIONS, asked=asked, contact=contact, fallbacks=["en"]) == expected


def test_of_versions_that_may_not_be_sent_the_first_is_named() -> None:
    """So that the gate says "paused" and not "no such template"."""
    assert chosen([PAUSED], contact=["es"], fallbacks=["en"]) == PAUSED
    assert chosen([PAUSED], contact=["fr"], fallbacks=["en"]) is None


def test_the_contacts_languages_are_read_by_the_rules() -> None:
    """From the property that each CRM has for it."""
    crm = {"hubspot": {"hs_language": "pt-br"}, "salesforce": {"Language__c": ""}}
    assert rules().languages(crm, crms=("salesforce", "hubspot")) == ("pt-br",)
    assert rules().fallback_languages == ("pt_BR", "en")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("version: 2", "version 2 is not known; valid: 1"),
        ("template: {}", "the file has no part template; valid: version, languages, templates"),
        ("languages: {pipedrive: lang}", "languages has no pipedrive"),
        ("languages: {fallbacks: en}", "languages.fallbacks has to be a list"),
        ("templates: {a: {x: {hubspot: p, format: shout}}}", "there is no format shout; valid: text, name"),
        ("templates: {a: {x: {hubspot: p, format: money}}}", "money needs a currency"),
        ("templates: {a: {x: {hubspot: p, currency: GOLD}}}", "GOLD is no currency"),
        ("templates: {a: {x: {otherwise: you}}}", "needs a property of a CRM"),
        ("templates: {a: {x: {hubspot: p, value: v}}}", "needs a property of a CRM"),
        ("templates: {a: {x: {hubspot: p, default: v}}}", "has no default; valid: hubspot, salesforce"),
        ("templates: {a: {x: firstname}}", "has to be a mapping"),
        ("templates: {a: {x: {value: 2026-01-01}}}", "can be read in several ways"),
        ("templates: {a: {x: {hubspot: p}, x: {hubspot: q}}}", "stands there twice"),
        ("{", "no YAML"),
    ],
)
def test_a_wrong_file_is_refused_by_line(line: str, reason: str) -> None:
    """At start, with what is valid."""
    text = line if line.startswith(("version", "{")) else f"version: 1\n{line}"
    with pytest.raises(SettingsError, match=r"line \d+: ") as refused:
        read_personalisation(text, source="rules.yaml")
    assert reason in str(refused.value)


def test_without_a_file_there_are_no_rules(tmp_path: Path) -> None:
    """Every parameter then comes from the trigger; a file that is not there is an error."""
    assert load_personalisation(None) == Personalisation()
    with pytest.raises(SettingsError, match="cannot be read"):
        load_personalisation(tmp_path / "none.yaml")
    (tmp_path / "rules.yaml").write_text(RULES)
    assert load_personalisation(tmp_path / "rules.yaml") == rules()
