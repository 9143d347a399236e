"""A person's traces as one conversation: messages both ways, sends and their verdicts, letters, replays, by time. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from connector.recovery.in_flight import LetterAbout
from connector.recovery.replays import ReplayTrace
from connector.recovery.sends import SendTrace
from connector.recovery.trace import ContactTrace, MessageTrace

_NEVER = datetime.min.replace(tzinfo=UTC)
_ARROWS = {"inbound": "←", "outbound": "→"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Turn:
    """One thing that happened. `arrow`: ← they wrote, → the business did, · neither. `stands`: where it is now."""

    at: datetime | None
    arrow: str
    name: str
    what: str
    stands: str


def conversation(
    found: ContactTrace, *, letters: Sequence[LetterAbout], replays: Sequence[ReplayTrace]
) -> list[Turn]:
    """Oldest first; what has no time of its own stands first."""
    sent = {message.send.send_id for message in found.messages if message.send is not None}
    turns = [
        *(_message(message) for message in found.messages),
        *(_send(send) for send in found.sends if send.send_id not in sent),
        *(_letter(letter) for letter in letters),
        *_replays(replays),
    ]
    return sorted(turns, key=lambda turn: turn.at or _NEVER)


def _message(message: MessageTrace) -> Turn:
    shown = message.sinks[0] if message.sinks else None
    send = message.send
    at = next((sink.at for sink in message.sinks if sink.at), None)
    if at is None and send is not None:
        at = send.attempted_at or send.requested_at
    if at is None and message.received is not None:
        at = message.received.at
    stands = [f"{send.state}{f': {send.reason}' if send.reason else ''}"] if send else []
    if not send and shown and shown.status:
        stands.append(shown.status)
    stands += [sink.stage for sink in message.sinks]
    return Turn(
        at=at,
        arrow=_ARROWS.get("outbound" if send else shown.direction if shown else "", "·"),
        name=send.send_id if send and not send.wamid else message.wamid,
        what=shown.text
        if shown
        else send.text or send.template
        if send
        else "received, not in any CRM's tables yet",
        stands="; ".join(stands) or "no sync role has folded it yet",
    )


def _send(send: SendTrace) -> Turn:
    verdict = send.judged
    because = send.reason or (verdict.explain() if verdict else "not judged yet")
    return Turn(
        at=send.attempted_at or send.requested_at,
        arrow="→",
        name=send.send_id,
        what=send.text or f"template {send.template}",
        stands=f"{send.state}: {because}",
    )


def _letter(letter: LetterAbout) -> Turn:
    return Turn(
        at=letter.at,
        arrow="·",
        name=letter.letter_id,
        what=f"dead letter of {letter.stage}: {letter.cause}",
        stands=f"{letter.state}: {letter.reason}",
    )


def _replays(replays: Sequence[ReplayTrace]) -> Iterator[Turn]:
    for replay in replays:
        fields = f" ({', '.join(replay.fields)})" if replay.fields else ""
        yield Turn(
            at=replay.at,
            arrow="·",
            name=f"plan {replay.plan[:12]}",
            what=f"replay to {replay.sink} by {replay.who}: {replay.act} {replay.kind} {replay.key}{fields}",
            stands=replay.state,
        )
