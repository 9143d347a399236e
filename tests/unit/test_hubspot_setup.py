"""What the portal's answers about properties are taken for."""

from collections.abc import Mapping
from typing import Any, cast

from connector.crm.hubspot.activities import ActivityGuard
from connector.crm.hubspot.client import HubSpotClient
from connector.crm.hubspot.failures import call_failure
from connector.crm.hubspot.schema import MESSAGE_ID
from connector.crm.hubspot.setup import check_setup

Answer = tuple[int, dict[str, Any]]


class Portal:
    """Properties as a portal keeps them: made at once, shown by name only after `lag` looks."""

    def __init__(self, *, lag: int = 0, communications: bool = True) -> None:
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
        object_type, _, name = path.partition("/")
        made = self._made[object_type]
        if object_type == "communications" and not self._communications:
            raise call_failure(
                404, {"message": "Unable to infer object type from: communications"}, {}, writes=writes
            )
        if method == "POST":
            assert body is not None
            if name != "groups":
                made[body["name"]] = body
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
