"""What a batch call becomes for each of its items, against answers that portals are known to give."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, cast
from uuid import UUID

import pytest

from connector.crm.hubspot.activities import (
    ActivityGuard,
    find_activities,
    log_activities,
    update_activities,
)
from connector.crm.hubspot.batches import BatchInput, property_key, write_batch
from connector.crm.hubspot.client import HubSpotClient
from connector.crm.hubspot.contacts import again_if_ours, tell_erased
from connector.crm.hubspot.failures import call_failure
from connector.crm.hubspot.schema import CONTACT_KEY, MESSAGE_ID
from connector.crm.port import (
    Activity,
    ActivityChange,
    ActivityQuery,
    ContactProfile,
    ContactUpsert,
    Gone,
    Later,
    Refused,
    Unknown,
    WriteResult,
    Written,
)
from connector.errors import ConnectorError, RateLimited, Terminal, Transient, Uncertain

Call = tuple[str, Mapping[str, Any]]
Answer = tuple[int, dict[str, Any]]


class Portal:
    """Answers each call by `answer(path, inputs)`, which may raise, and remembers the calls."""

    def __init__(self, answer: Callable[[str, Sequence[Mapping[str, Any]]], Answer]) -> None:
        self._answer = answer
        self.calls: list[Call] = []

    def path(self, family: str, rest: str) -> str:
        return f"/{family}/{rest}"

    async def call(self, _: str, path: str, body: Mapping[str, Any], *, writes: bool) -> Answer:
        self.calls.append((path, body))
        return self._answer(path, body["inputs"])

    @property
    def client(self) -> HubSpotClient:
        return cast("HubSpotClient", self)


def refused(
    message: str = "bad record", *, status: int = 400, category: str = "VALIDATION_ERROR"
) -> Exception:
    return call_failure(status, {"message": message, "category": category}, {}, writes=True)


def activity(wamid: str) -> Activity:
    return Activity(
        wamid=wamid,
        contact_record_id="7",
        direction="inbound",
        status="received",
        at=datetime(2026, 3, 1, tzinfo=UTC),
        subject="",
        body=wamid,
    )


def written(inputs: Sequence[Mapping[str, Any]]) -> Answer:
    return 201, {
        "results": [
            {"id": f"record of {item['objectWriteTraceId']}", "properties": item["properties"]}
            for item in inputs
        ]
    }


async def logged(
    portal: Portal, *wamids: str, guard: ActivityGuard = ActivityGuard.PLAIN
) -> dict[str, WriteResult]:
    results = await log_activities(portal.client, [activity(wamid) for wamid in wamids], guard)
    return dict(zip(wamids, results, strict=True))


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (RateLimited("no calls left", retry_after=3.0), Later),
        (Uncertain("the answer was lost"), Unknown),
        (Terminal("the token was revoked"), Later),
    ],
    ids=["rate limit", "lost answer", "credential"],
)
async def test_a_half_that_was_written_is_told_when_the_other_half_fails(
    failure: ConnectorError, kind: type
) -> None:
    """What the first half of a refused batch wrote is not forgotten, or it would be created twice; what was not sent waits."""

    def answer(_: str, inputs: Sequence[Mapping[str, Any]]) -> Answer:
        wamids = [item["objectWriteTraceId"] for item in inputs]
        if len(wamids) == 4:
            raise refused()
        if wamids == ["c"]:
            raise failure
        return written(inputs)

    results = await logged(Portal(answer), "a", "b", "c", "d")
    assert results["a"] == Written(record_id="record of a")
    assert results["b"] == Written(record_id="record of b")
    assert isinstance(results["c"], kind)
    assert isinstance(results["d"], Later)


@pytest.mark.parametrize(
    "bad",
    [{0}, {33}, {50}, {99}, {0, 99}, {10, 11, 12}, set(range(0, 100, 9))],
    ids=lambda bad: f"{len(bad)} bad, first {min(bad)}",
)
async def test_bad_items_of_a_batch_that_is_refused_whole_are_found_by_halves(bad: set[int]) -> None:
    """Each is refused for itself and every other is written once; one among a hundred takes seven calls and the rest one."""
    poison = {str(number) for number in bad}
    created: list[str] = []

    def answer(_: str, inputs: Sequence[Mapping[str, Any]]) -> Answer:
        keys = [item["objectWriteTraceId"] for item in inputs]
        if found := poison & set(keys):
            raise refused(f"bad: {min(found)}")
        created.extend(keys)
        return written(inputs)

    portal = Portal(answer)
    results = await logged(portal, *map(str, range(100)))
    assert {key for key, result in results.items() if isinstance(result, Refused)} == poison
    assert all(
        result.reason == f"bad: {key}" for key, result in results.items() if isinstance(result, Refused)
    )
    assert sorted(created, key=int) == [str(number) for number in range(100) if number not in bad]
    assert len(portal.calls) <= 1 + 8 * len(bad)


async def test_a_batch_that_is_too_large_blames_nobody_who_passes_alone() -> None:
    """413 says nothing about an item: the last one of a batch is tried for itself too."""

    def answer(_: str, inputs: Sequence[Mapping[str, Any]]) -> Answer:
        if len(inputs) > 1:
            raise refused("too large", status=413)
        return written(inputs)

    results = await logged(Portal(answer), "a", "b", "c", "d", "e")
    assert all(isinstance(result, Written) for result in results.values())


async def test_a_failure_before_anything_was_written_is_of_the_whole_call() -> None:
    """Nothing was written yet, so the call as a whole waits, and the sink with it."""

    def answer(_: str, inputs: Sequence[Mapping[str, Any]]) -> Answer:
        raise refused() if len(inputs) == 4 else RateLimited("no calls left", retry_after=3.0)

    with pytest.raises(RateLimited):
        await logged(Portal(answer), "a", "b", "c", "d")


@pytest.mark.parametrize("status", [404, 405, 410])
async def test_an_endpoint_that_is_not_there_stops_the_line(status: int) -> None:
    """A path that HubSpot retired, or a proxy's own answer, says nothing about a record: no dead letters."""

    def answer(_: str, inputs: Sequence[Mapping[str, Any]]) -> Answer:
        raise refused("resource not found", status=status)

    portal = Portal(answer)
    with pytest.raises(Terminal, match=str(status)):
        await logged(portal, "a", "b")
    assert len(portal.calls) == 1


