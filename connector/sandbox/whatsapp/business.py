"""The business's side of the simulated WhatsApp: numbers, templates, people, windows, limits. No HTTP."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from random import Random
from typing import Any

from connector.sandbox.whatsapp import payloads
from connector.sandbox.whatsapp.config import Number, WhatsAppConfig
from connector.sandbox.whatsapp.graph_errors import GraphError
from connector.sandbox.whatsapp.payloads import Person, Update
from connector.sandbox.whatsapp.people import Acquaintance, People
from connector.sandbox.whatsapp.refusals import Refusals, When
from connector.sandbox.whatsapp.templates import Template

_HOUR = 3_600.0


@dataclass(frozen=True, kw_only=True)
class SentMessage:
    """A message that was accepted."""

    wamid: str
    phone_number_id: str
    wa_id: str | None
    bsuid: str | None
    template: tuple[str, str] | None
    """Name and language; None: not a template."""
    callback_data: str | None
    at: float


@dataclass(frozen=True, kw_only=True)
class RefusedMessage:
    """A message that was answered with an error."""

    code: int
    phone_number_id: str
    to: str
    """Phone or BSUID, as it was given."""
    callback_data: str | None
    at: float


class Business:
    """All that the Graph API is asked about. `clock` gives Unix seconds."""

    def __init__(self, config: WhatsAppConfig, *, clock: Callable[[], float]) -> None:
        self.config = config
        self.now = clock
        self.people = People()
        self.sent: list[SentMessage] = []
        self.refused_messages: list[RefusedMessage] = []
        self.refusals = Refusals(seed=config.seed)
        self.subscribed = {number.waba_id for number in config.numbers}
        """WABA ids whose webhooks go to the app: told, not enforced."""
        self._random = Random(f"business {config.seed} {clock()}")
        self._templates = {(item.waba_id, *item.key): item for item in config.templates}
        self._received: set[str] = set()
        self._per_number: dict[str, deque[float]] = defaultdict(deque)
        self._management: dict[str, deque[float]] = defaultdict(deque)

    def number(self, phone_number_id: str) -> Number | None:
        """Return a business number by its id."""
        return next((item for item in self.config.numbers if item.id == phone_number_id), None)

    def numbers_of(self, waba_id: str) -> list[Number]:
        """Return the numbers of an account; empty for an unknown one."""
        return [item for item in self.config.numbers if item.waba_id == waba_id]

    def templates_of(self, waba_id: str) -> list[Template]:
        """Return an account's templates, by name and language."""
        found = [item for item in self._templates.values() if item.waba_id in (None, waba_id)]
        return sorted(found, key=lambda item: item.key)

    def template(self, waba_id: str, name: str, language: str) -> Template | None:
        """Return one template."""
        own = self._templates.get((waba_id, name, language))
        return own or self._templates.get((None, name, language))

    def put_template(self, template: Template) -> Template | None:
        """Add or replace a template, as Meta's review or an edit in its manager does; return what was there."""
        key = (template.waba_id, *template.key)
        before = self._templates.get(key)
        self._templates[key] = template
        return before

    def refused(
        self, when: When, number: Number, recipient: Acquaintance, template: Template | None
    ) -> int | None:
        """The error that a message meets because somebody asked for it."""
        return self.refusals.draw(
            when,
            names=frozenset(_names(recipient)),
            template=None if template is None else template.name,
            phone_number_id=number.id,
        )

    def new_wamid(self, peer: str) -> str:
        """Return the id of a message that the business sends."""
        return payloads.wamid(peer, self._random, outbound=True)

    def heard(self, update: Update) -> None:
        """Take note of what WhatsApp delivers to the business: it opens windows and ends permissions."""
        content = update.content
        if update.kind == "messages" and content.get("type") == "system":
            self._moved(content)
        elif update.kind == "messages":
            known = self.people.meet(_shown(update))
            since = known.last_inbound.get(update.number.phone_number_id, 0.0)
            known.last_inbound[update.number.phone_number_id] = max(since, float(content["timestamp"]))
            self._received.add(str(content["id"]))
        elif update.kind == "user_preferences":
            self.people.meet(_shown(update)).opted_out = content["value"] == "stop"

    def has_received(self, wamid: str) -> bool:
        """Whether a person sent this message."""
        return wamid in self._received

    def window_open(self, number: Number, recipient: Acquaintance) -> bool:
        """Whether the person wrote to this number within the window."""
        last = recipient.last_inbound.get(number.id)
        return last is not None and self.now() - last < self.config.window

    def is_unreachable(self, recipient: Acquaintance) -> bool:
        """Whether nothing can be delivered to the person at all."""
        return not self.config.unreachable.isdisjoint(_names(recipient))

    def blocks(self, recipient: Acquaintance) -> bool:
        """Whether the person blocked the business."""
        return not self.config.blocking.isdisjoint(_names(recipient))

    def count_message(self, number: Number, recipient: Acquaintance) -> None:
        """Let a message through the limits, or raise the `GraphError` of the one it meets.

        Throughput is counted over a second. A pair has a bucket of `pair_burst` places, each given back
        `pair_interval` seconds after it was taken (overview page: 1 message in 6 seconds, 45 borrowed ahead).
        """
        now = self.now()
        recent = self._per_number[number.id]
        _forget(recent, now - 1.0)
        free_at = max(recipient.busy_until.get(number.id, now), now)
        if free_at - now > self.config.pair_interval * (self.config.pair_burst - 1):
            raise GraphError(
                code=131056, details="Too many messages were sent from this number to this person."
            )
        if len(recent) >= number.throughput:
            raise GraphError(
                code=130429, subcode=2494055, details="Cloud API message throughput has been reached."
            )
        recipient.busy_until[number.id] = free_at + self.config.pair_interval
        recent.append(now)

    def count_management(self, waba_id: str) -> int:
        """Count a call about an account; percent of the hour's limit used. Raises `GraphError` beyond it."""
        now = self.now()
        recent = self._management[waba_id]
        _forget(recent, now - _HOUR)
        if len(recent) >= self.config.management_limit:
            raise GraphError(
                code=80007, details="There have been too many calls to this WhatsApp Business account."
            )
        recent.append(now)
        return 100 * len(recent) // self.config.management_limit

    def record(
        self,
        *,
        wamid: str,
        number: Number,
        recipient: Acquaintance,
        template: tuple[str, str] | None,
        callback_data: str | None,
    ) -> None:
        """Remember an accepted message."""
        self.sent.append(
            SentMessage(
                wamid=wamid,
                phone_number_id=number.id,
                wa_id=recipient.person.wa_id,
                bsuid=recipient.person.bsuid,
                template=template,
                callback_data=callback_data,
                at=self.now(),
            )
        )

    def record_refusal(self, number: Number, body: Mapping[str, Any], *, code: int) -> None:
        """Remember a message that was answered with an error."""
        callback = body.get("biz_opaque_callback_data")
        self.refused_messages.append(
            RefusedMessage(
                code=code,
                phone_number_id=number.id,
                to=str(body.get("to") or body.get("recipient") or ""),
                callback_data=callback if isinstance(callback, str) else None,
                at=self.now(),
            )
        )

    def state(self) -> dict[str, Any]:
        """Return who is known, what was sent to whom or refused, and the doubles: one callback data sent twice."""
        held: dict[str, int] = defaultdict(int)
        for message in self.sent:
            if message.callback_data is not None:
                held[message.callback_data] += 1
        return {
            "people": [
                {
                    **asdict(known.person),
                    "opted_out": known.opted_out,
                    "last_inbound": known.last_inbound,
                }
                for known in self.people.everybody()
            ],
            "sent": [asdict(message) for message in self.sent],
            "refused": [asdict(message) for message in self.refused_messages],
            "templates": [template.model_dump() for template in self._templates.values()],
            "subscribed": sorted(self.subscribed),
            "doubled": {"callback_data": {name: times for name, times in held.items() if times > 1}},
        }

    def _moved(self, content: Any) -> None:
        system = content["system"]
        before = Person(wa_id=content.get("from"), bsuid=content.get("from_user_id"))
        after = Person(wa_id=system.get("wa_id"), bsuid=system.get("user_id"))
        if after.wa_id or after.bsuid:
            self.people.moved(before, after)


def _shown(update: Update) -> Person:
    contact = update.contact or {}
    profile = contact.get("profile") or {}
    content = update.content
    return Person(
        name=profile.get("name"),
        wa_id=content.get("from") or content.get("wa_id") or contact.get("wa_id"),
        bsuid=content.get("from_user_id") or content.get("user_id") or contact.get("user_id"),
        username=profile.get("username"),
    )


def _names(recipient: Acquaintance) -> set[str]:
    return {name for name in (recipient.person.wa_id, recipient.person.bsuid) if name}


def _forget(times: deque[float], before: float) -> None:
    while times and times[0] <= before:
        times.popleft()
