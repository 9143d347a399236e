"""What a CRM's errors show of people in logs and health."""

import pytest

from connector.crm.hubspot import failures as hubspot
from connector.crm.personal_data import readable
from connector.crm.port import Refused
from connector.crm.salesforce import failures as salesforce
from connector.errors import ConnectorError

_VALUES = ("ana.souza@example.com", "Ana Souza", "+55 (11) 98888-7777", "5511988887777", "ana_souza")


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("Email address ana.souza@example.com is invalid", "Email address"),
        ('Value "Ana Souza" is too long for "whatsapp_username"', "whatsapp_username"),
        ("phone +55 (11) 98888-7777 is not mobile", "is not mobile"),
        ("Cannot set {propertyName=tax_id, value=5511988887777} on 901", "propertyName=tax_id"),
        ("Ana Souza was not one of the allowed options: [a, b]", "allowed options"),
        ("duplicates value 'Ana Souza' on 'WA_Phone__c'", "WA_Phone__c"),
        ('[{"message":"Ana Souza is invalid","error":"INVALID_EMAIL","name":"email"}]', "INVALID_EMAIL"),
        ('Property "ana_souza" refused', "refused"),
        ("request 0192f7c4-5a1e-7d3b-9c60-2f4e8a9b1d57 failed", "0192f7c4-5a1e-7d3b-9c60-2f4e8a9b1d57"),
    ],
)
def test_values_of_people_are_hidden_and_names_stay(text: str, kept: str) -> None:
    """An operator reads what failed where, and nobody's number, address or name."""
    shown = readable(text)
    assert kept in shown
    assert not [value for value in _VALUES if value in shown]


@pytest.mark.parametrize("status", [401, 403, 423, 500, 502])
@pytest.mark.parametrize("crm", ["hubspot", "salesforce"])
def test_an_error_of_a_whole_call_shows_no_values(crm: str, status: int) -> None:
    """It goes to logs and health."""
    if crm == "hubspot":
        body = {"message": 'Contact "Ana Souza" ana.souza@example.com'}
        error = hubspot.call_failure(status, body, {}, writes=False)
    else:
        content = [{"errorCode": "X", "message": "Contact 'Ana Souza' ana.souza@example.com"}]
        error = salesforce.call_failure(status, content, {}, writes=False)
    raised = hubspot.as_connector_error(error) if crm == "hubspot" else salesforce.as_connector_error(error)
    assert isinstance(raised, ConnectorError)
    assert not [value for value in _VALUES if value in raised.message]


def test_a_dead_letter_keeps_what_the_crm_said() -> None:
    """Whoever mends the item needs the value that was refused."""
    error = hubspot.call_failure(400, {"message": "Email ana.souza@example.com is invalid"}, {}, writes=True)
    assert isinstance(error, hubspot.HubSpotRefusal)
    refused = error.refused()
    assert isinstance(refused, Refused)
    assert "ana.souza@example.com" in refused.reason
