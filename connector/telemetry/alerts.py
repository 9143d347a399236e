"""The alerts: what is measured, when it is too much, how bad that is. Rendered to k8s/monitoring by `connector schemas`.

Objectives are burned: an alert needs the error budget of 30 days to go too fast over a long window, so that a hiccup
wakes nobody, and over a short one, so that it ends when the trouble does (https://sre.google/workbook/alerting-on-slos).
Expressions are written with the metrics themselves, so a name that is gone breaks this file and no alert.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from prometheus_client.metrics import MetricWrapperBase

from connector.telemetry import metrics as m

Severity = Literal["page", "ticket"]
"""page: somebody gets up. ticket: somebody looks in working hours."""

RUNBOOKS = "docs/operations.md"


@dataclass(frozen=True, kw_only=True, slots=True)
class Alert:
    """One rule. `holds`: how long `expr` must be true, as Prometheus writes it. `summary` may use `{{ $labels.… }}`."""

    name: str
    expr: str
    holds: str
    severity: Severity
    summary: str
    window: str = ""
    """Of a burn rate: the long window, which tells several rules of one name apart."""

    @property
    def runbook(self) -> str:
        """Where it says what to do: the heading is the alert's name."""
        return f"{RUNBOOKS}#{self.name.lower()}"


def series(metric: MetricWrapperBase) -> str:
    """A gauge's name, or what a histogram's names begin with."""
    return next(iter(metric.describe())).name


def total(metric: MetricWrapperBase) -> str:
    """A counter's name."""
    return f"{series(metric)}_total"


@dataclass(frozen=True, slots=True)
class _Burn:
    long: str
    short: str
    rate: float
    holds: str
    severity: Severity


# Shares of the budget of 30 days: 2 % in an hour, 5 % in six, 10 % in three days.
_BURNS = (
    _Burn("1h", "5m", 14.4, "2m", "page"),
    _Burn("6h", "30m", 6.0, "15m", "page"),
    _Burn("3d", "6h", 1.0, "1h", "ticket"),
)


def _burning(name: str, share: Callable[[str], str], *, objective: float, summary: str) -> tuple[Alert, ...]:
    """`share` of a window: the part that is bad. `objective`: the part that must be good."""
    budget = 1 - objective
    return tuple(
        Alert(
            name=name,
            expr=f"{share(burn.long)} > {burn.rate * budget:.6g}\nand\n{share(burn.short)} > {burn.rate * budget:.6g}",
            holds=burn.holds,
            severity=burn.severity,
            summary=summary,
            window=burn.long,
        )
        for burn in _BURNS
    )


_OUR_FAULT = 'outcome=~"overloaded|broker_unavailable|error|not_configured"'
_POSTS = total(m.INGRESS_POSTS)
_POST_SECONDS = series(m.INGRESS_POST_SECONDS)
_RECORDS = total(m.STREAM_RECORDS)
_CALLS = total(m.CRM_CALLS)
_ANSWERED = total(m.SENDS_ANSWERED)
# Being told to slow down is no failure: the quota's own alerts speak of it.
_CALL_FAILED = 'outcome!~"ok|RateLimited|QuotaHeld"'


def _posts_failed(window: str) -> str:
    bad = f"sum(rate({_POSTS}{{{_OUR_FAULT}}}[{window}]))"
    return f'{bad} / (sum(rate({_POSTS}{{outcome="kept"}}[{window}])) + {bad})'


def _posts_slow(window: str) -> str:
    quick = f'sum(rate({_POST_SECONDS}_bucket{{le="1.0"}}[{window}]))'
    return f"1 - {quick} / sum(rate({_POST_SECONDS}_count[{window}]))"


def _records_dead(window: str) -> str:
    dead = f'sum by (stage) (rate({_RECORDS}{{outcome="dead"}}[{window}]))'
    return f"{dead} / sum by (stage) (rate({_RECORDS}[{window}]))"


def _calls_failed(window: str) -> str:
    failed = f"sum by (crm) (rate({_CALLS}{{{_CALL_FAILED}}}[{window}]))"
    return f"{failed} / sum by (crm) (rate({_CALLS}[{window}]))"


def _state(state: str) -> str:
    return f'max by (part) ({series(m.HEALTH_STATE)}{{state="{state}"}}) == 1'


_LAG = f"sum by (stage) ({series(m.STREAM_LAG)})"
_STATUSES = f"max by (status, quality) ({series(m.NUMBERS)}{{%s}})"

