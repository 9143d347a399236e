"""The Grafana dashboard: one row a part of the connector, every metric on some panel. Rendered by `connector schemas`.

What tables say is measured by every replica alike, so it is shown as max(); what a process counts is summed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from prometheus_client.metrics import MetricWrapperBase

from connector.telemetry import metrics as m
from connector.telemetry.alerts import series, total

_WIDTH, _HEIGHT, _COLUMNS = 8, 8, 3
_RATE = "[$__rate_interval]"


@dataclass(frozen=True, slots=True)
class Query:
    """One PromQL expression. `legend`: `{{label}}` names a line by its label."""

    expr: str
    legend: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Panel:
    """Lines over time. `unit`: Grafana's name of it. `about`: what a person should know to read it."""

    title: str
    queries: tuple[Query, ...]
    unit: str = "short"
    about: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """What belongs together."""

    title: str
    panels: tuple[Panel, ...]


def _rate(metric: MetricWrapperBase, *by: str) -> Query:
    """Per second, by these labels."""
    return Query(
        f"sum{_by(by)} (rate({total(metric)}{_RATE}))", " ".join(f"{{{{{label}}}}}" for label in by) or "all"
    )


def _most(metric: MetricWrapperBase, *by: str) -> Query:
    return Query(f"max{_by(by)} ({series(metric)})", " ".join(f"{{{{{label}}}}}" for label in by) or "all")


def _sum(metric: MetricWrapperBase, *by: str) -> Query:
    return Query(f"sum{_by(by)} ({series(metric)})", " ".join(f"{{{{{label}}}}}" for label in by) or "all")


def _quantiles(metric: MetricWrapperBase, *by: str, of: tuple[float, ...] = (0.5, 0.99)) -> tuple[Query, ...]:
    labels = ", ".join(("le", *by))
    names = "".join(f" {{{{{label}}}}}" for label in by)
    return tuple(
        Query(
            f"histogram_quantile({share:g}, sum by ({labels}) (rate({series(metric)}_bucket{_RATE})))",
            f"p{share * 100:g}{names}",
        )
        for share in of
    )


def _by(labels: tuple[str, ...]) -> str:
    return f" by ({', '.join(labels)})" if labels else ""


