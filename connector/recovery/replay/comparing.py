"""What a CRM's own records say of the items of a batch, where a plan is to look at them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from connector.crm.port import (
    ActivityChange,
    ActivityQuery,
    Compared,
    FindResult,
    Later,
    Priority,
    RecordComparison,
    Terms,
)
from connector.recovery.replay.judging import ActivityRow, ContactRow, Judge, lost_row
from connector.recovery.replay.rows import Entry

_TERMS = Terms(priority=Priority.REPLAY)


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """A look at one CRM; `crm` None: it is not looked at, and nothing is said."""

    crm: RecordComparison | None

    async def contacts(self, judge: Judge, batch: Sequence[Entry[ContactRow]]) -> dict[str, Compared]:
        """What the CRM says of people whose records are known and at rest."""
        crm = self.crm
        known = [
            (entry.key, judge.desired_contact(entry.row, judge.contact_facts(entry.row, entry.told)).upsert)
            for entry in batch
            if entry.row is not None and _may_be_compared(entry.row)
        ]
        if crm is None or not known:
            return {}
        said = await crm.compare_contacts([upsert for _, upsert in known], _TERMS)
        return {key: answer for (key, _), answer in zip(known, said, strict=True)}

    async def lost(
        self,
        batch: Sequence[Entry[ActivityRow]],
        holders: Mapping[str, UUID | None],
        people: Mapping[str, ContactRow],
        *,
        listed: Mapping[str, str],
    ) -> dict[str, FindResult]:
        """Records in the CRM of messages that the tables do not have. `listed`: those that are known already."""
        crm = self.crm
        if crm is None:
            return {}
        queries = [
            ActivityQuery(wamid=entry.key, contact_record_ids=(contact.record_id,))
            for entry in batch
            if entry.row is None
            and entry.key not in listed
            and (contact := people.get(str(holders[entry.key]))) is not None
            and contact.record_id is not None
        ]
        found: dict[str, FindResult] = {**listed}
        for start in range(0, len(queries), crm.activities_per_call):
            part = queries[start : start + crm.activities_per_call]
            results = await crm.find_activities(part, _TERMS)
            found |= {query.wamid: result for query, result in zip(part, results, strict=True)}
        return found

    async def activities(
        self,
        judge: Judge,
        batch: Sequence[Entry[ActivityRow]],
        holders: Mapping[str, UUID | None],
        people: Mapping[str, ContactRow],
        *,
        found: Mapping[str, FindResult],
    ) -> dict[str, Compared]:
        """What the CRM says of messages that it has, and of those that it did not tell of."""
        crm = self.crm
        if crm is None:
            return {}
        known: list[tuple[str, ActivityChange]] = []
        for entry in batch:
            row, name = entry.row, str(holders[entry.key])
            contact = people.get(name)
            if contact is None:
                continue
            if row is None:
                if not isinstance(lost := found.get(entry.key), str):
                    continue
                row = lost_row(entry.key, lost, contact)
            elif row.waits or row.problem or row.record_id is None:
                continue
            # Of somebody whose record is made anew the messages may be gone, too: they are looked at where they were.
            place = contact.record_id or row.on_record_id
            if place is None:
                continue
            contact = replace(contact, record_id=place)
            facts = judge.activity_facts(row, entry.told)
            known.append((entry.key, judge.desired_activity(row, facts, contact=contact).change))
        answers: dict[str, Compared] = {
            key: result for key, result in found.items() if isinstance(result, Later)
        }
        if known:
            said = await crm.compare_activities([change for _, change in known], _TERMS)
            answers |= {key: answer for (key, _), answer in zip(known, said, strict=True)}
        return answers


def _may_be_compared(row: ContactRow) -> bool:
    return (
        row.record_id is not None
        and not row.waits
        and not row.problem
        and not row.shared
        and row.redirect_to is None
        and row.held is None
    )
