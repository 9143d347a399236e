"""Errors that the simulated WhatsApp answers, or tells later as a failed status, because it was asked to.

Meta announces the same error as an answer or as a status (…/cloud-api/support/error-codes), whatever its cause.
"""

from __future__ import annotations

from random import Random
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from connector.sandbox.whatsapp.graph_errors import CODES

When = Literal["answer", "status"]


class Refusal(BaseModel):
    """Which messages are refused, and how."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    code: int
    when: When = "answer"
    """answer: at once, and nothing is counted; status: accepted first, then failed."""
    to: str | None = None
    """Digits of a phone, or a BSUID; None: to anybody."""
    template: str | None = None
    """Name; None: any message."""
    phone_number_id: str | None = None
    times: Annotated[int, Field(ge=1)] | None = None
    """Meets so many messages, then is gone; None: for ever."""
    probability: Annotated[float, Field(gt=0, le=1)] = 1.0

    @field_validator("code")
    @classmethod
    def _known(cls, value: int) -> int:
        if value not in CODES:
            raise ValueError(f"no such error; there are {', '.join(map(str, sorted(CODES)))}")
        return value


class Refusals:
    """The refusals in force, oldest first. `seed` makes the draws repeatable."""

    def __init__(self, *, seed: int) -> None:
        self._random = Random(seed)
        self._armed: list[tuple[Refusal, list[int]]] = []

    def add(self, refusal: Refusal) -> None:
        """Put one in force."""
        self._armed.append((refusal, [refusal.times or 0]))

    def clear(self) -> None:
        """Take all out of force."""
        self._armed.clear()

    def draw(
        self, when: When, *, names: frozenset[str], template: str | None, phone_number_id: str
    ) -> int | None:
        """The error that this message meets. `names`: what its recipient is called."""
        for armed in list(self._armed):
            refusal, left = armed
            if (
                refusal.when != when
                or (refusal.to is not None and refusal.to not in names)
                or refusal.template not in (None, template)
                or refusal.phone_number_id not in (None, phone_number_id)
                or (refusal.probability < 1 and self._random.random() >= refusal.probability)
            ):
                continue
            if refusal.times is not None:
                left[0] -= 1
                if left[0] == 0:
                    self._armed.remove(armed)
            return refusal.code
        return None