def test_a_request_timeout_of_a_proxy_leaves_the_write_in_doubt() -> None:
    """408 does not tell whether the request was passed on."""
    assert isinstance(call_failure(408, "", {}, writes=True), Uncertain)
    assert isinstance(call_failure(408, "", {}, writes=False), Transient)


_ABSENT = 'Property values were not valid: [{"message":"Property \\"whatsapp_status\\" does not exist","error":"PROPERTY_DOESNT_EXIST"}]'


@pytest.mark.parametrize("whole", [True, False], ids=["whole batch refused", "each item refused"])
async def test_a_property_that_somebody_deleted_stops_the_line(*, whole: bool) -> None:
    """Every record would be refused for it and none is at fault: no dead letters, but the command to run."""

    def answer(_: str, inputs: Sequence[Mapping[str, Any]]) -> Answer:
        if whole:
            raise refused(_ABSENT)
        return 207, {
            "errors": [
                {
                    "message": _ABSENT,
                    "category": "VALIDATION_ERROR",
                    "context": {"objectWriteTraceId": [item["objectWriteTraceId"]]},
                }
                for item in inputs
            ]
        }

    with pytest.raises(Terminal, match="whatsapp_status") as raised:
        await logged(Portal(answer), "a", "b")
    assert "connector setup hubspot" in raised.value.advice