ALERTS: tuple[Alert, ...] = (
    # roles
    Alert(
        name="ConnectorUnseen",
        expr=f"absent({series(m.HEALTH_STATE)})",
        holds="5m",
        severity="page",
        summary="No role of the connector is scraped: it is not running, or not watched.",
    ),
    Alert(
        name="LineStopped",
        expr=_state("stopped_line"),
        holds="1m",
        severity="page",
        summary="{{ $labels.part }} has stopped its line: nothing passes until a person acts. Nothing is lost meanwhile.",
    ),
    Alert(
        name="Stalled",
        expr=_state("stalled"),
        holds="2m",
        severity="page",
        summary="{{ $labels.part }} has work and makes no progress, and no dependency explains it.",
    ),
    Alert(
        name="WaitsForDependency",
        expr=_state("waiting"),
        holds="10m",
        severity="ticket",
        summary="{{ $labels.part }} has waited for something outside the connector for ten minutes.",
    ),
    # ingress
    *_burning(
        "WebhooksRefused",
        _posts_failed,
        objective=0.999,
        summary="POSTs of Meta are answered 5xx: they come again for up to 7 days, late.",
    ),
    *_burning(
        "WebhooksSlow",
        _posts_slow,
        objective=0.99,
        summary="More than 1 % of Meta's POSTs take more than a second; Meta wants fewer.",
    ),
    Alert(
        name="WebhooksUnsigned",
        expr=f"sum(rate({total(m.INGRESS_BAD_SIGNATURES)}[15m])) / sum(rate({_POSTS}[15m])) > 0.2",
        holds="15m",
        severity="page",
        summary="A fifth of the POSTs is not signed with our app secrets: if they are Meta's, they are being lost.",
    ),
    # streams
    Alert(
        name="StageBehind",
        expr=f"{_LAG} / (sum by (stage) (rate({_RECORDS}[10m])) > 0) > 600",
        holds="10m",
        severity="ticket",
        summary="{{ $labels.stage }} needs more than ten minutes for what it has not read yet.",
    ),
    Alert(
        name="StageIdleWithLag",
        expr=f"{_LAG} > 0 and sum by (stage) (increase({_RECORDS}[10m])) == 0",
        holds="5m",
        severity="page",
        summary="{{ $labels.stage }} has records to read and has read none for ten minutes.",
    ),
    *_burning(
        "DeadLettersInBulk",
        _records_dead,
        objective=0.999,
        summary="{{ $labels.stage }} makes dead letters of its records: a bad release, or somebody's bad data.",
    ),
    Alert(
        name="DefectMet",
        expr=f'sum by (stage) (increase({total(m.STREAM_DEAD_LETTERS)}{{cause="handler_failed"}}[1h])) > 0\n'
        f'or\nsum by (cause) (increase({total(m.INGRESS_DEAD_LETTERS)}{{cause="split_failed"}}[1h])) > 0',
        holds="0m",
        severity="ticket",
        summary="A record became a dead letter for a defect of the connector{{ with $labels.stage }} ({{ . }}){{ end }}.",
    ),
    Alert(
        name="OffsetsMissing",
        expr=f"sum by (topic) (increase({total(m.STREAM_OFFSET_GAP)}[1h])) > 0",
        holds="0m",
        severity="page",
        summary="Records of {{ $labels.topic }} were gone before they were read: retention is shorter than the outage was.",
    ),
    Alert(
        name="StageRestarts",
        expr=f"sum by (stage) (increase({total(m.STREAM_RESTARTS)}[30m])) > 3",
        holds="0m",
        severity="ticket",
        summary="The stream app of {{ $labels.stage }} fails again and again.",
    ),
    # CRMs
    Alert(
        name="CrmBehind",
        expr=f"max by (crm) ({series(m.OLDEST_WAITING_SECONDS)}) > 900",
        holds="5m",
        severity="ticket",
        summary="Something has waited for {{ $labels.crm }} for more than 15 minutes.",
    ),
    Alert(
        name="CrmFarBehind",
        expr=f"max by (crm) ({series(m.OLDEST_WAITING_SECONDS)}) > 7200",
        holds="15m",
        severity="page",
        summary="Something has waited for {{ $labels.crm }} for more than two hours.",
    ),
    *_burning(
        "CrmCallsFail",
        _calls_failed,
        objective=0.99,
        summary="Calls to {{ $labels.crm }} fail; what they carry is tried again.",
    ),
    Alert(
        name="CrmRefusesItems",
        expr=f"max by (crm) ({series(m.ITEMS_REFUSED)}) > 0",
        holds="15m",
        severity="ticket",
        summary="{{ $value }} items are refused by {{ $labels.crm }} for what they are, and wait for a person.",
    ),
    Alert(
        name="CrmInDoubt",
        expr=f"min_over_time(max by (crm) ({series(m.ITEMS_IN_DOUBT)})[1h:1m]) > 0",
        holds="5m",
        severity="ticket",
        summary="{{ $labels.crm }} has not told for an hour whether messages arrived; they are neither lost nor repeated.",
    ),
    Alert(
        name="CrmQuotaEnds",
        expr=f'min by (crm) (predict_linear({series(m.QUOTA_LEFT)}{{bucket="day"}}[1h], 14400)) < 0',
        holds="15m",
        severity="ticket",
        summary="The day's calls of {{ $labels.crm }} end within four hours at this pace.",
    ),
    Alert(
        name="CrmQuotaRefused",
        expr=f"sum by (crm, bucket) (increase({total(m.QUOTA_REFUSED)}[15m])) > 10",
        holds="0m",
        severity="ticket",
        summary="{{ $labels.crm }} refuses calls for quota ({{ $labels.bucket }}): somebody else uses the account, too.",
    ),
    Alert(
        name="CrmDrifts",
        expr=f"max by (sink, kind) ({series(m.RECONCILE_DRIFT)}) > 0",
        holds="15m",
        severity="ticket",
        summary="{{ $value }} items of {{ $labels.sink }} are {{ $labels.kind }}, as the last reconciliation found.",
    ),
    Alert(
        name="ReconciliationMissed",
        expr=f"time() - max by (sink) ({series(m.RECONCILED_AT)} > 0) > {2 * 86_400 + 7_200}",
        holds="15m",
        severity="ticket",
        summary="{{ $labels.sink }} was not compared with the log for two days.",
    ),
    Alert(
        name="StatusesWithoutPerson",
        expr=f"sum(increase({total(m.PARKED_FORGOTTEN)}[1d])) > 0",
        holds="0m",
        severity="ticket",
        summary="Statuses were forgotten because nobody ever knew whose they are.",
    ),
    # outbound
    Alert(
        name="SendsOverdue",
        expr=f"max({series(m.OLDEST_DUE_SEND_SECONDS)}) > 600\n"
        f'unless\nmax({series(m.SEND_SWITCHES)}{{scope="all"}}) > 0',
        holds="5m",
        severity="page",
        summary="A send has been due for more than ten minutes, and nobody has paused sending.",
    ),
    Alert(
        name="SendsFail",
        expr=f'sum(rate({_ANSWERED}{{answer!="taken"}}[15m])) / sum(rate({_ANSWERED}[15m])) > 0.2\n'
        f"and\nsum(increase({_ANSWERED}[15m])) > 20",
        holds="5m",
        severity="ticket",
        summary="WhatsApp does not take more than a fifth of what is sent.",
    ),
    Alert(
        name="SendsUnknown",
        expr=f"sum(increase({total(m.SENDS_UNKNOWN)}[1h])) > 0",
        holds="0m",
        severity="ticket",
        summary="Sends may or may not have left: no answer and no status. Only a person sends them again.",
    ),
    Alert(
        name="SendsPaused",
        expr=f"max by (scope) ({series(m.SEND_SWITCHES)}) > 0",
        holds="1h",
        severity="ticket",
        summary="Somebody paused sending an hour ago ({{ $labels.scope }}), and it still is.",
    ),
    Alert(
        name="TemplatePaused",
        expr=f'max by (status) ({series(m.TEMPLATES)}{{status="paused"}}) > 0\n'
        f'or\nmax by (status) (delta({series(m.TEMPLATES)}{{status="disabled"}}[1d])) > 0',
        holds="5m",
        severity="ticket",
        summary="Meta has {{ $labels.status }} a template for its quality; its sends are held or blocked.",
    ),
    Alert(
        name="NumberRestricted",
        expr=(_STATUSES % 'status=~"restricted|banned|disconnected|offline"') + " > 0",
        holds="5m",
        severity="page",
        summary="A business number is {{ $labels.status }}: nothing is sent from it.",
    ),
    Alert(
        name="NumberQualityLow",
        expr=(_STATUSES % 'quality="red"') + " > 0",
        holds="15m",
        severity="ticket",
        summary="People block or report a business number so often that Meta rates it red.",
    ),
    Alert(
        name="NumberRests",
        expr=f"max({series(m.NUMBERS_RESTING)}) > 0",
        holds="30m",
        severity="ticket",
        summary="A business number rests after refusals of the number, its account or the portfolio.",
    ),
    Alert(
        name="AccountUnread",
        expr=f"max({series(m.ACCOUNTS_UNREAD)}) > 0",
        holds="30m",
        severity="ticket",
        summary="Templates and numbers of a business account cannot be read from Meta: what we know gets old.",
    ),
    # media
    Alert(
        name="MediaNearlyLost",
        expr=f"min({series(m.MEDIA_SECONDS_LEFT)}) < 86400 and max({series(m.MEDIA_WAITING)}) > 0",
        holds="15m",
        severity="page",
        summary="WhatsApp forgets files within a day that are not fetched yet.",
    ),
    Alert(
        name="MediaDiffers",
        expr=f"sum(increase({total(m.MEDIA_MISMATCHES)}[1h])) > 0",
        holds="0m",
        severity="ticket",
        summary="Downloaded files differ from what WhatsApp said; they are not kept.",
    ),
)
