import pytest
from sandbox_portal import OBJECTS, contact, message, portal

from connector.sandbox.hubspot import PERSON_TOKEN
from connector.sandbox.hubspot.records import national_number


async def test_upsert_creates_then_updates_by_the_unique_key() -> None:
    """The second upsert of a key updates the record of the first and says `new: false`."""
    async with portal() as hubspot:
        first = (await hubspot.upsert(contact("k", firstname="Ana"))).json()["results"][0]
        second = (await hubspot.upsert(contact("k", firstname="Bea"))).json()["results"][0]
        assert (first["new"], second["new"]) == (True, False)
        assert first["id"] == second["id"]
        assert second["properties"]["firstname"] == "Bea"
        assert len(hubspot.sandbox.portal.contacts) == 1


async def test_upsert_results_are_not_in_input_order() -> None:
    """Results come in another order than the inputs and hold the key to join them by."""
    async with portal() as hubspot:
        keys = [f"k{number}" for number in range(50)]
        results = (await hubspot.upsert(*map(contact, keys))).json()["results"]
        answered = [result["properties"]["whatsapp_contact_key"] for result in results]
        assert answered != keys
        assert sorted(answered) == sorted(keys)
        assert not any("objectWriteTraceId" in result for result in results)


async def test_more_than_100_inputs_are_refused() -> None:
    """A batch of 101 is refused whole, one of 100 is written."""
    async with portal() as hubspot:
        inputs = [contact(f"k{number}") for number in range(101)]
        assert (await hubspot.upsert(*inputs)).status_code == 400
        assert len(hubspot.sandbox.portal.contacts) == 0
        assert (await hubspot.upsert(*inputs[:100])).status_code == 200


@pytest.mark.parametrize("name", ["firstname", "hs_object_id", None], ids=["plain", "record-id", "missing"])
async def test_upsert_needs_a_unique_id_property(name: str | None) -> None:
    """Upserting by a property that is not unique is refused with HubSpot's message."""
    async with portal() as hubspot:
        item = {"id": "1", "properties": {"lastname": "A"}, **({"idProperty": name} if name else {})}
        answer = await hubspot.upsert(item)
        assert answer.status_code == 400
        assert "Unable to perform update/upsert by non-unique 0-1 property" in answer.json()["message"]


async def test_one_bad_record_rejects_the_whole_batch_without_trace_ids() -> None:
    """Without trace ids nothing of a batch is written when one record is bad."""
    async with portal() as hubspot:
        answer = await hubspot.upsert(contact("good"), contact("bad", no_such_property="x"))
        assert answer.status_code == 400
        assert "PROPERTY_DOESNT_EXIST" in answer.json()["message"]
        assert answer.json()["category"] == "VALIDATION_ERROR"
        assert len(hubspot.sandbox.portal.contacts) == 0


@pytest.mark.parametrize(
    ("partial_status", "status"), [("success", 200), ("multi_status", 207)], ids=["success", "207"]
)
async def test_trace_ids_spare_the_good_records(partial_status: str, status: int) -> None:
    """With a trace id each, the good records are written and the bad ones named by trace id."""
    async with portal(partial_status=partial_status) as hubspot:
        answer = await hubspot.upsert(
            contact("good", trace="t1"), contact("bad", trace="t2", no_such_property="x")
        )
        document = answer.json()
        assert answer.status_code == status
        assert document["numErrors"] == 1
        assert document["errors"][0]["context"]["objectWriteTraceId"] == ["t2"]
        assert [result["properties"]["whatsapp_contact_key"] for result in document["results"]] == ["good"]


async def test_repeated_trace_ids_spare_nothing() -> None:
    """Trace ids that are not unique give no partial success."""
    async with portal() as hubspot:
        answer = await hubspot.upsert(
            contact("good", trace="t"), contact("bad", trace="t", no_such_property="x")
        )
        assert answer.status_code == 400
        assert len(hubspot.sandbox.portal.contacts) == 0


async def test_upserts_by_email_have_no_partial_success() -> None:
    """With idProperty=email one bad record rejects the batch, trace ids or not."""
    async with portal() as hubspot:
        inputs = [
            {"id": f"{name}@x.test", "idProperty": "email", "properties": extra, "objectWriteTraceId": name}
            for name, extra in (("a", {}), ("b", {"no_such_property": "x"}))
        ]
        assert (await hubspot.upsert(*inputs)).status_code == 400
        assert len(hubspot.sandbox.portal.contacts) == 0


