"""The two arms of a canary compared, from the lines of the service's audit log.

Every answer of one experiment counts once; answers from the cache do not. Questions are taken to be
independent of each other, which those of one conversation are not quite.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np

from rag_assets.evaluation.rates import Rate

ARMS = ("live", "canary")
_RESAMPLES = 1000
_FEWEST = 30  # answers of an arm below which a bootstrap interval is too narrow to be believed
_SEED = 20_261_126

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Given:
    """One question of an experiment. failed: the arm gave no answer. rating: of the one who asked,
    `up` or `down`."""

    arm: str
    abstained: bool = False
    needs_review: bool = False
    degraded: bool = False
    failed: bool = False
    confidence: float = 0.0
    seconds: float = 0.0
    cost_usd: float = 0.0
    rating: str | None = None


@dataclass(frozen=True, slots=True)
class Compared:
    """One figure of both arms. of: answers it is made from. difference: canary minus live. Every
    interval is of 95 %; None where an arm has nothing to tell.

    verdict: `better` or `worse` where the interval of the difference leaves out 0, else `unclear`.
    """

    name: str
    of: dict[str, int]
    values: dict[str, float | None]
    intervals: dict[str, Interval | None]
    difference: float | None
    interval: Interval | None
    verdict: str


@dataclass(frozen=True, slots=True)
class _Figure:
    name: str
    value: Callable[[Given], float | None]
    more_is_better: bool
    statistic: str = "rate"  # rate, mean or p95


_FIGURES = (
    _Figure("abstained", lambda g: None if g.failed else g.abstained, False),
    _Figure("needs review", lambda g: None if g.failed else g.needs_review, False),
    _Figure("degraded", lambda g: None if g.failed else g.degraded, False),
    _Figure("failed", lambda g: g.failed, False),
    _Figure("judged good", lambda g: None if g.rating is None else g.rating == "up", True),
    _Figure("confidence", lambda g: None if g.failed else g.confidence, True, "mean"),
    _Figure("seconds, mean", lambda g: None if g.failed else g.seconds, False, "mean"),
    _Figure("seconds, p95", lambda g: None if g.failed else g.seconds, False, "p95"),
    _Figure("US dollars", lambda g: None if g.failed else g.cost_usd, False, "mean"),
)


def compare_arms(given: Sequence[Given]) -> list[Compared]:
    """Every figure of both arms, with the difference and its interval."""
    return [_compared(figure, given) for figure in _FIGURES]


def _compared(figure: _Figure, given: Sequence[Given]) -> Compared:
    samples = {arm: np.array(_values(figure, given, arm), dtype=float) for arm in ARMS}
    found = {arm: _estimate(figure.statistic, sample) for arm, sample in samples.items()}
    values = {arm: None if e is None else e[0] for arm, e in found.items()}
    live, canary = found["live"], found["canary"]
    difference = interval = None
    verdict = "unclear"
    if live is not None and canary is not None:
        difference = canary[0] - live[0]
        if figure.statistic == "rate":
            interval = _newcombe(live, canary)
        else:
            draws = [_resampled(figure.statistic, samples[arm]) for arm in ARMS]
            low, high = np.percentile(draws[1] - draws[0], [2.5, 97.5])
            interval = (float(low), float(high))
        enough = figure.statistic == "rate" or min(map(len, samples.values())) >= _FEWEST
        if enough and (interval[0] > 0 or interval[1] < 0):
            verdict = "better" if (difference > 0) == figure.more_is_better else "worse"
    return Compared(
        figure.name,
        {arm: len(sample) for arm, sample in samples.items()},
        values,
        {arm: None if e is None else (e[1], e[2]) for arm, e in found.items()},
        difference,
        interval,
        verdict,
    )


def _values(figure: _Figure, given: Sequence[Given], arm: str) -> list[float]:
    values = (figure.value(one) for one in given if one.arm == arm)
    return [float(value) for value in values if value is not None]


def _estimate(statistic: str, sample: np.ndarray) -> tuple[float, float, float] | None:
    """(value, low, high); None without a sample."""
    if not len(sample):
        return None
    if statistic == "rate":
        rate = Rate(int(sample.sum()), len(sample), 0.0)
        return (rate.value, *rate.interval)
    low, high = np.percentile(_resampled(statistic, sample), [2.5, 97.5])
    return float(_statistic(statistic, sample[None, :])[0]), float(low), float(high)


def _resampled(statistic: str, sample: np.ndarray) -> np.ndarray:
    """The statistic of 1,000 resamples. Source: Efron 1979, percentile bootstrap."""
    rng = np.random.default_rng(_SEED + len(sample))
    return np.concatenate(
        [
            _statistic(statistic, rng.choice(sample, (100, len(sample))))
            for _ in range(_RESAMPLES // 100)
        ]
    )


def _statistic(statistic: str, samples: np.ndarray) -> np.ndarray:
    return samples.mean(axis=1) if statistic == "mean" else np.percentile(samples, 95, axis=1)


def _newcombe(first: tuple[float, float, float], second: tuple[float, float, float]) -> Interval:
    """95 % interval of second minus first. Source: Newcombe 1998, method 10."""
    (p1, l1, u1), (p2, l2, u2) = first, second
    difference = p2 - p1
    low = difference - sqrt((p2 - l2) ** 2 + (u1 - p1) ** 2)
    high = difference + sqrt((u2 - p2) ** 2 + (p1 - l1) ** 2)
    return low, high


def read_experiment(
    storage: str | Path, knowledge_base: str, days: int, experiment: str | None = None
) -> tuple[str | None, list[Given]]:
    """(name, questions) of an experiment in the last days; the newest one when none is named.

    A judgement counts only from the principal who asked; the last one counts.
    """
    ratings: dict[tuple[str, str | None], str] = {}
    asked: list[Mapping[str, Any]] = []
    newest = experiment
    for line in _lines(Path(storage) / "service" / "audit", days):
        said = line.get("feedback")
        if isinstance(said, dict):
            ratings[str(said.get("request_id")), line.get("principal")] = str(said.get("rating"))
        elif line.get("experiment") and line.get("knowledge_base") == knowledge_base:
            newest = newest if experiment else line["experiment"]
            asked.append(line)
    return newest, [
        _given(line, ratings.get((str(line.get("request_id")), line.get("principal"))))
        for line in asked
        if line["experiment"] == newest and _counts(line)
    ]


def _counts(line: Mapping[str, Any]) -> bool:
    """Whether it is a question for an answer that was made, or that could not be."""
    if line.get("cached"):
        return False
    return "verdicts" in line or (line.get("status", 0) >= 500 and line["path"] != "/v1/search")


def _given(line: Mapping[str, Any], rating: str | None) -> Given:
    said = line.get("verdicts") or {}
    timings = line.get("timings") or {}
    return Given(
        str(line["arm"]),
        bool(said.get("abstained")),
        bool(said.get("needs_review")),
        bool(said.get("degraded")),
        "verdicts" not in line or bool(line.get("canary_failed")),
        float(said.get("confidence") or 0.0),
        sum(timings.get(name, 0.0) for name in ("search", "answer")) / 1000,
        float(line.get("cost_usd") or 0.0),
        rating,
    )


def _lines(audit_log: Path, days: int) -> Iterator[dict[str, Any]]:
    """Lines of the last days, oldest first; torn ones are passed over."""
    first = (datetime.now(UTC).date() - timedelta(days=days - 1)).isoformat()
    for file in sorted(audit_log.glob("????-??-??.jsonl")):
        if file.stem < first:
            continue
        for raw in file.read_bytes().split(b"\n"):
            if b'"experiment"' in raw or b'"feedback"' in raw:
                try:
                    yield dict(json.loads(raw))
                except ValueError:
                    continue
