"""The Grafana dashboards, as data. Written out by `python -m deploy.monitoring`."""

from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["timeseries", "stat", "table", "bargauge"]
_WIDTH = 24
_SOURCE = {"type": "prometheus", "uid": "${datasource}"}


@dataclass(frozen=True)
class Panel:
    """One panel. queries: PromQL to legend. unit: of Grafana. steps: (from value, colour)."""

    title: str
    queries: dict[str, str]
    unit: str = "short"
    kind: Kind = "timeseries"
    text: str = ""
    width: int = 12
    steps: tuple[tuple[float | None, str], ...] = ()


@dataclass(frozen=True)
class Dashboard:
    """One dashboard. Its panels are laid out row by row."""

    name: str
    title: str
    panels: tuple[Panel, ...]
    tags: tuple[str, ...] = field(default=("rag_assets",))


_KB = 'knowledge_base=~"$knowledge_base"'
_GOOD_ABOVE = ((None, "red"), (0.2, "orange"), (0.8, "green"))
_BAD_ABOVE = ((None, "green"), (1, "red"))


def _stat(title: str, query: str, unit: str = "short", steps: Any = (), text: str = "") -> Panel:
    return Panel(title, {query: "{{knowledge_base}}"}, unit, "stat", text, 6, steps)


HEALTH = Dashboard(
    "health",
    "RAG: pipeline health",
    (
        _stat("Live version", f"rag_index_version{{{_KB}}}", steps=((None, "red"), (1, "green"))),
        _stat("Live since", f"time() - rag_index_promoted_timestamp_seconds{{{_KB}}}", "s"),
        _stat("Documents", f"rag_index_documents{{{_KB}}}"),
        _stat(
            "Last refresh",
            f"time() - max by (knowledge_base) (rag_refresh_last_timestamp_seconds{{{_KB}}})",
            "s",
            ((None, "green"), (86400, "red")),
        ),
        Panel(
            "Refreshes by their end",
            {
                f"sum by (outcome) (increase(rag_refreshes_total{{{_KB}}}[$__rate_interval]))": (
                    "{{outcome}}"
                )
            },
        ),
        Panel(
            "Duration of the last refresh",
            {f"rag_refresh_last_seconds{{{_KB}}}": "{{knowledge_base}}"},
            "s",
        ),
        Panel(
            "Documents by source and state",
            {f"sum by (source, state) (rag_source_documents{{{_KB}}})": ("{{source}}, {{state}}")},
        ),
        Panel(
            "Freshness: from a change to live, longest",
            {f'rag_source_freshness_seconds{{{_KB},quantile="1"}}': "{{source}}"},
            "s",
            text="Of the documents that the newest promotion with any brought.",
        ),
        Panel(
            "Unchanged since",
            {f"time() - rag_source_changed_timestamp_seconds{{{_KB}}}": "{{source}}"},
            "s",
        ),
        Panel(
            "Listings in a row that failed",
            {f"rag_source_failures{{{_KB}}}": "{{source}}"},
            steps=((None, "green"), (3, "red")),
        ),
        Panel(
            "Mean duration by stage",
            {
                f"sum by (stage) (rag_stage_duration_seconds_sum{{{_KB}}})"
                f" / sum by (stage) (rag_stage_duration_seconds_count{{{_KB}}})": "{{stage}}"
            },
            "s",
            "bargauge",
        ),
        Panel(
            "Bytes on disk", {f"sum by (store) (rag_store_bytes{{{_KB}}})": "{{store}}"}, "bytes"
        ),
        Panel(
            "Rows replaced since the index was last rebuilt",
            {f"rag_index_replaced_ratio{{{_KB}}}": "{{knowledge_base}}"},
            "percentunit",
        ),
        Panel(
            "Index versions on disk",
            {f"sum by (state) (rag_index_versions{{{_KB}}})": "{{state}}"},
        ),
    ),
)