async def test_a_key_twice_in_one_batch_rejects_it_even_with_trace_ids() -> None:
    """A repeated key is a 400 for the whole batch that names the key in context.ids."""
    async with portal() as hubspot:
        answer = await hubspot.upsert(
            contact("k", trace="1"), contact("k", trace="2"), contact("l", trace="3")
        )
        document = answer.json()
        assert answer.status_code == 400
        assert document["message"] == "Duplicate IDs found in batch input: [k]. IDs must be unique"
        assert document["context"]["ids"] == ["k"]
        assert len(hubspot.sandbox.portal.contacts) == 0


async def test_associations_in_an_upsert_are_dropped_silently() -> None:
    """An upsert takes associations without a word and makes none."""
    async with portal() as hubspot:
        contact_id = await hubspot.contact("k")
        await hubspot.log(message("m"))
        logged = next(iter(hubspot.sandbox.portal.communications.live())).id
        item = contact("k")
        item["associations"] = [
            {
                "to": {"id": logged},
                "types": [{"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": 82}],
            }
        ]
        assert (await hubspot.upsert(item)).status_code == 200
        assert hubspot.sandbox.portal.associations.of("contacts", contact_id, "communications") == []


async def test_emails_come_back_in_lower_case() -> None:
    """An address is stored and answered in lower case."""
    async with portal() as hubspot:
        result = (await hubspot.upsert(contact("k", email="Ana@Example.TEST"))).json()["results"][0]
        assert result["properties"]["email"] == "ana@example.test"


@pytest.mark.parametrize(
    ("properties", "code"),
    [
        ({"lifecyclestage": "friend"}, "INVALID_OPTION"),
        ({"a_day": "2026-01-01T10:00:00Z"}, "INVALID_DATE"),
        ({"a_time": "yesterday"}, "INVALID_LONG"),
        ({"a_time": "2026-01-01T10:00:00"}, "INVALID_LONG"),
        ({"a_number": "many"}, "INVALID_NUMBER"),
        ({"firstname": "x" * 65_537}, "STRING_TOO_LONG"),
        ({"firstname": 5}, "INVALID_TYPE"),
        ({"email": "nobody"}, "INVALID_EMAIL"),
        ({"createdate": "2026-01-01T10:00:00Z"}, "READ_ONLY_VALUE"),
    ],
    ids=lambda value: value if isinstance(value, str) else next(iter(value)),
)
async def test_values_are_validated_by_type(properties: dict[str, str], code: str) -> None:
    """A value that its property's type does not allow is refused with HubSpot's code."""
    async with portal() as hubspot:
        await hubspot.add_property("contacts", "a_day", type="date", fieldType="date")
        await hubspot.add_property("contacts", "a_time", type="datetime", fieldType="date")
        await hubspot.add_property("contacts", "a_number", type="number", fieldType="number")
        answer = await hubspot.upsert({**contact("k"), "properties": properties})
        assert answer.status_code == 400
        assert f'"error":"{code}"' in answer.json()["message"]


async def test_times_are_stored_as_iso_in_utc() -> None:
    """Epoch milliseconds and ISO times of any zone come back as UTC, milliseconds only if there are any."""
    async with portal() as hubspot:
        await hubspot.add_property("contacts", "a_time", type="datetime", fieldType="date")
        for sent, stored in (
            ("1790000000000", "2026-09-21T14:13:20Z"),
            ("2026-09-21T16:13:20.250+02:00", "2026-09-21T14:13:20.250Z"),
        ):
            result = (await hubspot.upsert(contact("k", a_time=sent))).json()["results"][0]
            assert result["properties"]["a_time"] == stored


async def test_an_empty_string_clears_a_value() -> None:
    """Writing "" leaves the property without a value, and the clearing is in its history."""
    async with portal() as hubspot:
        contact_id = await hubspot.contact("k", firstname="Ana")
        await hubspot.upsert(contact("k", firstname=""))
        answer = await hubspot.get(
            f"{OBJECTS}/contacts/{contact_id}?properties=firstname&propertiesWithHistory=firstname"
        )
        assert answer.json()["properties"]["firstname"] is None
        history = answer.json()["propertiesWithHistory"]["firstname"]
        assert [version["value"] for version in history] == ["", "Ana"]


