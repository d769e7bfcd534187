"""The pipeline as Prometheus sees it, read from disk at every scrape.

Nothing is pushed and nothing is kept in a process: a refresh that ended hours ago, in a process
that is gone, is told as exactly as one that is running here.
"""

import logging
import math
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

import rag_assets
from rag_assets.config import KnowledgeBaseConfig
from rag_assets.costs import Budget, Entry
from rag_assets.costs.forecast import forecast
from rag_assets.costs.ledger import Kind
from rag_assets.operations.history import BUCKETS, Totals
from rag_assets.operations.outcomes import Outcome, finished, outcome, seconds
from rag_assets.operations.snapshot import Live, Snapshot
from rag_assets.refresh.breakers import Breakers

log = logging.getLogger(__name__)

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_KB = ["knowledge_base"]
# The names that evaluation metrics are alerted on by.
_HEADLINES = {"recall@1": "recall_at_1", "recall@5": "recall_at_5", "mrr@10": "mrr"}


class PipelineMetrics:
    """A collector of one knowledge base for a `prometheus_client` registry."""

    def __init__(self, config: KnowledgeBaseConfig) -> None:
        self._snapshot = Snapshot(config)
        self._name = config.name

    def collect(self) -> Iterator[Metric]:
        """Every metric now. What cannot be read is left out; `rag_exporter_up` says so."""
        up = 1.0
        for part in (self._live, self._refreshes, self._sources, self._stores, self._costs):
            try:
                yield from part()
            except Exception as error:  # noqa: BLE001  whatever lies there, the rest is told
                why = f"{type(error).__name__}: {error}"
                log.warning("%s: %s cannot be read (%s)", self._name, part.__name__[1:], why)
                up = 0.0
        yield self._gauge("exporter_up", "Everything on disk could be read", up)
        built = GaugeMetricFamily("rag_build_info", "Software", labels=[*_KB, "version"])
        built.add_metric([self._name, rag_assets.__version__], 1)
        yield built

    def _gauge(self, name: str, text: str, value: float | None) -> GaugeMetricFamily:
        family = GaugeMetricFamily(f"rag_{name}", text, labels=_KB)
        if value is not None:
            family.add_metric([self._name], value)
        return family

    def _counter(self, name: str, text: str, value: float) -> CounterMetricFamily:
        family = CounterMetricFamily(f"rag_{name}", text, labels=_KB)
        family.add_metric([self._name], value)
        return family

    # -- the live version ------------------------------------------------------------------------

    def _live(self) -> Iterator[Metric]:
        live = self._snapshot.live()
        yield self._gauge("index_version", "Live index version", live.version if live else 0)
        states = GaugeMetricFamily(
            "rag_index_versions", "Index versions kept on disk", labels=[*_KB, "state"]
        )
        for state, count in self._snapshot.version_states().items():
            states.add_metric([self._name, state], count)
        yield states
        if live is None:
            return
        manifest = live.manifest
        built = datetime.fromisoformat(manifest.created_at).timestamp()
        yield self._gauge("index_documents", "Documents in the live version", manifest.documents)
        yield self._gauge("index_chunks", "Chunks in the live version", manifest.chunks)
        yield self._gauge(
            "index_age_seconds", "Since the live version was built", time.time() - built
        )
        yield self._gauge(
            "index_promoted_timestamp_seconds", "When it was made live", live.promoted_at
        )
        yield self._gauge(
            "index_replaced_ratio",
            "Rows replaced since the dense index was last built from nothing (its tombstones)",
            manifest.added_since_rebuild / max(manifest.chunks, 1),
        )
        yield from self._evaluation(live)

    def _evaluation(self, live: Live) -> Iterator[Metric]:
        labels = [*_KB, "eval_set"]
        every = GaugeMetricFamily(
            "rag_index_metric", "Retrieval metrics of the live version", labels=[*labels, "metric"]
        )
        bounds = GaugeMetricFamily(
            "rag_index_metric_bound", "95 % interval of them", labels=[*labels, "metric", "bound"]
        )
        headlines = {
            name: GaugeMetricFamily(
                f"rag_eval_{short}", f"{name} of the live version", None, labels
            )
            for name, short in _HEADLINES.items()
        }
        queries = GaugeMetricFamily(
            "rag_eval_queries", "Queries of an eval set", labels=[*labels, "state"]
        )
        latency = GaugeMetricFamily(
            "rag_eval_query_latency_seconds", "Searches of the eval", labels=[*labels, "quantile"]
        )
        for eval_set, found in live.report.items():
            where = [self._name, eval_set]
            for name, value in found["metrics"].items():
                if value is None:
                    continue
                every.add_metric([*where, name], value)
                if name in headlines:
                    headlines[name].add_metric(where, value)
            for name, interval in found.get("ci95", {}).items():
                for bound, value in zip(("low", "high"), interval, strict=True):
                    bounds.add_metric([*where, name, bound], value)
            for state in ("judged", "stale", "errors", "unanswerable"):
                queries.add_metric([*where, state], found.get(state, 0))
            for name, value in found.get("latency_ms", {}).items():
                if value is not None:
                    quantile = f"{int(name[1:]) / 100:g}"
                    latency.add_metric([*where, quantile], value / 1000)
        passed = GaugeMetricFamily(
            "rag_index_check_passed", "Blocking checks of the live version", labels=[*_KB, "check"]
        )
        for check, result in live.verdict.items():
            passed.add_metric([self._name, check], float(result["passed"]))
        yield from (every, bounds, *headlines.values(), queries, latency, passed)

    # -- refreshes -------------------------------------------------------------------------------

    def _refreshes(self) -> Iterator[Metric]:
        totals = self._snapshot.history.totals()
        sums = totals.sums
        ended = CounterMetricFamily(
            "rag_refreshes", "Refreshes by their end", None, [*_KB, "outcome"]
        )
        for kind in Outcome:
            if kind is not Outcome.INCOMPLETE:
                ended.add_metric([self._name, str(kind)], totals.outcomes[kind])
        yield ended
        for name, text, value in (
            (
                "documents_extracted",
                "Documents read",
                sums["documents_added"] + sums["documents_changed"],
            ),
            ("documents_deleted", "Documents removed", sums["documents_deleted"]),
            ("documents_deduplicated_new", "Listed and not known", sums["documents_added"]),
            ("documents_deduplicated_skipped", "Listed and unchanged", sums["documents_unchanged"]),
            ("chunks_added", "Chunks that came new into a version", sums["chunks_added"]),
            ("chunks_deleted", "Chunks that left a version", sums["chunks_deleted"]),
            ("chunks_embedded", "Texts embedded", sums["embeddings_computed"]),
            ("embedding_tokens", "Tokens embedded", sums["embeddings_tokens"]),
            ("embedding_cost_usd", "US dollars paid for embeddings", sums["embeddings_usd"]),
        ):
            yield self._counter(name, text, value)
        yield self._durations(totals)
        yield from self._newest()

    def _durations(self, totals: Totals) -> Metric:
        family = HistogramMetricFamily(
            "rag_stage_duration_seconds",
            "Stages of refreshes; `refresh` is all of one",
            labels=[*_KB, "stage"],
        )
        for stage, counts in totals.durations.items():
            buckets, below = [], 0
            for bound, count in zip(BUCKETS, counts, strict=True):
                below += count
                buckets.append(("+Inf" if math.isinf(bound) else f"{bound:g}", below))
            family.add_metric([self._name, stage], buckets, totals.seconds[stage])
        return family

    def _newest(self) -> Iterator[Metric]:
        """The last refresh, and the last of each end."""
        last = GaugeMetricFamily(
            "rag_refresh_last_timestamp_seconds",
            "Newest refresh of each end",
            labels=[*_KB, "outcome"],
        )
        newest = None
        moments: dict[str, float] = {}
        for parts in self._snapshot.history.receipts().values():
            kind = outcome(parts)
            if kind is not Outcome.INCOMPLETE:
                newest = parts
                moments[kind] = finished(parts).timestamp()
        for kind_name, moment in moments.items():
            last.add_metric([self._name, kind_name], moment)
        yield last
        if newest is None:
            return
        yield self._gauge("refresh_last_seconds", "Duration of the last refresh", seconds(newest))
        listed = newest.get("documents", {}).get("listed", 0)
        unchanged = newest.get("documents", {}).get("unchanged", 0)
        yield self._gauge(
            "deduplication_cache_hit_rate",
            "Share of the last refresh's listed documents that were unchanged",
            unchanged / listed if listed else None,
        )

    # -- sources and stores ---------------------------------------------------------------------

    def _sources(self) -> Iterator[Metric]:
        labels = [*_KB, "source"]
        documents = GaugeMetricFamily(
            "rag_source_documents", "Documents of a source", labels=[*labels, "state"]
        )
        changed = GaugeMetricFamily(
            "rag_source_changed_timestamp_seconds",
            "When a refresh last saw it change",
            None,
            labels,
        )
        expected = GaugeMetricFamily(
            "rag_source_silent_after_seconds", "Longer without a change is an alert", None, labels
        )
        lag = GaugeMetricFamily(
            "rag_source_freshness_seconds",
            "From a document's change to it being live",
            labels=[*labels, "quantile"],
        )
        hours = {source.name: source.silent_hours for source in self._snapshot.config.sources}
        for name, state in self._snapshot.sources().items():
            where = [self._name, name]
            healthy = state.documents - state.quarantined - state.held
            counts = {"healthy": healthy, "quarantined": state.quarantined, "held": state.held}
            for kind, count in counts.items():
                documents.add_metric([*where, kind], count)
            if state.changed_at is not None:
                changed.add_metric(where, state.changed_at)
            wait = hours[name]
            if wait is not None:
                expected.add_metric(where, wait * 3600)
            if state.lag is not None:
                for quantile, value in zip(("0.5", "1"), state.lag, strict=True):
                    lag.add_metric([*where, quantile], value)
        yield from (documents, changed, expected, lag, self._breakers(labels))

    def _breakers(self, labels: list[str]) -> Metric:
        failures = GaugeMetricFamily(
            "rag_source_failures", "Listings in a row that failed", None, labels
        )
        troubles = Breakers(self._snapshot.config.storage).troubles()
        for source in self._snapshot.config.sources:
            count = troubles[source.name].failures if source.name in troubles else 0
            failures.add_metric([self._name, source.name], count)
        return failures

    def _stores(self) -> Iterator[Metric]:
        size = GaugeMetricFamily("rag_store_bytes", "Bytes on disk", labels=[*_KB, "store"])
        for store, count in self._snapshot.sizes().items():
            size.add_metric([self._name, store], count)
        yield size
        vectors = self._snapshot.vectors()
        yield self._gauge("embedding_store_vectors", "Vectors kept for reuse", vectors)

    # -- costs -----------------------------------------------------------------------------------

    def _costs(self) -> Iterator[Metric]:
        labels = [*_KB, "kind", "model", "who"]
        families = {
            "usd": CounterMetricFamily("rag_cost_usd", "US dollars paid", None, labels),
            "saved_usd": CounterMetricFamily(
                "rag_cost_saved_usd",
                "US dollars that kept vectors and answers spared",
                None,
                labels,
            ),
            "calls": CounterMetricFamily("rag_cost_calls", "Texts and answers", None, labels),
            "saved_calls": CounterMetricFamily(
                "rag_cost_saved_calls", "Texts and answers that were reused", None, labels
            ),
            "tokens": CounterMetricFamily("rag_cost_tokens", "Tokens", None, labels),
        }
        ledger = self._snapshot.ledger
        entries = ledger.days()
        sums: dict[tuple[Kind, str, str], Entry] = {}
        for entry in entries:
            key = (entry.kind, entry.model, entry.who)
            sums[key] = sums[key].plus(entry) if key in sums else entry
        for key, entry in sums.items():
            tokens = entry.tokens + entry.completion_tokens
            for name, family in families.items():
                value = tokens if name == "tokens" else getattr(entry, name)
                family.add_metric([self._name, *key], value)
        yield from families.values()
        standing = Budget(self._snapshot.config.costs, ledger).standing()
        today = datetime.now(UTC).date()
        spent = ledger.spent(standing.month)
        yield self._gauge("budget_usd", "Budget of a month", standing.budget)
        yield self._gauge("budget_spent_usd", "US dollars paid this month", spent)
        yield self._gauge(
            "budget_spent_ratio",
            "Of the budget",
            None if standing.budget is None else standing.share,
        )
        yield self._gauge("budget_warn_ratio", "People are told from here on", standing.warn_at)
        found = forecast(entries, today)
        coming = GaugeMetricFamily(
            "rag_budget_forecast_usd",
            "The month at its end, with a 95 % interval",
            labels=[*_KB, "bound"],
        )
        if found is not None:
            for bound in ("low", "usd", "high"):
                label = "middle" if bound == "usd" else bound
                coming.add_metric([self._name, label], getattr(found, bound))
        yield coming


