"""Consent as a CSV file: one act a line, with its evidence. What is exported can be imported again. Pure.

The same line is the same act, in this file or another one: importing twice changes nothing.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import ValidationError

from connector.errors import Rejected
from connector.events import ConsentGiven
from connector.ingress.trigger_records import request_hash_of
from connector.ingress.trigger_requests import ConsentAct, problems_of
from connector.outbound.recipients import sought
from connector.recovery.consent import ExportedConsent

COLUMNS = ("phone", "bsuid", "hubspot_id", "salesforce_id", "purpose", "state", "at", "by_person", "evidence")
IGNORED = ("contact_id", "source")
"""Written by the export for people; an import makes its own."""
_WHO = ("phone", "bsuid", "hubspot_id", "salesforce_id")
_YES, _NO = frozenset({"yes", "true", "1"}), frozenset({"no", "false", "0", ""})
_CLOCKS_APART = timedelta(seconds=60)
_FORMULA = ("=", "+", "-", "@")


@dataclass(frozen=True, kw_only=True, slots=True)
class LineProblem:
    """What is wrong with one line of the file."""

    line: int
    problem: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ConsentFile:
    """What a file says. `repeated`: lines that say again what another one does."""

    acts: Sequence[ConsentGiven]
    problems: Sequence[LineProblem]
    repeated: int


def read_consent(text: str, *, who: str, now: datetime) -> ConsentFile:
    """Read a file whole, wrong lines and all. `who`: who imports it.

    Raises `Rejected` (cause `no_consent_file`) when its first line does not name the columns.
    """
    rows = _rows(text)
    acts: dict[str, ConsentGiven] = {}
    problems: list[LineProblem] = []
    good = 0
    for line, values in rows:
        found = _act(values, who=who, now=now)
        if isinstance(found, str):
            problems.append(LineProblem(line=line, problem=found))
            continue
        good += 1
        acts.setdefault(found.event_id, found)
    return ConsentFile(acts=list(acts.values()), problems=problems, repeated=good - len(acts))


def _rows(text: str) -> Iterator[tuple[int, dict[str, str]]]:
    """(number of the line, column → value), blank lines left out."""
    head = text.partition("\n")[0]
    # What spreadsheets write in countries whose decimal sign is a comma.
    delimiter = max(",;\t", key=head.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    columns: list[str] | None = None
    try:
        for row in reader:
            if columns is None:
                columns = _columns(row)
            elif any(cell.strip() for cell in row):
                yield reader.line_num, _cells(columns, row)
    except csv.Error as error:
        raise Rejected(
            f"Line {reader.line_num} is no CSV: {error}. Nothing was imported.",
            cause="no_consent_file",
            advice="put values with quotes or line breaks in double quotes",
        ) from None
    if columns is None:
        raise _no_file("it is empty")


def _columns(row: Sequence[str]) -> list[str]:
    names = [name.strip().lower() for name in row]
    unknown = [name for name in names if name not in (*COLUMNS, *IGNORED)]
    if unknown:
        raise _no_file(f"there is no column {unknown[0]!r}")
    if len(set(names)) < len(names):
        raise _no_file("a column is there twice")
    missing = [name for name in ("purpose", "state", "at") if name not in names]
    if missing or not set(names) & set(_WHO):
        raise _no_file(f"the column {missing[0] if missing else ' or '.join(_WHO)} is missing")
    return names


def _cells(columns: Sequence[str], row: Sequence[str]) -> dict[str, str]:
    if len(row) > len(columns) and any(cell.strip() for cell in row[len(columns) :]):
        return {"": f"has {len(row)} values for {len(columns)} columns"}
    return {name: value.strip() for name, value in zip(columns, row, strict=False) if name not in IGNORED}


def _act(values: Mapping[str, str], *, who: str, now: datetime) -> ConsentGiven | str:
    """The act, or what is wrong with the line."""
    if "" in values:
        return values[""]
    by_person = values.get("by_person", "").lower()
    if by_person not in _YES | _NO:
        return "by_person must be yes or no"
    document: dict[str, Any] = {
        "to": {name: values[name] for name in _WHO if values.get(name)},
        "purpose": values["purpose"].lower() if "purpose" in values else "",
        "state": values["state"].lower() if "state" in values else "",
        "at": values.get("at", ""),
        "by_person": by_person in _YES,
        "evidence": _unguarded(values.get("evidence", "")),
    }
    try:
        act = ConsentAct.model_validate(document)
    except ValidationError as error:
        return "; ".join(
            f"{item['path'].removeprefix('to.')} {item['problem']}".replace("to must", "the line must")
            for item in problems_of(error)
        )
    if act.at > now + _CLOCKS_APART:
        return "at is in the future"
    if sought(act.to.recipient()).invalid:
        return "phone is no possible number of any country"
    content = {**act.model_dump(mode="json"), "at": act.at.astimezone(UTC).isoformat()}
    return ConsentGiven(
        event_id=f"consent.given:import:{request_hash_of(content)[:32]}",
        source="import",
        client=who,
        received_at=now,
        to=act.to.recipient(),
        purpose=act.purpose,
        state=act.state,
        at=act.at,
        by_person=act.by_person,
        evidence=act.evidence,
    )


def header() -> str:
    """The first line of a file."""
    return _line([*COLUMNS, *IGNORED])


def line_of(consent: ExportedConsent) -> str:
    """One line of an export. Evidence holds what people typed: a spreadsheet must not take it for a formula."""
    values = {
        "phone": consent.phone,
        "bsuid": consent.bsuid,
        "purpose": consent.purpose,
        "state": consent.state,
        "at": consent.at.isoformat(),
        "by_person": "yes" if consent.by_person else "no",
        "evidence": _guarded(consent.evidence),
        "contact_id": str(consent.contact_id),
        "source": consent.source,
    }
    return _line([values.get(name, "") for name in (*COLUMNS, *IGNORED)])


def _line(values: Iterable[str]) -> str:
    buffer = io.StringIO(newline="")
    csv.writer(buffer, lineterminator="\n").writerow(values)
    return buffer.getvalue()


def _guarded(text: str) -> str:
    return f"'{text}" if text.startswith((*_FORMULA, "'")) else text


def _unguarded(text: str) -> str:
    return text[1:] if text.startswith("'") and text[1:].startswith((*_FORMULA, "'")) else text


def _no_file(why: str) -> Rejected:
    return Rejected(
        f"The file is no list of consents: {why}. Nothing was imported.",
        cause="no_consent_file",
        advice=f"the first line names columns: {', '.join(COLUMNS)}; at least one of the first four, purpose, state, at",
    )
