"""What is wrong in an overview, a sentence each, with what to do about it. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from connector.recovery.log_stages import role_of
from connector.recovery.overview import Overview
from connector.state.switches import WORK

_LONG = 120.0
"""Seconds that an item may wait before somebody should look. A look-up in doubt takes up to a minute."""
_OLD_PARKED_DAYS = 7


@dataclass(frozen=True, kw_only=True, slots=True)
class Advice:
    """`what` is wrong, and the sentence or command that helps. `urgent`: something does not work now."""

    what: str
    do: str
    urgent: bool


def advise(overview: Overview, *, now: datetime) -> list[Advice]:
    """One line for each thing that is wrong, what does not work first."""
    found = [
        *_dependencies(overview),
        *_roles(overview),
        *_paused(overview),
        *_groups(overview),
        *_behind(overview),
        *_sinks(overview, now),
        *_numbers(overview),
        *_quotas(overview),
        *_letters(overview),
    ]
    return sorted(found, key=lambda advice: not advice.urgent)


def _dependencies(overview: Overview) -> Iterator[Advice]:
    for item in overview.dependencies:
        if item.works is False:
            yield Advice(
                what=f"{item.name}: {item.said}", do=item.advice or "it is tried again by itself", urgent=True
            )


def _roles(overview: Overview) -> Iterator[Advice]:
    for role in overview.roles:
        if role.state == "no answer":
            yield Advice(
                what=f"{role.name} does not answer at {role.url}",
                do="start it (connector run ROLE), or correct CONNECTOR_HEALTH__ROLES",
                urgent=True,
            )
        for part in role.parts:
            for why in ("stopped", "stalled"):
                if why in part:
                    hold = part[why]
                    yield Advice(
                        what=f"{part['part']} {why} since {hold['since']}: {hold['reason']}",
                        do=hold["advice"],
                        urgent=True,
                    )
            for name, hold in part.get("waiting_for", {}).items():
                if name == "operator":
                    continue  # a pause has its own line, and is no failure
                yield Advice(
                    what=f"{part['part']} waits for {name} since {hold['since']}: {hold['reason']}",
                    do=hold["advice"] or "nothing: it goes on by itself",
                    urgent=True,
                )


def _paused(overview: Overview) -> Iterator[Advice]:
    for item in overview.paused:
        options = {"template": f" --template {item.subject}", "number": f" --number {item.subject}"}
        what = f"{item.kind} {item.subject}" if item.kind in WORK else f"sends{options.get(item.scope, '')}"
        yield Advice(
            what=f"{what}: paused by {item.who} since {item.at:%Y-%m-%d %H:%M} UTC: {item.reason}",
            do=f"when it may go on: connector resume {what}",
            urgent=False,
        )


def _groups(overview: Overview) -> Iterator[Advice]:
    for group in overview.groups:
        if group.members == 0 and group.lag > 0 and group.ever_committed:
            role = role_of(group.stage)
            yield Advice(
                what=f"nobody works in the group {group.stage}, and {group.lag} records wait on {group.topic}",
                do=f"connector run {role}",
                urgent=True,
            )


def _behind(overview: Overview) -> Iterator[Advice]:
    for schema, stands in overview.behind.items():
        yield Advice(
            what=f"the tables in {schema} are behind the log since {stands.behind_since:%Y-%m-%d %H:%M} UTC: "
            f"{stands.reason}; {stands.missing:,} records are still to be read, nothing is written meanwhile",
            do="nothing: it goes on by itself, if the role runs",
            urgent=True,
        )


def _sinks(overview: Overview, now: datetime) -> Iterator[Advice]:
    for sink in overview.sinks:
        age = (now - sink.oldest).total_seconds() if sink.oldest else 0.0
        if age > _LONG:
            yield Advice(
                what=f"{sink.waiting} items wait for {sink.sink}, the oldest for {age:.0f} s",
                do=f"look at what holds sync-{sink.sink} up (its /readyz); if it works, the backlog shrinks: look again",
                urgent=False,
            )
        if sink.retried:
            yield Advice(
                what=f"{sink.retried} items do not pass to {sink.sink} and are tried again, the last one because: "
                f"{sink.setback}",
                do="mend that; nothing is lost, and they go on by themselves",
                urgent=False,
            )
        for item in sink.refused:
            blocked = (
                f", {sink.blocked} messages are blocked by refused people"
                if item.contacts and sink.blocked
                else ""
            )
            yield Advice(
                what=f"{sink.sink} refused {item.contacts} contacts and {item.activities} activities{blocked}: "
                f"{item.cause}: {item.example}",
                do=f"mend the cause, then: connector state retry --sink {sink.sink} --cause {item.cause}",
                urgent=False,
            )
    parked = overview.parked
    if parked is not None and parked.oldest is not None and (now - parked.oldest).days >= _OLD_PARKED_DAYS:
        yield Advice(
            what=f"{parked.count} statuses wait for their message, the oldest since {parked.oldest:%Y-%m-%d}",
            do="their messages were sent before the connector listened; nothing is lost by leaving them",
            urgent=False,
        )


def _numbers(overview: Overview) -> Iterator[Advice]:
    for item in overview.numbers_paused:
        yield Advice(
            what=f"number {item.phone_number_id} sends nothing until {item.until:%Y-%m-%d %H:%M:%S} UTC: {item.reason}",
            do="nothing: it goes on by itself; if it comes again, look at the number in WhatsApp Manager",
            urgent=False,
        )


def _quotas(overview: Overview) -> Iterator[Advice]:
    for item in overview.quotas:
        if item.day_left == 0:
            again = f", looked at again at {item.look_again_at:%H:%M} UTC" if item.look_again_at else ""
            yield Advice(
                what=f"{item.crm}'s calls of the day are used up ({item.day_calls}){again}; items wait",
                do="nothing is lost; lower what else calls the account, or buy more calls",
                urgent=True,
            )
        elif item.refused_until is not None:
            yield Advice(
                what=f"{item.crm} refused calls for its limit; nobody calls until {item.refused_until:%H:%M:%S} UTC",
                do="nothing: it goes on by itself; if it comes again, something else uses the account's quota",
                urgent=False,
            )


def _letters(overview: Overview) -> Iterator[Advice]:
    letters = overview.dead_letters
    for item in letters.groups if letters else ():
        if item.open:
            yield Advice(
                what=f"{item.open} dead letters of {item.stage}: {item.cause}, last at {item.last:%Y-%m-%d %H:%M} UTC: {item.reason}",
                do=f"{item.advice or 'mend the cause'}; connector dlq show {item.name}",
                urgent=False,
            )