def exposition(configs: list[KnowledgeBaseConfig]) -> bytes:
    """The text that Prometheus reads, of one moment."""
    return generate_latest(registry(configs))


def as_json(configs: list[KnowledgeBaseConfig]) -> dict[str, Any]:
    """The same as one object: `metrics`, each with its name, type, help and samples."""
    return {
        "metrics": [
            {
                "name": metric.name,
                "type": metric.type,
                "help": metric.documentation,
                "samples": [
                    {"name": sample.name, "labels": sample.labels, "value": sample.value}
                    for sample in metric.samples
                ],
            }
            for metric in registry(configs).collect()
        ]
    }


def registry(configs: list[KnowledgeBaseConfig]) -> CollectorRegistry:
    """A registry with a collector a knowledge base."""
    found = CollectorRegistry(auto_describe=False)
    collectors = [PipelineMetrics(config) for config in configs]
    found.register(_Together(collectors))
    return found


class _Together:
    """Several collectors whose families of one name are told as one."""

    def __init__(self, collectors: list[PipelineMetrics]) -> None:
        self._collectors = collectors

    def collect(self) -> Iterator[Metric]:
        families: dict[str, Metric] = {}
        for collector in self._collectors:
            for family in collector.collect():
                held = families.setdefault(family.name, family)
                if held is not family:
                    held.samples += family.samples
        yield from families.values()
