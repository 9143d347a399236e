"""Files of k8s/monitoring that follow from the metrics: rules for any Prometheus, for its operator, and the dashboard."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from connector.telemetry.alerts import ALERTS
from connector.telemetry.dashboard import rendered_dashboard

FOLDER = Path("k8s/monitoring")
_HEAD = "# Written by `make schemas` from connector/telemetry/alerts.py. Each alert has its runbook in docs/operations.md.\n"


class _Dumper(yaml.SafeDumper):
    """Expressions of several lines are kept as such."""


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Dumper.add_representer(str, _text)


def rendered_monitoring_files() -> dict[Path, str]:
    """Path in a checkout → content, deterministic."""
    groups = {"groups": [{"name": "whatsapp-crm-connector", "rules": _rules()}]}
    operator = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "connector"},
        "spec": groups,
    }
    return {
        FOLDER / "rules.yaml": _HEAD + _yaml(groups),
        FOLDER / "prometheus-rule.yaml": _HEAD + _yaml(operator),
        FOLDER / "dashboard.json": json.dumps(rendered_dashboard(), indent=1, ensure_ascii=False) + "\n",
    }


def _rules() -> list[dict[str, Any]]:
    return [
        {
            "alert": alert.name,
            "expr": alert.expr,
            "for": alert.holds,
            "labels": {"severity": alert.severity, **({"window": alert.window} if alert.window else {})},
            "annotations": {"summary": alert.summary, "runbook_url": alert.runbook},
        }
        for alert in ALERTS
    ]


def _yaml(document: Any) -> str:
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)