QUALITY = Dashboard(
    "quality",
    "RAG: retrieval quality",
    (
        _stat("Recall@5", f"rag_eval_recall_at_5{{{_KB}}}", "percentunit", _GOOD_ABOVE),
        _stat("Recall@1", f"rag_eval_recall_at_1{{{_KB}}}", "percentunit"),
        _stat("MRR@10", f"rag_eval_mrr{{{_KB}}}", "percentunit"),
        _stat(
            "Refused candidates",
            f'rag_refreshes_total{{{_KB},outcome="refused"}}',
            steps=_BAD_ABOVE,
        ),
        Panel(
            "Metrics of the live version",
            {f"rag_index_metric{{{_KB}}}": "{{eval_set}} {{metric}}"},
            "percentunit",
            width=24,
        ),
        Panel(
            "Recall@5 with its 95 % interval",
            {
                f'rag_index_metric{{{_KB},metric="recall@5"}}': "{{eval_set}}",
                f'rag_index_metric_bound{{{_KB},metric="recall@5"}}': "{{eval_set}} {{bound}}",
            },
            "percentunit",
        ),
        Panel("Version over time", {f"rag_index_version{{{_KB}}}": "{{knowledge_base}}"}),
        Panel(
            "Blocking checks of the live version",
            {f"rag_index_check_passed{{{_KB}}}": "{{check}}"},
            kind="bargauge",
        ),
        Panel("Queries", {f"rag_eval_queries{{{_KB}}}": "{{eval_set}}, {{state}}"}),
        Panel(
            "Time of a search on the eval sets",
            {f"rag_eval_query_latency_seconds{{{_KB}}}": "{{eval_set}} p{{quantile}}"},
            "s",
        ),
    ),
)

COSTS = Dashboard(
    "costs",
    "RAG: costs and reuse",
    (
        _stat(
            "Budget spent",
            f"rag_budget_spent_ratio{{{_KB}}}",
            "percentunit",
            ((None, "green"), (0.8, "orange"), (1, "red")),
        ),
        _stat("Spent this month", f"rag_budget_spent_usd{{{_KB}}}", "currencyUSD"),
        _stat(
            "Forecast for the month",
            f'rag_budget_forecast_usd{{{_KB},bound="middle"}}',
            "currencyUSD",
        ),
        _stat(
            "Unchanged documents of the last refresh",
            f"rag_deduplication_cache_hit_rate{{{_KB}}}",
            "percentunit",
            _GOOD_ABOVE,
            "Above 80 % a refresh costs little; below 20 % it is mostly new content.",
        ),
        Panel(
            "Month: spent, forecast, budget",
            {
                f"rag_budget_spent_usd{{{_KB}}}": "spent",
                f"rag_budget_forecast_usd{{{_KB}}}": "forecast, {{bound}}",
                f"rag_budget_usd{{{_KB}}}": "budget",
            },
            "currencyUSD",
            width=24,
        ),
        Panel(
            "Paid, by source or key",
            {f"sum by (kind, who) (rag_cost_usd_total{{{_KB}}})": "{{kind}}, {{who}}"},
            "currencyUSD",
        ),
        Panel(
            "Spared by kept vectors and answers",
            {f"sum by (kind, who) (rag_cost_saved_usd_total{{{_KB}}})": "{{kind}}, {{who}}"},
            "currencyUSD",
        ),
        Panel(
            "Tokens by model",
            {
                f"sum by (model) (rate(rag_cost_tokens_total{{{_KB}}}[$__rate_interval]))": (
                    "{{model}}"
                )
            },
        ),
        Panel(
            "Texts: embedded, and reused",
            {
                f'sum(rag_cost_calls_total{{{_KB},kind="embedding"}})': "embedded",
                f'sum(rag_cost_saved_calls_total{{{_KB},kind="embedding"}})': "reused",
            },
        ),
        Panel(
            "Vectors in the store",
            {f"rag_embedding_store_vectors{{{_KB}}}": "{{knowledge_base}}"},
        ),
        Panel(
            "Documents listed: new and skipped",
            {
                f"increase(rag_documents_deduplicated_new_total{{{_KB}}}[$__rate_interval])": "new",
                f"increase(rag_documents_deduplicated_skipped_total{{{_KB}}}[$__rate_interval])": (
                    "skipped"
                ),
            },
        ),
    ),
)

