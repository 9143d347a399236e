"""What is known about the people of one batch, and the few changes that a rule can make to it.

In memory and pure: the store loads a directory under locks, the rules change it, the store writes back what
was touched. Times are those of the facts, never of processing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal, NamedTuple
from uuid import UUID, uuid5

# A contact id is UUIDv5 of the first alias seen, so that a rebuild from the log gives the same id.
_NAMESPACE = UUID("6f0d3f86-8f0e-5f0b-9a53-6a1c6f3f7d11")
_MOST_UNSEEN = 4  # contacts of one alias that may be told of out of turn


class Alias(NamedTuple):
    """One name under which WhatsApp shows a person. A phone's value is the wa_id, digits without '+'."""

    kind: Literal["bsuid", "phone"]
    value: str


@dataclass(frozen=True, kw_only=True, slots=True)
class AliasState:
    """Who holds an alias, and since when.

    `seen_at`: the last time the holder, known by BSUID, showed it. `previous_contact_id` held it before
    `since`. `released_at`: given up by a number change; a later sighting is somebody new. `contacts_made`:
    how many contacts took their id from this alias.
    """

    contact_id: UUID
    since: datetime
    seen_at: datetime
    previous_contact_id: UUID | None = None
    released_at: datetime | None = None
    contacts_made: int = 0

    @property
    def changed_at(self) -> datetime:
        """The last fact that this alias bears out: an older one does not move it."""
        latest = max(self.since, self.seen_at)
        return latest if self.released_at is None else max(latest, self.released_at)

    def given_up(self, at: datetime) -> bool:
        """Whether nobody holds it any more at that time."""
        return self.released_at is not None and at > self.released_at


@dataclass(frozen=True, kw_only=True, slots=True)
class ContactState:
    """One person of ours. After a merge `redirect_to` names the winner."""

    contact_id: UUID
    first_seen_at: datetime
    has_bsuid: bool = False
    redirect_to: UUID | None = None
    redirected_at: datetime | None = None
    reason: str | None = None


def contact_id_for(alias: Alias, *, made: int) -> UUID:
    """The id of the contact first seen under an alias; `made` contacts took their id from it before."""
    suffix = f"#{made + 1}" if made else ""
    return uuid5(_NAMESPACE, f"{alias.kind}:{alias.value}{suffix}")


