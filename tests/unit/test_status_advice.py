"""What `connector status` tells to do, from what it saw."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from connector.crm.quota import AccountQuota
from connector.recovery.advice import Advice, advise
from connector.recovery.letters.groups import LetterGroup, LetterGroups
from connector.recovery.overview import Dependency, Overview, Role
from connector.recovery.retry import Refusals
from connector.recovery.status import NumberPause, Parked, SinkStatus
from connector.state.switches import Pressed
from connector.streams.lag import GroupLag
from connector.telemetry.reading import Reading

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
GROUP = GroupLag(
    stage="route", topic="whatsapp.updates", lag=0, members=1, state="Stable", ever_committed=True
)
SINK = SinkStatus(sink="hubspot", waiting=0, oldest=None, in_doubt=0, held={}, blocked=0, refused=[])
ROLE = Role(name="route", url="http://r", state="ready", ready=True, reading=Reading(at=0.0), parts=[])
LETTERS = LetterGroup(
    stage="route",
    cause="unreadable_update",
    open=3,
    fixed=0,
    redriven=1,
    dropped=0,
    first=NOW,
    last=NOW,
    sample="dead:route:1",
    reason="no id",
    advice="",
    topic="whatsapp.updates",
)
QUOTA = AccountQuota(
    crm="hubspot",
    account="abc",
    day_calls=250_000,
    day_left=1000,
    look_again_at=None,
    refused_until=None,
    at_once=None,
    open_calls=0,
    buckets=[],
)
FINE = Overview(
    dependencies=[
        Dependency(name="kafka", works=True, said="answers"),
        Dependency(name="hubspot", works=None, said="not asked"),
    ],
    roles=[ROLE],
    groups=[GROUP],
    sinks=[SINK],
    parked=Parked(count=2, oldest=NOW - timedelta(hours=1)),
    quotas=[QUOTA],
    dead_letters=LetterGroups(since=None, complete=True, groups=()),
)


def _down(overview: Overview) -> Overview:
    down = Dependency(name="postgresql", works=False, said="gone", advice="check CONNECTOR_DATABASE__URL")
    return replace(overview, dependencies=[down])


def _silent(overview: Overview) -> Overview:
    return replace(overview, roles=[replace(ROLE, state="no answer", ready=False)])


def _stopped(overview: Overview) -> Overview:
    stop = {"since": "2026", "reason": "refused", "advice": "connector setup hubspot"}
    part = {"part": "sync-hubspot-writer", "state": "stopped_line", "ready": False, "stopped": stop}
    return replace(overview, roles=[replace(ROLE, state="stopped_line", ready=False, parts=[part])])


def _waits(overview: Overview) -> Overview:
    wait = {"since": "2026", "reason": "503", "advice": ""}
    part = {"part": "writer", "state": "waiting", "ready": False, "waiting_for": {"hubspot": wait}}
    return replace(overview, roles=[replace(ROLE, state="waiting", ready=False, parts=[part])])


def _abandoned(overview: Overview) -> Overview:
    return replace(overview, groups=[replace(GROUP, stage="route-history", lag=7, members=0, state="Empty")])


def _late(overview: Overview) -> Overview:
    return replace(overview, sinks=[replace(SINK, waiting=12, oldest=NOW - timedelta(minutes=10))])


def _refused(overview: Overview) -> Overview:
    refused = Refusals(cause="hubspot_validation_error", contacts=1, activities=0, example="invalid email")
    return replace(overview, sinks=[replace(SINK, blocked=4, refused=[refused])])


def _retried(overview: Overview) -> Overview:
    return replace(overview, sinks=[replace(SINK, waiting=3, retried=3, setback="UNABLE_TO_LOCK_ROW")])


def _number_paused(overview: Overview) -> Overview:
    return replace(overview, numbers_paused=[NumberPause(phone_number_id="1000", reason="131031", until=NOW)])


def _dead(overview: Overview) -> Overview:
    return replace(overview, dead_letters=LetterGroups(since=NOW, complete=True, groups=(LETTERS,)))


def _settled(overview: Overview) -> Overview:
    settled = replace(LETTERS, open=0, redriven=3)
    return replace(overview, dead_letters=LetterGroups(since=NOW, complete=True, groups=(settled,)))


def _paused(overview: Overview) -> Overview:
    switch = Pressed(kind="sink", scope="one", subject="hubspot", reason="a mapping", who="ana", at=NOW)
    return replace(overview, paused=[switch])


def _paused_template(overview: Overview) -> Overview:
    switch = Pressed(kind="sends", scope="template", subject="offer", reason="a price", who="ana", at=NOW)
    return replace(overview, paused=[switch])


def _used_up(overview: Overview) -> Overview:
    return replace(overview, quotas=[replace(QUOTA, day_left=0, look_again_at=NOW)])


def _set_back(overview: Overview) -> Overview:
    return replace(overview, quotas=[replace(QUOTA, refused_until=NOW)])


def _parked(overview: Overview) -> Overview:
    return replace(overview, parked=Parked(count=2, oldest=NOW - timedelta(days=8)))


@pytest.mark.parametrize(
    ("wrong", "what", "do", "urgent"),
    [
        pytest.param(_down, "postgresql: gone", "CONNECTOR_DATABASE__URL", True, id="dependency"),
        pytest.param(_silent, "route does not answer", "connector run ROLE", True, id="role-silent"),
        pytest.param(_stopped, "stopped since 2026: refused", "connector setup hubspot", True, id="stopped"),
        pytest.param(_waits, "waits for hubspot since 2026: 503", "by itself", True, id="waits"),
        pytest.param(_abandoned, "7 records wait", "connector run route", True, id="nobody-in-the-group"),
        pytest.param(
            _late, "12 items wait for hubspot, the oldest for 600 s", "sync-hubspot", False, id="late"
        ),
        pytest.param(
            _refused,
            "4 messages are blocked by refused people: hubspot_validation_error: invalid email",
            "connector state retry --sink hubspot --cause hubspot_validation_error",
            False,
            id="refused",
        ),
        pytest.param(
            _retried, "3 items do not pass to hubspot", "they go on by themselves", False, id="retried"
        ),
        pytest.param(
            _number_paused,
            "number 1000 sends nothing until 2026-03-01 12:00:00 UTC: 131031",
            "by itself",
            False,
            id="number-paused",
        ),
        pytest.param(
            _dead,
            "3 dead letters of route: unreadable_update",
            "connector dlq show route/unreadable_update",
            False,
            id="dead-letters",
        ),
        pytest.param(
            _used_up, "hubspot's calls of the day are used up (250000)", "nothing is lost", True, id="day"
        ),
        pytest.param(
            _paused, "sink hubspot: paused by ana", "connector resume sink hubspot", False, id="paused-sink"
        ),
        pytest.param(
            _paused_template,
            "a price",
            "connector resume sends --template offer",
            False,
            id="paused-template",
        ),
        pytest.param(_set_back, "nobody calls until 12:00:00 UTC", "by itself", False, id="limit"),
        pytest.param(_parked, "2 statuses wait for their message", "nothing is lost", False, id="parked"),
    ],
)
def test_each_thing_that_is_wrong_has_its_advice(
    wrong: Callable[[Overview], Overview], what: str, do: str, urgent: object
) -> None:
    """One line a thing, which names the command or variable that helps; what does not work now is urgent."""
    [advice] = advise(wrong(FINE), now=NOW)
    assert what in advice.what
    assert do in advice.do
    assert advice.urgent is urgent


@pytest.mark.parametrize("fine", [lambda overview: overview, _settled], ids=["all", "settled-letters"])
def test_nothing_wrong_is_no_advice(fine: Callable[[Overview], Overview]) -> None:
    """Letters that were redriven need nobody; neither do unasked CRMs or fresh parked statuses."""
    assert advise(fine(FINE), now=NOW) == []


def test_what_does_not_work_comes_first() -> None:
    """Advice about what is down stands above advice about what lies around."""
    found: list[Advice] = advise(_down(_dead(FINE)), now=NOW)
    assert [advice.urgent for advice in found] == [True, False]
