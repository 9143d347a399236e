"""Only what Meta approved, in the language it approved."""

from __future__ import annotations

from datetime import datetime

from connector.outbound.decisions import PASS, Block, Decision, Hold, Pass
from connector.outbound.facts import Facts
from connector.outbound.policies.policy import Policy
from connector.outbound.templates.template import Template

_ADVICE = {
    "PENDING": "wait for Meta's review, then send again",
    "IN_APPEAL": "wait for Meta's review, then send again",
    "REJECTED": "correct the template in WhatsApp Manager and submit it again",
    "DISABLED": "make a new template; Meta disabled this one after several pauses",
}


def _decide(facts: Facts, *, now: datetime) -> Decision:
    if facts.request.kind != "template":
        return PASS
    template = facts.template
    if template is None:
        return _absent(facts, now)
    if template.status == "PAUSED":
        note = f", {template.status_note.replace('_', ' ').lower()}" if template.status_note else ""
        return Hold(
            until=now + facts.rules.look_again_later,
            reason=f"Meta paused the template for low quality{note}; it goes on when Meta lifts the pause",
            evidence=_evidence(template),
        )
    if not template.sendable:
        because = f" ({template.rejected_reason})" if template.rejected_reason else ""
        return Block(
            reason=f"the template is {template.status}{because}, not APPROVED",
            advice=_ADVICE.get(template.status, "choose an approved template: connector templates list"),
            evidence=_evidence(template),
        )
    if "components" not in template.as_of:
        return Hold(
            until=now + facts.rules.look_again,
            reason="the template's content has not been read from Meta yet; connector templates sync does it now",
            evidence=_evidence(template),
        )
    return Pass(evidence=_evidence(template))


def _absent(facts: Facts, now: datetime) -> Decision:
    request, synced = facts.request, facts.view.templates_synced_at
    where = f" in {request.language}" if request.language else ""
    if synced is None:
        return Hold(
            until=now + facts.rules.look_again,
            reason="the account's templates have not been read from Meta yet; connector templates sync does it now",
        )
    return Block(
        reason=f"the account has no template {request.template}{where}",
        advice="connector templates list shows names and languages; connector templates sync reads them again",
        evidence={
            "template": request.template,
            "language": request.language,
            "synced_at": synced.isoformat(),
        },
    )


def _evidence(template: Template) -> dict[str, str]:
    since = template.as_of.get("status")
    return {
        "template_id": template.id,
        "status": template.status,
        "language": template.language,
        **({"since": since.isoformat()} if since else {}),
    }


POLICY = Policy(name="template_status", asks="Is the template approved?", decide=_decide)