class Directory:
    """Aliases, contacts and recorded messages of one batch. `touched_*` is what has to be written back.

    `locked`: the aliases that nobody else can change meanwhile, known or not.
    """

    def __init__(
        self,
        *,
        aliases: dict[Alias, AliasState] | None = None,
        contacts: dict[UUID, ContactState] | None = None,
        messages: dict[str, UUID] | None = None,
        locked: frozenset[Alias] = frozenset(),
    ) -> None:
        self.aliases = aliases if aliases is not None else {}
        self.contacts = contacts if contacts is not None else {}
        self.messages = messages if messages is not None else {}
        self.locked = locked
        self._held = {alias for alias, state in self.aliases.items() if state.released_at is None}
        self.touched_aliases: set[Alias] = set()
        self.touched_contacts: set[UUID] = set()
        self._made: dict[Alias, int] = {}

    def resolve(self, contact_id: UUID) -> UUID:
        """The contact that an id stands for now, merges followed."""
        while (target := self.contacts[contact_id].redirect_to) is not None:
            contact_id = target
        return contact_id

    def holder(self, alias: Alias | None) -> UUID | None:
        """Who holds the alias now, whether it was given up or not."""
        state = self.aliases.get(alias) if alias is not None else None
        return None if state is None else self.resolve(state.contact_id)

    def holder_at(self, alias: Alias | None, at: datetime) -> UUID | None:
        """Who held the alias at a time, as far as is known: the holder, the one before, or nobody any more."""
        state = self.aliases.get(alias) if alias is not None else None
        if state is None or state.given_up(at):
            return None
        if at < state.since and state.previous_contact_id is not None:
            return self.resolve(state.previous_contact_id)
        return self.resolve(state.contact_id)

    @property
    def newly_held(self) -> set[Alias]:
        """Aliases that nobody held when the batch began, and somebody took: whoever waits for them has an answer."""
        return self.touched_aliases - self._held

    def has_bsuid(self, contact_id: UUID) -> bool:
        """Whether the contact is known by a BSUID, and not by phones only."""
        return self.contacts[contact_id].has_bsuid

    def create(self, alias: Alias, at: datetime) -> UUID:
        """A new contact, first seen under that alias, which it holds from then on."""
        state = self.aliases.get(alias)
        made = 0 if state is None else state.contacts_made
        contact_id = contact_id_for(alias, made=made)
        self._put_contact(ContactState(contact_id=contact_id, first_seen_at=at))
        self.assign(alias, contact_id, at)
        self._put_alias(alias, replace(self.aliases[alias], contacts_made=made + 1))
        return contact_id

    def restore(self, contact_id: UUID, *, at: datetime, shown: Iterable[Alias]) -> None:
        """A contact that was made before, by its id. `shown`: the aliases that one of which it may have its id from."""
        if contact_id not in self.contacts:
            self._put_contact(ContactState(contact_id=contact_id, first_seen_at=at))
        for alias in shown:
            state = self.aliases.get(alias)
            made = 0 if state is None else state.contacts_made
            for number in range(made, made + _MOST_UNSEEN):
                if contact_id_for(alias, made=number) == contact_id:
                    self._made[alias] = number + 1
                    if state is not None:
                        self._put_alias(alias, replace(state, contacts_made=number + 1))

    def assign(self, alias: Alias, contact_id: UUID, at: datetime) -> None:
        """The contact holds the alias from `at` on; whoever held it is remembered as the one before.

        An alias that is with its holder since later stays there, and the contact is the one before.
        """
        state = self.aliases.get(alias)
        if state is None:
            made = self._made.get(alias, 0)
            state = AliasState(contact_id=contact_id, since=at, seen_at=at, contacts_made=made)
        elif at < state.since:
            state = replace(state, previous_contact_id=contact_id)
        else:
            state = replace(
                state,
                contact_id=contact_id,
                since=at,
                seen_at=at,
                previous_contact_id=state.contact_id,
                released_at=None,
            )
        self._put_alias(alias, state)
        if alias.kind == "bsuid" and not self.contacts[contact_id].has_bsuid:
            self._put_contact(replace(self.contacts[contact_id], has_bsuid=True))

    def confirm(self, alias: Alias, at: datetime) -> None:
        """The holder was seen with the alias at `at`."""
        state = self.aliases[alias]
        # With somebody before them, an earlier beginning cannot be told from the other's time.
        since = state.since if state.previous_contact_id is not None else min(state.since, at)
        seen_at = max(state.seen_at, at)
        if since != state.since or seen_at != state.seen_at:
            self._put_alias(alias, replace(state, since=since, seen_at=seen_at))

    def release(self, alias: Alias, at: datetime) -> None:
        """The holder gave the alias up at `at`; nothing when they were seen with it later."""
        state = self.aliases[alias]
        if at < state.seen_at or (state.released_at is not None and state.released_at >= at):
            return
        self._put_alias(alias, replace(state, released_at=at))

    def seen(self, contact_id: UUID, at: datetime) -> None:
        """The contact existed at `at`: the earliest such time decides who wins a merge."""
        contact = self.contacts[contact_id]
        if at < contact.first_seen_at:
            self._put_contact(replace(contact, first_seen_at=at))

    def merge(self, *, loser_id: UUID, winner_id: UUID, at: datetime, reason: str) -> None:
        """Two live contacts become one: the loser redirects to the winner."""
        loser, winner = self.contacts[loser_id], self.contacts[winner_id]
        self._put_contact(replace(loser, redirect_to=winner_id, redirected_at=at, reason=reason))
        self._put_contact(
            replace(
                winner,
                first_seen_at=min(winner.first_seen_at, loser.first_seen_at),
                has_bsuid=winner.has_bsuid or loser.has_bsuid,
            )
        )

    def _put_alias(self, alias: Alias, state: AliasState) -> None:
        self.aliases[alias] = state
        self.touched_aliases.add(alias)

    def _put_contact(self, contact: ContactState) -> None:
        self.contacts[contact.contact_id] = contact
        self.touched_contacts.add(contact.contact_id)
