"""The Prometheus rules: objectives with burn-rate alerts, and one alert for each thing that a
person can do something about. Written out by `python -m deploy.monitoring`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from deploy.monitoring.runbook import link

# (long window, short window, how many times faster than allowed the error budget burns, severity).
# Source: Google, The Site Reliability Workbook, chapter 5, table 5-8.
BURN_RATES = (
    ("1h", "5m", 14.4, "page"),
    ("6h", "30m", 6.0, "page"),
    ("3d", "6h", 1.0, "ticket"),
)
WINDOWS = ("5m", "30m", "1h", "6h", "3d")
_KB = "{{ $labels.knowledge_base }}"


@dataclass(frozen=True)
class Objective:
    """A service level objective: the share of good requests, or of good time, over 30 days.

    Either bad and all, or bad_when: PromQL as slo.yaml says.
    """

    name: str
    text: str
    target: float
    urgent: bool
    bad: str = ""
    all: str = ""
    bad_when: str = ""

    def bad_ratio(self, window: str) -> str:
        """PromQL of the bad share of a window."""
        if self.bad_when:
            step = "1m" if window in ("5m", "30m", "1h") else "5m"
            return f"avg_over_time(({self.bad_when})[{window}:{step}])"
        return f"{self.bad} / ({self.all} > 0)".replace("WINDOW", window)


SLO = Path(__file__).resolve().parents[1] / "prometheus" / "slo.yaml"
_SETTINGS = yaml.safe_load(SLO.read_text(encoding="utf-8"))
OBJECTIVES = tuple(Objective(**row) for row in _SETTINGS["objectives"])
RUNBOOK: str = _SETTINGS["runbook"]


def _recorded(objective: Objective, window: str) -> dict[str, Any]:
    return {
        "record": f"rag:slo_{objective.name}:bad_ratio_{window}",
        "expr": objective.bad_ratio(window),
    }


def _burning(objective: Objective, long: str, short: str, rate: float, severity: str) -> Any:
    name = "".join(word.title() for word in objective.name.split("_"))
    ratio = f"rag:slo_{objective.name}:bad_ratio"
    limit = f"{rate * (1 - objective.target):.6g}"
    where = f"{_KB}: " if objective.bad_when else ""
    return _alert(
        f"RAG{name}Burning",
        f"{ratio}_{long} > {limit} and {ratio}_{short} > {limit}",
        "1m" if severity == "page" else "1h",
        severity if objective.urgent else "ticket",
        f"{where}{objective.text}: the error budget of 30 days burns {rate:g} times too fast",
        "{{ $value | humanizePercentage }}" + f" of the last {long} were bad,"
        f" {1 - objective.target:.1%} are allowed.",
        window=long,
    )


def _alert(
    name: str, expr: str, wait: str, severity: str, summary: str, description: str, **labels: str
) -> dict[str, Any]:
    return {
        "alert": name,
        "expr": expr,
        "for": wait,
        "labels": {"severity": severity, **labels},
        "annotations": {
            "summary": summary,
            "description": description,
            "runbook_url": link(RUNBOOK, name),
        },
    }


_SOURCE = "{{ $labels.knowledge_base }}/{{ $labels.source }}"


def _last(outcomes: str) -> str:
    return f'max by (knowledge_base) (rag_refresh_last_timestamp_seconds{{outcome=~"{outcomes}"}})'


# A refresh that ended so is the newest, or there was no good one yet.
def _newest_is(outcomes: str) -> str:
    good = _last("promoted|unchanged")
    return f"{_last(outcomes)} > {good} or {_last(outcomes)} unless {good}"


PIPELINE = [
    _alert(
        "RAGRefreshRefused",
        _newest_is("refused"),
        "5m",
        "ticket",
        f"{_KB}: the gate refused the newest candidate",
        "The live version is unchanged and grows old. See the refused check and its worst queries.",
    ),
    _alert(
        "RAGRefreshFailed",
        _newest_is("failed|source_failed"),
        "10m",
        "ticket",
        f"{_KB}: the newest refresh failed, or a source of it could not be listed",
        "The live version is unchanged. The receipt of the run names the error.",
    ),
    _alert(
        "RAGRefreshMissing",
        "time() - max by (knowledge_base) (rag_refresh_last_timestamp_seconds) > 86400",
        "15m",
        "page",
        f"{_KB}: no refresh ended for a day",
        "The last one ended {{ $value | humanizeDuration }} ago: is the daemon, or cron, running?",
    ),
    _alert(
        "RAGNoLiveIndex",
        "rag_index_version == 0",
        "15m",
        "page",
        f"{_KB}: there is no live index",
        "Nothing was promoted yet, or the pointer is lost; questions are answered with 503.",
    ),
    _alert(
        "RAGDeletionsHeld",
        'sum by (knowledge_base, source) (rag_source_documents{state="held"}) > 0',
        "1h",
        "ticket",
        f"{_SOURCE}: {{{{ $value }}}} deletions wait for a confirmation",
        "More documents are gone than delete_guard allows. They stay indexed until confirmed.",
    ),
    _alert(
        "RAGQuarantineHigh",
        'sum by (knowledge_base, source) (rag_source_documents{state="quarantined"})'
        " / sum by (knowledge_base, source) (rag_source_documents) > 0.05",
        "15m",
        "ticket",
        f"{_SOURCE}: {{{{ $value | humanizePercentage }}}} of the documents are in quarantine",
        "They cannot be found. `rag-assets quarantine` lists them with their reasons.",
    ),
    _alert(
        "RAGSourceSilent",
        "time() - rag_source_changed_timestamp_seconds > rag_source_silent_after_seconds",
        "5m",
        "ticket",
        f"{_SOURCE}: nothing changed for longer than usual",
        "The connector may see a frozen copy, or have lost its permissions.",
    ),
    _alert(
        "RAGSourceFailing",
        "rag_source_failures >= 3",
        "5m",
        "ticket",
        f"{_SOURCE}: the last {{{{ $value }}}} listings failed",
        "Its circuit breaker is open: it is asked seldom until a listing is complete again.",
    ),
    _alert(
        "RAGFreshnessLow",
        'rag_source_freshness_seconds{quantile="1"} > 6 * 3600',
        "15m",
        "ticket",
        f"{_SOURCE}: a change took {{{{ $value | humanizeDuration }}}} to be live",
        "Refreshes are too seldom, too slow, or were refused meanwhile.",
    ),
    _alert(
        "RAGQualityDegradation",
        "rag_eval_recall_at_5 < 0.7",
        "12h",
        "ticket",
        f"{_KB}: Recall@5 on {{{{ $labels.eval_set }}}} is {{{{ $value | humanize }}}}",
        "The live version passed its own gate; the floor there is lower than this alert's.",
    ),
    _alert(
        "RAGExporterBlind",
        "rag_exporter_up == 0",
        "10m",
        "ticket",
        f"{_KB}: the exporter cannot read the storage",
        "Figures of this knowledge base are missing, and so are alerts on them.",
    ),
    _alert(
        "RAGTargetDown",
        'up{job=~"rag-.*"} == 0',
        "5m",
        "page",
        "{{ $labels.job }} at {{ $labels.instance }} does not answer",
        "Prometheus cannot scrape it.",
    ),
]

COSTS = [
    _alert(
        "RAGBudgetNearEnd",
        "rag_budget_spent_ratio >= rag_budget_warn_ratio and rag_budget_spent_ratio < 1",
        "0m",
        "ticket",
        f"{_KB}: {{{{ $value | humanizePercentage }}}} of the month's budget is spent",
        "At 100 % nothing more is paid: refreshes hold, answers quote instead of being written.",
    ),
    _alert(
        "RAGBudgetSpent",
        "rag_budget_spent_ratio >= 1",
        "0m",
        "page",
        f"{_KB}: the month's budget is spent",
        "Refreshes that would pay are held; answers quote passages instead of being written.",
    ),
    _alert(
        "RAGBudgetForecast",
        'max by (knowledge_base) (rag_budget_forecast_usd{bound="middle"})'
        " > max by (knowledge_base) (rag_budget_usd)",
        "6h",
        "ticket",
        f"{_KB}: the month is heading for {{{{ $value | humanize }}}} US dollars, above its budget",
        "`rag-assets costs` shows which source or key grows.",
    ),
    _alert(
        "RAGDeduplicationBroken",
        "increase(rag_embedding_cost_usd_total[1d]) > 1"
        " and increase(rag_embedding_cost_usd_total[1d])"
        " > 4 * increase(rag_embedding_cost_usd_total[1d] offset 1d)",
        "30m",
        "ticket",
        f"{_KB}: embedding cost four times what it did the day before",
        "New content, or texts that change with every read: a date or a counter in each page.",
    ),
]

SERVICE = [
    _alert(
        "RAGAnswersDegraded",
        "sum by (knowledge_base) (rate(rag_degraded_total[10m]))"
        " / sum by (knowledge_base) (rate(rag_answers_total[10m])) > 0.1",
        "10m",
        "page",
        f"{_KB}: {{{{ $value | humanizePercentage }}}} of answers are quoted because models fail",
        "The model's provider is down, its key is wrong, or the budget is spent.",
    ),
    _alert(
        "RAGAbstentionsHigh",
        "sum by (knowledge_base) (rate(rag_abstentions_total[1h]))"
        " / sum by (knowledge_base) (rate(rag_answers_total[1h])) > 0.5",
        "1h",
        "ticket",
        f"{_KB}: half of the questions find no answer",
        "People ask for what is not in it, or retrieval broke: compare with the eval figures.",
    ),
    _alert(
        "RAGCitationsDropped",
        "sum by (knowledge_base) (rate(rag_citation_failures_total[1h]))"
        " / sum by (knowledge_base) (rate(rag_answers_total[1h])) > 0.2",
        "1h",
        "ticket",
        f"{_KB}: one citation in five answers does not hold",
        "The model invents marks; the wrong ones were removed from what people see.",
    ),
    _alert(
        "RAGAuditLost",
        "increase(rag_audit_failures_total[15m]) > 0",
        "0m",
        "page",
        "Lines of the audit log were not written",
        "The disk is full or read-only. Requests were answered all the same.",
    ),
]

KUBERNETES = [
    _alert(
        "RAGPodEvicted",
        'sum by (namespace, pod) (kube_pod_status_reason{reason="Evicted",namespace="rag"}) > 0',
        "0m",
        "ticket",
        "{{ $labels.pod }} was evicted",
        "The node ran out of memory or disk: raise its requests.",
    ),
    _alert(
        "RAGPodPending",
        'sum by (namespace, pod) (kube_pod_status_phase{phase="Pending",namespace="rag"}) > 0',
        "15m",
        "page",
        "{{ $labels.pod }} finds no node",
        "No capacity, or the node pool cannot provision: see the events of the pod.",
    ),
]


def rules() -> dict[str, Any]:
    """The content of rules.yml."""
    return {
        "groups": [
            {
                "name": "rag-objectives",
                "interval": "30s",
                "rules": [_recorded(o, window) for o in OBJECTIVES for window in WINDOWS],
            },
            {
                "name": "rag-burn-rates",
                "rules": [_burning(o, *rate) for o in OBJECTIVES for rate in BURN_RATES],
            },
            {"name": "rag-pipeline", "rules": PIPELINE},
            {"name": "rag-costs", "rules": COSTS},
            {"name": "rag-service", "rules": SERVICE},
            {"name": "rag-kubernetes", "rules": KUBERNETES},
        ]
    }
