"""All groups of dead letters, or those of the last ones."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import aclosing

from connector.recovery.letters.acts import fixed_letters, letter_states
from connector.recovery.letters.groups import Grouping, LetterGroups
from connector.recovery.letters.reading import letter_log, read_letters
from connector.settings import KafkaSettings
from connector.state.database import Connection
from connector.streams.lag import broker_view


async def list_letters(settings: KafkaSettings, connection: Connection) -> LetterGroups:
    """Every letter on the topic, by stage and cause. Raises `Transient` when no broker answers."""
    return await _groups(
        settings,
        states=await letter_states(connection),
        fixed=await fixed_letters(connection),
        most=None,
        timeout=None,
    )


async def latest_letters(
    settings: KafkaSettings, states: Mapping[str, str], *, most: int = 2000, timeout: float = 15.0
) -> LetterGroups:
    """The same of the last `most` letters of each partition. `states`: what was done about letters, by id."""
    return await _groups(settings, states=states, fixed=frozenset(), most=most, timeout=timeout)


async def _groups(
    settings: KafkaSettings,
    *,
    states: Mapping[str, str],
    fixed: frozenset[str],
    most: int | None,
    timeout: float | None,
) -> LetterGroups:
    grouping = Grouping(states=states, fixed=fixed)
    async with broker_view(settings, timeout=timeout) as view:
        log = await letter_log(view, most=most)
        async with aclosing(read_letters(view, log)) as letters:
            async for kept in letters:
                grouping.add(kept)
    return grouping.result(complete=log.complete)
