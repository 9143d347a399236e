"""The rules of identity, pure: facts and what is known → whose contact it is, and what follows.

* A BSUID decides. A phone-only contact is claimed by the first BSUID that shows its phone.
* Two BSUIDs become one person only when Meta says so (`changed`).
* A phone shown with another BSUID moves to it when that is news; messages stay with who wrote them.
* A phone is looked for in every form under which it may be on file, where only a phone is known of its holder.
* Statuses and recorded messages create and move nothing.

Facts come late, twice and out of order, and a rebuild reads partitions side by side. So every rule compares
the times of the facts: the same facts give the same people, in whichever order they are told.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID

from connector.identity.directory import Alias, AliasState, Directory

PHONE_CLAIMED = "phone_claimed"
PHONE_MOVED = "phone_moved"

# A message from a new number may be a little older than Meta's notice of the change; a number takes weeks
# to be given to a stranger.
_SAME_CHANGE = timedelta(hours=1)
_MOMENT = timedelta(microseconds=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Sighting:
    """A message shows a person by BSUID, by phone, or by both."""

    event_id: str
    at: datetime
    bsuid: Alias | None = None
    phone: Alias | None = None
    other_forms: tuple[Alias, ...] = ()
    """Under which the same phone may be on file: a Brazilian mobile with or without its ninth digit."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """Meta says that one person's aliases changed at `at`."""

    event_id: str
    at: datetime
    reason: str
    old_bsuid: Alias | None = None
    old_phone: Alias | None = None
    new_bsuid: Alias | None = None
    new_phone: Alias | None = None

    @property
    def aliases(self) -> tuple[Alias, ...]:
        """Those that Meta named, the old ones first."""
        named = (self.old_bsuid, self.old_phone, self.new_bsuid, self.new_phone)
        return tuple(alias for alias in named if alias is not None)


@dataclass(frozen=True, kw_only=True, slots=True)
class Inquiry:
    """A status asks whose message it speaks of, which it shows by id, and by the recipient's BSUID, phone or both."""

    wamid: str
    at: datetime
    bsuid: Alias | None = None
    phone: Alias | None = None

    @property
    def aliases(self) -> tuple[Alias, ...]:
        """Those that the status showed."""
        return tuple(alias for alias in (self.bsuid, self.phone) if alias is not None)


