from typing import Any

import pytest
from sandbox_portal import ASSOCIATIONS, OBJECTS, message, portal


async def test_a_message_is_logged_with_its_association_inline() -> None:
    """One create logs the message and puts it on the contact's timeline."""
    async with portal() as hubspot:
        contact_id = await hubspot.contact("k")
        answer = await hubspot.log(message("m", contact_id=contact_id))
        assert answer.status_code == 201
        state = hubspot.sandbox.portal.state()
        assert state["communications"][0]["associations"] == {"contacts": [contact_id]}


@pytest.mark.parametrize(
    "missing", ["hs_communication_channel_type", "hs_communication_logged_from", "hs_timestamp"]
)
async def test_mandatory_properties_are_mandatory(missing: str) -> None:
    """A create without one of the three mandatory properties is refused and names it."""
    async with portal() as hubspot:
        item = message("m")
        del item["properties"][missing]
        answer = await hubspot.log(item)
        assert answer.status_code == 400
        assert answer.json()["context"]["properties"] == [missing]


@pytest.mark.parametrize(
    "changes",
    [
        {"hs_communication_logged_from": "INTEGRATION"},
        {"hs_communication_channel_type": "WHATSAPP"},
        {"hs_communication_body": "x" * 65_537},
    ],
    ids=lambda changes: next(iter(changes)),
)
async def test_values_that_portals_refuse_are_refused(changes: dict[str, str]) -> None:
    """logged_from takes CRM only, the channel is WHATS_APP, and a body has at most 65,536 characters."""
    async with portal() as hubspot:
        assert (await hubspot.log(message("m", **changes))).status_code == 400
        assert len(hubspot.sandbox.portal.communications) == 0


@pytest.mark.parametrize(
    "association",
    [
        {"to": {"id": "404"}, "types": [{"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": 81}]},
        {"to": {"id": None}, "types": [{"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": 82}]},
    ],
    ids=["unknown-contact", "type-of-the-other-direction"],
)
async def test_a_wrong_association_refuses_the_create(association: dict[str, Any]) -> None:
    """An unknown contact or a type of the other direction writes nothing."""
    async with portal() as hubspot:
        contact_id = await hubspot.contact("k")
        target = {"id": association["to"]["id"] or contact_id}
        item = {**message("m"), "associations": [{**association, "to": target}]}
        assert (await hubspot.log(item)).status_code == 400
        assert len(hubspot.sandbox.portal.communications) == 0


@pytest.mark.parametrize(
    ("answer_kind", "status", "category", "text"),
    [
        ("conflict_409", 409, "CONFLICT", "already exists"),
        ("value_400", 400, "VALIDATION_ERROR", "Cannot set PropertyValueCoordinates"),
    ],
    ids=["409", "400"],
)
async def test_a_repeated_unique_value_rejects_the_batch(
    answer_kind: str, status: int, category: str, text: str
) -> None:
    """In batch scope a repeated value refuses the good records too, even with trace ids."""
    async with portal(duplicate_answer=answer_kind, duplicate_scope="batch") as hubspot:
        await hubspot.log(message("m"))
        answer = await hubspot.log(message("m", trace="1"), message("n", trace="2"))
        assert answer.status_code == status
        assert answer.json()["category"] == category
        assert text in answer.json()["message"]
        assert len(hubspot.sandbox.portal.communications) == 1


async def test_a_repeated_unique_value_in_item_scope_spares_the_others() -> None:
    """In item scope the others are written and the repeated one is named by its trace id."""
    async with portal(duplicate_scope="item") as hubspot:
        await hubspot.log(message("m"))
        answer = await hubspot.log(message("m", trace="1"), message("n", trace="2"))
        assert answer.status_code == 201
        assert answer.json()["errors"][0]["context"]["objectWriteTraceId"] == ["1"]
        assert len(hubspot.sandbox.portal.communications) == 2


async def test_a_unique_value_twice_in_one_create_is_refused() -> None:
    """Two inputs of one create cannot hold the same unique value."""
    async with portal() as hubspot:
        assert (await hubspot.log(message("m"), message("m"))).status_code == 400
        assert len(hubspot.sandbox.portal.communications) == 0


async def test_the_400_names_a_record_that_never_will_exist_first() -> None:
    """The first id in the message is not the existing record, the last one is."""
    async with portal() as hubspot:
        existing = (await hubspot.log(message("m"))).json()["results"][0]["id"]
        text = (await hubspot.log(message("m"))).json()["message"]
        half_made = text.split("} on ")[1].split(".")[0]
        assert text.endswith(f"{existing} already has that value.")
        assert (await hubspot.get(f"{OBJECTS}/communications/{half_made}")).status_code == 404


