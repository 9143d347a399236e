"""Items the CRM refused: each a dead letter that says why, and too many of them a line that stops."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from datetime import UTC, datetime

import orjson

from connector.crm.port import Later, Refused, WriteResult, Written
from connector.errors import Terminal
from connector.events import DeadLetter
from connector.settings import StreamSettings
from connector.streams.codec import EncodedRecord, encode
from connector.streams.dead_letter_limit import DeadLetterLimit
from connector.streams.outcomes import Dead, Done, Outcome
from connector.topics import DEAD_LETTERS

_MEND = (
    "mend what the reason names: the mapping (try it with connector mapping test, then restart the role) or the CRM; "
    "the line goes on by itself. If the data really is bad, raise CONNECTOR_STREAMS__DEAD_LETTER_RUN and "
    "CONNECTOR_STREAMS__DEAD_LETTER_SHARE and restart the role"
)


def retry_command(stage: str, cause: str) -> str:
    """What lets refused items be tried again."""
    return f"connector state retry --sink {stage.removeprefix('sync-')} --cause {cause}"


def refusal_letter(stage: str, *, subject: str, version: int, result: Refused) -> EncodedRecord:
    """The record for `dead.letters`. The desired state stays in the sink's table, to be tried again."""
    again = retry_command(stage, result.cause)
    letter = DeadLetter(
        event_id=f"refused:{stage}:{subject}:{version}",
        stage=stage,
        cause=result.cause,
        reason=result.reason,
        advice=f"{result.advice or 'correct the cause'}; then: {again}",
        at=datetime.now(UTC),
        headers={"crm-correlation-id": result.correlation_id} if result.correlation_id else {},
        original=_base64({"subject": subject, "version": version}),
    )
    return encode(DEAD_LETTERS, key=stage, value=letter, origin=stage)


class RefusalLimit:
    """The dead-letter limit of one kind of item (contacts or activities) of one sink."""

    def __init__(self, *, stage: str, kind: str, settings: StreamSettings, retry_after: float) -> None:
        """`retry_after`: seconds until an item is tried again that was refused beyond the limit."""
        self.name = f"refused {kind}"
        self.passed = False
        """While true only one item a call is tried, to find out whether the cause was mended."""
        self._retry_after = retry_after
        self._limit = DeadLetterLimit(
            stage=f"{stage} ({kind})",
            run=settings.dead_letter_run,
            share=settings.dead_letter_share,
            left="They were not settled and wait in the database.",
            advice=_MEND,
        )

    def judge(self, results: Sequence[WriteResult]) -> tuple[Sequence[WriteResult], Terminal | None]:
        """The results to settle: with refusals beyond the limit as `Later`, and what then stops the line."""
        try:
            self._limit.check(_outcomes(results))
        except Terminal as stop:
            self.passed = True
            spared = [self._later(result) if isinstance(result, Refused) else result for result in results]
            self._limit.record(_outcomes(spared))
            return spared, stop
        self._limit.record(_outcomes(results))
        if any(isinstance(result, Written) for result in results):
            self.passed = False
        return results, None

    def _later(self, result: Refused) -> Later:
        return Later(reason=f"{result.cause}: {result.reason}", retry_after=self._retry_after)


def _outcomes(results: Sequence[WriteResult]) -> list[Outcome]:
    """What the CRM decided; what it did not decide counts for nothing."""
    return [
        Dead(cause=result.cause, reason=result.reason) if isinstance(result, Refused) else Done()
        for result in results
        if isinstance(result, Written | Refused)
    ]


def _base64(value: dict[str, object]) -> bytes:
    return base64.b64encode(orjson.dumps(value))
