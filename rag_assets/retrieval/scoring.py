"""From candidates to scores: every signal of every candidate, and what each adds.

Signals come in two waves, because the second needs to know who leads after the first:

1. the legs, the rerank of the best of them, and metadata;
2. feedback: likeness to the leaders' vectors (pseudo-relevance feedback, Rocchio 1971).

All but the metadata signals are z-scores among the candidates, so that weights compare.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import repeat

import numpy as np

from rag_assets.config import Weights
from rag_assets.errors import RagError
from rag_assets.index.base import OpenVersion, Passage
from rag_assets.retrieval.base import SearchRequest
from rag_assets.retrieval.candidates import DEPTH, Candidates
from rag_assets.retrieval.fusion import reciprocal_ranks, z_scores
from rag_assets.retrieval.question import Question
from rag_assets.retrieval.rerank import Reranker

_log = logging.getLogger(__name__)

_LEADERS = 5  # passages that feedback takes for relevant
_RRF_SCALE = 60.0  # brings reciprocal ranks (at most 1/61) to the size of z-scores
_MISMATCH = -5.0  # of the category signal, where a match is 1
_DAY = 86_400.0


@dataclass
class Scores:
    """Candidates with their signals. `ids` ascend, and every array is aligned with them."""

    ids: list[str]
    raw: dict[str, np.ndarray]
    parts: dict[str, np.ndarray]

    @property
    def total(self) -> np.ndarray:
        """The score of each candidate."""
        return np.sum(list(self.parts.values()), axis=0)

    def best_first(self) -> list[int]:
        """Places of the candidates by score; equal scores by chunk id, never by luck."""
        return np.argsort(-self.total, kind="stable").tolist()

    def of(self, place: int) -> tuple[dict[str, float], dict[str, float]]:
        """(signals, parts) of one candidate; signals that do not know it are left out."""
        signals = {
            name: float(values[place])
            for name, values in self.raw.items()
            if not np.isnan(values[place])
        }
        return signals, {name: float(values[place]) for name, values in self.parts.items()}


def score_one_leg(name: str, leg: Sequence[tuple[str, float]]) -> Scores:
    """A single leg ranks by its own scores."""
    found = sorted(leg)
    values = np.array([score for _, score in found], np.float64)
    return Scores([chunk_id for chunk_id, _ in found], {name: values}, {name: values})


def score_hybrid(
    version: OpenVersion,
    request: SearchRequest,
    question: Question,
    candidates: Candidates,
    reranker: Reranker | None,
) -> Scores:
    """Every candidate of either leg, with what the reranker makes of the best."""
    weights = request.settings.weights
    scores = _fused(candidates, weights, request.settings.fusion)
    if reranker is not None and weights.rerank and scores.ids:
        _add_rerank(scores, reranker, version, question, weights.rerank)
    return scores


def add_feedback(scores: Scores, vectors: np.ndarray, question: Question, weight: float) -> None:
    """Add likeness to the leaders. vectors: of the candidates, float32 (candidates, dim)."""
    assert question.vector is not None
    total = scores.total
    leaders = scores.best_first()[:_LEADERS]
    trust = np.exp(total[leaders] - total[leaders[0]])
    wanted = _unit(trust @ _rows_unit(vectors[leaders]))
    wanted = _unit(_unit(question.vector) + wanted)
    likeness = np.einsum("ij,j->i", _rows_unit(vectors), wanted).astype(np.float64)
    scores.raw["feedback"] = likeness
    scores.parts["feedback"] = weight * _standardised(likeness)


def add_metadata(
    scores: Scores, passages: Sequence[Passage], request: SearchRequest, now: datetime
) -> None:
    """Add category, recency and trust, where their weights ask for them."""
    weights = request.settings.weights
    signals: dict[str, tuple[float, list[float]]] = {}
    if request.category is not None and weights.category:
        same = [1.0 if p.category == request.category else _MISMATCH for p in passages]
        signals["category"] = (weights.category, same)
    if weights.recency:
        half_life = request.settings.recency_half_life
        signals["recency"] = (weights.recency, [_freshness(p, now, half_life) for p in passages])
    if weights.trust:
        trusted = [request.trust.get(passage.source, 1.0) for passage in passages]
        signals["trust"] = (weights.trust, trusted)
    for name, (weight, values) in signals.items():
        scores.raw[name] = np.array(values)
        scores.parts[name] = weight * scores.raw[name]


def needs_passages(request: SearchRequest) -> bool:
    """Whether any metadata signal is asked for."""
    weights = request.settings.weights
    return bool(weights.recency or weights.trust or (request.category and weights.category))


def _fused(candidates: Candidates, weights: Weights, fusion: str) -> Scores:
    """Both legs, brought to comparable sizes; a candidate that a leg lacks gets its lowest."""
    legs = {"dense": candidates.dense, "lexical": candidates.lexical}
    ids = sorted({chunk_id for leg in legs.values() for chunk_id, _ in leg})
    scores = Scores(ids, {}, {})
    for name, leg in legs.items():
        found = dict(leg)
        if name == "lexical" and len(leg) < DEPTH:
            # All that match are here, so BM25 of the others is 0. Without them a word that only
            # one passage holds would have no spread, and its match would count for nothing.
            found = dict.fromkeys(ids, 0.0) | found
        sized = (
            z_scores(found)
            if fusion == "z-score"
            else {key: _RRF_SCALE * value for key, value in reciprocal_ranks(leg).items()}
        )
        lowest = min(sized.values(), default=0.0) if fusion == "z-score" else 0.0
        scores.raw[name] = _aligned(ids, dict(leg), np.nan)
        scores.parts[name] = getattr(weights, name) * _aligned(ids, sized, lowest)
    return scores


def _add_rerank(
    scores: Scores, reranker: Reranker, version: OpenVersion, question: Question, weight: float
) -> None:
    """A closer look at the best candidates; the rest, and those it does not know, get the lowest.

    A reranker that fails leaves the order of the legs.
    """
    places = scores.best_first()[: reranker.depth]
    try:
        seen = reranker.rerank(version, question, [scores.ids[place] for place in places])
    except RagError as error:
        _log.warning("%s; passages are not reranked", error)
        return
    found = seen.scores
    known = np.flatnonzero(~np.isnan(found))
    if not len(known):
        return
    at = np.array(places)[known]
    if seen.gap is not None:
        scores.raw["gap"] = np.full(len(scores.ids), np.nan)
        scores.raw["gap"][at] = seen.gap[known]
    sized = _standardised(found[known])
    scores.raw["rerank"] = np.full(len(scores.ids), np.nan)
    scores.raw["rerank"][at] = found[known]
    every = np.full(len(scores.ids), sized.min())
    every[at] = sized
    scores.parts["rerank"] = weight * every


def _freshness(passage: Passage, now: datetime, half_life: float) -> float:
    """1 for a document modified now, half of it a half-life ago; 0 where the time is not known."""
    if passage.modified_at is None:
        return 0.0
    days = max((now - passage.modified_at).total_seconds() / _DAY, 0.0)
    return float(0.5 ** (days / half_life))


def _aligned(ids: Sequence[str], values: Mapping[str, float], missing: float) -> np.ndarray:
    return np.fromiter(map(values.get, ids, repeat(missing)), np.float64, len(ids))


def _standardised(values: np.ndarray) -> np.ndarray:
    spread = values.std()
    return (values - values.mean()) / spread if spread > 1e-12 else np.zeros_like(values)


def _unit(vector: np.ndarray) -> np.ndarray:
    return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-12))


def _rows_unit(vectors: np.ndarray) -> np.ndarray:
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))[:, None]
    return np.asarray(vectors / np.maximum(lengths, 1e-12))