ROWS: tuple[Row, ...] = (
    Row(
        title="At a glance",
        panels=(
            Panel(
                title="Parts that are not at work",
                queries=(
                    Query(
                        f'max by (part, state) ({series(m.HEALTH_STATE)}{{state!~"running|standby"}}) == 1',
                        "{{part}} {{state}}",
                    ),
                ),
                about="Empty is good. waiting: something outside is away; stopped_line: a person has to act.",
            ),
            Panel(
                title="Records not read yet",
                queries=(_sum(m.STREAM_LAG, "stage"),),
                about="End of the log minus committed offset.",
            ),
            Panel(
                title="Oldest item that waits for a CRM",
                unit="s",
                queries=(_most(m.OLDEST_WAITING_SECONDS, "crm"),),
            ),
        ),
    ),
    Row(
        title="Ingress",
        panels=(
            Panel(title="POSTs of Meta", unit="reqps", queries=(_rate(m.INGRESS_POSTS, "outcome"),)),
            Panel(
                title="Seconds a POST",
                unit="s",
                queries=_quantiles(m.INGRESS_POST_SECONDS, of=(0.5, 0.9, 0.99)),
                about="Meta wants a median of 0.25 s and less than 1 % above a second.",
            ),
            Panel(title="Seconds to be durable", unit="s", queries=_quantiles(m.INGRESS_BROKER_SECONDS)),
            Panel(title="Updates kept", unit="ops", queries=(_rate(m.INGRESS_UPDATES, "kind"),)),
            Panel(
                title="Requests of CRMs and clients",
                unit="reqps",
                queries=(_rate(m.INGRESS_DOORS, "door", "outcome"), _rate(m.INGRESS_KEPT, "schema")),
            ),
            Panel(
                title="Refused, and dead letters",
                unit="ops",
                queries=(_rate(m.INGRESS_BAD_SIGNATURES, "reason"), _rate(m.INGRESS_DEAD_LETTERS, "cause")),
            ),
            Panel(title="Bytes not confirmed", unit="bytes", queries=(_sum(m.INGRESS_INFLIGHT_BYTES),)),
            Panel(
                title="Producers replaced",
                unit="ops",
                queries=(_rate(m.INGRESS_PRODUCERS_REPLACED, "reason"),),
            ),
        ),
    ),
    Row(
        title="Stages",
        panels=(
            Panel(title="Records acknowledged", unit="ops", queries=(_rate(m.STREAM_RECORDS, "stage"),)),
            Panel(title="Seconds a batch", unit="s", queries=_quantiles(m.STREAM_BATCH_SECONDS, "stage")),
            Panel(title="Records a batch", queries=_quantiles(m.STREAM_BATCH_RECORDS, "stage", of=(0.5,))),
            Panel(
                title="Dead letters",
                unit="ops",
                queries=(_rate(m.STREAM_DEAD_LETTERS, "stage", "cause"),),
                about="connector dlq lists them",
            ),
            Panel(
                title="Batches repeated, cut up, given back",
                unit="ops",
                queries=(
                    _rate(m.STREAM_RETRIES, "stage", "reason"),
                    Query(_rate(m.STREAM_ISOLATED, "stage").expr, "{{stage}} cut up"),
                    Query(_rate(m.STREAM_ABANDONED, "stage").expr, "{{stage}} given back"),
                ),
            ),
            Panel(
                title="Age of the last batch's oldest record",
                unit="s",
                queries=(_most(m.STREAM_AGE_SECONDS, "stage"),),
            ),
            Panel(
                title="Produced and relayed",
                unit="ops",
                queries=(
                    _rate(m.STREAM_PRODUCED, "stage"),
                    Query(_rate(m.RELAY_SENT, "stage").expr, "{{stage}} relay"),
                ),
            ),
            Panel(title="Partitions held", queries=(_sum(m.STREAM_PARTITIONS, "stage"),)),
            Panel(
                title="Restarts, and offsets that are gone",
                unit="ops",
                queries=(_rate(m.STREAM_RESTARTS, "stage"), _rate(m.STREAM_OFFSET_GAP, "topic")),
            ),
        ),
    ),
    Row(
        title="Identity",
        panels=(
            Panel(
                title="Statuses without a person",
                queries=(
                    Query(_most(m.PARKED_STATUSES).expr, "waiting"),
                    Query(f"sum(increase({total(m.PARKED_FORGOTTEN)}[1d]))", "forgotten in a day"),
                ),
            ),
        ),
    ),
    Row(
        title="CRMs",
        panels=(
            Panel(
                title="Items waiting, in doubt, refused",
                queries=tuple(
                    Query(_most(gauge, "crm").expr, "{{crm}} " + word)
                    for gauge, word in (
                        (m.ITEMS_WAITING, "waiting"),
                        (m.ITEMS_IN_DOUBT, "in doubt"),
                        (m.ITEMS_REFUSED, "refused"),
                    )
                ),
            ),
            Panel(title="Calls", unit="reqps", queries=(_rate(m.CRM_CALLS, "crm", "outcome"),)),
            Panel(title="Seconds a call", unit="s", queries=_quantiles(m.CRM_CALL_SECONDS, "crm")),
            Panel(
                title="Items by result", unit="ops", queries=(_rate(m.CRM_ITEMS, "crm", "kind", "result"),)
            ),
            Panel(
                title="Doubts and look-ups",
                unit="ops",
                queries=(_rate(m.IN_DOUBT, "crm", "event"), _rate(m.LOOKUPS, "crm", "outcome")),
            ),
            Panel(
                title="Records left over by merges", unit="ops", queries=(_rate(m.RETIRED, "crm", "outcome"),)
            ),
            Panel(
                title="Drift found by the last reconciliation",
                queries=(
                    _most(m.RECONCILE_DRIFT, "sink", "kind"),
                    Query(f"max by (sink) ({series(m.RECONCILE_FLAGGED)})", "{{sink}} waits for a person"),
                ),
            ),
            Panel(
                title="Seconds since the last reconciliation",
                unit="s",
                queries=(Query(f"time() - max by (sink) ({series(m.RECONCILED_AT)})", "{{sink}}"),),
            ),
            Panel(
                title="Quota left",
                queries=(Query(f"min by (crm, bucket) ({series(m.QUOTA_LEFT)})", "{{crm}} {{bucket}}"),),
            ),
            Panel(
                title="Quota drawn, refused, missed",
                unit="ops",
                queries=(
                    _rate(m.QUOTA_DRAWS, "crm", "bucket", "priority"),
                    Query(_rate(m.QUOTA_REFUSED, "crm", "bucket").expr, "{{crm}} {{bucket}} refused"),
                    Query(_rate(m.QUOTA_MISSED_TURNS, "crm").expr, "{{crm}} missed"),
                ),
            ),
            Panel(
                title="Seconds waited for a turn",
                unit="s",
                queries=_quantiles(m.QUOTA_WAIT_SECONDS, "crm", "priority"),
            ),
        ),
    ),
    Row(
        title="Sends",
        panels=(
            Panel(title="Open sends", queries=(_most(m.SENDS_OPEN, "state"),)),
            Panel(title="Oldest due send", unit="s", queries=(_most(m.OLDEST_DUE_SEND_SECONDS),)),
            Panel(title="Judgements", unit="ops", queries=(_rate(m.SENDS_JUDGED, "fate"),)),
            Panel(
                title="What held or blocked",
                unit="ops",
                queries=(_rate(m.SEND_VERDICTS, "policy", "outcome"),),
                about="connector why explains one",
            ),
            Panel(
                title="Answers of WhatsApp",
                unit="ops",
                queries=(_rate(m.SENDS_ANSWERED, "answer"), _rate(m.SENDS_FAILED, "cause")),
            ),
            Panel(title="Seconds a send", unit="s", queries=_quantiles(m.SEND_SECONDS)),
            Panel(title="Statuses of sends", unit="ops", queries=(_rate(m.SEND_STATUSES, "status"),)),
            Panel(
                title="Left behind, unknown",
                unit="ops",
                queries=(
                    _rate(m.SENDS_RECOVERED, "outcome"),
                    Query(_rate(m.SENDS_UNKNOWN).expr, "reported unknown"),
                ),
            ),
            Panel(title="Workflows told", unit="ops", queries=(_rate(m.OUTCOMES_TOLD, "result"),)),
        ),
    ),
    Row(
        title="The account at Meta",
        panels=(
            Panel(
                title="Templates", queries=(Query(f"{_most(m.TEMPLATES, 'status').expr} > 0", "{{status}}"),)
            ),
            Panel(
                title="Numbers",
                queries=(
                    Query(f"{_most(m.NUMBERS, 'status', 'quality').expr} > 0", "{{status}} {{quality}}"),
                    Query(_most(m.NUMBERS_RESTING).expr, "resting"),
                ),
            ),
            Panel(
                title="Pauses, and readings that fail",
                queries=(
                    Query(_most(m.SEND_SWITCHES, "scope").expr, "paused: {{scope}}"),
                    Query(_most(m.ACCOUNTS_UNREAD).expr, "accounts not read"),
                ),
            ),
            Panel(title="Age of the oldest reading", unit="s", queries=(_most(m.ACCOUNT_READING_SECONDS),)),
        ),
    ),
    Row(
        title="Media",
        panels=(
            Panel(
                title="Files",
                unit="ops",
                queries=(
                    _rate(m.MEDIA_FILES, "result"),
                    Query(_rate(m.MEDIA_MISMATCHES).expr, "differs from what was said"),
                ),
            ),
            Panel(title="Files to be fetched", queries=(_most(m.MEDIA_WAITING),)),
            Panel(
                title="Until the first is forgotten",
                unit="s",
                queries=(_most(m.MEDIA_SECONDS_LEFT),),
                about="0 when none waits",
            ),
            Panel(title="Seconds a file", unit="s", queries=_quantiles(m.MEDIA_SECONDS)),
            Panel(title="Bytes stored", unit="Bps", queries=(_rate(m.MEDIA_BYTES),)),
            Panel(title="Links followed", unit="ops", queries=(_rate(m.MEDIA_LINKS, "outcome"),)),
        ),
    ),
)


