"""What became of a storm, decided from what lies on the log and in the CRMs' own records."""

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from connector.events import AccountEvent, ConversationEvent, DeadLetter, WhatsAppUpdate
from connector.sandbox.audit import CrmRecords

CRM_TROUBLES = ("unwritten", "doubled", "wrong_status", "misplaced")


@dataclass(kw_only=True)
class Verdict:
    """What became of a storm. All lists and the counters of trouble are to be empty."""

    posts: int
    answers: dict[str, int]
    updates: int = 0
    ended_as: dict[str, int] = field(default_factory=dict)
    dead_letters: dict[str, int] = field(default_factory=dict)
    """By stage and cause."""
    contacts: int = 0
    activities: int = 0
    restarts: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0

    texts_lost: list[str] = field(default_factory=list)
    """POSTs of which a text is on no record."""
    unaccounted: list[str] = field(default_factory=list)
    """Updates of which nothing lies on the log."""
    not_ready: list[str] = field(default_factory=list)
    unwritten: dict[str, list[str]] = field(default_factory=dict)
    """By CRM: wamids that are neither there nor refused."""
    doubled: dict[str, list[str]] = field(default_factory=dict)
    wrong_status: dict[str, list[str]] = field(default_factory=dict)
    misplaced: dict[str, list[str]] = field(default_factory=dict)
    """wamids that share a CRM record with another person's, or not one with their own person's."""

    @property
    def troubles(self) -> list[str]:
        """What is wrong, for people; empty when all is well."""
        lists = {
            "texts lost": self.texts_lost,
            "unaccounted": self.unaccounted,
            "not ready": self.not_ready,
            **{
                f"{kind} in {sink}": found
                for kind, by_sink in (
                    ("unwritten", self.unwritten),
                    ("doubled", self.doubled),
                    ("wrong status", self.wrong_status),
                    ("misplaced", self.misplaced),
                )
                for sink, found in by_sink.items()
            },
        }
        refused = {answer: times for answer, times in self.answers.items() if answer != "200"}
        restarted = {name: times for name, times in self.restarts.items() if times}
        said = [f"{name}: {len(found)}, e.g. {found[:3]}" for name, found in lists.items() if found]
        return said + [
            f"{name}: {found}" for name, found in (("answers", refused), ("restarts", restarted)) if found
        ]


@dataclass(frozen=True, kw_only=True)
class Log:
    """Everything on the broker, decoded. Places are (topic, partition, offset)."""

    updates: Mapping[tuple[str, int, int], WhatsAppUpdate]
    conversation: Sequence[ConversationEvent]
    account: Sequence[AccountEvent]
    dead: Sequence[DeadLetter]


def judge_intake(verdict: Verdict, bodies: Sequence[bytes], log: Log) -> None:
    """Every text of a POST is on a record of that POST, or the POST is whole in a dead letter."""
    kept: dict[str, set[str]] = defaultdict(set)
    for update in log.updates.values():
        kept[update.post_id].update(_texts(update.model_dump()))
    whole = {bytes(letter.original) for letter in log.dead if letter.stage == "ingress"}
    for body in set(bodies):
        if body in whole:
            continue
        texts = kept.get(hashlib.sha256(body).hexdigest()[:32], set())
        lost = set(_texts(json.loads(body))) - texts - {"whatsapp_business_account"}
        if lost:
            verdict.texts_lost.append(f"{hashlib.sha256(body).hexdigest()[:12]}: {sorted(lost)[:3]}"[:200])


def _texts(content: Any) -> Iterator[str]:
    """Every text and number within, values only: keys move when a POST is split."""
    if isinstance(content, dict):
        for value in content.values():
            yield from _texts(value)
    elif isinstance(content, list):
        for value in content:
            yield from _texts(value)
    elif isinstance(content, str) or (isinstance(content, (int, float)) and not isinstance(content, bool)):
        yield str(content)


def judge_ends(verdict: Verdict, log: Log) -> None:
    """Every update on the topic has left an event, an account event or a dead letter."""
    ends: dict[tuple[str, int, int], set[str]] = defaultdict(set)
    for event in log.conversation:
        ends[_place(event)].add("event")
    for fact in log.account:
        ends[_place(fact)].add("account event")
    for letter in log.dead:
        ends[(letter.topic, letter.partition, letter.offset)].add("dead letter")
    tally: Counter[str] = Counter()
    for place, update in log.updates.items():
        end = ends.get(place, set())
        if not end:
            verdict.unaccounted.append(f"{place}: {update.event_id[:120]}")
        name = "event" if "event" in end else next(iter(sorted(end)), "nothing")
        tally[
            "unknown, kept as account event" if name == "account event" and update.kind == "unknown" else name
        ] += 1
    verdict.updates = len(log.updates)
    verdict.ended_as = dict(tally)
    verdict.dead_letters = dict(Counter(f"{letter.stage}: {letter.cause}" for letter in log.dead))


def _place(event: ConversationEvent | AccountEvent) -> tuple[str, int, int]:
    return event.origin.topic, event.origin.partition, event.origin.offset


def refused_by_crm(log: Log) -> Mapping[str, set[str]]:
    """By CRM: wamids and contact ids that a role buried, with the reason on the dead letter."""
    refused: dict[str, set[str]] = defaultdict(set)
    for letter in log.dead:
        sink = letter.stage.removeprefix("sync-")
        if letter.stage != sink and letter.event_id.startswith("refused:"):
            refused[sink].add(str(json.loads(letter.original)["subject"]))
    return refused


def compare(
    verdict: Verdict,
    sink: str,
    found: CrmRecords,
    *,
    keys: Mapping[str, str],
    owners: Mapping[str, UUID],
    statuses: Mapping[str, str],
    refused: set[str],
) -> None:
    logged = defaultdict(list)
    for message in found.messages:
        logged[message.wamid].append(message)
    records_of: dict[UUID, set[str]] = defaultdict(set)
    contacts_on: dict[str, set[UUID]] = defaultdict(set)
    for wamid, owner in owners.items():
        for message in logged[keys[wamid]]:
            records_of[owner].update(message.people)
            for record in message.people:
                contacts_on[record].add(owner)
    problems: dict[str, list[str]] = defaultdict(list)
    for wamid, owner in owners.items():
        there = logged[keys[wamid]]
        if not there and wamid not in refused and str(owner) not in refused:
            problems["unwritten"].append(wamid[:80])
        if len(there) > 1:
            problems["doubled"].append(wamid[:80])
        for message in there:
            if message.status != statuses[wamid] and wamid not in refused:
                problems["wrong_status"].append(f"{wamid[:80]}: {message.status}, not {statuses[wamid]}")
            if len(records_of[owner]) != 1 or contacts_on[message.people[0]] != {owner}:
                problems["misplaced"].append(wamid[:80])
    for name, wamids in problems.items():
        getattr(verdict, name)[sink] = wamids
