"""A row, what the slice says about it, and what the CRM says → what a plan does with it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from connector.crm.port import Compared, Differs, Gone, Later, Same
from connector.recovery.replay.items import PLACE, Act, Kind, PlannedItem
from connector.recovery.replay.pieces import Told
from connector.sync.claims import ClaimedActivity, ClaimedContact
from connector.sync.core.activities import ActivityFacts
from connector.sync.core.contacts import ContactFacts
from connector.sync.core.desired import ActivityView, activity_view
from connector.sync.core.file_links import FileLinks, with_file_links
from connector.sync.core.fold import LONG_AGO, resolve
from connector.sync.core.holding import HoldRules, Standing, hold
from connector.sync.core.layout import ActivityLayout
from connector.sync.core.mapping import ContactMapping
from connector.sync.core.rereading import reread_activity, reread_contact
from connector.sync.plan import PlannedActivity, PlannedContact, plan_activities, plan_contact

_HELD: Mapping[str, str] = {
    "unknown": "are not in the CRM, and the settings create nobody",
    "ignored": "are on the ignore list",
    "deleted": "were deleted in the CRM; --restore-deleted makes them anew",
    "erased": "were erased in the CRM for good",
    "refused": "are refused by the CRM; mend the cause, then: connector state retry",
}
_DELETED_ACTIVITY = "activity_deleted"
_ACTIVITY_DELETED = "were deleted in the CRM; --restore-deleted makes them anew"
_MERGED_FIRST = "belong to people whom this plan merges; plan again once it is applied"


@dataclass(frozen=True, kw_only=True, slots=True)
class ContactRow:
    """A person in the sink's tables."""

    contact_id: UUID
    facts: ContactFacts
    desired_version: int
    written_version: int
    written_digest: str | None
    record_id: str | None
    redirect_to: UUID | None
    shared: bool
    held: str | None
    problem: str | None

    @property
    def waits(self) -> bool:
        """Whether the CRM does not say yet what it should."""
        return self.desired_version > self.written_version


@dataclass(frozen=True, kw_only=True, slots=True)
class ActivityRow:
    """A message in the sink's tables."""

    wamid: str
    contact_id: UUID | None
    facts: ActivityFacts
    desired_version: int
    written_version: int
    written_digest: str | None
    record_id: str | None
    on_record_id: str | None
    problem: str | None

    @property
    def waits(self) -> bool:
        """Whether the CRM does not say yet what it should."""
        return self.desired_version > self.written_version