@pytest.mark.parametrize("guard", [ActivityGuard.PLAIN, ActivityGuard.NONE])
async def test_without_a_unique_property_a_conflict_is_one_items_refusal(guard: ActivityGuard) -> None:
    """Nothing can be looked up by a property that is not unique: the item alone is refused, the others written."""

    def answer(path: str, inputs: Sequence[Mapping[str, Any]]) -> Answer:
        assert path.endswith("batch/create")
        if any(item["objectWriteTraceId"] == "b" for item in inputs):
            raise refused("something already exists", status=409, category="CONFLICT")
        return written(inputs)

    results = await logged(Portal(answer), "a", "b", "c", guard=guard)
    assert isinstance(results["b"], Refused)
    assert [isinstance(results[name], Written | Unknown) for name in "ac"] == [True, True]


async def test_a_conflict_of_one_contact_spares_the_others() -> None:
    """One contact's unique value is taken: it alone is refused, the other four are written."""

    def answer(_: str, inputs: Sequence[Mapping[str, Any]]) -> Answer:
        if any(item["id"] == "3" for item in inputs):
            raise refused("Contact already exists. Existing ID: 33", status=409, category="CONFLICT")
        return written(inputs)

    inputs = [BatchInput(key=key, body={"id": key, "properties": {CONTACT_KEY: key}}) for key in "12345"]
    results = await write_batch(
        Portal(answer).client, "/contacts/batch/upsert", inputs, key_of=property_key(CONTACT_KEY)
    )
    assert isinstance(results.pop("3"), Refused)
    assert {type(result) for result in results.values()} == {Written}


_EXISTS = "Contact already exists. Existing ID: 33"
_TAKEN = "Cannot set PropertyValueCoordinates{propertyName=tax_id, value=1} on 44. 55 already has that value."


@pytest.mark.parametrize(
    ("known", "said", "holder", "again"),
    [
        pytest.param(None, _EXISTS, "33", True, id="our key was being made"),
        pytest.param(None, _EXISTS, None, False, id="our key leads nowhere"),
        pytest.param("33", _TAKEN, "33", False, id="a known contact and a property of the portal's own"),
        pytest.param(None, _TAKEN, "33", False, id="HubSpot names another holder"),
        pytest.param(
            "44", "something already exists", "33", True, id="our key is on another record than we knew"
        ),
    ],
)
async def test_only_a_conflict_over_our_own_key_is_tried_again(
    known: str | None, said: str, holder: str | None, *, again: bool
) -> None:
    """An earlier upsert whose answer was lost still ran: the next one updates its record. Others stay refused."""
    item = ContactUpsert(
        contact_id=UUID(int=3),
        profile=ContactProfile(),
        always={},
        once={},
        is_new=known is None,
        record_id=known,
    )

    def answer(_: str, inputs: Sequence[Mapping[str, Any]]) -> Answer:
        record = {"id": holder, "properties": {CONTACT_KEY: item.key}}
        absence = {"category": "OBJECT_NOT_FOUND", "context": {"ids": [item.key]}}
        return 207, {"results": [record] if holder else [], "errors": [] if holder else [absence]}

    conflict = Refused(cause="hubspot_conflict", reason=said)
    result = await again_if_ours(Portal(answer).client, item, conflict)
    assert isinstance(result, Later if again else Refused)


async def test_an_activity_that_could_not_be_moved_keeps_its_old_place() -> None:
    """HubSpot answers 207 without a result: the old association stays, and the move is tried again."""

    def answer(path: str, inputs: Sequence[Mapping[str, Any]]) -> Answer:
        if path.endswith("contacts/batch/create"):
            return 207, {"results": [{"fromObjectId": 1, "toObjectId": 7}]}
        if path.endswith("objects/contacts/batch/read"):
            return 200, {"results": [{"id": "6", "properties": {}}]}
        if path.endswith("contacts/batch/archive"):
            assert [item["from"]["id"] for item in inputs] == ["1"]
            return 204, {}
        return 200, {"results": [{"id": item["id"], "properties": {}} for item in inputs]}

    changes = [
        ActivityChange(record_id=record_id, activity=activity(record_id), moved_from="6")
        for record_id in ("1", "2")
    ]
    portal = Portal(answer)
    results = await update_activities(portal.client, changes, ActivityGuard.PLAIN)
    assert results[0] == Written(record_id="1")
    assert isinstance(results[1], Later)
    assert portal.calls[-1][0].endswith("archive")


