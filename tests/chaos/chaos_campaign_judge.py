"""Was each send sent once, or is it said why not? By WhatsApp's own journal and by what the caller is told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any

from chaos_campaign import Asked, Journal
from chaos_figures import Figure, none_of, told

_SENT = ("accepted", "sent", "delivered", "read")


def judge_sends(
    asked: Mapping[str, Asked],
    journal: Journal,
    fates: Mapping[str, Mapping[str, Any]],
    *,
    refusing: Collection[str] = (),
    may_be: Collection[str] = (),
) -> list[Figure]:
    """The bars that hold in every row.

    `refusing`: phones of people who had said stop before anything was asked for. `may_be`: what else than sent, blocked
    or unknown a send may be, as long as it is said why.
    """
    taken = Counter(message.send_id for message in journal.accepted)
    forbidden = {one.send_id for one in asked.values() if one.phone in refusing}
    lost: list[str] = []
    unknown_though_sent: list[str] = []
    unexplained: list[str] = []
    reported: list[str] = []
    blocked: list[str] = []
    others: list[str] = []
    for send_id in asked:
        fate = fates.get(send_id, {})
        status, reason = fate.get("status", "nothing"), fate.get("reason", "")
        if send_id in taken:
            if status not in _SENT:
                unknown_though_sent.append(f"{send_id} {status}")
        elif status == "unknown" and fate.get("settled_at"):
            reported.append(send_id)
        elif status == "blocked" or status in may_be:
            (blocked if status == "blocked" else others).append(send_id)
            if not reason:
                unexplained.append(f"{send_id} {status}")
        else:
            lost.append(f"{send_id} {status}")
    return [
        none_of(
            "sends that WhatsApp accepted more than once", [one for one, times in taken.items() if times > 1]
        ),
        none_of("sends that nobody asked for", sorted(set(taken) - set(asked))),
        none_of(f"sends lost (of {len(asked):,}): neither sent nor accounted for", lost),
        none_of("sends that WhatsApp has and the connector does not know of", unknown_though_sent),
        none_of("sends blocked or waiting without a reason", unexplained),
        none_of("sends to people who had said stop", sorted(forbidden & set(taken))),
        told("sent", sum(1 for one in taken if one in asked)),
        told("blocked", len(blocked)),
        told("unknown, and reported as that", len(reported)),
        *([told(f"{', '.join(may_be)}, and said why", len(others))] if may_be else []),
    ]
