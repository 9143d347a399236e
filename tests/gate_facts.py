"""A send that may be sent, to change one fact at a time."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from connector.outbound.consent.ledger import Act, Standing
from connector.outbound.facts import Facts, NumberFacts, RecipientFacts, Request, View
from connector.outbound.rules import GateRules
from connector.outbound.templates.reading import node_change
from connector.outbound.templates.template import Template, folded

NOW = datetime(2026, 5, 5, 12, 0, tzinfo=UTC)
"""A Tuesday noon in London."""
PERSON = UUID("5f0d0a86-7a2f-5a53-9d1c-0d3f0b3c6f11")


def template(**changes: Any) -> Template:
    node = {
        "id": "1200000000000005",
        "name": "spring_sale",
        "language": "en_GB",
        "status": "APPROVED",
        "category": "MARKETING",
        "parameter_format": "POSITIONAL",
        "components": [{"type": "BODY", "text": "Hi {{1}}, everything is {{2}} off until Sunday."}],
        **changes,
    }
    change = node_change(node, waba_id="102290129340398", asked_at=NOW - timedelta(minutes=10))
    assert change is not None
    return folded(None, change)


def act(**changes: Any) -> Act:
    return Act(
        **{
            "act_id": "e1:marketing",
            "purpose": "marketing",
            "state": "granted",
            "at": NOW - timedelta(days=30),
            "source": "api",
            "by_person": True,
            "evidence": "form newsletter-7",
            **changes,
        }
    )


def granted() -> Standing:
    return Standing(state="granted", act=act())


def denied(**changes: Any) -> Standing:
    said = act(
        state="denied", source="keyword", at=NOW - timedelta(hours=2), evidence="wamid.X “STOP”", **changes
    )
    return Standing(state="denied", act=said)


def facts(
    *, recipient: dict[str, Any] | None = None, request: dict[str, Any] | None = None, **changes: Any
) -> Facts:
    """Marketing to somebody in London at noon, who agreed to it."""
    base = Facts(
        request=replace(
            Request(
                send_id="send-1",
                template="spring_sale",
                language="en_GB",
                requested_at=NOW - timedelta(minutes=1),
                expires_at=NOW + timedelta(hours=24),
                content_key="c1",
            ),
            **(request or {}),
        ),
        recipient=replace(RecipientFacts(contact_id=PERSON, phone="+447400123456"), **(recipient or {})),
        template=template(),
        consent={"marketing": granted()},
        number=NumberFacts(phone_number_id="106540352242922", quality="GREEN"),
        view=View(lag=timedelta(0), templates_synced_at=NOW - timedelta(minutes=10)),
        rules=GateRules(),
    )
    return replace(base, **changes)
