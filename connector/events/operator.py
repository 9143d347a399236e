"""`operator.actions`: what people did to the running system by a command, for whoever asks later."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from connector.events.base import Model, UtcDatetime


class OperatorAction(Model):
    """One step of one act of an operator. Nothing is folded from it: it is a record for people and audits."""

    type: Literal["operator.action"] = "operator.action"
    event_id: str = Field(description="`operator:ACT:PHASE`: the same step said twice is the same record.")
    version: int = 1
    at: UtcDatetime
    act: str = Field(description="Shared by all records of one act.")
    phase: str = Field(description="began | finished | stopped; an act of one step is only `finished`.")
    command: str = Field(description="As it is typed, without options, e.g. `dlq redrive`.")
    who: str
    why: str = ""
    subject: str = Field(
        default="", description="What it was done to: a group of dead letters, a plan's hash."
    )
    details: dict[str, Any] = Field(default_factory=dict, description="Counts and options. No content.")


def operator_action(
    *,
    act: str,
    phase: str,
    command: str,
    who: str,
    at: UtcDatetime,
    why: str = "",
    subject: str = "",
    details: dict[str, Any] | None = None,
) -> OperatorAction:
    """The record of one step of an act."""
    return OperatorAction(
        event_id=f"operator:{act}:{phase}",
        at=at,
        act=act,
        phase=phase,
        command=command,
        who=who,
        why=why,
        subject=subject,
        details=details or {},
    )
