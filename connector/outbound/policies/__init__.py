"""The policies of the gate, one file each. The first that blocks names the reason, so the gravest stand first."""

from __future__ import annotations

from connector.outbound.policies import (
    consent,
    conversation_window,
    crm_properties,
    duplicate,
    expiry,
    frequency_cap,
    freshness,
    kill_switch,
    marketing_rest,
    number_quality,
    opt_out,
    pair_limit,
    parameters,
    portfolio_limit,
    quiet_hours,
    reachability,
    recipient,
    template_status,
    us_marketing,
)
from connector.outbound.policies.policy import Policy

POLICIES: tuple[Policy, ...] = (
    recipient.POLICY,
    opt_out.POLICY,
    consent.POLICY,
    expiry.POLICY,
    template_status.POLICY,
    parameters.POLICY,
    crm_properties.POLICY,
    conversation_window.POLICY,
    reachability.POLICY,
    us_marketing.POLICY,
    duplicate.POLICY,
    kill_switch.POLICY,
    freshness.POLICY,
    number_quality.POLICY,
    portfolio_limit.POLICY,
    frequency_cap.POLICY,
    marketing_rest.POLICY,
    quiet_hours.POLICY,
    pair_limit.POLICY,
)

__all__ = ["POLICIES", "Policy"]
