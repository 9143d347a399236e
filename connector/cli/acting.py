"""What an operator does by a command, put on `operator.actions`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from connector.settings import Settings


async def record_action(
    settings: Settings,
    *,
    act: str,
    phase: str,
    command: str,
    who: str,
    why: str,
    subject: str,
    details: dict[str, Any],
) -> None:
    """Return when the broker has the record. The fields are those of `OperatorAction`; raises as `publish` does."""
    from connector.cli.publishing import ORIGIN, publish
    from connector.events.operator import operator_action
    from connector.streams.codec import encode
    from connector.topics import OPERATOR_ACTIONS

    action = operator_action(
        act=act,
        phase=phase,
        command=command,
        who=who,
        why=why,
        at=datetime.now(UTC),
        subject=subject,
        details=details,
    )
    await publish(settings, [encode(OPERATOR_ACTIONS, key=act, value=action, origin=ORIGIN)])
