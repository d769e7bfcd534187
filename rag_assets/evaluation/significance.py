"""Is one configuration worse than another, or was it luck? Paired tests over the same queries."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_RESAMPLES = 2000
_PERMUTATIONS = 10_000
_BATCH = 200  # of either at a time: 20,000 queries then take tens of megabytes, not hundreds
_EXACT_UP_TO = 13  # non-zero differences; 2**13 sign patterns are fewer than _PERMUTATIONS
_SEED = 20_261_120


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """Candidate minus baseline over the same queries.

    low, high: 95 % bootstrap interval of the mean. p_worse: how often chance alone makes a mean
    at least this bad (one-sided randomisation test); p_different: the two-sided value.
    deviation: standard deviation of the differences, from which the power of a test follows.
    """

    queries: int
    mean: float
    low: float
    high: float
    p_worse: float
    p_different: float
    wins: int
    losses: int
    deviation: float = 0.0


def bootstrap_interval(values: np.ndarray, confidence: float = 0.95) -> np.ndarray:
    """Percentile bootstrap intervals of the means of the columns of `values`.

    values: float (queries, metrics), at least one query. Returns float (metrics, 2). The seed is
    fixed: the same values give the same interval. Source: Efron 1979.
    """
    count, rng = len(values), np.random.default_rng(_SEED)
    means = np.concatenate(
        [_resampled(rng, count, _BATCH) @ values / count for _ in range(_RESAMPLES // _BATCH)]
    )
    tail = (1 - confidence) / 2 * 100
    return np.percentile(means, [tail, 100 - tail], axis=0).T


def _resampled(rng: np.random.Generator, count: int, draws: int) -> np.ndarray:
    """How often each of `count` values is in each draw: float32 (draws, count)."""
    times = (np.bincount(rng.integers(0, count, count), minlength=count) for _ in range(draws))
    return np.stack([drawn.astype(np.float32) for drawn in times])


def paired_difference(candidate: Sequence[float], baseline: Sequence[float]) -> PairedDifference:
    """Compare two configurations query by query, in the same order; at least one query.

    The randomisation test asks how the mean difference would vary if each query's two scores were
    swapped at random. Source: Smucker, Allan and Carterette 2007.
    """
    differences = np.asarray(candidate, np.float64) - np.asarray(baseline, np.float64)
    [[low, high]] = bootstrap_interval(differences[:, None])
    moved = differences[differences != 0]
    observed = float(moved.sum())
    by_chance = _sums_by_chance(np.abs(moved), observed)
    slack = 1e-9 * max(1.0, np.abs(moved).sum())  # sums that differ by rounding only are equal
    return PairedDifference(
        queries=len(differences),
        mean=float(differences.mean()),
        low=float(low),
        high=float(high),
        p_worse=float(np.mean(by_chance <= observed + slack)),
        p_different=float(np.mean(np.abs(by_chance) >= abs(observed) - slack)),
        wins=int((moved > 0).sum()),
        losses=int((moved < 0).sum()),
        deviation=float(differences.std()),
    )


def p_in_words(p: float) -> str:
    """A p-value for people; none is 0."""
    return f"{p:.3f}" if p >= 0.001 else "below 0.001"


def _sums_by_chance(sizes: np.ndarray, observed: float) -> np.ndarray:
    """Sums of `sizes` under sign patterns: all of them where few, else a fixed random sample.

    The observed pattern is always one of those counted, so that no p-value is ever 0.
    """
    count = len(sizes)
    if count <= _EXACT_UP_TO:
        patterns = np.arange(2**count)[:, None] >> np.arange(count) & 1
        return (2.0 * patterns - 1) @ sizes
    rng = np.random.default_rng(_SEED)
    sums = [
        2 * (rng.integers(0, 2, (_BATCH, count), dtype=np.int8).astype(np.float64) @ sizes)
        - sizes.sum()
        for _ in range(_PERMUTATIONS // _BATCH)
    ]
    return np.concatenate([*sums, [observed]])
