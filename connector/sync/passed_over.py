"""Items that a CRM takes and answers without a word about them, again and again.

Once it is a short answer: the item is looked up and tried again. An item that every answer passes over would be tried
for ever, at the account's quota and without anybody being told. So it goes alone after a while, lest its neighbours
suffer from it or it from them, and is refused in the end. A process counts for itself; a restart begins anew.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Protocol, TypeVar

from connector.crm.port import Refused, Unknown, WriteResult

_ALONE_AFTER = 3
_REFUSED_AFTER = 6
_MOST = 10_000  # items counted; more at once are an outage of the CRM, in which nobody is refused


class _Named(Protocol):
    @property
    def key(self) -> str: ...


Item = TypeVar("Item", bound=_Named)


class PassedOver:
    """How often each item of a sink was passed over."""

    def __init__(self, crm: str) -> None:
        self._crm = crm
        self._times: Counter[str] = Counter()

    def chunk(self, items: Sequence[Item]) -> Sequence[Item]:
        """The first of these items that go out in one call; at least one."""
        for place, item in enumerate(items):
            if self._times[item.key] >= _ALONE_AFTER:
                return items[: max(1, place)]
        return items

    def judge(self, items: Sequence[Item], answers: Sequence[WriteResult]) -> Sequence[WriteResult]:
        """The answers; an item that was passed over too often is `Refused`."""
        if len(self._times) > _MOST:
            self._times.clear()
        return [self._judged(item.key, answer) for item, answer in zip(items, answers, strict=True)]

    def _judged(self, key: str, answer: WriteResult) -> WriteResult:
        if not (isinstance(answer, Unknown) and answer.passed_over):
            if not isinstance(answer, Unknown):
                self._times.pop(key, None)
            return answer
        self._times[key] += 1
        if self._times[key] < _REFUSED_AFTER:
            return answer
        del self._times[key]
        return Refused(
            cause=f"{self._crm}_passes_over",
            reason=f"{answer.reason} So it was {_REFUSED_AFTER} times, the last ones with this item alone.",
            advice="look in the CRM whether it is there, and ask its support why it does not say",
        )
