"""What is known, and what today's code reads in the same records again → what should be known. Pure.

Only forward: what the records that were read again do not tell stays, and an older fact replaces no newer one. Where
both tell of the same moment, today's reading is right: that is what a mended reader is for.
"""

from __future__ import annotations

from connector.sync.core.activities import ActivityFacts, is_poor, merge_activity_facts
from connector.sync.core.amendments import without_deleted_text
from connector.sync.core.contacts import REGISTERS, ContactFacts, merge_contact_facts


def reread_contact(known: ContactFacts, told: ContactFacts) -> ContactFacts:
    """A person's facts after reading again."""
    merged = merge_contact_facts(known, told)
    for name in REGISTERS:
        if name in known and name in told and known[name][1] == told[name][1]:
            merged[name] = told[name]
    return merged


def reread_activity(known: ActivityFacts, told: ActivityFacts, *, keep_deleted_text: bool) -> ActivityFacts:
    """A message's facts after reading again. It stays whose it was, unless that was said with less certainty."""
    merged = merge_activity_facts(known, told)
    owners = [facts["owner"] for facts in (known, told) if "owner" in facts]
    if owners:
        merged["owner"] = max(owners, key=lambda owner: owner[0])
    before, now = known.get("message"), told.get("message")
    if before and now and _is_same_version(before, now) and (is_poor(before) or not is_poor(now)):
        merged["message"] = now
    if "failure" in known and "failure" in told and known["failure"][2] == told["failure"][2]:
        merged["failure"] = told["failure"]
    if "edit" in known and "edit" in told and known["edit"]["at"] == told["edit"]["at"]:
        merged["edit"] = told["edit"]
    return merged if keep_deleted_text else without_deleted_text(merged)


def _is_same_version(before: ActivityFacts, now: ActivityFacts) -> bool:
    return before["at"] == now["at"] and before.get("via") == now.get("via")
