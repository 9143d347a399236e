"""The alerts, their runbooks and the dashboard: whatever they name exists, and promtool sees each fire and stay quiet."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.metrics import MetricWrapperBase

from connector.monitoring_files import rendered_monitoring_files
from connector.telemetry import metrics
from connector.telemetry.alerts import ALERTS, RUNBOOKS, Alert
from connector.telemetry.dashboard import ROWS, rendered_dashboard

CHECKOUT = Path(__file__).parents[2]
DECLARED = {
    next(iter(value.describe())).name: value
    for value in vars(metrics).values()
    if isinstance(value, MetricWrapperBase)
}
_WORD = re.compile(r'"[^"]*"|([a-zA-Z_:][a-zA-Z0-9_:]*)')
PROMTOOL = shutil.which("promtool")


def _metric_of(series: str) -> MetricWrapperBase | None:
    return DECLARED.get(re.sub(r"_(total|bucket|count|sum)$", "", series))


def _series(expr: str) -> Iterator[str]:
    return (name for name in _WORD.findall(expr) if name.startswith("connector_"))


def _expressions() -> list[tuple[str, str]]:
    shown = [(panel.title, query.expr) for row in ROWS for panel in row.panels for query in panel.queries]
    return [(alert.name, alert.expr) for alert in ALERTS] + shown


EXPRESSIONS = _expressions()


@pytest.mark.parametrize(
    ("name", "expr"), EXPRESSIONS, ids=[f"{name}-{n}" for n, (name, _) in enumerate(EXPRESSIONS)]
)
def test_an_expression_names_series_that_exist(name: str, expr: str) -> None:
    """Each series is one that its metric has, each label one that it carries, and the brackets close."""
    names = list(_series(expr))
    assert names
    for series in names:
        metric = _metric_of(series)
        assert metric is not None, f"{name} asks for {series}, which no role has"
        described = next(iter(metric.describe()))
        ending = series.removeprefix(described.name)
        kinds = {"counter": {"_total"}, "gauge": {""}, "histogram": {"_bucket", "_count", "_sum"}}
        assert ending in kinds[described.type]
        labels = {*metric._labelnames, *({"le"} if ending == "_bucket" else ())}
        for matchers in re.findall(rf"{series}\{{([^}}]*)\}}", expr):
            asked = set(re.findall(r'([a-z_]+)(?:=~|!~|!=|=)"', matchers))
            assert asked <= labels
    for opening, closing in ("()", "[]", "{}"):
        assert expr.count(opening) == expr.count(closing)


def test_every_metric_is_on_the_dashboard() -> None:
    """What is measured and shown nowhere is looked at by nobody."""
    shown = {
        metric
        for _, expr in EXPRESSIONS[len(ALERTS) :]
        for name in _series(expr)
        if (metric := _metric_of(name))
    }
    assert {name for name, metric in DECLARED.items() if metric not in shown} == set()


def test_panels_lie_side_by_side() -> None:
    """No two share an id or a place, and none is wider than Grafana's 24 columns."""
    panels: list[dict[str, Any]] = rendered_dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        grid = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(grid["x"], grid["x"] + grid["w"])
            for y in range(grid["y"], grid["y"] + grid["h"])
        }
        assert not cells & taken
        assert max(x for x, _ in cells) < 24
        taken |= cells


def test_every_alert_has_its_runbook_and_every_runbook_its_alert() -> None:
    """The heading is the alert's name, and something stands below it."""
    text = (CHECKOUT / RUNBOOKS).read_text("utf-8").partition("\n## Alerts\n")[2].partition("\n## ")[0]
    sections = {part.partition("\n")[0]: part.partition("\n")[2].strip() for part in text.split("\n### ")[1:]}
    assert set(sections) == {alert.name for alert in ALERTS}
    assert all(len(body) > 80 for body in sections.values())


@pytest.mark.parametrize("name", ["rules.yaml", "prometheus-rule.yaml"])
def test_rules_are_told_apart(name: str) -> None:
    """Rules of one name differ in the window; a summary asks for labels that its expression keeps."""
    [document] = [
        yaml.safe_load(text) for path, text in rendered_monitoring_files().items() if path.name == name
    ]
    [group] = document.get("spec", document)["groups"]
    keys = [(rule["alert"], rule["labels"].get("window")) for rule in group["rules"]]
    assert len(set(keys)) == len(keys) == len(ALERTS)
    for rule in group["rules"]:
        for label in re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]):
            assert re.search(rf"by \([^)]*\b{label}\b", rule["expr"]), f"{rule['alert']} has no label {label}"


@dataclass(frozen=True, kw_only=True)
class Case:
    """Series over minutes (promtool's notation), and which alerts fire at `at`."""

    series: dict[str, str]
    at: str
    fires: dict[str, list[dict[str, str]]] = field(default_factory=dict)


def _posts(kept: str, failed: str) -> dict[str, str]:
    return {
        'connector_ingress_posts_total{outcome="kept"}': kept,
        'connector_ingress_posts_total{outcome="broker_unavailable"}': failed,
    }


