"""One request's writes: who writes, which locks it may take, what it must not see, and what it can take back."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from connector.sandbox.journal import Effect
from connector.sandbox.salesforce.records import Undo


def _always(_wanted: Iterable[str]) -> bool:
    return True


def _nothing(_text: str) -> bool:
    return False


def _none(_sobject: str, _name: str, _value: str) -> bool:
    return False


@dataclass(kw_only=True)
class Transaction:
    """The writes of one request."""

    user_id: str
    allow_save: bool = False
    """Whether alerts of duplicate rules are to be ignored."""
    acquire: Callable[[Iterable[str]], bool] = _always
    poisoned: Callable[[str], bool] = _nothing
    """The test of a record's text that a poison fault sets."""
    contended: Callable[[str], bool] = _nothing
    """The test of a record's text that a lock fault sets."""
    overtaken: Callable[[str, str, str], bool] = _none
    """Whether (object, field, value) did not exist when the request arrived: another transaction, begun at the
    same time, inserted it."""
    undo: list[Undo] = field(default_factory=list)
    effects: list[Effect] = field(default_factory=list)

    def note(self, action: str, sobject: str, record_id: str, undo: Undo) -> None:
        """Remember one change."""
        self.effects.append(Effect(action=action, object_type=sobject, record_id=record_id))
        self.undo.append(undo)

    def roll_back(self) -> None:
        """Take every change back."""
        for step in reversed(self.undo):
            step()
        self.undo.clear()
        self.effects.clear()
