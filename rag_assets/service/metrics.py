"""What Prometheus sees at /metrics.

With several workers each writes its counters to files under $PROMETHEUS_MULTIPROC_DIR, and whoever
is scraped adds them up. What is live is read from the index directory at every scrape.
"""

import os
import time
from collections.abc import Iterable, Iterator
from datetime import datetime

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector

from rag_assets.answering.base import Answer
from rag_assets.answering.models import EXTRACTIVE
from rag_assets.costs import Entry
from rag_assets.errors import RagError
from rag_assets.service.canary import ArmMetrics
from rag_assets.service.library import Library, Shelf
from rag_assets.service.record import Record

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_FAST = (0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1, 2, 5, 10)
_SLOW = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60, 120)


class Metrics:
    """Counters and histograms of one service."""

    def __init__(self, library: Library) -> None:
        self._registry = CollectorRegistry()
        self._library = library
        kb = ["knowledge_base"]
        self._requests = self._histogram(
            "request", "A whole request, to its last byte", ["endpoint", "status"], _SLOW
        )
        self._retrieval = self._histogram("retrieval", "Query to ranked passages", kb, _FAST)
        self._first_token = self._histogram(
            "first_token", "Question to the first text of a streamed answer", [*kb, "model"], _SLOW
        )
        self._generation = self._histogram(
            "generation", "Passages to a verified answer", [*kb, "model"], _SLOW
        )
        self._tokens = self._counter("tokens", "Tokens by the model", [*kb, "model", "kind"])
        self._cost = self._counter("cost_usd", "US dollars paid for answers", [*kb, "model"])
        self._answers = self._counter("answers", "Answers given", [*kb, "model"])
        self._abstained = self._counter("abstentions", "Answers saying that nothing is known", kb)
        self._degraded = self._counter("degraded", "Answers quoted because models failed", kb)
        self._dropped = self._counter(
            "citation_failures", "Citations that did not hold and were dropped", kb
        )
        self._cache = self._counter("cache", "Look-ups in the answer cache", [*kb, "result"])
        self._feedback = self._counter("feedback", "Feedback on answers", [*kb, "rating"])
        self.arms = ArmMetrics(self._registry)
        self._audit_failures = self._counter("audit_failures", "Lines that were not written", [])

    def _histogram(
        self, name: str, help_text: str, labels: list[str], buckets: tuple[float, ...]
    ) -> Histogram:
        return Histogram(
            f"rag_{name}_seconds", help_text, labels, buckets=buckets, registry=self._registry
        )

    def _counter(self, name: str, help_text: str, labels: list[str]) -> Counter:
        return Counter(f"rag_{name}", help_text, labels, registry=self._registry)

    def request(self, record: Record) -> None:
        """One request is over."""
        self._requests.labels(record.endpoint, str(record.status)).observe(record.seconds)

    def retrieval(self, knowledge_base: str, milliseconds: float) -> None:
        """One search is done."""
        self._retrieval.labels(knowledge_base).observe(milliseconds / 1000)

    def answer(self, knowledge_base: str, answer: Answer) -> None:
        """One answer was made (not taken from the cache)."""
        labels = (knowledge_base, answer.model)
        self._answers.labels(*labels).inc()
        if "search" in answer.timings:
            self.retrieval(knowledge_base, answer.timings["search"])
        if "answer" in answer.timings:
            self._generation.labels(*labels).observe(answer.timings["answer"] / 1000)
        if answer.model == EXTRACTIVE:  # which nobody is paid for
            self._count(labels, answer.usage.prompt_tokens, answer.usage.completion_tokens)
        self._abstained.labels(knowledge_base).inc(answer.abstained)
        self._degraded.labels(knowledge_base).inc(answer.degraded)
        self._dropped.labels(knowledge_base).inc(answer.dropped_citations)

    def paid(self, knowledge_base: str, entries: Iterable[Entry]) -> None:
        """What models were paid for one request, whatever became of their replies."""
        for entry in entries:
            labels = (knowledge_base, entry.model)
            self._count(labels, entry.tokens, entry.completion_tokens)
            self._cost.labels(*labels).inc(entry.usd)

    def _count(self, labels: tuple[str, str], prompt: int, completion: int) -> None:
        self._tokens.labels(*labels, "prompt").inc(prompt)
        self._tokens.labels(*labels, "completion").inc(completion)

    def first_token(self, knowledge_base: str, model: str, seconds: float) -> None:
        """The first text of a stream was sent."""
        self._first_token.labels(knowledge_base, model).observe(seconds)

    def cache(self, knowledge_base: str, *, hit: bool) -> None:
        """The answer cache was asked."""
        self._cache.labels(knowledge_base, "hit" if hit else "miss").inc()

    def feedback(self, knowledge_base: str, rating: str) -> None:
        """Somebody judged an answer."""
        self._feedback.labels(knowledge_base, rating).inc()

    def audit_failure(self) -> None:
        """A line of the audit log was lost."""
        self._audit_failures.inc()

    def exposition(self) -> bytes:
        """The text that Prometheus reads."""
        live = CollectorRegistry()
        live.register(_Live(self._library))
        counted = self._registry
        if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
            counted = CollectorRegistry()
            MultiProcessCollector(counted)
        return generate_latest(counted) + generate_latest(live)


class _Live:
    """The live version of every knowledge base with the figures of its gate."""

    def __init__(self, library: Library) -> None:
        self._library = library

    def collect(self) -> Iterator[Metric]:
        kb = ["knowledge_base"]
        version = GaugeMetricFamily("rag_index_version", "Live index version", labels=kb)
        documents = GaugeMetricFamily("rag_index_documents", "Documents in it", labels=kb)
        chunks = GaugeMetricFamily("rag_index_chunks", "Chunks in it", labels=kb)
        age = GaugeMetricFamily("rag_index_age_seconds", "Since it was built", labels=kb)
        metric = GaugeMetricFamily(
            "rag_index_metric", "Retrieval metrics of it", labels=[*kb, "eval_set", "metric"]
        )
        passed = GaugeMetricFamily(
            "rag_index_check_passed", "Blocking checks of it", labels=[*kb, "check"]
        )
        for name, shelf in self._library.shelves.items():
            try:
                number = shelf.live_version()
                manifest = shelf.versions.manifest(number)
            except RagError:
                version.add_metric([name], 0)
                continue
            version.add_metric([name], number)
            documents.add_metric([name], manifest.documents)
            chunks.add_metric([name], manifest.chunks)
            created = datetime.fromisoformat(manifest.created_at).timestamp()
            age.add_metric([name], time.time() - created)
            _add_figures(shelf, number, metric, passed)
        yield from (version, documents, chunks, age, metric, passed)


def _add_figures(
    shelf: Shelf, number: int, metric: GaugeMetricFamily, passed: GaugeMetricFamily
) -> None:
    for eval_set, found in shelf.report(number).items():
        for name, value in found["metrics"].items():
            if value is not None:
                metric.add_metric([shelf.name, eval_set, name], value)
    for check, outcome in shelf.versions.verdict(number).items():
        passed.add_metric([shelf.name, check], float(outcome["passed"]))