async def test_a_batch_that_is_refused_for_a_record_that_is_not_there_is_taken_apart() -> None:
    """A 404 that says OBJECT_NOT_FOUND is about a record, and it alone is gone; one without it is about the path."""

    def answer(_: str, inputs: Sequence[Mapping[str, Any]]) -> Answer:
        if any(item["objectWriteTraceId"] == "w2" for item in inputs):
            raise refused("no record 2", status=404, category="OBJECT_NOT_FOUND")
        return written(inputs)

    def key_of(result: Mapping[str, Any]) -> str:
        return str(result["id"]).removeprefix("record of ")

    inputs = [BatchInput(key=f"w{number}", body={"properties": {}}) for number in range(4)]
    results = await write_batch(Portal(answer).client, "/path", inputs, key_of=key_of)
    assert results.pop("w2") == Gone(reason="no record 2")
    assert [type(result) for result in results.values()] == [Written] * 3

    def retired(_: str, __: Sequence[Mapping[str, Any]]) -> Answer:
        raise refused("no such path", status=404, category="UNKNOWN")

    with pytest.raises(Terminal, match="404"):
        await write_batch(Portal(retired).client, "/path", inputs, key_of=key_of)


def _named(inputs: Sequence[Mapping[str, Any]]) -> Answer:
    return 207, {
        "errors": [{"category": "OBJECT_NOT_FOUND", "context": {"ids": [item["id"] for item in inputs]}}]
    }


def _silent(_: Sequence[Mapping[str, Any]]) -> Answer:
    return 200, {"results": []}


def _not_taken(_: Sequence[Mapping[str, Any]]) -> Answer:
    raise refused("archived is not supported")


def _no_endpoint(_: Sequence[Mapping[str, Any]]) -> Answer:
    raise refused("resource not found", status=404)


@pytest.mark.parametrize(
    ("archived", "erased"),
    [
        pytest.param(_named, True, id="named as absent"),
        pytest.param(_silent, False, id="never mentioned"),
        pytest.param(_not_taken, False, id="refused"),
        pytest.param(_no_endpoint, False, id="no such endpoint"),
    ],
)
async def test_only_who_is_named_as_absent_among_the_deleted_is_erased(
    archived: Callable[[Sequence[Mapping[str, Any]]], Answer], *, erased: bool
) -> None:
    """An account that cannot show deleted records does not tell of erasure: nobody waits for it, or is kept away."""
    portal = Portal(lambda _, inputs: archived(inputs))
    results = await tell_erased(portal.client, {"key": "7", "other": "8"})
    assert {result.erased for result in results.values() if isinstance(result, Gone)} == {erased}
    assert len(results) == 2


@pytest.mark.parametrize("status", [404, 405, 501])
async def test_without_a_batch_read_of_associations_each_contact_is_asked_for_its_own(status: int) -> None:
    """A message in doubt is found among its contact's, page by page, or is certainly not there."""

    class OneByOne(Portal):
        async def call(
            self, method: str, path: str, body: Mapping[str, Any] | None = None, *, writes: bool
        ) -> Answer:
            if method == "GET":
                who, page = path.split("/")[3], path.partition("after=")[2]
                if who == "8":
                    raise refused("gone", status=404, category="OBJECT_NOT_FOUND")
                following = {} if page else {"paging": {"next": {"after": "1"}}}
                return 200, {"results": [{"toObjectId": 21 if page else 20}], **following}
            return await super().call(method, path, body or {}, writes=writes)

    def answer(path: str, _: Sequence[Mapping[str, Any]]) -> Answer:
        if path.startswith("/associations/"):
            raise refused("resource not found", status=status)
        return 200, {
            "results": [{"id": "20", "properties": {}}, {"id": "21", "properties": {MESSAGE_ID: "m"}}]
        }

    queries = [ActivityQuery(wamid=name, contact_record_ids=("7", "8")) for name in ("m", "absent")]
    found = await find_activities(OneByOne(answer).client, queries, ActivityGuard.PLAIN)
    assert found == ["21", None]
