"""The conversation that `connector demo` plays: a few people with all that is awkward about WhatsApp, then a crowd.

Every update is shaped like Meta's own; what the CRM must show afterwards comes with it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random

from connector.sandbox.whatsapp import payloads
from connector.sandbox.whatsapp.conversations import (
    Conversations,
    ExpectedMessage,
    ExpectedPerson,
    conversations,
)
from connector.sandbox.whatsapp.payloads import BusinessNumber, Person, Status, Update


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Some updates that belong together, and what is awkward about them."""

    title: str
    updates: tuple[Update, ...]
    redelivered: bool = False
    """Meta sends the whole POST again although it was answered 200."""


@dataclass(frozen=True, kw_only=True)
class Story:
    """The scenes in order, the crowd after them, and what must be in the CRM at the end."""

    scenes: tuple[Scene, ...]
    crowd: tuple[Update, ...]
    expected: Conversations


class _Cast:
    """Builds updates and keeps account of what they call for."""

    def __init__(self, *, start: int) -> None:
        self.number = BusinessNumber()
        self.random = Random("story")
        self.at = start
        self.people: dict[str, ExpectedPerson] = {}

    def says(self, person: Person, body: str, *, kind: str = "text", reply_to: str | None = None) -> Update:
        self.at += 1
        wamid = payloads.wamid(person.wa_id or "0", self.random)
        if kind == "image":
            update = payloads.media(person, self.number, message_id=wamid, at=self.at, caption=body)
        elif kind == "text":
            update = payloads.text(
                person, self.number, message_id=wamid, at=self.at, body=body, reply_to=reply_to
            )
        else:
            update = payloads.message(
                person, self.number, message_id=wamid, at=self.at, type=kind, content={"note": body}
            )
        self.expect(person).messages.append(
            ExpectedMessage(wamid=wamid, type=kind, text=body, at=self.at, reply_to=reply_to)
        )
        return update

    def expect(self, person: Person) -> ExpectedPerson:
        name = person.name or ""
        return self.people.setdefault(
            name,
            ExpectedPerson(
                number=len(self.people),
                name=name,
                bsuids=[person.bsuid or ""],
                phones=[person.wa_id] if person.wa_id else [],
                username=person.username,
            ),
        )

    def statuses(self, person: Person, *words: Status) -> tuple[Update, ...]:
        wamid = payloads.wamid(person.wa_id or "0", self.random, outbound=True)
        steps: tuple[Status, ...] = ("sent", "delivered", "read")
        self.expect(person).outbound[wamid] = "read"
        self.at += 1
        return tuple(
            payloads.status(
                person, self.number, message_id=wamid, at=self.at + steps.index(word), status=word
            )
            for word in words
        )


def story(*, start: int, crowd_people: int = 12, crowd_messages: int = 60) -> Story:
    """The demo's story from `start` (Unix seconds). The same arguments give the same story."""
    cast = _Cast(start=start)
    ana = Person(name="Ana Souza", wa_id="5511987650001", bsuid="BR.1180000000000001")
    layla = Person(name="ليلى حداد", bsuid="AE.1180000000000002", username="layla.h")
    chidi = Person(name="Chidi Okafor", wa_id="2348030000003", bsuid="NG.1180000000000003")
    chidi_now = replace(chidi, wa_id="2348030000999", bsuid="NG.1180000000000993")

    hello = cast.says(ana, "Hi! Is the blue one still in stock?")
    first = Scene(title="Ana writes; Meta delivers it three times", updates=(hello,), redelivered=True)
    arabic = Scene(
        title="Layla hides her phone and writes in Arabic",
        updates=(cast.says(layla, "مرحبا، هل المنتج متوفر؟ 🌙"), cast.says(layla, "أحتاج اثنين من فضلك")),
    )
    picture = Scene(
        title="Ana sends a picture with a caption, and emoji",
        updates=(
            cast.says(ana, "like this one 👉🏽 size M", kind="image"),
            cast.says(ana, "🙏🏽❤️", reply_to=hello.wamid),
        ),
    )
    backwards = Scene(
        title="The business's answer is read before it is sent: statuses arrive backwards",
        updates=cast.statuses(ana, "read", "delivered", "sent"),
    )
    unheard = Scene(
        title="A message type that nobody has heard of",
        updates=(cast.says(layla, "kept as it came", kind="hologram"),),
    )
    before = cast.says(chidi, "Please deliver to my office")
    after = cast.says(chidi_now, "This is my new number")
    cast.at += 1
    moved = payloads.changed_number(
        chidi, chidi_now, cast.number, message_id=payloads.wamid("2348030000999", cast.random), at=cast.at
    )
    cast.expect(chidi).bsuids.append(chidi_now.bsuid or "")
    change = Scene(
        title="Chidi changes his number; his new identity writes before Meta says that it is him",
        updates=(before, after, moved),
    )
    scenes = (first, arabic, picture, backwards, unheard, change)
    crowd = conversations(
        seed=7, people=crowd_people, messages=crowd_messages, outbound=crowd_messages // 4, start=start
    )
    told = tuple(update for scene in scenes for update in scene.updates)
    return Story(
        scenes=scenes,
        crowd=crowd.updates,
        expected=Conversations(
            updates=(*told, *crowd.updates), people=(*cast.people.values(), *crowd.people)
        ),
    )