async def test_without_the_unique_property_a_repeated_create_doubles() -> None:
    """Where communications cannot be unique, a blind repetition makes a second activity."""
    async with portal(unique_communications=False) as hubspot:
        await hubspot.log(message("m"))
        assert (await hubspot.log(message("m"))).status_code == 201
        assert hubspot.sandbox.portal.state()["doubled"]["communications"] == {"m": 2}


async def test_messages_are_found_by_their_unique_id() -> None:
    """One batch read by the unique property settles which messages exist."""
    async with portal() as hubspot:
        await hubspot.log(message("m"))
        answer = await hubspot.post(
            f"{OBJECTS}/communications/batch/read",
            {"idProperty": "whatsapp_message_id", "inputs": [{"id": "m"}, {"id": "n"}]},
        )
        assert [item["properties"]["whatsapp_message_id"] for item in answer.json()["results"]] == ["m"]
        assert answer.json()["errors"][0]["context"]["ids"] == ["n"]


async def test_associations_are_read_in_pages() -> None:
    """A contact's messages come in pages, the last without paging; both reads agree."""
    async with portal(association_page=3) as hubspot:
        contact_id = await hubspot.contact("k")
        await hubspot.log(*(message(f"m{number}", contact_id=contact_id) for number in range(7)))
        read: list[int] = []
        after: str | None = None
        for _ in range(3):
            item = {"id": contact_id, **({"after": after} if after else {})}
            answer = await hubspot.post(
                f"{ASSOCIATIONS}/contacts/communications/batch/read", {"inputs": [item]}
            )
            result = answer.json()["results"][0]
            read += [entry["toObjectId"] for entry in result["to"]]
            after = result.get("paging", {}).get("next", {}).get("after")
        assert after is None
        assert len(set(read)) == 7
        listed = await hubspot.get(f"{OBJECTS}/contacts/{contact_id}/associations/communications?limit=2")
        assert [entry["toObjectId"] for entry in listed.json()["results"]] == read[:2]
        assert listed.json()["results"][0]["associationTypes"][0]["typeId"] == 82


async def test_records_without_associations_are_errors() -> None:
    """A batch read names records without associations instead of giving them an empty list."""
    async with portal() as hubspot:
        contact_id = await hubspot.contact("k")
        answer = await hubspot.post(
            f"{ASSOCIATIONS}/contacts/communications/batch/read", {"inputs": [{"id": contact_id}]}
        )
        assert answer.json()["results"] == []
        assert answer.json()["errors"][0]["subCategory"] == "crm.associations.NO_ASSOCIATIONS_FOUND"


async def test_association_batches_report_unknown_ids_beside_the_good_pairs() -> None:
    """Pairs with an unknown end are in errors[], the others are associated."""
    async with portal(partial_status="multi_status") as hubspot:
        contact_id = await hubspot.contact("k")
        logged = (await hubspot.log(message("m"))).json()["results"][0]["id"]
        pairs = [{"from": {"id": end}, "to": {"id": contact_id}} for end in (logged, "404")]
        answer = await hubspot.post(
            f"{ASSOCIATIONS}/communications/contacts/batch/associate/default", {"inputs": pairs}
        )
        assert answer.status_code == 207
        assert (len(answer.json()["results"]), answer.json()["numErrors"]) == (1, 1)
        assert hubspot.sandbox.portal.associations.of("contacts", contact_id, "communications") == [logged]


async def test_associations_can_be_moved_from_one_contact_to_another() -> None:
    """Archive and create re-point a message; each direction shows it."""
    async with portal() as hubspot:
        first, second = [await hubspot.contact(key) for key in "12"]
        logged = (await hubspot.log(message("m", contact_id=first))).json()["results"][0]["id"]
        base = f"{ASSOCIATIONS}/communications/contacts/batch"
        kinds = [{"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": 81}]
        created = await hubspot.post(
            f"{base}/create",
            {"inputs": [{"from": {"id": logged}, "to": {"id": second}, "types": kinds}]},
        )
        archived = await hubspot.post(
            f"{base}/archive", {"inputs": [{"from": {"id": logged}, "to": [{"id": first}]}]}
        )
        assert (created.status_code, archived.status_code) == (201, 204)
        graph = hubspot.sandbox.portal.associations
        assert graph.of("communications", logged, "contacts") == [second]
        assert graph.of("contacts", first, "communications") == []


async def test_a_contact_is_read_with_what_is_associated_with_it() -> None:
    """Types without an association are left out, and a type that does not exist refuses the read."""
    async with portal() as hubspot:
        contact_id = await hubspot.contact("k")
        logged = (await hubspot.log(message("m", contact_id=contact_id))).json()["results"][0]["id"]
        path = f"{OBJECTS}/contacts/{contact_id}?associations="
        answer = await hubspot.get(f"{path}companies,communications,deals")
        listed = answer.json()["associations"]
        assert listed == {"communications": {"results": [{"id": logged, "type": "contact_to_communication"}]}}
        assert (await hubspot.get(f"{path}nonsense")).status_code == 400
