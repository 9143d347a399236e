import pytest
from sandbox_portal import OBJECTS, PROPERTIES, TOKEN, portal

from connector.sandbox.hubspot import AppToken


async def test_a_property_name_is_taken_once() -> None:
    """Creating a property again is 409 with PROPERTY_WITH_NAME_EXISTS."""
    async with portal() as hubspot:
        answer = await hubspot.add_property("contacts", "whatsapp_contact_key")
        assert answer.status_code == 409
        assert "PROPERTY_WITH_NAME_EXISTS" in answer.text


async def test_uniqueness_cannot_be_changed_later() -> None:
    """A PATCH of hasUniqueValue answers 200 and changes nothing."""
    async with portal() as hubspot:
        await hubspot.add_property("contacts", "plain")
        answer = await hubspot.http.patch(
            f"{PROPERTIES}/contacts/plain",
            json={"hasUniqueValue": True, "label": "New"},
            headers={"Authorization": f"Bearer {TOKEN}"},
        )
        assert answer.status_code == 200
        read = (await hubspot.get(f"{PROPERTIES}/contacts/plain")).json()
        assert (read["hasUniqueValue"], read["label"]) == (False, "New")


async def test_ten_unique_properties_are_the_most() -> None:
    """An eleventh unique property of an object type is refused."""
    async with portal() as hubspot:
        for number in range(9):
            answer = await hubspot.add_property("contacts", f"key_{number}", hasUniqueValue=True)
            assert answer.status_code == 201
        assert (await hubspot.add_property("contacts", "key_9", hasUniqueValue=True)).status_code == 400


async def test_a_portal_may_refuse_unique_properties_on_communications() -> None:
    """With the switch off a unique property on communications is refused, a plain one is not."""
    async with portal(unique_communications=False) as hubspot:
        refused = await hubspot.add_property("communications", "reference", hasUniqueValue=True)
        accepted = await hubspot.add_property("communications", "reference")
        assert (refused.status_code, accepted.status_code) == (400, 201)


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "Upper"},
        {"type": "text"},
        {"type": "enumeration", "fieldType": "select"},
        {"type": "datetime", "fieldType": "text"},
        {"groupName": "nowhere"},
        {"label": ""},
    ],
    ids=["name", "type", "no-options", "field-type", "group", "label"],
)
async def test_definitions_are_validated(changes: dict[str, str]) -> None:
    """A definition that a portal does not accept is refused."""
    async with portal() as hubspot:
        document = {"name": "fine", **changes}
        assert (await hubspot.add_property("contacts", **document)).status_code == 400


async def test_properties_are_created_in_batches_beside_existing_ones() -> None:
    """A batch create makes the new ones and names the existing in errors[]."""
    async with portal() as hubspot:
        new = {
            "name": "fresh",
            "label": "Fresh",
            "type": "string",
            "fieldType": "text",
            "groupName": "contactinformation",
        }
        answer = await hubspot.post(
            f"{PROPERTIES}/contacts/batch/create",
            {"inputs": [new, {**new, "name": "whatsapp_contact_key"}]},
        )
        assert [item["name"] for item in answer.json()["results"]] == ["fresh"]
        assert answer.json()["numErrors"] == 1


async def test_an_archived_name_comes_back_as_it_was() -> None:
    """Re-creating an archived property restores it, with the uniqueness it had."""
    async with portal() as hubspot:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        await hubspot.http.delete(f"{PROPERTIES}/contacts/whatsapp_contact_key", headers=headers)
        assert (await hubspot.get(f"{PROPERTIES}/contacts/whatsapp_contact_key")).status_code == 404
        restored = await hubspot.add_property("contacts", "whatsapp_contact_key")
        assert restored.json()["hasUniqueValue"] is True


async def test_groups_must_exist_before_their_properties() -> None:
    """A property can be put into a group once the group was created."""
    async with portal() as hubspot:
        assert (await hubspot.add_property("contacts", "x", groupName="whatsapp")).status_code == 400
        group = {"name": "whatsapp", "label": "WhatsApp"}
        assert (await hubspot.post(f"{PROPERTIES}/contacts/groups", group)).status_code == 201
        assert (await hubspot.post(f"{PROPERTIES}/contacts/groups", group)).status_code == 409
        assert (await hubspot.add_property("contacts", "x", groupName="whatsapp")).status_code == 201


@pytest.mark.parametrize("token", ["", "pat-na1-stranger"], ids=["none", "unknown"])
async def test_a_token_is_asked_for(token: str) -> None:
    """Without a known token every path answers 401 with HubSpot's body."""
    async with portal() as hubspot:
        answer = await hubspot.get(f"{PROPERTIES}/contacts", token=token)
        assert answer.status_code == 401
        assert answer.json()["category"] == "INVALID_AUTHENTICATION"


async def test_scopes_are_asked_for() -> None:
    """A token without the schema scope reads contacts but creates no property."""
    token = AppToken(
        token="pat-narrow",
        app_id="2",
        scopes=frozenset({"crm.objects.contacts.read", "crm.objects.contacts.write"}),
    )
    async with portal(tokens=(token,)) as hubspot:
        document = {"inputs": [{"id": "1"}]}
        read = await hubspot.post(f"{OBJECTS}/contacts/batch/read", document, token="pat-narrow")
        refused = await hubspot.post(f"{PROPERTIES}/contacts", {"name": "x"}, token="pat-narrow")
        assert (read.status_code, refused.status_code) == (200, 403)
        assert refused.json()["category"] == "MISSING_SCOPES"


@pytest.mark.parametrize(
    "path",
    ["/crm/v3/objects/contacts/batch/read", "/crm/objects/2025-09/contacts/batch/read", "/nowhere"],
)
async def test_other_paths_are_an_html_404(path: str) -> None:
    """Paths of other API versions answer 404 with a page instead of JSON."""
    async with portal() as hubspot:
        answer = await hubspot.post(path, {"inputs": [{"id": "1"}]})
        assert answer.status_code == 404
        assert answer.headers["content-type"].startswith("text/html")
