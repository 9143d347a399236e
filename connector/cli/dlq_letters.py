"""What the commands about dead letters share: how letters are named, the act, and its record."""

from __future__ import annotations

import uuid
from contextlib import aclosing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from connector.cli.acting import record_action
from connector.cli.operator import who

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from connector.errors import Rejected
    from connector.recovery.letters.acts import Act
    from connector.recovery.letters.groups import Selection
    from connector.recovery.letters.reading import KeptLetter
    from connector.recovery.letters.redriving import Door
    from connector.settings import Settings

Named = Annotated[
    str,
    typer.Argument(
        metavar="STAGE/CAUSE|LETTER", help="A group as `connector dlq ls` shows it, or one letter's id."
    ),
]


def doors() -> Mapping[str, Door]:
    """The stages whose letters never were on a topic."""
    from connector.ingress.again import through_the_door
    from connector.ingress.dead_letters import STAGE

    return {STAGE: through_the_door}


def acting(reason: str, by: str) -> Act:
    """An act that begins now."""
    from connector.recovery.letters.acts import Act

    return Act(act=str(uuid.uuid4()), who=who(by), why=reason, at=datetime.now(UTC))


async def record(
    settings: Settings, act: Act, *, phase: str, command: str, selection: Selection, details: dict[str, Any]
) -> None:
    """A step of the act on `operator.actions`."""
    await record_action(
        settings,
        act=act.act,
        phase=phase,
        command=command,
        who=act.who,
        why=act.why,
        subject=str(selection),
        details=details,
    )


def none_of(selection: Selection) -> Rejected:
    """The selection names nothing that is open."""
    from connector.errors import Rejected

    return Rejected(
        f"There are no open dead letters {selection}. Nothing was changed.",
        cause="no_letters",
        advice="connector dlq ls --all",
    )


async def open_letters(
    settings: Settings, selection: Selection, states: Mapping[str, str]
) -> AsyncGenerator[KeptLetter, None]:
    """The selection's letters that nothing, or nothing whole, was done about. `states`: what was done, by id."""
    from connector.recovery.letters.acts import REDRIVING
    from connector.recovery.letters.reading import all_letters

    async with aclosing(all_letters(settings.kafka)) as letters:
        async for kept in letters:
            is_open = states.get(kept.letter.event_id, REDRIVING) == REDRIVING
            if is_open and not kept.refused_by_crm and selection.takes(kept):
                yield kept
