"""One ranking out of two legs whose scores have nothing in common."""

from collections.abc import Mapping, Sequence

import numpy as np

Scored = Sequence[tuple[str, float]]
"""(chunk_id, score), best first."""

_RRF_K = 60


def z_scores(scores: Mapping[str, float]) -> dict[str, float]:
    """Scores in standard deviations from their mean; all 0 when they do not differ."""
    if not scores:
        return {}
    values = np.fromiter(scores.values(), np.float64, len(scores))
    spread = values.std()
    if spread < 1e-12:
        return dict.fromkeys(scores, 0.0)
    return dict(zip(scores, ((values - values.mean()) / spread).tolist(), strict=True))


def reciprocal_ranks(leg: Scored) -> dict[str, float]:
    """1 / (60 + rank) of each candidate. Source: Cormack, Clarke and Büttcher 2009, k = 60."""
    return {chunk_id: 1 / (_RRF_K + rank) for rank, (chunk_id, _) in enumerate(leg, start=1)}


def weighted_sum(
    signals: Mapping[str, Mapping[str, float]], weights: Mapping[str, float]
) -> dict[str, float]:
    """Σ weight · signal of every candidate of any signal.

    A candidate that a signal lacks gets that signal's lowest value: it was not among its best.
    """
    candidates = dict.fromkeys(chunk_id for scores in signals.values() for chunk_id in scores)
    lowest = {name: min(scores.values(), default=0.0) for name, scores in signals.items()}
    return {
        chunk_id: sum(
            weights.get(name, 0.0) * scores.get(chunk_id, lowest[name])
            for name, scores in signals.items()
        )
        for chunk_id in candidates
    }


def best_first(scores: Mapping[str, float]) -> list[tuple[str, float]]:
    """Candidates by score; equal scores by chunk id, so that a ranking never depends on luck."""
    return sorted(scores.items(), key=lambda item: (-item[1], item[0]))
