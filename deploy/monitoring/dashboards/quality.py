"""How good retrieval is, version by version."""

from deploy.monitoring.dashboards.panels import BAD_ABOVE, GOOD_ABOVE, KB, Dashboard, Panel, stat

QUALITY = Dashboard(
    "quality",
    "RAG: retrieval quality",
    (
        stat(
            "Recall@5",
            f"rag_eval_recall_at_5{{{KB}}}",
            "percentunit",
            GOOD_ABOVE,
            text="Of the live version: share of the relevant documents among the first five.",
        ),
        stat(
            "Recall@1",
            f"rag_eval_recall_at_1{{{KB}}}",
            "percentunit",
            text="Of the live version: share of the relevant documents found first.",
        ),
        stat(
            "MRR@10",
            f"rag_eval_mrr{{{KB}}}",
            "percentunit",
            text="Of the live version: mean of 1 / rank of the first relevant document.",
        ),
        stat(
            "Refused candidates",
            f'rag_refreshes_total{{{KB},outcome="refused"}}',
            steps=BAD_ABOVE,
            text="Since the first refresh. The live version stays when a candidate is refused.",
        ),
        Panel(
            "Metrics of the live version",
            {f"rag_index_metric{{{KB}}}": "{{eval_set}} {{metric}}"},
            "percentunit",
            width=24,
            text="All figures of the gate on every eval set; a step is a promotion or a rollback.",
        ),
        Panel(
            "Recall@5 with its 95 % interval",
            {
                f'rag_index_metric{{{KB},metric="recall@5"}}': "{{eval_set}}",
                f'rag_index_metric_bound{{{KB},metric="recall@5"}}': "{{eval_set}} {{bound}}",
            },
            "percentunit",
            text="Versions whose intervals overlap need not differ.",
        ),
        Panel(
            "Version over time",
            {f"rag_index_version{{{KB}}}": "{{knowledge_base}}"},
            text="Up: a promotion. Down: a rollback.",
        ),
        Panel(
            "Blocking checks of the live version",
            {f"rag_index_check_passed{{{KB}}}": "{{check}}"},
            kind="bargauge",
            text="1: passed. A version with a 0 was made live by hand.",
        ),
        Panel(
            "Queries",
            {f"rag_eval_queries{{{KB}}}": "{{eval_set}}, {{state}}"},
            text="Only judged ones count. Stale: what is relevant is gone. Unanswerable: none is.",
        ),
        Panel(
            "Time of a search on the eval sets",
            {f"rag_eval_query_latency_seconds{{{KB}}}": "{{eval_set}} p{{quantile}}"},
            "s",
            text="Measured in the gate's process, one search at a time.",
        ),
    ),
)
