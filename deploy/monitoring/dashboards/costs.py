"""What models cost, what is reused, and where the month is heading."""

from deploy.monitoring.dashboards.panels import GOOD_ABOVE, KB, Dashboard, Panel, stat

COSTS = Dashboard(
    "costs",
    "RAG: costs and reuse",
    (
        stat(
            "Budget spent",
            f"rag_budget_spent_ratio{{{KB}}}",
            "percentunit",
            ((None, "green"), (0.8, "orange"), (1, "red")),
            text="Of the calendar month (UTC). At 100 % nothing more is paid.",
        ),
        stat(
            "Spent this month",
            f"rag_budget_spent_usd{{{KB}}}",
            "currencyUSD",
            text="Everything that was paid to models, with or without a budget.",
        ),
        stat(
            "Forecast for the month",
            f'rag_budget_forecast_usd{{{KB},bound="middle"}}',
            "currencyUSD",
            text="A straight line through the last 30 days; none with fewer than four days.",
        ),
        stat(
            "Unchanged documents of the last refresh",
            f"rag_deduplication_cache_hit_rate{{{KB}}}",
            "percentunit",
            GOOD_ABOVE,
            "Above 80 % a refresh costs little; below 20 % it is mostly new content.",
        ),
        Panel(
            "Month: spent, forecast, budget",
            {
                f"rag_budget_spent_usd{{{KB}}}": "spent",
                f"rag_budget_forecast_usd{{{KB}}}": "forecast, {{bound}}",
                f"rag_budget_usd{{{KB}}}": "budget",
            },
            "currencyUSD",
            width=24,
            text="The forecast with its 95 % interval: low, middle, high.",
        ),
        Panel(
            "Paid, by source or key",
            {f"sum by (kind, who) (rag_cost_usd_total{{{KB}}})": "{{kind}}, {{who}}"},
            "currencyUSD",
            text="Since the ledger began: embeddings by source, answers by API key.",
        ),
        Panel(
            "Spared by kept vectors and answers",
            {f"sum by (kind, who) (rag_cost_saved_usd_total{{{KB}}})": "{{kind}}, {{who}}"},
            "currencyUSD",
            text="What the same texts and answers would have cost again.",
        ),
        Panel(
            "Tokens by model",
            {
                f"sum by (model) (rate(rag_cost_tokens_total{{{KB}}}[$__rate_interval]))": (
                    "{{model}}"
                )
            },
            text="A second, asked and written together.",
        ),
        Panel(
            "Texts: embedded, and reused",
            {
                f'sum(rag_cost_calls_total{{{KB},kind="embedding"}})': "embedded",
                f'sum(rag_cost_saved_calls_total{{{KB},kind="embedding"}})': "reused",
            },
            text="Since the ledger began.",
        ),
        Panel(
            "Vectors in the store",
            {f"rag_embedding_store_vectors{{{KB}}}": "{{knowledge_base}}"},
            text="Of the live version's model; kept for texts that come back.",
        ),
        Panel(
            "Documents listed: new and skipped",
            {
                f"increase(rag_documents_deduplicated_new_total{{{KB}}}[$__rate_interval])": "new",
                f"increase(rag_documents_deduplicated_skipped_total{{{KB}}}[$__rate_interval])": (
                    "skipped"
                ),
            },
            text="From one point to the next. Skipped: unchanged, so nothing was done.",
        ),
    ),
)