_REQUESTS = "rag_request_seconds"
_ARM = "arm, index_version, model"
_ARM_NAME = "{{arm}} v{{index_version}} {{model}}"
SERVICE = Dashboard(
    "service",
    "RAG: answer service",
    (
        Panel(
            "Requests a second",
            {f"sum by (endpoint) (rate({_REQUESTS}_count[$__rate_interval]))": "{{endpoint}}"},
            "reqps",
        ),
        Panel(
            "Errors of the service",
            {
                f'(sum(rate({_REQUESTS}_count{{status=~"5.."}}[$__rate_interval])) or vector(0))'
                f" / sum(rate({_REQUESTS}_count[$__rate_interval]))": "5xx"
            },
            "percentunit",
        ),
        Panel(
            "Time of a request",
            {
                f"histogram_quantile({q}, sum by (le, endpoint)"
                f" (rate({_REQUESTS}_bucket[$__rate_interval])))": f"p{q * 100:g} {{{{endpoint}}}}"
                for q in (0.5, 0.95)
            },
            "s",
        ),
        Panel(
            "Time of a search inside",
            {
                "histogram_quantile(0.95, sum by (le, knowledge_base)"
                f" (rate(rag_retrieval_seconds_bucket{{{_KB}}}[$__rate_interval])))": (
                    "p95 {{knowledge_base}}"
                )
            },
            "s",
        ),
        Panel(
            "Writing an answer, p95",
            {
                "histogram_quantile(0.95, sum by (le, model)"
                f" (rate(rag_generation_seconds_bucket{{{_KB}}}[$__rate_interval])))": "{{model}}"
            },
            "s",
        ),
        Panel(
            "First words of a stream, p95",
            {
                "histogram_quantile(0.95, sum by (le, model)"
                f" (rate(rag_first_token_seconds_bucket{{{_KB}}}[$__rate_interval])))": "{{model}}"
            },
            "s",
        ),
        Panel(
            "Answers: abstained, degraded, citations dropped",
            {
                f"sum(rate(rag_answers_total{{{_KB}}}[$__rate_interval]))": "answers",
                f"sum(rate(rag_abstentions_total{{{_KB}}}[$__rate_interval]))": "abstained",
                f"sum(rate(rag_degraded_total{{{_KB}}}[$__rate_interval]))": "degraded",
                f"sum(rate(rag_citation_failures_total{{{_KB}}}[$__rate_interval]))": (
                    "citations dropped"
                ),
            },
        ),
        Panel(
            "Answers from the cache",
            {
                f'sum(rate(rag_cache_total{{{_KB},result="hit"}}[$__rate_interval]))'
                f" / sum(rate(rag_cache_total{{{_KB}}}[$__rate_interval]))": "hit rate"
            },
            "percentunit",
        ),
        Panel(
            "Error budgets: bad requests, bad time of the last hour",
            {
                f"rag:slo_{name}:bad_ratio_1h": name
                for name in ("availability", "search_latency", "answer_latency")
            }
            | {
                f"rag:slo_{name}:bad_ratio_1h{{{_KB}}}": f"{name} {{{{knowledge_base}}}}"
                for name in ("freshness", "quality")
            },
            "percentunit",
        ),
        Panel(
            "Canary: answers by arm",
            {
                f"sum by ({_ARM})"
                f" (rate(rag_arm_answers_total{{{_KB}}}[$__rate_interval]))": _ARM_NAME
            },
            "reqps",
            text="Only while a canary is configured. `rag-assets canary` compares with intervals.",
        ),
        Panel(
            "Canary: abstained and needs review, by arm",
            {
                f"sum by ({_ARM}) (increase(rag_arm_{name}_total{{{_KB}}}[1h]))"
                f" / sum by ({_ARM}) (increase(rag_arm_answers_total{{{_KB}}}[1h]))": (
                    f"{text}, {_ARM_NAME}"
                )
                for name, text in (("abstentions", "abstained"), ("needs_review", "needs review"))
            },
            "percentunit",
        ),
        Panel(
            "Canary: search and answer by arm, p95",
            {
                f"histogram_quantile(0.95, sum by (le, {_ARM})"
                f" (rate(rag_arm_answer_seconds_bucket{{{_KB}}}[1h])))": _ARM_NAME
            },
            "s",
        ),
        Panel(
            "Canary: mean confidence and cost by arm",
            {
                f"sum by ({_ARM}) (increase(rag_arm_confidence_sum{{{_KB}}}[1h]))"
                f" / sum by ({_ARM}) (increase(rag_arm_confidence_count{{{_KB}}}[1h]))": (
                    f"confidence, {_ARM_NAME}"
                ),
                f"sum by ({_ARM}) (increase(rag_arm_cost_usd_total{{{_KB}}}[1h]))": (
                    f"US dollars, {_ARM_NAME}"
                ),
            },
        ),
        Panel(
            "Version that is served",
            {f"max by (knowledge_base) (rag_index_version{{{_KB}}})": "{{knowledge_base}}"},
        ),
    ),
)

