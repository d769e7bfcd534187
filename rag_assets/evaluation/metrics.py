"""Retrieval metrics of one query: a ranking of documents against the relevant ones.

A ranking names documents best first; a document that comes again counts at its first place only.
`relevant` maps doc_id to a grade above 0. Every metric is between 0 and 1.
"""

from collections.abc import Callable, Mapping, Sequence
from math import log2

from rag_assets.config import GATE_METRIC
from rag_assets.errors import ConfigError
from rag_assets.evaluation.spans import SPAN_METRICS

Metric = Callable[[Sequence[str], Mapping[str, int], int], float]

REPORTED = ("recall@1", "recall@5", "recall@10", "hit@1", "hit@5", "mrr@10", "ndcg@10")
"""What every evaluation reports, whatever the gate asks for."""

SPAN_REPORTED = ("span_recall@5", "span_precision@5", "span_iou@5")
"""Reported as well where queries say which passages must be found; K counts passages."""


def recall(ranking: Sequence[str], relevant: Mapping[str, int], k: int) -> float:
    """Relevant documents found in the top k, of all relevant ones."""
    return _found(ranking, relevant, k) / len(relevant)


def hit(ranking: Sequence[str], relevant: Mapping[str, int], k: int) -> float:
    """1 if any relevant document is in the top k, else 0."""
    return float(_found(ranking, relevant, k) > 0)


def precision(ranking: Sequence[str], relevant: Mapping[str, int], k: int) -> float:
    """Relevant documents among the top k, of k; a short ranking is not excused."""
    return _found(ranking, relevant, k) / k


def mrr(ranking: Sequence[str], relevant: Mapping[str, int], k: int) -> float:
    """One over the rank of the first relevant document in the top k, else 0."""
    for rank, doc_id in enumerate(_top(ranking, k), start=1):
        if doc_id in relevant:
            return 1 / rank
    return 0.0


def ndcg(ranking: Sequence[str], relevant: Mapping[str, int], k: int) -> float:
    """Discounted cumulative gain of the top k, of the best possible one.

    Gain is the grade itself, as in trec_eval. Source: Järvelin and Kekäläinen 2002.
    """
    best = sorted(relevant.values(), reverse=True)[:k]
    return _dcg([relevant.get(doc_id, 0) for doc_id in _top(ranking, k)]) / _dcg(best)


def metric_value(name: str, ranking: Sequence[str], relevant: Mapping[str, int]) -> float:
    """The metric over documents of this name, such as `recall@5`.

    Raises: ConfigError for a name that is no metric; ValueError when nothing is relevant, because
    no metric says anything then.
    """
    if not relevant:
        raise ValueError(f"{name}: a query without relevant documents has no retrieval metrics")
    kind, k = parse_metric(name)
    return _METRICS[kind](ranking, relevant, k)


def parse_metric(name: str) -> tuple[str, int]:
    """`recall@5` as ("recall", 5).

    Raises: ConfigError for a name that is no metric.
    """
    if not GATE_METRIC.match(name):
        kinds = ", ".join((*_METRICS, *SPAN_METRICS))
        raise ConfigError(f"{name!r} is no metric; expected one of {kinds} with @K")
    kind, k = name.split("@")
    return kind, int(k)


def is_span_metric(name: str) -> bool:
    """Whether a metric compares characters of passages rather than documents."""
    return parse_metric(name)[0] in SPAN_METRICS


_METRICS: dict[str, Metric] = {
    "recall": recall,
    "hit": hit,
    "precision": precision,
    "mrr": mrr,
    "ndcg": ndcg,
}


def _top(ranking: Sequence[str], k: int) -> list[str]:
    return list(dict.fromkeys(ranking))[:k]


def _found(ranking: Sequence[str], relevant: Mapping[str, int], k: int) -> int:
    return sum(doc_id in relevant for doc_id in _top(ranking, k))


def _dcg(grades: Sequence[int]) -> float:
    return sum(grade / log2(place + 2) for place, grade in enumerate(grades))