def rendered_dashboard() -> dict[str, Any]:
    """The JSON model that Grafana imports, for any Prometheus data source."""
    panels: list[dict[str, Any]] = []
    height = 0
    for row in ROWS:
        panels.append(
            {
                "type": "row",
                "title": row.title,
                "collapsed": False,
                "id": len(panels) + 1,
                "gridPos": {"x": 0, "y": height, "w": _WIDTH * _COLUMNS, "h": 1},
                "panels": [],
            }
        )
        height += 1
        for number, panel in enumerate(row.panels):
            place = {"x": number % _COLUMNS * _WIDTH, "y": height + number // _COLUMNS * _HEIGHT}
            panels.append(_panel(panel, id=len(panels) + 1, grid={**place, "w": _WIDTH, "h": _HEIGHT}))
        height += -(-len(row.panels) // _COLUMNS) * _HEIGHT
    return {
        "title": "WhatsApp ⇄ CRM connector",
        "uid": "whatsapp-crm-connector",
        "tags": ["whatsapp", "crm", "kafka"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {
            "list": [
                {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"}
            ]
        },
        "panels": panels,
    }


def _panel(panel: Panel, *, id: int, grid: dict[str, int]) -> dict[str, Any]:  # noqa: A002 - Grafana's word
    return {
        "type": "timeseries",
        "title": panel.title,
        "description": panel.about,
        "id": id,
        "gridPos": grid,
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "fieldConfig": {
            "defaults": {"unit": panel.unit, "min": 0, "custom": {"fillOpacity": 5, "showPoints": "never"}},
            "overrides": [],
        },
        "options": {
            "legend": {"displayMode": "table", "placement": "bottom", "calcs": ["lastNotNull", "max"]}
        },
        "targets": [
            {"refId": chr(ord("A") + number), "expr": query.expr, "legendFormat": query.legend}
            for number, query in enumerate(panel.queries)
        ],
    }
