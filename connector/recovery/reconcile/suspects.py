"""Records that a CRM lists and the sink's tables do not know: second ones, and those that nobody knows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from connector.crm.survey import Listed, ListedRecord
from connector.recovery.reconcile.drift import FLAGGED, Drift, DriftKind
from connector.recovery.reconcile.survey import Surveyor

_AT_ONCE = 500
_LONGEST = 3_600.0

# What a plan adopts is no suspect, nor what a person was told of before.
_LISTED = """
  FROM replay.listed l
  LEFT JOIN LATERAL (SELECT o.record_id, o.key FROM replay.listed o WHERE o.sink = l.sink AND o.what = l.what
       AND o.twin = l.twin AND l.twin <> '' AND l.key = '' AND o.key <> '' ORDER BY o.made_at, o.record_id LIMIT 1) t ON true
"""
_OPEN = """
   AND NOT EXISTS (SELECT 1 FROM replay.items i WHERE i.plan_id = $2 AND i.sink = l.sink AND i.record_id = l.record_id)
   AND NOT EXISTS (SELECT 1 FROM replay.left_over o WHERE o.sink = l.sink AND o.what = l.what
                      AND o.record_id = l.record_id)
"""
_ACTIVITIES = """
SELECT l.record_id, l.key, t.record_id AS twin, t.key AS twin_key, a.wamid IS NOT NULL AS known, a.record_id AS kept,
       coalesce(a.contact_id::text, '') AS contact_id, f.message IS NOT NULL AS forgotten,
       (SELECT o.record_id FROM replay.listed o WHERE o.sink = l.sink AND o.what = l.what AND o.key = l.key
           AND l.key <> '' ORDER BY o.made_at, o.record_id LIMIT 1) AS oldest
{listed}
  LEFT JOIN {sink}.activities a ON a.wamid = coalesce(nullif(l.key, ''), t.key)
  LEFT JOIN {sink}.forgotten f ON l.key <> '' AND f.message = hashtextextended(l.key, 0)
 WHERE l.sink = $1 AND l.what = 'activity'
   AND NOT EXISTS (SELECT 1 FROM {sink}.activities o WHERE o.record_id = l.record_id)
{open}
 ORDER BY l.record_id
"""
_CONTACTS = """
SELECT l.record_id, l.key, t.record_id AS twin, t.key AS twin_key, c.contact_id IS NOT NULL AS known,
       c.record_id AS kept, coalesce(c.contact_id::text, '') AS contact_id, c.redirect_to IS NOT NULL AS forgotten,
       l.record_id AS oldest
{listed}
  LEFT JOIN {sink}.contacts c ON c.contact_id::text = coalesce(nullif(l.key, ''), t.key)
 WHERE l.sink = $1 AND l.what = 'contact' AND (l.key <> '' OR t.key IS NOT NULL)
   AND NOT EXISTS (SELECT 1 FROM {sink}.contacts o WHERE o.record_id = l.record_id)
   AND NOT EXISTS (SELECT 1 FROM {sink}.retirements r WHERE r.record_id = l.record_id)
{open}
 ORDER BY l.record_id
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Suspect:
    """A record, and the one that it seems to be a second of; None: of none."""

    record_id: str
    key: str
    contact_id: str
    kept: str | None
    by_twin: bool


async def suspects(surveyor: Surveyor, *, plan_id: int) -> list[Drift]:
    """What is doubled and orphaned in the CRM, as it is now. The plan says what it adopts."""
    found: list[Drift] = []
    for what, query in ((Listed.CONTACT, _CONTACTS), (Listed.ACTIVITY, _ACTIVITIES)):
        text = query.format(sink=surveyor.sink, listed=_LISTED, open=_OPEN)
        rows = await surveyor.connection.fetch(text, surveyor.sink, plan_id, timeout=_LONGEST)
        open_ones = [suspect for row in rows if (suspect := _suspect(row)) is not None]
        for start in range(0, len(open_ones), _AT_ONCE):
            found += await _confirmed(surveyor, what, open_ones[start : start + _AT_ONCE])
    return found


def _suspect(row: Any) -> _Suspect | None:
    """None: the tables know of it in another way, or the writer finds it by its key."""
    by_twin = not row["key"] and row["twin"] is not None
    if row["forgotten"]:
        kept = row["oldest"]
        if kept == row["record_id"]:
            return None
    elif row["known"] and row["kept"] is None and not by_twin:
        return None
    else:
        kept = row["kept"] or (row["twin"] if by_twin else None)
    return _Suspect(
        record_id=row["record_id"],
        key=row["key"] or row["twin_key"] or "",
        contact_id=row["contact_id"],
        kept=kept,
        by_twin=by_twin,
    )


async def _confirmed(surveyor: Surveyor, what: Listed, some: Sequence[_Suspect]) -> list[Drift]:
    wanted = {suspect.record_id for suspect in some} | {suspect.kept for suspect in some if suspect.kept}
    now = {record.record_id: record for record in await surveyor.read(what, sorted(wanted))}
    return [_drift(surveyor.sink, what, suspect, now) for suspect in some if suspect.record_id in now]


def _drift(sink: str, what: Listed, suspect: _Suspect, now: Mapping[str, ListedRecord]) -> Drift:
    record, kept = now[suspect.record_id], now.get(suspect.kept or "")
    # Of whoever was deleted neither hangs anywhere.
    placed = kept is not None and bool(record.places) and bool(kept.places)
    apart = suspect.by_twin and placed and kept is not None and not {*record.places} & {*kept.places}
    doubled = kept is not None and not apart
    message = what is Listed.ACTIVITY
    if doubled:
        said = f"the same as record {suspect.kept}"
        said += ", without our key" if suspect.by_twin else ""
        mends = "deleted if all of it is ours, else flagged" if message and not suspect.by_twin else FLAGGED
    else:
        said = (
            "our tables know nothing of it"
            if suspect.kept is None
            else f"record {suspect.kept} of it is gone"
        )
        mends = FLAGGED
    return Drift(
        sink=sink,
        kind=DriftKind.DOUBLED if doubled else DriftKind.ORPHANED,
        what=str(what),
        contact_id=suspect.contact_id if message else suspect.key,
        wamid=suspect.key if message else "",
        record_id=suspect.record_id,
        said=said,
        mends=mends,
        kept=(suspect.kept or "") if doubled else "",
    )
