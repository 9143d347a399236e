"""Which tables are behind the log, and which of them the log can bring up."""

import pytest

from connector.errors import TablesLost
from connector.state.offsets import Place
from connector.state.standing import LogSpan, check_gaps, gaps

P0, P1 = Place("topic", 0), Place("topic", 1)


@pytest.mark.parametrize(
    ("stored", "span", "gap"),
    [
        pytest.param({P0: 10}, LogSpan(begin=0, end=20, committed=10), None, id="as far as the group"),
        pytest.param({P0: 12}, LogSpan(begin=0, end=20, committed=10), None, id="folded, not committed yet"),
        pytest.param({P0: 7}, LogSpan(begin=0, end=20, committed=10), (7, 10), id="an older backup"),
        pytest.param({}, LogSpan(begin=4, end=20, committed=10), (4, 10), id="older than the first record"),
        pytest.param({P0: 7}, LogSpan(begin=0, end=20), None, id="the group has read nothing"),
        pytest.param({P0: 7}, LogSpan(begin=10, end=10, committed=7), None, id="nothing left on the log"),
    ],
)
def test_a_gap_is_what_the_group_has_folded_and_the_tables_lack(
    stored: dict[Place, int], span: LogSpan, gap: tuple[int, int] | None
) -> None:
    """Offsets that never existed or that nobody has read are in no gap."""
    assert gaps(stored, {P0: span}).get(P0) == gap


def test_empty_tables_of_a_group_that_has_read_are_lost() -> None:
    """A role that never ran is no such case; also when the log holds nothing of what was read any more."""
    read = {P0: LogSpan(begin=10, end=10, committed=10)}
    with pytest.raises(TablesLost, match="empty") as raised:
        check_gaps("hubspot", {}, stored={}, log=read, rebuild="connector state rebuild --role sync-hubspot")
    assert "connector state rebuild --role sync-hubspot" in raised.value.advice
    check_gaps("hubspot", {}, stored={}, log={P0: LogSpan(begin=0, end=10)}, rebuild="")


def test_a_backup_older_than_the_retention_stops_the_line() -> None:
    """What the log has deleted cannot be read again, and nothing is pretended."""
    log = {P0: LogSpan(begin=8, end=20, committed=10), P1: LogSpan(begin=0, end=5, committed=5)}
    stored = {P0: 7, P1: 5}
    with pytest.raises(TablesLost, match="the log begins at 8"):
        check_gaps("media", gaps(stored, log), stored=stored, log=log, rebuild="rebuild")