async def test_batch_read_names_misses() -> None:
    """A batch read by key returns what there is and names the rest in context.ids."""
    async with portal(partial_status="multi_status") as hubspot:
        await hubspot.contact("k")
        answer = await hubspot.post(
            f"{OBJECTS}/contacts/batch/read",
            {"idProperty": "whatsapp_contact_key", "inputs": [{"id": "k"}, {"id": "gone"}]},
        )
        assert answer.status_code == 207
        assert len(answer.json()["results"]) == 1
        assert answer.json()["errors"][0]["category"] == "OBJECT_NOT_FOUND"
        assert answer.json()["errors"][0]["context"]["ids"] == ["gone"]


async def test_batch_read_with_history_takes_50() -> None:
    """With propertiesWithHistory a batch read takes 50 inputs instead of 100."""
    async with portal() as hubspot:
        inputs = [{"id": str(number)} for number in range(51)]
        path = f"{OBJECTS}/contacts/batch/read"
        document = {"inputs": inputs, "propertiesWithHistory": ["phone"]}
        assert (await hubspot.post(path, document)).status_code == 400
        assert (await hubspot.post(path, {**document, "inputs": inputs[:50]})).status_code == 200
        assert (await hubspot.post(path, {"inputs": inputs})).status_code == 200


async def test_batch_update_writes_known_ids_beside_unknown_ones() -> None:
    """Unknown ids of a batch update are named and the others written, without any trace id."""
    async with portal() as hubspot:
        contact_id = await hubspot.contact("k")
        answer = await hubspot.post(
            f"{OBJECTS}/contacts/batch/update",
            {
                "inputs": [
                    {"id": contact_id, "properties": {"firstname": "Ana"}},
                    {"id": "404", "properties": {"firstname": "Bea"}},
                ]
            },
        )
        assert answer.json()["errors"][0]["context"]["ids"] == ["404"]
        assert hubspot.sandbox.portal.objects["contacts"].one(contact_id).values["firstname"] == "Ana"


async def test_a_second_contact_with_an_email_is_a_conflict_that_names_the_first() -> None:
    """Creating a taken address is 409 CONFLICT with the existing id in its message."""
    async with portal(duplicate_answer="conflict_409") as hubspot:
        contact_id = await hubspot.contact("k", email="a@x.test")
        answer = await hubspot.post(f"{OBJECTS}/contacts", {"properties": {"email": "A@x.test"}})
        assert answer.status_code == 409
        assert answer.json()["message"] == f"Contact already exists. Existing ID: {contact_id}"


async def test_a_merge_makes_a_new_record_that_both_old_ids_lead_to() -> None:
    """After a merge both old ids read the new record, which has the activities of both."""
    async with portal() as hubspot:
        old = [await hubspot.contact(key, phone=f"+1650555123{key}") for key in "12"]
        await hubspot.log(message("m1", contact_id=old[0]), message("m2", contact_id=old[1]))
        merged = await hubspot.post(
            f"{OBJECTS}/contacts/merge",
            {"primaryObjectId": old[0], "objectIdToMerge": old[1]},
            token=PERSON_TOKEN,
        )
        new_id = merged.json()["id"]
        assert new_id not in old
        for old_id in old:
            answer = await hubspot.get(f"{OBJECTS}/contacts/{old_id}?properties=phone")
            assert answer.json()["id"] == new_id
            assert answer.json()["properties"]["phone"] == "+16505551231"
        associated = hubspot.sandbox.portal.associations.of("contacts", new_id, "communications")
        assert len(associated) == 2
        assert len(hubspot.sandbox.portal.contacts) == 1


@pytest.mark.parametrize(
    ("merged_unique_value", "contacts"), [("dropped", 2), ("followed", 1)], ids=["dropped", "followed"]
)
async def test_the_losing_key_of_a_merge_is_a_switch(merged_unique_value: str, contacts: int) -> None:
    """An upsert by the loser's key makes a second contact, or reaches the merged one, as configured."""
    async with portal(merged_unique_value=merged_unique_value) as hubspot:
        ids = [await hubspot.contact(key) for key in ("winner", "loser")]
        await hubspot.post(
            f"{OBJECTS}/contacts/merge", {"primaryObjectId": ids[0], "objectIdToMerge": ids[1]}
        )
        await hubspot.contact("loser")
        assert len(hubspot.sandbox.portal.contacts) == contacts


async def test_a_gdpr_delete_erases_the_contact_its_activities_and_blocks_the_address() -> None:
    """After a GDPR delete nothing of the person is left and the address cannot come back."""
    async with portal() as hubspot:
        contact_id = await hubspot.contact("k", email="a@x.test")
        await hubspot.log(message("m", contact_id=contact_id))
        answer = await hubspot.post(f"{OBJECTS}/contacts/gdpr-delete", {"objectId": contact_id})
        assert (answer.status_code, answer.content) == (204, b"")
        assert hubspot.sandbox.portal.state()["counts"] == {"contacts": 0, "communications": 0}
        assert (await hubspot.upsert(contact("k", email="a@x.test"))).status_code == 400


