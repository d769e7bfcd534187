"""Is the pipeline well: versions, refreshes, sources, disk?"""

from deploy.monitoring.dashboards.panels import KB, Dashboard, Panel, stat

HEALTH = Dashboard(
    "health",
    "RAG: pipeline health",
    (
        stat(
            "Live version",
            f"rag_index_version{{{KB}}}",
            steps=((None, "red"), (1, "green")),
            text="What searches and answers come from. 0: there is none.",
        ),
        stat(
            "Live since",
            f"time() - rag_index_promoted_timestamp_seconds{{{KB}}}",
            "s",
            text="Since the version that is live was promoted.",
        ),
        stat(
            "Documents",
            f"rag_index_documents{{{KB}}}",
            text="In the live version.",
        ),
        stat(
            "Last refresh",
            f"time() - max by (knowledge_base) (rag_refresh_last_timestamp_seconds{{{KB}}})",
            "s",
            ((None, "green"), (86400, "red")),
            text="Since any refresh ended, however it ended. Red after a day.",
        ),
        Panel(
            "Refreshes by their end",
            {
                f"sum by (outcome) (increase(rag_refreshes_total{{{KB}}}[$__rate_interval]))": (
                    "{{outcome}}"
                )
            },
            text="How many ended, and how, from one point to the next.",
        ),
        Panel(
            "Duration of the last refresh",
            {f"rag_refresh_last_seconds{{{KB}}}": "{{knowledge_base}}"},
            "s",
            text="From the listing of the sources to the verdict.",
        ),
        Panel(
            "Documents by source and state",
            {f"sum by (source, state) (rag_source_documents{{{KB}}})": ("{{source}}, {{state}}")},
            text="Healthy, in quarantine, or gone and held by the delete guard.",
        ),
        Panel(
            "Freshness: from a change to live, longest",
            {f'rag_source_freshness_seconds{{{KB},quantile="1"}}': "{{source}}"},
            "s",
            text="Of the documents that the newest promotion with any brought.",
        ),
        Panel(
            "Unchanged since",
            {f"time() - rag_source_changed_timestamp_seconds{{{KB}}}": "{{source}}"},
            "s",
            text="Since a refresh last saw anything change in the source.",
        ),
        Panel(
            "Listings in a row that failed",
            {f"rag_source_failures{{{KB}}}": "{{source}}"},
            steps=((None, "green"), (3, "red")),
            text="From the third on, the source's circuit breaker is open.",
        ),
        Panel(
            "Mean duration by stage",
            {
                f"sum by (stage) (rag_stage_duration_seconds_sum{{{KB}}})"
                f" / sum by (stage) (rag_stage_duration_seconds_count{{{KB}}})": "{{stage}}"
            },
            "s",
            "bargauge",
            text="Of all refreshes there ever were; `refresh` is the whole.",
        ),
        Panel(
            "Bytes on disk",
            {f"sum by (store) (rag_store_bytes{{{KB}}})": "{{store}}"},
            "bytes",
            text="By part of the storage directory, at most five minutes old.",
        ),
        Panel(
            "Rows replaced since the index was last rebuilt",
            {f"rag_index_replaced_ratio{{{KB}}}": "{{knowledge_base}}"},
            "percentunit",
            text="As a share of the rows. What replaced ones leave behind slows searches down.",
        ),
        Panel(
            "Index versions on disk",
            {f"sum by (state) (rag_index_versions{{{KB}}})": "{{state}}"},
            text="By state. `index.keep_versions` says how many are kept.",
        ),
    ),
)
