"""A reproducible stream of conversations, with what a CRM must show when all of it arrived.

The people are a mix: most share phone and BSUID, some only their BSUID, some share the phone later,
some move to another number in the middle (new phone, new BSUID, one system message that links them).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from random import Random

from connector.sandbox.whatsapp import payloads
from connector.sandbox.whatsapp.payloads import BusinessNumber, Person, Status, Update

MOST_PEOPLE = 90_000
"""Each has a number of five digits within its country; the last ten thousand are for those who move."""

_NAMES = (
    "Sheena Nelson",
    "Pablo Morales",
    "ليلى حداد",
    "Chidi Okafor",
    "Zoë Müller",
    "田中さくら",
    "Omar Farouk",
)
_COUNTRIES = (("US", "1650555"), ("AE", "97150"), ("MX", "52155"), ("DE", "49151"), ("BR", "55119"))
_TEXTS = (
    "Does it come in another colour?",
    "مرحبا، هل المنتج متوفر؟",
    "Thanks 🙏🏽 see you at 5/6",
    "My address is ana@example.com",
    "¿Cuánto cuesta el envío?",
    "👍",
    "Two lines\nand a “quote” with \\ and /",
)
_OUTCOMES: tuple[tuple[tuple[Status, ...], Status], ...] = (
    (("sent", "delivered", "read"), "read"),
    (("sent", "delivered"), "delivered"),
    (("sent", "read"), "read"),
    (("sent", "failed"), "failed"),
    # Several devices of one person: delivered beats failed.
    (("sent", "delivered", "failed"), "delivered"),
)


@dataclass(frozen=True, kw_only=True)
class ExpectedMessage:
    """An inbound message that must be on the timeline, once."""

    wamid: str
    type: str
    text: str | None
    """The text, or the caption of a medium."""
    at: int
    """Unix seconds."""
    reply_to: str | None = None


@dataclass(kw_only=True)
class ExpectedPerson:
    """One contact that must be in the CRM, once, with these messages."""

    number: int
    name: str
    bsuids: list[str]
    """All that the person had, the current one last."""
    phones: list[str]
    """Digits of all phones that were shown, the current one last."""
    username: str | None
    messages: list[ExpectedMessage] = field(default_factory=list)
    outbound: dict[str, Status] = field(default_factory=dict)
    """Final status of each message that the business had sent to the person."""


@dataclass(frozen=True, kw_only=True)
class Conversations:
    """Updates in the order in which they happened, and what must come of them."""

    updates: tuple[Update, ...]
    people: tuple[ExpectedPerson, ...]

    @property
    def wamids(self) -> frozenset[str]:
        """The ids of all inbound messages."""
        return frozenset(message.wamid for person in self.people for message in person.messages)


@dataclass(kw_only=True)
class _Speaker:
    person: Person
    digits: str
    expected: ExpectedPerson
    shares_phone_after: int = 0
    moves_after: int | None = None


def conversations(
    *,
    seed: int,
    people: int,
    messages: int,
    outbound: int = 0,
    number: BusinessNumber | None = None,
    start: int = 1_790_000_000,
    first: int = 0,
) -> Conversations:
    """Return `messages` inbound messages of `people` persons, and statuses of `outbound` messages to them.

    The same arguments give the same updates, byte for byte. Messages follow each other within 0 to 3
    seconds from `start` (Unix seconds), so that some share a timestamp. With at least as many messages as
    people everybody writes; a person of whom no message came is not expected in the CRM.

    `first` is the number of the first person: streams whose numbers do not overlap are of other people.

    Raises:
        ValueError: numbers beyond 90,000, which would not be distinct.

    """
    if not (people >= 1 and first >= 0 and first + people <= MOST_PEOPLE):
        msg = f"conversations need 1 to {MOST_PEOPLE} people, not {people} from number {first} on"
        raise ValueError(msg)
    random = Random(f"conversations {seed}")
    business = number or BusinessNumber()
    speakers = [_speaker(place, random) for place in range(first, first + people)]
    turns = [place % people for place in range(min(people, messages))]
    turns += [random.randrange(people) for _ in range(messages - len(turns))]
    events = [("message", turn) for turn in turns]
    events += [("outbound", random.randrange(people)) for _ in range(outbound)]
    # The first turns stay first: a status about a stranger would prove nothing.
    head, rest = events[: min(people, messages)], events[min(people, messages) :]
    random.shuffle(rest)
    updates: list[Update] = []
    at = start
    for kind, turn in [*head, *rest]:
        at += random.randrange(4)
        speaker = speakers[turn]
        if kind == "message":
            updates += _say(speaker, business, at, random)
        elif speaker.expected.messages:
            updates += _hear(speaker, business, at, random)
    met = tuple(speaker.expected for speaker in speakers if speaker.expected.messages)
    return Conversations(updates=tuple(updates), people=met)


def _speaker(place: int, random: Random) -> _Speaker:
    country, prefix = _COUNTRIES[place % len(_COUNTRIES)]
    digits = f"{prefix}{place:05d}"
    bsuid = f"{country}.{random.randrange(10**15, 10**16)}"
    name = f"{_NAMES[place % len(_NAMES)]} {place}"
    character = place % 10
    username = f"user.{place}" if character in (3, 6) else None
    hidden = character in (3, 7)
    person = Person(name=name, wa_id=None if hidden else digits, bsuid=bsuid, username=username)
    expected = ExpectedPerson(
        number=place,
        name=name,
        bsuids=[bsuid],
        phones=[] if hidden else [digits],
        username=username,
    )
    return _Speaker(
        person=person,
        digits=digits,
        expected=expected,
        shares_phone_after=1 if character == 7 else 0,
        moves_after=1 if character == 5 else None,
    )


def _say(speaker: _Speaker, business: BusinessNumber, at: int, random: Random) -> list[Update]:
    said = len(speaker.expected.messages)
    updates: list[Update] = []
    if speaker.moves_after is not None and said == speaker.moves_after:
        updates.append(_move(speaker, business, at, random))
    elif speaker.shares_phone_after and said == speaker.shares_phone_after:
        speaker.person = replace(speaker.person, wa_id=speaker.digits)
        speaker.expected.phones.append(speaker.digits)
    message_id = payloads.wamid(speaker.digits, random)
    body = f"{random.choice(_TEXTS)} #{said + 1}"
    reply_to = speaker.expected.messages[-1].wamid if said and random.random() < 0.2 else None
    kind = "image" if random.random() < 0.15 else "text"
    if kind == "image":
        reply_to = None
        update = payloads.media(speaker.person, business, message_id=message_id, at=at, caption=body)
    else:
        update = payloads.text(
            speaker.person, business, message_id=message_id, at=at, body=body, reply_to=reply_to
        )
    speaker.expected.messages.append(
        ExpectedMessage(wamid=message_id, type=kind, text=body, at=at, reply_to=reply_to)
    )
    return [*updates, update]


def _move(speaker: _Speaker, business: BusinessNumber, at: int, random: Random) -> Update:
    before = speaker.person
    country = str(before.bsuid).split(".", maxsplit=1)[0]
    digits = f"{speaker.digits[:-5]}9{speaker.digits[-4:]}"
    after = replace(before, wa_id=digits, bsuid=f"{country}.{random.randrange(10**15, 10**16)}")
    update = payloads.changed_number(
        before, after, business, message_id=payloads.wamid(speaker.digits, random), at=at
    )
    speaker.person, speaker.digits = after, digits
    speaker.expected.phones.append(digits)
    speaker.expected.bsuids.append(str(after.bsuid))
    return update


def _hear(speaker: _Speaker, business: BusinessNumber, at: int, random: Random) -> Sequence[Update]:
    message_id = payloads.wamid(speaker.digits, random, outbound=True)
    steps, final = random.choice(_OUTCOMES)
    speaker.expected.outbound[message_id] = final
    return [
        payloads.status(speaker.person, business, message_id=message_id, at=at + step, status=name)
        for step, name in enumerate(steps)
    ]