def lost_row(wamid: str, record_id: str, contact: ContactRow) -> ActivityRow:
    """As the row of a message would be that the CRM has and the tables lost."""
    return ActivityRow(
        wamid=wamid,
        contact_id=contact.contact_id,
        facts={},
        desired_version=0,
        written_version=0,
        written_digest=None,
        record_id=record_id,
        on_record_id=contact.record_id,
        problem=None,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Judge:
    """What a plan is made with. `merging`: people whom it merges: what is theirs is planned after that."""

    mapping: ContactMapping
    layout: ActivityLayout
    links: FileLinks | None
    holds: HoldRules
    keep_deleted_text: bool
    restore: bool
    redirects: Mapping[UUID, UUID]
    restore_known: bool = True
    merging: frozenset[UUID] = frozenset()

    def contact_facts(self, row: ContactRow | None, told: Told | None) -> ContactFacts:
        """What should be known of a person."""
        return reread_contact(row.facts if row else {}, told.facts if told else {})

    def activity_facts(self, row: ActivityRow | None, told: Told | None) -> ActivityFacts:
        """What should be known of a message."""
        return reread_activity(
            row.facts if row else {}, told.facts if told else {}, keep_deleted_text=self.keep_deleted_text
        )

    def desired_contact(self, row: ContactRow, facts: ContactFacts) -> PlannedContact:
        """What a known record should say."""
        return plan_contact(
            ClaimedContact(
                contact_id=row.contact_id,
                facts=facts,
                version=row.desired_version,
                ahead=True,
                record_id=row.record_id,
                shared=row.shared,
                written_digest=row.written_digest,
                attempts=0,
            ),
            mapping=self.mapping,
        )

    def desired_activity(
        self, row: ActivityRow, facts: ActivityFacts, *, contact: ContactRow
    ) -> PlannedActivity:
        """What a known activity should say, on the record of its contact of today."""
        assert contact.record_id is not None
        claimed = ClaimedActivity(
            wamid=row.wamid,
            contact_id=contact.contact_id,
            facts=facts,
            version=row.desired_version,
            record_id=row.record_id,
            on_record_id=row.on_record_id,
            written_digest=row.written_digest,
            in_doubt=False,
            lookups=0,
            attempts=0,
        )
        plan = plan_activities(
            [claimed],
            records={contact.contact_id: contact.record_id},
            layout=self.layout,
            links=self.links,
        )
        return (*plan.unchanged, *plan.changes, *plan.creates)[0]

    def judge_contact(
        self, key: str, row: ContactRow | None, told: Told | None, said: Compared | None
    ) -> PlannedItem:
        """One person. `said`: what the CRM says beside what it should; None: it was not asked."""
        facts = self.contact_facts(row, told)
        new = None if row is not None and facts == row.facts else facts

        def item(act: Act, reason: str = "", **more: Any) -> PlannedItem:
            return PlannedItem(
                kind=Kind.CONTACT,
                key=key,
                act=act,
                reason=reason,
                base_version=row.desired_version if row else None,
                **({"facts": new, "fresh_at": told.fresh_at if told else LONG_AGO} | more),
            )

        if UUID(key) in self.merging:
            return item(Act.CANNOT, _MERGED_FIRST)
        if row is None:
            return self._new_contact(item, facts)
        if row.redirect_to is not None or row.shared:
            return item(Act.NOTHING)
        if row.held == "deleted" and self.restore and self.restore_known:
            return item(Act.RESTORE, "somebody deleted it in the CRM")
        if row.held is not None and row.held in _HELD:
            return item(Act.CANNOT, _HELD[row.held])
        if row.problem:
            return item(Act.CANNOT, _HELD["refused"])
        if row.record_id is None or row.waits:
            # On its way already, with or without what was read again.
            return item(Act.WAITS if new is None else Act.CREATE if row.record_id is None else Act.CHANGE)
        planned = self.desired_contact(row, facts)
        if isinstance(said, Later):
            return item(Act.CANNOT, f"are not told of by the CRM: {said.reason}")
        if isinstance(said, Gone):
            if self.restore and not said.erased:
                return item(Act.RESTORE, "somebody deleted it in the CRM")
            return item(Act.CANNOT, _HELD["erased" if said.erased else "deleted"])
        if isinstance(said, Differs):
            return item(Act.CHANGE, "the CRM says something else", fields=said.fields)
        if said is not None or planned.unchanged:
            return item(Act.NOTHING if new is None else Act.LEARN, digest=planned.digest)
        before = self.desired_contact(row, row.facts).upsert.always
        now = planned.upsert.always
        changed = [name for name in now if new is not None and before.get(name) != now[name]]
        reason = "the log says more" if new is not None else "today's mapping says it differently"
        return item(Act.CHANGE, reason, fields=tuple(sorted(changed or now)))

    def _new_contact(self, item: Any, facts: ContactFacts) -> PlannedItem:
        held = hold(Standing(), before={}, after=facts, rules=self.holds)
        if held in ("ignored", "unknown"):
            created: PlannedItem = item(Act.CANNOT, _HELD[held])
        else:
            reason = "looked up by number first" if held else "not in the tables"
            created = item(Act.CREATE, reason)
        return created

    def holder(self, row: ActivityRow | None, facts: ActivityFacts) -> UUID | None:
        """Whose message it is today."""
        owner = facts.get("owner")
        if row is not None and row.contact_id is not None:
            return resolve(row.contact_id, self.redirects)
        return None if owner is None else resolve(UUID(owner[1]), self.redirects)

    def judge_activity(
        self,
        key: str,
        row: ActivityRow | None,
        told: Told | None,
        said: Compared | None,
        *,
        contact: ContactRow | None,
        contact_act: Act | None,
        found: str | None = None,
    ) -> PlannedItem:
        """One message. `contact`: its person's row of today, `contact_act`: what the plan does with that person.

        `found`: the record in the CRM of a message that has no row, and `said` is about that record; of one whose
        record is gone, another record that the CRM has of it.
        """
        facts = self.activity_facts(row, told)
        new = None if row is not None and facts == row.facts else facts
        holder = self.holder(row, facts)

        def item(act: Act, reason: str = "", **more: Any) -> PlannedItem:
            told_of: dict[str, Any] = {"fresh_at": told.fresh_at, "position": told.position} if told else {}
            said_of: dict[str, Any] = {"facts": new} | told_of | more
            return PlannedItem(
                kind=Kind.ACTIVITY,
                key=key,
                act=act,
                reason=reason,
                base_version=row.desired_version if row else None,
                **said_of,
            )

        if holder is None:
            return item(Act.CANNOT, "are statuses of messages that nobody is known for")
        if holder in self.merging:
            return item(Act.CANNOT, _MERGED_FIRST)
        if contact is None and contact_act is not Act.CREATE:
            return item(Act.CANNOT, "belong to people who are not in the tables; plan without --event-type")
        restored = contact_act is Act.RESTORE
        held = contact.held if contact is not None and not restored else None
        if held is not None and held in _HELD:
            return item(Act.CANNOT, _HELD[held])
        if contact_act is Act.CANNOT and contact is None:
            return item(Act.CANNOT, "belong to people who are not written")
        if row is None and found is not None and contact is not None:
            lost = self.desired_activity(lost_row(key, found, contact), facts, contact=contact)
            if isinstance(said, Differs):
                return item(Act.CHANGE, "the tables had lost it", fields=said.fields, record_id=found)
            if isinstance(said, Same):
                return item(Act.LEARN, "the tables had lost it", digest=lost.digest, record_id=found)
            return item(Act.CANNOT, "are not told of by the CRM")
        if row is None:
            if isinstance(said, Later):
                return item(Act.CANNOT, f"are not told of by the CRM: {said.reason}")
            return item(Act.CREATE, "not in the tables")
        if row.problem:
            deleted = row.problem.startswith(f"{_DELETED_ACTIVITY}:")
            if deleted and self.restore and self.restore_known:
                return item(Act.RESTORE, "somebody deleted it in the CRM")
            return item(Act.CANNOT, _ACTIVITY_DELETED if deleted else _HELD["refused"])
        if row.waits:
            return item(Act.WAITS if new is None else Act.CREATE if row.record_id is None else Act.CHANGE)
        if row.record_id is None or contact is None:
            return item(Act.CREATE, "not in the CRM")
        if isinstance(said, Later):
            return item(Act.CANNOT, f"are not told of by the CRM: {said.reason}")
        if isinstance(said, Gone):
            if self.restore and found is not None:
                return item(Act.RESTORE, "its record is gone, and the CRM has another", record_id=found)
            if self.restore:
                return item(Act.RESTORE, "somebody deleted it in the CRM")
            return item(Act.CANNOT, _ACTIVITY_DELETED)
        if restored:
            return item(Act.CHANGE, "its person's record is made anew", fields=(PLACE,))
        if contact.record_id is None:
            return item(Act.WAITS if new is None else Act.CHANGE)
        planned = self.desired_activity(row, facts, contact=contact)
        if isinstance(said, Differs):
            return item(Act.CHANGE, "the CRM says something else", fields=said.fields)
        moved = row.on_record_id != contact.record_id
        same = row.written_digest == planned.digest and not moved
        if (said is not None and not moved) or same:
            return item(Act.NOTHING if new is None else Act.LEARN, digest=planned.digest)
        names = self._changed(row, facts) or ("subject", "body")
        reason = "the log says more" if new is not None else "today's mapping says it differently"
        if moved:
            names, reason = (*names, PLACE), "it hangs on another record"
        return item(Act.CHANGE, reason, fields=names)

    def _changed(self, row: ActivityRow, facts: ActivityFacts) -> tuple[str, ...]:
        before, now = self._view(row.facts, row.wamid), self._view(facts, row.wamid)
        names = ("direction", "status", "at", "subject", "body")
        return tuple(name for name in names if getattr(before, name) != getattr(now, name))

    def _view(self, facts: ActivityFacts, wamid: str) -> ActivityView:
        return activity_view(with_file_links(facts, wamid=wamid, links=self.links), layout=self.layout)