DASHBOARDS = (HEALTH, QUALITY, COSTS, SERVICE)


def as_json(dashboard: Dashboard) -> dict[str, Any]:
    """What Grafana 10 and later imports."""
    return {
        "uid": f"rag-{dashboard.name}",
        "title": dashboard.title,
        "tags": list(dashboard.tags),
        "schemaVersion": 38,
        "editable": True,
        "refresh": "1m",
        "time": {"from": "now-24h", "to": "now"},
        "timezone": "",
        "templating": {"list": _variables()},
        "panels": _laid_out(dashboard.panels),
    }


def _variables() -> list[dict[str, Any]]:
    return [
        {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Prometheus"},
        {
            "name": "knowledge_base",
            "type": "query",
            "label": "Knowledge base",
            "datasource": _SOURCE,
            "query": "label_values(rag_index_version, knowledge_base)",
            "refresh": 2,
            "includeAll": True,
            "allValue": ".*",
            "multi": True,
            "current": {"text": "All", "value": "$__all"},
        },
    ]


def _laid_out(panels: tuple[Panel, ...]) -> list[dict[str, Any]]:
    found, x, y, tallest = [], 0, 0, 0
    for number, panel in enumerate(panels, start=1):
        height = 4 if panel.kind == "stat" else 8
        if x + panel.width > _WIDTH:
            x, y, tallest = 0, y + tallest, 0
        found.append(_panel(number, panel, {"x": x, "y": y, "w": panel.width, "h": height}))
        x, tallest = x + panel.width, max(tallest, height)
    return found


def _panel(number: int, panel: Panel, place: dict[str, int]) -> dict[str, Any]:
    defaults: dict[str, Any] = {"unit": panel.unit}
    if panel.steps:
        steps = [{"value": value, "color": colour} for value, colour in panel.steps]
        defaults["thresholds"] = {"mode": "absolute", "steps": steps}
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.text,
        "datasource": _SOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": {},
        "targets": [
            {
                "refId": chr(ord("A") + position),
                "datasource": _SOURCE,
                "expr": query,
                "legendFormat": legend,
                "instant": panel.kind in {"stat", "bargauge", "table"},
                "range": panel.kind == "timeseries",
            }
            for position, (query, legend) in enumerate(panel.queries.items())
        ],
    }
