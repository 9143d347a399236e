"""Rules of the communications object (logged WhatsApp, SMS and LinkedIn messages).

developers.hubspot.com/docs/api-reference/crm-communications-v3/guide
"""

from __future__ import annotations

from collections.abc import Mapping

from connector.sandbox.hubspot.errors import Problem

REQUIRED = ("hs_communication_channel_type", "hs_communication_logged_from", "hs_timestamp")
"""Mandatory when one is created; logged_from accepts only CRM."""


def missing_properties(values: Mapping[str, str]) -> Problem | None:
    """Return the problem of a new communication that lacks a mandatory property."""
    missing = [name for name in REQUIRED if not values.get(name)]
    if not missing:
        return None
    return Problem(
        status=400,
        category="VALIDATION_ERROR",
        message="Error creating COMMUNICATION. Some required properties were not set.",
        context={"properties": missing},
    )
