"""The answer service: requests, answers, error budgets, the arms of a canary."""

from deploy.monitoring.dashboards.panels import KB, Dashboard, Panel

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
            text="By endpoint, refused and failed ones included.",
        ),
        Panel(
            "Errors of the service",
            {
                f'(sum(rate({_REQUESTS}_count{{status=~"5.."}}[$__rate_interval])) or vector(0))'
                f" / sum(rate({_REQUESTS}_count[$__rate_interval]))": "5xx"
            },
            "percentunit",
            text="Share of requests that ended with a 5xx status.",
        ),
        Panel(
            "Time of a request",
            {
                f"histogram_quantile({q}, sum by (le, endpoint)"
                f" (rate({_REQUESTS}_bucket[$__rate_interval])))": f"p{q * 100:g} {{{{endpoint}}}}"
                for q in (0.5, 0.95)
            },
            "s",
            text="Median and 95th percentile, as the caller waits.",
        ),
        Panel(
            "Time of a search inside",
            {
                "histogram_quantile(0.95, sum by (le, knowledge_base)"
                f" (rate(rag_retrieval_seconds_bucket{{{KB}}}[$__rate_interval])))": (
                    "p95 {{knowledge_base}}"
                )
            },
            "s",
            text="95th percentile of the search alone, without the queue before it.",
        ),
        Panel(
            "Writing an answer, p95",
            {
                "histogram_quantile(0.95, sum by (le, model)"
                f" (rate(rag_generation_seconds_bucket{{{KB}}}[$__rate_interval])))": "{{model}}"
            },
            "s",
            text="By model, from the prompt to the last word.",
        ),
        Panel(
            "First words of a stream, p95",
            {
                "histogram_quantile(0.95, sum by (le, model)"
                f" (rate(rag_first_token_seconds_bucket{{{KB}}}[$__rate_interval])))": "{{model}}"
            },
            "s",
            text="By model, from the request to the first text.",
        ),
        Panel(
            "Answers: abstained, degraded, citations dropped",
            {
                f"sum(rate(rag_answers_total{{{KB}}}[$__rate_interval]))": "answers",
                f"sum(rate(rag_abstentions_total{{{KB}}}[$__rate_interval]))": "abstained",
                f"sum(rate(rag_degraded_total{{{KB}}}[$__rate_interval]))": "degraded",
                f"sum(rate(rag_citation_failures_total{{{KB}}}[$__rate_interval]))": (
                    "citations dropped"
                ),
            },
            text="A second. Degraded: quoted, because no configured model answered.",
        ),
        Panel(
            "Answers from the cache",
            {
                f'sum(rate(rag_cache_total{{{KB},result="hit"}}[$__rate_interval]))'
                f" / sum(rate(rag_cache_total{{{KB}}}[$__rate_interval]))": "hit rate"
            },
            "percentunit",
            text="Share of look-ups that found an answer.",
        ),
        Panel(
            "Error budgets: bad requests, bad time of the last hour",
            {
                f"rag:slo_{name}:bad_ratio_1h": name
                for name in ("availability", "search_latency", "answer_latency")
            }
            | {
                f"rag:slo_{name}:bad_ratio_1h{{{KB}}}": f"{name} {{{{knowledge_base}}}}"
                for name in ("freshness", "quality")
            },
            "percentunit",
            text="What deploy/prometheus/slo.yaml calls bad, as a share of the last hour.",
        ),
        Panel(
            "Canary: answers by arm",
            {f"sum by ({_ARM}) (rate(rag_arm_answers_total{{{KB}}}[$__rate_interval]))": _ARM_NAME},
            "reqps",
            text="Only while a canary is configured. `rag-assets canary` compares with intervals.",
        ),
        Panel(
            "Canary: abstained and needs review, by arm",
            {
                f"sum by ({_ARM}) (increase(rag_arm_{name}_total{{{KB}}}[1h]))"
                f" / sum by ({_ARM}) (increase(rag_arm_answers_total{{{KB}}}[1h]))": (
                    f"{text}, {_ARM_NAME}"
                )
                for name, text in (("abstentions", "abstained"), ("needs_review", "needs review"))
            },
            "percentunit",
            text="Share of each arm's answers in the last hour.",
        ),
        Panel(
            "Canary: search and answer by arm, p95",
            {
                f"histogram_quantile(0.95, sum by (le, {_ARM})"
                f" (rate(rag_arm_answer_seconds_bucket{{{KB}}}[1h])))": _ARM_NAME
            },
            "s",
            text="Of the last hour.",
        ),
        Panel(
            "Canary: mean confidence by arm",
            {
                f"sum by ({_ARM}) (increase(rag_arm_confidence_sum{{{KB}}}[1h]))"
                f" / sum by ({_ARM}) (increase(rag_arm_confidence_count{{{KB}}}[1h]))": _ARM_NAME
            },
            "percentunit",
            text="Of the last hour. Another model's is not calibrated and cannot be compared.",
        ),
        Panel(
            "Canary: cost by arm",
            {f"sum by ({_ARM}) (increase(rag_arm_cost_usd_total{{{KB}}}[1h]))": _ARM_NAME},
            "currencyUSD",
            text="US dollars in the last hour.",
        ),
        Panel(
            "Version that is served",
            {f"max by (knowledge_base) (rag_index_version{{{KB}}})": "{{knowledge_base}}"},
            text="As the service says; it follows a promotion by seconds.",
        ),
    ),
)
