"""What an evaluation found, and its public JSON form."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from rag_assets.evaluation.eval_set import EvalQuery
from rag_assets.evaluation.metrics import (
    REPORTED,
    SPAN_REPORTED,
    is_span_metric,
    metric_value,
    parse_metric,
)
from rag_assets.evaluation.significance import bootstrap_interval
from rag_assets.evaluation.spans import SPAN_METRICS, Span, overlap


@dataclass(frozen=True, slots=True)
class QueryResult:
    """What one query found.

    relevant: the expected documents that the version holds. ranking: documents, best first, by
    their best chunk. scores: of each document in `ranking`. missing: expected documents that the
    version does not hold. error: why the search failed; such a query scores 0. milliseconds: None
    where others were asked at the same time.
    retrieved: the spans of the passages found, best first. expected: where the query's passages
    stand in this version; lost: those that no expected document holds. abstained: whether the
    built-in answerer found nothing to say; None where it was not asked.
    """

    query: EvalQuery
    relevant: Mapping[str, int]
    ranking: tuple[str, ...]
    scores: tuple[float, ...]
    milliseconds: float | None
    missing: tuple[str, ...] = ()
    error: str | None = None
    retrieved: tuple[Span, ...] = ()
    expected: tuple[Span, ...] = ()
    lost: tuple[str, ...] = ()
    abstained: bool | None = None

    @property
    def stale(self) -> bool:
        """Whether all documents that the query expects are gone."""
        return self.query.answerable and not self.relevant

    @property
    def judged(self) -> bool:
        """Whether retrieval metrics count this query."""
        return bool(self.relevant)

    def counts_for(self, metric: str) -> bool:
        """Whether a metric says anything of this query."""
        return self.judged and (bool(self.expected) or not is_span_metric(metric))

    def value(self, metric: str) -> float:
        """A metric of this query, such as `recall@5`; 0 when the search failed."""
        if self.error:
            return 0.0
        if not is_span_metric(metric):
            return metric_value(metric, self.ranking, self.relevant)
        kind, k = parse_metric(metric)
        found = overlap(self.retrieved[:k], self.expected)
        return float(getattr(found, SPAN_METRICS[kind]))


@dataclass(frozen=True)
class EvalReport:
    """An eval set's results on one version."""

    index_version: int
    name: str
    content_hash: str
    results: tuple[QueryResult, ...]
    metric_names: tuple[str, ...] = REPORTED

    @cached_property
    def judged(self) -> tuple[QueryResult, ...]:
        """The results that metrics are averaged over."""
        return tuple(result for result in self.results if result.judged)

    @cached_property
    def stale(self) -> tuple[QueryResult, ...]:
        """Results whose expected documents are all gone; excluded from metrics."""
        return tuple(result for result in self.results if result.stale)

    @cached_property
    def errors(self) -> tuple[QueryResult, ...]:
        """Results of searches that failed."""
        return tuple(result for result in self.results if result.error)

    @cached_property
    def abstentions(self) -> tuple[bool, ...]:
        """For each unanswerable query that the answerer was asked: did it say nothing?"""
        return tuple(
            result.abstained
            for result in self.results
            if not result.query.answerable and result.abstained is not None
        )

    @cached_property
    def answers(self) -> tuple[bool, ...]:
        """For each judged query that the answerer was asked: did it say anything?"""
        return tuple(not result.abstained for result in self.judged if result.abstained is not None)

    @cached_property
    def reported(self) -> tuple[str, ...]:
        """The metrics that say something of this set."""
        spans = SPAN_REPORTED if any(result.expected for result in self.judged) else ()
        return tuple(dict.fromkeys((*self.metric_names, *spans)))

    @cached_property
    def metrics(self) -> dict[str, float]:
        """Metric name to its mean over judged queries; NaN when there are none."""
        return {name: self.metric(name) for name in self.reported}

    def metric(self, name: str) -> float:
        """The mean of a metric over the queries it counts for; NaN when there are none."""
        values = [result.value(name) for result in self.judged if result.counts_for(name)]
        return float(np.mean(values)) if values else float("nan")

    @cached_property
    def ci95(self) -> dict[str, tuple[float, float]]:
        """Metric name to the 95 % bootstrap interval of its mean; empty without judged queries."""
        intervals: dict[str, tuple[float, float]] = {}
        for over_spans in (False, True):
            names = [name for name in self.reported if is_span_metric(name) == over_spans]
            rows = [
                [result.value(name) for name in names]
                for result in self.judged
                if names and result.counts_for(names[0])
            ]
            if rows:
                bounds = bootstrap_interval(np.array(rows))
                intervals |= {
                    name: (float(low), float(high))
                    for name, (low, high) in zip(names, bounds, strict=True)
                }
        return intervals

    def latency(self, percentile: float) -> float:
        """Milliseconds that a search took on its own, without embedding the query."""
        times = [r.milliseconds for r in self.results if r.milliseconds is not None]
        return float(np.percentile(times, percentile)) if times else float("nan")

    def worst(self, metric: str, count: int = 10) -> list[QueryResult]:
        """The judged queries with the lowest values of a metric, failed ones first."""
        ranked = sorted(self.judged, key=lambda r: (r.error is None, r.value(metric), r.query.id))
        return ranked[:count]

    def as_json(self) -> dict[str, object]:
        """One set of `evaluate --json`."""
        return {
            "queries": len(self.results),
            "judged": len(self.judged),
            "stale": len(self.stale),
            "errors": len(self.errors),
            "unanswerable": sum(not result.query.answerable for result in self.results),
            "lost_passages": sum(len(result.lost) for result in self.results),
            "content_hash": self.content_hash,
            "metrics": {name: _number(value) for name, value in self.metrics.items()},
            "ci95": {name: list(interval) for name, interval in self.ci95.items()},
            "abstention": rate_as_json(self.abstentions),
            "answered": rate_as_json(self.answers),
            "latency_ms": {f"p{p}": _number(self.latency(p)) for p in (50, 95, 99)},
        }


def reports_as_json(index_version: int, reports: Sequence[EvalReport]) -> dict[str, object]:
    """The object that `evaluate --json` prints."""
    return {
        "index_version": index_version,
        "sets": {report.name: report.as_json() for report in reports},
    }


def rate_as_json(outcomes: Sequence[bool]) -> dict[str, object] | None:
    """Share of outcomes that are true, with how many there are; None without any."""
    if not outcomes:
        return None
    return {"of": len(outcomes), "rate": sum(outcomes) / len(outcomes)}


def _number(value: float) -> float | None:
    """JSON has no NaN."""
    return None if np.isnan(value) else value
