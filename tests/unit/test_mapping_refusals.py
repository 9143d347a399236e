"""A mapping that is wrong is refused before anything is written: by line, with the reason and what is valid."""

import asyncio
from pathlib import Path

import pytest

from connector.errors import SettingsError
from connector.roles import load_role
from connector.settings import Settings, SyncSettings
from connector.sync.mapping import default_text, load_mapping

HEAD = "version: 1\n"


def hubspot(*lines: str) -> str:
    """A file whose first line for HubSpot is line 4."""
    return HEAD + "contact:\n  hubspot:\n" + "\n".join(f"    {line}" for line in lines)


def salesforce(*lines: str) -> str:
    """A file whose first line for Salesforce is line 4."""
    return HEAD + "contact:\n  salesforce:\n" + "\n".join(f"    {line}" for line in lines)


def activity(*lines: str) -> str:
    """A file whose first line about activities is line 3."""
    return HEAD + "activity:\n" + "\n".join(f"  {line}" for line in lines)


REFUSED = {
    "empty": ("# nothing", 1, "says nothing"),
    "no-mapping": ("- version: 1", 1, "has to be a mapping"),
    "no-yaml": (HEAD + "contact: {hubspot: [", 2, "no YAML"),
    "tab": (HEAD + "contact:\n\thubspot: {}", 3, "no YAML"),
    "control-character": (HEAD + "activity:\n  text: 'a\x07b'", 3, "#x0007 is not allowed"),
    "anchor": (HEAD + "contact: &all\n  hubspot: {}", 2, "anchors"),
    "alias": (HEAD + "contact:\n  hubspot: {city: &a name, company: *a}", 3, "anchors"),
    "deep": (HEAD + "contact: " + "[" * 20_000, 2, "nested too deeply"),
    "huge": (HEAD + "#" * 300_000, 1, "longer than"),
    "tag": (hubspot("city: {value: !!python/name:os.system ''}"), 4, "the value has to be"),
    "no-version": ("contact: {}", 1, "version: 1 is missing"),
    "other-version": ("version: 2", 1, "version 2 is not known"),
    "unknown-part": (HEAD + "contacts: {}", 2, "no part contacts; valid: version, contact, activity"),
    "unknown-crm": (HEAD + "contact:\n  pipedrive: {}", 3, "no CRM pipedrive; valid: hubspot, salesforce"),
    "crm-no-mapping": (HEAD + "contact:\n  hubspot: [city]", 3, "contact.hubspot has to be a mapping"),
    "unknown-fact": (hubspot("city: town"), 4, "no fact town; valid: bsuid, phone,"),
    "constant-as-fact": (hubspot("city: WhatsApp"), 4, "city: {value: WhatsApp}"),
    "reserved-fact": (hubspot("city: marketing_consent"), 4, "is reserved: consent"),
    "fact-is-a-list": (hubspot("city: {fact: [name]}"), 4, "has to be a text"),
    "neither": (hubspot("city: {only: new}"), 4, "needs a fact or a value"),
    "both": (hubspot("city: {fact: name, value: x}"), 4, "and not both"),
    "nothing": (hubspot("city:"), 4, "has to be a text"),
    "unknown-option": (hubspot("city: {fact: name,", "  once: true}"), 5, "no option once; valid: fact,"),
    "unknown-only": (hubspot("city: {fact: name, only: first}"), 4, "only cannot be first; valid: new, always"),
    "unknown-empty": (hubspot("city: {fact: name, empty: drop}"), 4, "valid: clear, keep"),
    "unknown-format": (hubspot("city: {fact: name, format: date}"), 4, "format cannot be date; valid: plain"),
    "clear-what-is-said-once": (hubspot("city: {fact: name, only: new, empty: clear}"), 4, "never happens"),
    "format-of-a-value": (hubspot("city: {value: x, format: text}"), 4, "format is for facts"),
    "value-no": (hubspot("city: {value: no}"), 4, "write it in quotes"),
    "value-date": (hubspot("city: {value: 2026-01-01}"), 4, "write it in quotes"),
    "value-time": (hubspot("city: {value: 12:30}"), 4, "write it in quotes"),
    "value-infinite": (hubspot("city: {value: .inf}"), 4, "write it in quotes"),
    "value-list": (hubspot("city: {value: [a]}"), 4, "the value has to be"),
    "duplicate": (hubspot("city: name", "company: name", "city: username"), 6, "city stands there twice, also in line 4"),
    "duplicate-option": (hubspot("city: {fact: name, fact: phone}"), 4, "fact stands there twice"),
    "duplicate-by-case": (
        salesforce("WA_Note__c: {fact: name}", "wa_note__c: {fact: name}"),
        5,
        "also in line 4: salesforce does not tell upper from lower case",
    ),
    "off-what-is-not-there": (hubspot("city: off"), 4, "not in the built-in mapping"),
    "off-what-is-required": (salesforce("LastName: off"), 4, "makes nobody without it"),
    "required-may-be-empty": (salesforce("LastName: {fact: name, only: new}"), 4, "use best_name"),
    "required-always": (salesforce("LastName: best_name"), 4, "has to be only: new"),
    "name-upper": (hubspot("City: name"), 4, "no name of a hubspot property"),
    "name-path": (salesforce("Account.Name: name"), 4, "no name of a salesforce property"),
    "key": (hubspot("whatsapp_contact_key: bsuid"), 4, "reserved: it holds the connector's own key"),
    "key-salesforce": (salesforce("wa_contact_key__c: bsuid"), 4, "reserved: it holds the connector's own key"),
    "consent": (hubspot("whatsapp_marketing_consent: {value: granted}"), 4, "consent ledger alone"),
    "consent-off": (hubspot("whatsapp_marketing_consent: off"), 4, "consent ledger alone"),
    "ours-with-another-fact": (hubspot("whatsapp_phone: username"), 4, "always holds the fact phone"),
    "ours-in-another-format": (hubspot("whatsapp_phone: {fact: phone, format: digits}"), 4, "format is the connector's"),
    "time-into-choice": (hubspot("lifecyclestage: last_inbound_at"), 4, "a choice takes a constant text, not a datetime"),
    "name-into-choice": (hubspot("lifecyclestage: name"), 4, "a choice takes a constant text, not a text"),
    "time-into-text": (hubspot("city: last_inbound_at"), 4, "it takes a text, not a datetime; write format: text"),
    "name-into-phone": (salesforce("MobilePhone: {fact: name, only: new}"), 4, "it takes a phone, not a text"),
    "truth-into-text": (hubspot("city: {value: true}"), 4, "it takes a text, not a boolean"),
    "one-email-for-all": (hubspot("email: {value: a@example.com}"), 4, "no two people may have the same"),
    "unknown-activity-part": (activity("body: x"), 3, "activity has no part body; valid: subject, text, details"),
    "unknown-field": (activity('subject: "{sender}"'), 3, "no field {sender}; valid: direction, first_line,"),
    "field-of-the-text": (activity('subject: "{text}"'), 3, "no field {text}"),
    "attribute": (activity('text: "{text.__class__}"'), 3, "no field {text.__class__}"),
    "index": (activity('text: "{text[0]}"'), 3, "no field {text[0]}"),
    "conversion": (activity('text: "{text!r}"'), 3, "no field {text!r}"),
    "form": (activity('text: "{text:>9999999}"'), 3, "no field {text:>9999999}"),
    "numbered": (activity('text: "{}"'), 3, "no field {}"),
    "open-brace": (activity('text: "{text"'), 3, "is no template"),
    "long-template": (activity(f'text: "{"x" * 600}"'), 3, "longer than 500"),
    "last-subject-unsure": (activity("subject:", '  - "To {name}"'), 4, "name may be empty"),
    "subject-lines": (activity('subject: "a\\nb"'), 3, "a subject is one line"),
    "subject-empty-list": (activity("subject: []"), 3, "subject has to be"),
    "subject-mapping": (activity("subject: {a: b}"), 3, "subject has to be a text"),
    "text-twice": (activity('text: "{text} {text}"'), 3, "{text} once only"),
    "text-may-be-empty": (activity('text: "{name}"'), 3, "add {text}"),
    "unknown-detail": (activity("details: [channel,", "  weather]"), 4, "no detail weather; valid: particulars,"),
    "detail-twice": (activity("details: [ad, ad]"), 3, "the detail ad stands there twice"),
    "details-no-list": (activity("details: channel"), 3, "details has to be a list"),
    "unknown-family": (activity("families:", "  telegram: {text: hi}"), 4, "called telegram; valid: audio, button,"),
    "family-part": (activity("families:", "  order: {body: hi}"), 4, "order has no part body"),
    "family-field": (activity("families:", "  order:", '    subject: ["{total}"]'), 5, "no field {total}"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_wrong_line_is_named_with_its_reason(name: str, tmp_path: Path) -> None:
    """The error names file, line, reason and what is valid, and says that nothing was written."""
    text, line, reason = REFUSED[name]
    file = tmp_path / "mapping.yaml"
    file.write_text(text, "utf-8")
    with pytest.raises(SettingsError) as refused:
        load_mapping(file)
    message = refused.value.message
    assert message.startswith(f"The mapping {file} is refused: ")
    assert f"line {line}: " in message
    assert reason in message
    assert message.endswith("Nothing was written.")
    assert f"connector mapping test {file} PAYLOAD" in refused.value.advice


def test_every_wrong_line_is_named_at_once(tmp_path: Path) -> None:
    """A file with three mistakes is corrected in one go."""
    file = tmp_path / "mapping.yaml"
    file.write_text(hubspot("city: town", "company: name", "Jobtitle: name") + '\nactivity: {text: "{x}"}')
    with pytest.raises(SettingsError) as refused:
        load_mapping(file)
    found = [
        part for part in ("line 4: ", "line 5: ", "line 6: ", "line 7: ") if part in refused.value.message
    ]
    assert found == ["line 4: ", "line 6: ", "line 7: "]


def test_a_file_that_is_not_there_names_the_setting(tmp_path: Path) -> None:
    """A path that leads nowhere is refused with the variable to correct."""
    with pytest.raises(SettingsError) as refused:
        load_mapping(tmp_path / "none.yaml")
    assert "cannot be read: No such file" in refused.value.message
    assert "CONNECTOR_SYNC__MAPPING" in refused.value.advice


def test_a_file_of_another_encoding_is_refused_by_line(tmp_path: Path) -> None:
    """Latin-1 is not guessed at."""
    file = tmp_path / "mapping.yaml"
    file.write_bytes(HEAD.encode() + b"contact: {}\n# caf\xe9")
    with pytest.raises(SettingsError, match="line 3: this is not UTF-8"):
        load_mapping(file)


@pytest.mark.parametrize("role", ["sync-hubspot", "sync-salesforce"])
async def test_a_role_does_not_start_with_a_wrong_mapping(role: str, tmp_path: Path) -> None:
    """It ends at once, before it has opened anything."""
    file = tmp_path / "mapping.yaml"
    file.write_text(hubspot("city: town"), "utf-8")
    settings = Settings(sync=SyncSettings(mapping=file))
    with pytest.raises(SettingsError, match="line 4: there is no fact town"):
        await load_role(role)(settings, stop=asyncio.Event())


def test_the_built_in_mapping_is_accepted_as_a_file(tmp_path: Path) -> None:
    """Who begins with what `connector mapping show` prints begins with a file that says the same."""
    file = tmp_path / "mapping.yaml"
    file.write_text(default_text(), "utf-8")
    assert load_mapping(file).version == load_mapping(None).version