CASES = {
    "quiet": Case(
        series={
            **_posts("0+600x120", "0+0x120"),
            'connector_health_state{part="route",state="running"}': "1x120",
            'connector_health_state{part="route",state="stopped_line"}': "0x120",
            'connector_stream_records_total{stage="route",outcome="done"}': "0+600x120",
            'connector_stream_records_total{stage="route",outcome="dead"}': "0+0x120",
            'connector_stream_lag{stage="route",partition="0"}': "5x120",
            'connector_oldest_waiting_seconds{crm="hubspot"}': "3x120",
            'connector_numbers{status="restricted",quality="green"}': "0x120",
            'connector_send_switches{scope="all"}': "0x120",
            "connector_oldest_due_send_seconds": "0x120",
        },
        at="100m",
        fires={name: [] for name in {alert.name for alert in ALERTS}},
    ),
    "a-hiccup-wakes-nobody": Case(
        series=_posts("0+600x60 36600+600x60", "0+0x58 0+60x2 120+0x60"),
        at="61m",
        fires={"WebhooksRefused": []},
    ),
    "an-outage-pages": Case(
        series=_posts("0+600x60 36000+0x20", "0+0x60 0+600x20"),
        at="75m",
        fires={"WebhooksRefused": [{"severity": "page", "window": "1h"}]},
    ),
    "a-stopped-line-pages-within-two-minutes": Case(
        series={'connector_health_state{part="sync-hubspot",state="stopped_line"}': "0x5 1x5"},
        at="8m",
        fires={"LineStopped": [{"severity": "page", "part": "sync-hubspot"}], "ConnectorUnseen": []},
    ),
    "nobody-is-scraped": Case(series={}, at="6m", fires={"ConnectorUnseen": [{"severity": "page"}]}),
    "a-stage-that-reads-nothing": Case(
        series={
            'connector_stream_lag{stage="route",partition="0"}': "7x40",
            'connector_stream_records_total{stage="route",outcome="done"}': "100x40",
        },
        at="30m",
        fires={"StageIdleWithLag": [{"severity": "page", "stage": "route"}], "StageBehind": []},
    ),
    "a-drift-that-nobody-mended": Case(
        series={
            'connector_reconcile_drift{sink="hubspot",kind="missing"}': "3x40",
            'connector_reconcile_drift{sink="hubspot",kind="doubled"}': "0x40",
            'connector_reconcile_last_run_timestamp_seconds{sink="hubspot"}': "0x40",
        },
        at="30m",
        fires={
            "CrmDrifts": [{"severity": "ticket", "sink": "hubspot", "kind": "missing"}],
            "ReconciliationMissed": [],
        },
    ),
    "a-doubt-that-is-settled-and-another": Case(
        series={'connector_items_in_doubt{crm="hubspot"}': "1x30 0x2 1x60"},
        at="70m",
        fires={"CrmInDoubt": []},
    ),
    "a-doubt-that-stays": Case(
        series={'connector_items_in_doubt{crm="hubspot"}': "1x90"},
        at="80m",
        fires={"CrmInDoubt": [{"severity": "ticket", "crm": "hubspot"}]},
    ),
    "overdue-while-paused": Case(
        series={
            "connector_oldest_due_send_seconds": "900x90",
            'connector_send_switches{scope="all"}': "1x90",
        },
        at="80m",
        fires={"SendsOverdue": [], "SendsPaused": [{"severity": "ticket", "scope": "all"}]},
    ),
    "overdue": Case(
        series={
            "connector_oldest_due_send_seconds": "900x20",
            'connector_send_switches{scope="all"}': "0x20",
        },
        at="10m",
        fires={"SendsOverdue": [{"severity": "page"}]},
    ),
    "a-quota-that-ends": Case(
        series={'connector_quota_left{crm="salesforce",bucket="day"}': "60000-300x180"},
        at="110m",
        fires={"CrmQuotaEnds": [{"severity": "ticket", "crm": "salesforce"}]},
    ),
    "what-meta-holds-back": Case(
        series={
            'connector_templates{status="paused"}': "0x10 2x20",
            'connector_numbers{status="restricted",quality="red"}': "0x10 1x30",
        },
        at="30m",
        fires={
            "TemplatePaused": [{"severity": "ticket", "status": "paused"}],
            "NumberRestricted": [{"severity": "page", "status": "restricted", "quality": "red"}],
        },
    ),
}


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed (Debian: prometheus)")
@pytest.mark.parametrize("name", CASES)
def test_promtool_sees_the_rules_fire(name: str, tmp_path: Path) -> None:
    """The rules are what Prometheus reads, and each case raises the alerts that it should and no other of their names."""
    assert PROMTOOL is not None
    case = CASES[name]
    rules = next(text for path, text in rendered_monitoring_files().items() if path.name == "rules.yaml")
    (tmp_path / "rules.yaml").write_text(rules, "utf-8")
    summaries = {alert.name: alert for alert in ALERTS}
    test = {
        "rule_files": ["rules.yaml"],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [
                    {"series": series, "values": values} for series, values in case.series.items()
                ],
                "alert_rule_test": [
                    {
                        "eval_time": case.at,
                        "alertname": alert,
                        "exp_alerts": [
                            {"exp_labels": labels, "exp_annotations": _annotations(summaries[alert], labels)}
                            for labels in expected
                        ],
                    }
                    for alert, expected in sorted(case.fires.items())
                ],
            }
        ],
    }
    (tmp_path / "test.yaml").write_text(json.dumps(test), "utf-8")
    for arguments in (["check", "rules", "rules.yaml"], ["test", "rules", "test.yaml"]):
        done = subprocess.run(
            [PROMTOOL, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


def _annotations(alert: Alert, labels: dict[str, str]) -> dict[str, str]:
    said = re.sub(r"\{\{ \$labels\.(\w+) \}\}", lambda found: labels[found[1]], alert.summary)
    return {"summary": said, "runbook_url": alert.runbook}
