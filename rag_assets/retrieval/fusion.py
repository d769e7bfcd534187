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
