"""What the portal's answers about properties are taken for."""

from collections.abc import Callable, Mapping
from typing import Any, cast

import pytest

from connector.crm.hubspot.activities import ActivityGuard
from connector.crm.hubspot.client import HubSpotClient
from connector.crm.hubspot.failures import call_failure
from connector.crm.hubspot.schema import CONTACT_KEY, MESSAGE_ID
from connector.crm.hubspot.setup import check_setup
from connector.errors import Terminal

Answer = tuple[int, dict[str, Any]]


class Portal:
    """Properties as a portal keeps them: made at once, shown by name only after `lag` looks."""

    def __init__(
        self,
        *,
        lag: int = 0,
        communications: bool = True,
        refuses: Callable[[str, str], int] = lambda *_: 0,
        flags: bool = True,
    ) -> None:
        """`refuses(method, path)`: a status, 0 for none. `flags`: whether a property's document tells of uniqueness."""
        self._refuses = refuses
        self._flags = flags
        self._lag = lag
        self._communications = communications
        self._made: dict[str, dict[str, Mapping[str, Any]]] = {"contacts": {}, "communications": {}}
        self._looks: dict[str, int] = {}

    def path(self, family: str, rest: str) -> str:
        assert family == "properties"
        return rest

    async def call(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, *, writes: bool
    ) -> Answer:
        if status := self._refuses(method, path):
            raise call_failure(status, {"message": "refused"}, {}, writes=writes)
        object_type, _, name = path.partition("/")
        made = self._made[object_type]
        if object_type == "communications" and not self._communications:
            raise call_failure(
                404, {"message": "Unable to infer object type from: communications"}, {}, writes=writes
            )
        if method == "POST":
            assert body is not None
            if name != "groups":
                if body["name"] in made:
                    raise call_failure(409, {"message": "there already"}, {}, writes=writes)
                flag = {} if self._flags else {"hasUniqueValue": None}
                made[body["name"]] = {
                    key: value for key, value in {**body, **flag}.items() if value is not None
                }
            return 201, dict(body)
        if not name:
            return 200, {"results": list(made.values())}
        self._looks[name] = self._looks.get(name, 0) + 1
        if name not in made or self._looks[name] <= self._lag:
            raise call_failure(404, {"message": f"Property {name} is not there"}, {}, writes=writes)
        return 200, dict(made[name])

    @property
    def client(self) -> HubSpotClient:
        return cast("HubSpotClient", self)


async def test_a_property_made_a_moment_ago_is_waited_for() -> None:
    """HubSpot shows a new property by name a little later: it is not taken for one that the portal refuses."""
    report, guard = await check_setup(Portal(lag=2).client, create=True)
    assert guard is ActivityGuard.UNIQUE
    assert report.ready


async def test_a_portal_whose_communications_take_no_properties_is_ready() -> None:
    """Such a portal is served by a reference in the text; the line does not stop for it."""
    report, guard = await check_setup(Portal(communications=False).client, create=True)
    assert guard is ActivityGuard.NONE
    assert report.ready
    assert MESSAGE_ID not in report.found


async def test_an_empty_portal_is_not_waited_for() -> None:
    """Without `create` nothing is expected: the missing properties are named at once."""
    report, guard = await check_setup(Portal().client, create=False)
    assert guard is ActivityGuard.NONE
    assert not report.ready
    assert "whatsapp_contact_key" in report.missing


async def test_an_answer_without_flags_says_nothing_against_our_properties() -> None:
    """Only a key that is said not to be unique stops the line; of messages, what is not promised is not relied on."""
    report, guard = await check_setup(Portal(flags=False).client, create=True)
    assert guard is ActivityGuard.PLAIN
    assert report.ready


async def test_a_key_that_is_said_not_to_be_unique_stops_the_line() -> None:
    """Contacts would be doubled by it, and it cannot be changed."""
    portal = Portal()
    await portal.call("POST", "contacts", {"name": CONTACT_KEY, "hasUniqueValue": False}, writes=True)
    with pytest.raises(Terminal, match="not unique"):
        await check_setup(portal.client, create=True)


@pytest.mark.parametrize("status", [403, 404, 405, 501])
@pytest.mark.parametrize("create", [True, False], ids=["create", "look"])
async def test_a_portal_that_shows_no_properties_is_written_to(status: int, *, create: bool) -> None:
    """What cannot be checked is said and keeps nobody waiting: a write that lacks a property stops the line itself."""
    portal = Portal(refuses=lambda method, _: status if method == "GET" else 0)
    report, guard = await check_setup(portal.client, create=create)
    assert report.ready
    assert guard is ActivityGuard.NONE
    assert (CONTACT_KEY in report.found) is create
    assert (CONTACT_KEY in report.unchecked) is not create


async def test_without_the_scope_to_make_properties_those_that_are_there_are_enough() -> None:
    """An admin made the contact properties by hand; the messages do without any."""
    portal = Portal(
        refuses=lambda method, path: 403 if method == "POST" and path == "communications/groups" else 0
    )
    report, guard = await check_setup(portal.client, create=True)
    assert report.ready
    assert guard is ActivityGuard.NONE


async def test_a_portal_that_shows_properties_only_as_a_list_is_read_by_it() -> None:
    """The second look finds in the list what the portal does not show by its name."""
    portal = Portal()
    await check_setup(portal.client, create=True)
    listed = Portal(refuses=lambda method, path: 404 if method == "GET" and "/" in path else 0)
    listed._made = portal._made
    report, guard = await check_setup(listed.client, create=True)
    assert report.ready
    assert guard is ActivityGuard.UNIQUE


async def test_a_portal_without_groups_is_asked_for_the_properties_all_the_same() -> None:
    """The group is for people who look for the properties; what is written does not need it."""
    portal = Portal(refuses=lambda _, path: 404 if path == "contacts/groups" else 0)
    report, _ = await check_setup(portal.client, create=True)
    assert report.ready