async def test_a_gdpr_delete_by_an_unknown_address_blocks_it() -> None:
    """An address that nobody has is blocked from later use."""
    async with portal() as hubspot:
        document = {"objectId": "b@x.test", "idProperty": "email"}
        answer = await hubspot.post(f"{OBJECTS}/contacts/gdpr-delete", document)
        assert answer.status_code == 204
        assert (await hubspot.upsert(contact("k", email="b@x.test"))).status_code == 400


async def test_history_tells_our_writes_from_a_persons() -> None:
    """Whether only we ever wrote a contact can be read from the sourceType of its histories."""
    async with portal() as hubspot:
        contact_id = await hubspot.contact("k", firstname="Ana")
        await hubspot.contact("other", firstname="Bea")
        await hubspot.post(
            f"{OBJECTS}/contacts/batch/update",
            {"inputs": [{"id": contact_id, "properties": {"firstname": "Anna"}}]},
            token=PERSON_TOKEN,
        )
        answer = await hubspot.post(
            f"{OBJECTS}/contacts/batch/read",
            {
                "idProperty": "whatsapp_contact_key",
                "inputs": [{"id": "k"}, {"id": "other"}],
                "propertiesWithHistory": ["firstname"],
            },
        )
        sources = {
            result["properties"]["whatsapp_contact_key"]: [
                (version["sourceType"], version["value"])
                for version in result["propertiesWithHistory"]["firstname"]
            ]
            for result in answer.json()["results"]
        }
        assert sources["k"] == [("CRM_UI", "Anna"), ("INTEGRATION", "Ana")]
        assert sources["other"] == [("INTEGRATION", "Bea")]


async def test_archived_contacts_are_gone_and_free_their_key() -> None:
    """An archived contact is not read any more and its key makes a new record."""
    async with portal() as hubspot:
        contact_id = await hubspot.contact("k")
        answer = await hubspot.post(
            f"{OBJECTS}/contacts/batch/archive", {"inputs": [{"id": contact_id}, {"id": "404"}]}
        )
        assert answer.status_code == 204
        assert (await hubspot.get(f"{OBJECTS}/contacts/{contact_id}")).status_code == 404
        assert await hubspot.contact("k") != contact_id


async def test_deleted_contacts_can_be_read_as_such_for_90_days_and_erased_ones_never() -> None:
    """A read with archived=true finds what was deleted, not what was erased, merged or deleted long ago."""
    async with portal() as hubspot:
        ids = [await hubspot.contact(key) for key in ("deleted", "erased", "winner", "loser", "live")]
        await hubspot.post(f"{OBJECTS}/contacts/batch/archive", {"inputs": [{"id": ids[0]}]})
        await hubspot.post(f"{OBJECTS}/contacts/gdpr-delete", {"objectId": ids[1]})
        await hubspot.post(
            f"{OBJECTS}/contacts/merge", {"primaryObjectId": ids[2], "objectIdToMerge": ids[3]}
        )
        found = []
        for days in (0, 91):
            hubspot.clock.now += days * 86_400
            answer = await hubspot.post(
                f"{OBJECTS}/contacts/batch/read?archived=true",
                {"inputs": [{"id": record_id} for record_id in ids]},
            )
            found.append([result["id"] for result in answer.json()["results"]])
        assert found == [[ids[0]], []]


@pytest.mark.parametrize(
    ("typed", "searched"),
    [
        pytest.param("+55 (11) 98765-4321", "11987654321", id="international"),
        pytest.param("+55 11 98765-4321 ext. 12", "11987654321", id="extension"),
        pytest.param("+44 (0)20 7946 0958", "2079460958", id="trunk-zero"),
        pytest.param("5511987654321", "5511987654321", id="no-plus"),
        pytest.param("0055 11 98765 4321", "5511987654321", id="dialled-abroad"),
        pytest.param("011 98765-4321", "11987654321", id="national"),
        pytest.param("00004", "4", id="leading-zeros"),
    ],
)
def test_phone_search_sees_the_national_number(typed: str, searched: str) -> None:
    """The calculated property is the number without country code; without "+" all digits but leading zeros."""
    assert national_number(typed) == searched
