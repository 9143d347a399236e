"""Items that a CRM answers without a word about them."""

from dataclasses import dataclass

from connector.crm.port import Later, Refused, Unknown, WriteResult, Written
from connector.sync.passed_over import PassedOver

SILENCE = Unknown(reason="Fewer results than items.", passed_over=True)


@dataclass(frozen=True)
class Item:
    key: str


ITEMS = [Item(str(number)) for number in range(5)]
BAD = ITEMS[2]


def calls_until_settled(passed_over: PassedOver) -> tuple[int, dict[str, WriteResult]]:
    """Write the five items to a CRM that names none of a call's results when the bad one is in it."""
    settled: dict[str, WriteResult] = {}
    calls = 0
    while len(settled) < len(ITEMS):
        left = [item for item in ITEMS if item.key not in settled]
        while left:
            chunk = passed_over.chunk(left)
            calls += 1
            answer = SILENCE if BAD in chunk else Written(record_id="1")
            results = passed_over.judge(chunk, [answer] * len(chunk))
            settled |= {
                item.key: result
                for item, result in zip(chunk, results, strict=True)
                if not isinstance(result, Unknown)
            }
            left = left[len(chunk) :]
    return calls, settled


def test_an_item_that_is_passed_over_for_ever_is_refused_and_spares_the_others() -> None:
    """After three answers its call goes alone, after six it is refused with the reason; the others are written."""
    calls, settled = calls_until_settled(PassedOver("hubspot"))
    refused = settled.pop(BAD.key)
    assert isinstance(refused, Refused)
    assert refused.cause == "hubspot_passes_over"
    assert "Fewer results" in refused.reason
    assert set(settled.values()) == {Written(record_id="1")}
    assert calls == 3 + 5 + 2


def test_a_short_answer_now_and_then_refuses_nobody() -> None:
    """Any word about an item ends its count."""
    passed_over = PassedOver("hubspot")
    for word in (Written(record_id="1"), Later(reason="busy")):
        for _ in range(3):
            assert passed_over.judge([BAD], [SILENCE] * 1) == [SILENCE]
            passed_over.judge([BAD], [word])
        assert passed_over.chunk(ITEMS) == ITEMS


def test_a_lost_answer_counts_for_nothing() -> None:
    """A call that timed out says nothing about its items, however often."""
    passed_over = PassedOver("hubspot")
    lost = Unknown(reason="timeout")
    for _ in range(20):
        assert passed_over.judge([BAD], [lost]) == [lost]
    assert passed_over.chunk(ITEMS) == ITEMS