@dataclass(frozen=True, kw_only=True, slots=True)
class Merged:
    """Two contacts turned out to be one person."""

    winner_id: UUID
    loser_id: UUID
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class PhoneLost:
    """From `at` on, the phone is not that contact's any more."""

    contact_id: UUID
    phone: Alias
    at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Conflict:
    """Two BSUIDs showed one phone."""

    alias: Alias
    kept_contact: UUID
    other_contact: UUID
    decision: Literal["moved", "kept"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Ruling:
    """Whose fact it is, and what follows from it for others."""

    contact_id: UUID
    merges: tuple[Merged, ...] = ()
    losses: tuple[PhoneLost, ...] = ()
    conflicts: tuple[Conflict, ...] = ()


@dataclass(slots=True)
class _Findings:
    merges: list[Merged] = field(default_factory=list)
    losses: list[PhoneLost] = field(default_factory=list)
    conflicts: list[Conflict] = field(default_factory=list)

    def ruling(self, contact_id: UUID) -> Ruling:
        return Ruling(
            contact_id=contact_id,
            merges=tuple(self.merges),
            losses=tuple(self.losses),
            conflicts=tuple(self.conflicts),
        )


def known(directory: Directory, inquiry: Inquiry) -> UUID | None:
    """The contact of a status: by its message, else by alias at that time; None when we never met."""
    return (
        directory.messages.get(inquiry.wamid)
        or directory.holder(inquiry.bsuid)
        or directory.holder_at(inquiry.phone, inquiry.at)
    )


def to_lock(
    inquiries: Iterable[Inquiry],
    *,
    aliases: Mapping[Alias, AliasState],
    messages: Collection[str],
    locked: Collection[Alias],
) -> set[Alias]:
    """The aliases to lock so that no status of the batch is found to be nobody's by one that is not locked.

    `aliases`, `messages`: what was known a moment ago, without locks. `locked`: the aliases that will be
    locked anyhow, because a message shows them.
    """
    lock = set(locked)
    while True:
        more = {
            alias
            for inquiry in inquiries
            if not _certain(inquiry, aliases=aliases, messages=messages, locked=lock)
            for alias in inquiry.aliases
        } - lock
        if not more:
            return lock
        lock |= more


def _certain(
    inquiry: Inquiry,
    *,
    aliases: Mapping[Alias, AliasState],
    messages: Collection[str],
    locked: Collection[Alias],
) -> bool:
    """Whether the status has its person, come what may.

    A recorded message and a BSUID stay with somebody for ever. A phone can be given up: what was seen of it
    counts only if it is not going to be looked at again under a lock.
    """
    if inquiry.wamid in messages or inquiry.bsuid in aliases:
        return True
    state = aliases.get(inquiry.phone) if inquiry.phone is not None else None
    return state is not None and not state.given_up(inquiry.at) and inquiry.phone not in locked


def sighted(directory: Directory, sighting: Sighting) -> Ruling:
    """The contact that wrote, or was written, a message not recorded before. Needs a BSUID or a phone."""
    findings = _Findings()
    bsuid, phone, at = sighting.bsuid, sighting.phone, sighting.at
    if bsuid is None:
        assert phone is not None, "a sighting shows a BSUID or a phone"
        contact_id = (
            directory.holder_at(phone, at)
            or _under_another_form(directory, sighting)
            or directory.create(phone, at)
        )
    else:
        known_id = directory.holder(bsuid)
        if directory.holder_at(phone, at) is None:
            _under_another_form(directory, sighting)
        contact_id = known_id or _claimed(directory, bsuid, phone, at) or directory.create(bsuid, at)
        if phone is not None:
            _phone_shown(directory, contact_id, phone, at, findings)
    directory.seen(contact_id, at)
    return findings.ruling(contact_id)


def changed(directory: Directory, change: Change) -> Ruling:
    """The one contact of a person whose aliases changed; contacts of its old and new aliases are merged."""
    findings = _Findings()
    at = change.at
    before = directory.holder(change.old_bsuid) or _predecessor(directory, change)
    after = directory.holder(change.new_bsuid) or _successor(directory, change)
    contact_id = before or after or directory.create(change.aliases[0], at)
    if before is not None and after is not None and before != after:
        contact_id = _merge_by_age(directory, before, after, change, findings)
    for bsuid in (change.old_bsuid, change.new_bsuid):
        if bsuid is not None and bsuid not in directory.aliases:
            directory.assign(bsuid, contact_id, at)
    if change.old_phone is not None:
        _phone_shown(directory, contact_id, change.old_phone, at, findings)
        if directory.holder(change.old_phone) == contact_id:
            directory.release(change.old_phone, at)
    if change.new_phone is not None:
        _phone_shown(directory, contact_id, change.new_phone, at, findings)
    directory.seen(contact_id, at)
    return findings.ruling(contact_id)


def introduced(directory: Directory, forms: Sequence[Alias], at: datetime) -> UUID | None:
    """A new contact under the first of these forms of one alias; None when somebody holds one of them."""
    if any(directory.holder_at(form, at) is not None for form in forms):
        return None
    return directory.create(forms[0], at)


def told(
    directory: Directory, *, contact_id: UUID, at: datetime, bsuid: Alias | None, phone: Alias | None
) -> None:
    """A message whose contact is known already, from the log: the tables learn who that was, by what it shows.

    Nobody new is made, and nobody is merged: whom a phone claimed depends on who came first, which the log says. So a
    phone stays with somebody known by phones only; the message itself decides that again where it can be read again.
    """
    directory.restore(contact_id, at=at, shown=[alias for alias in (bsuid, phone) if alias is not None])
    person = directory.resolve(contact_id)
    if bsuid is not None and bsuid not in directory.aliases:
        directory.assign(bsuid, person, at)
    if phone is not None:
        _phone_told(directory, person, phone, at, by_bsuid=bsuid is not None)
    directory.seen(person, at)


def _phone_told(directory: Directory, person: UUID, phone: Alias, at: datetime, *, by_bsuid: bool) -> None:
    state = directory.aliases.get(phone)
    if state is None or state.given_up(at):
        directory.assign(phone, person, at)
    elif not by_bsuid:
        return
    elif directory.resolve(state.contact_id) == person:
        directory.confirm(phone, at)
    elif directory.has_bsuid(directory.resolve(state.contact_id)) and (
        at > state.changed_at or at < state.since
    ):
        directory.assign(phone, person, at)


def told_lost(directory: Directory, *, contact_id: UUID, phone: Alias, at: datetime) -> None:
    """The log says that from `at` on the phone was somebody else's: before, it was this contact's."""
    directory.restore(contact_id, at=at, shown=[phone])
    person = directory.resolve(contact_id)
    state = directory.aliases.get(phone)
    if state is None:
        directory.assign(phone, person, at - _MOMENT)
    elif state.previous_contact_id is None and directory.resolve(state.contact_id) != person:
        directory.assign(phone, person, state.since - _MOMENT)


def told_change(directory: Directory, *, contact_id: UUID, change: Change) -> None:
    """A change whose decision is on the log: the aliases that Meta named become this contact's, and nobody is merged.

    `changed` would ask again who has the new number, and by now that may be a stranger.
    """
    if contact_id not in directory.contacts:
        return
    person, at = directory.resolve(contact_id), change.at
    for bsuid in (change.old_bsuid, change.new_bsuid):
        if bsuid is not None and bsuid not in directory.aliases:
            directory.assign(bsuid, person, at)
    if change.old_phone is not None:
        if change.old_phone not in directory.aliases:
            directory.assign(change.old_phone, person, at)
        if directory.holder(change.old_phone) == person:
            directory.release(change.old_phone, at)
    if change.new_phone is not None:
        _phone_told(directory, person, change.new_phone, at, by_bsuid=True)


def told_merged(directory: Directory, *, loser_id: UUID, winner_id: UUID, at: datetime, reason: str) -> None:
    """The log says that two contacts are one person. A merge that is known already changes nothing."""
    for contact_id in (loser_id, winner_id):
        directory.restore(contact_id, at=at, shown=())
    loser, winner = directory.resolve(loser_id), directory.resolve(winner_id)
    if loser != winner:
        directory.merge(loser_id=loser, winner_id=winner, at=at, reason=reason)


def _claimed(directory: Directory, bsuid: Alias, phone: Alias | None, at: datetime) -> UUID | None:
    """The phone-only contact that a new BSUID turns out to be, if there is one."""
    holder_id = directory.holder_at(phone, at)
    if holder_id is None or directory.has_bsuid(holder_id):
        return None
    directory.assign(bsuid, holder_id, at)
    return holder_id


def _under_another_form(directory: Directory, sighting: Sighting) -> UUID | None:
    """Somebody known by phones only, who is on file under another form of this one: from now on under this one, too.

    A business types a number as it is dialled, WhatsApp shows it as it was registered. Who is known by a BSUID is left
    alone: that both are one person is not certain enough to say it of two people whom WhatsApp tells apart.
    """
    if sighting.phone is None:
        return None
    for form in sighting.other_forms:
        holder_id = directory.holder_at(form, sighting.at)
        if holder_id is not None and not directory.has_bsuid(holder_id):
            directory.assign(sighting.phone, holder_id, sighting.at)
            return holder_id
    return None


def _phone_shown(
    directory: Directory, contact_id: UUID, phone: Alias, at: datetime, findings: _Findings
) -> None:
    """The contact was seen with the phone at `at`: confirm it, claim it, move it, or leave it."""
    state = directory.aliases.get(phone)
    if state is None or state.given_up(at):
        directory.assign(phone, contact_id, at)
        return
    holder_id = directory.resolve(state.contact_id)
    if holder_id == contact_id:
        directory.confirm(phone, at)
    elif at < state.since and state.previous_contact_id is not None:
        _claim_earlier(directory, contact_id, state.previous_contact_id, at, findings)
        findings.losses.append(PhoneLost(contact_id=contact_id, phone=phone, at=state.since))
    elif not directory.has_bsuid(holder_id):
        _claim(directory, contact_id, holder_id, at, findings)
        directory.confirm(phone, at)
    elif at > state.changed_at:
        directory.assign(phone, contact_id, at)
        findings.losses.append(PhoneLost(contact_id=holder_id, phone=phone, at=at))
        findings.conflicts.append(
            Conflict(alias=phone, kept_contact=contact_id, other_contact=holder_id, decision="moved")
        )
    else:
        _keep(directory, contact_id, phone, at, findings)


def _claim_earlier(
    directory: Directory, contact_id: UUID, previous_id: UUID, at: datetime, findings: _Findings
) -> None:
    """An old fact, from before the phone came to its holder, can only claim the one who had it then."""
    earlier_id = directory.resolve(previous_id)
    if earlier_id != contact_id and not directory.has_bsuid(earlier_id):
        _claim(directory, contact_id, earlier_id, at, findings)


def _claim(directory: Directory, contact_id: UUID, loser_id: UUID, at: datetime, findings: _Findings) -> None:
    directory.merge(loser_id=loser_id, winner_id=contact_id, at=at, reason=PHONE_CLAIMED)
    findings.merges.append(Merged(winner_id=contact_id, loser_id=loser_id, reason=PHONE_CLAIMED))


def _keep(directory: Directory, contact_id: UUID, phone: Alias, at: datetime, findings: _Findings) -> None:
    """The phone has been seen with its holder since: the older fact moves nothing, but is not forgotten."""
    state = directory.aliases[phone]
    lost_at = state.changed_at
    if at < state.since:
        lost_at = state.since
        directory.assign(phone, contact_id, at)  # as the one before
    findings.losses.append(PhoneLost(contact_id=contact_id, phone=phone, at=lost_at))
    findings.conflicts.append(
        Conflict(
            alias=phone,
            kept_contact=directory.resolve(state.contact_id),
            other_contact=contact_id,
            decision="kept",
        )
    )


def _predecessor(directory: Directory, change: Change) -> UUID | None:
    """Who is known under the old phone, when the old BSUID does not tell.

    Not one who was first seen with it after the change: that is the number's next owner. And not one known by
    another BSUID than the one that Meta names.
    """
    state = directory.aliases.get(change.old_phone) if change.old_phone is not None else None
    if state is None or (change.at < state.since and state.previous_contact_id is None):
        return None
    holder_id = directory.holder_at(change.old_phone, change.at)
    if holder_id is None or (change.old_bsuid is not None and directory.has_bsuid(holder_id)):
        return None
    return holder_id


def _successor(directory: Directory, change: Change) -> UUID | None:
    """Who is already known under the new phone, when the new BSUID does not tell.

    A holder known by another BSUID is a stranger who had the number before, unless Meta named no BSUID and
    the number was first shown when the change happened.
    """
    state = directory.aliases.get(change.new_phone) if change.new_phone is not None else None
    if state is None:
        return None
    if change.new_bsuid is None and state.since >= change.at - _SAME_CHANGE:
        return directory.resolve(state.contact_id)
    holder_id = directory.holder_at(change.new_phone, change.at)
    return holder_id if holder_id is not None and not directory.has_bsuid(holder_id) else None


def _merge_by_age(
    directory: Directory, first: UUID, second: UUID, change: Change, findings: _Findings
) -> UUID:
    """The contact that was seen first wins; the smaller id when they were seen at the same time."""
    winner_id, loser_id = sorted(
        (first, second), key=lambda one: (directory.contacts[one].first_seen_at, one)
    )
    directory.merge(loser_id=loser_id, winner_id=winner_id, at=change.at, reason=change.reason)
    findings.merges.append(Merged(winner_id=winner_id, loser_id=loser_id, reason=change.reason))
    return winner_id
