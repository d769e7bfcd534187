"""Learning from an eval set what a confidence means, and measuring it where it was not learnt.

Every answerable query is asked twice: with what retrieval finds, and with the documents that answer
it left out, which is what the question looks like when the knowledge base does not know. So near
misses are learnt from also where the set has few unanswerable queries or none.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from rag_assets.answering.confidence import SIGNALS, Calibration, HeldOut
from rag_assets.index.versions import write_atomically
from rag_assets.records import digest_of

_FEWEST = 15  # right answers, and others, below which nothing is learnt
_RIDGE = 3.0  # on standardised signals; keeps 40 samples from explaining themselves
_STEPS = 30  # of Newton; it converges in about six
_SURE = 1.645  # standard errors: the one-sided 95 %
_BINS = 10

File = str | Path


@dataclass(frozen=True, slots=True)
class Sample:
    """One answer of known worth.

    right: its first citation is of a document that answers the query. known: such a document was
    among the passages that could be found. made: the documents were left out on purpose.
    """

    query: str
    signals: Mapping[str, float]
    right: bool
    known: bool
    made: bool = False


@dataclass(frozen=True, slots=True)
class Learnt:
    """A calibration with what it holds for.

    key: of the eval sets, the model and the settings it was learnt with; version, chunks: of the
    index.
    """

    calibration: Calibration
    key: str
    recipe: str
    version: int
    chunks: int

    def fits(self, recipe: str, chunks: int) -> bool:
        """Whether it holds for an index: of the same recipe, and not of quite another size."""
        return self.recipe == recipe and 0.8 * self.chunks <= chunks <= 1.25 * self.chunks

    def at(self, answer_share: float) -> Calibration:
        """The calibration with the threshold that a share of right answers passes."""
        return at_share(self.calibration, answer_share)


def learn(samples: Sequence[Sample]) -> Calibration | None:
    """What the samples teach, or None when they are too few; it withholds nothing yet.

    Each half of the queries is judged by what the other half taught; the weights are those of all.
    (More, smaller parts would be judged too low where signals tell little.)
    """
    right = np.array([sample.right for sample in samples])
    if min(right.sum(), (~right).sum()) < _FEWEST:
        return None
    halves = np.array([int(digest_of(sample.query), 16) % 2 for sample in samples])
    held_out = np.zeros(len(samples))
    for half in (0, 1):
        others = [s for s, h in zip(samples, halves, strict=True) if h != half]
        if len({sample.right for sample in others}) < 2:
            return None
        taught = _fitted(others)
        for place, sample in enumerate(samples):
            if halves[place] == half:
                held_out[place] = taught.confidence(sample.signals)
    judged = [
        HeldOut(float(score), sample.right, sample.known, sample.made)
        for score, sample in zip(held_out, samples, strict=True)
    ]
    return replace(_fitted(samples), learnt=True, held_out=tuple(judged))


def at_share(calibration: Calibration, answer_share: float) -> Calibration:
    """One that withholds at most the other share of the right answers, with its figures.

    It withholds nothing where the share is 1, or where confidence does not tell right answers from
    those to what is not known: the reader would lose the ones without being spared the others.
    """
    columns = zip(*calibration.held_out, strict=True)
    scores, right, known, made = (np.array(column) for column in columns)
    helps = answer_share < 1 and _least_auroc(scores[right], scores[~known]) > 0.5
    threshold = float(np.quantile(scores[right], 1 - answer_share, method="lower")) if helps else 0
    return replace(
        calibration,
        abstain_below=threshold,
        review_below=max(0.5, threshold),
        judges=threshold > 0,
        figures={"answer_share": answer_share, **_figures(scores, right, known, made, threshold)},
    )


def _fitted(samples: Sequence[Sample]) -> Calibration:
    """Logistic regression by Newton's method. Answers that say nothing teach nothing."""
    said = [sample for sample in samples if sample.signals["support"] > 0]
    x = np.array([[sample.signals[name] for name in SIGNALS] for sample in said])
    y = np.array([float(sample.right) for sample in said])
    centre, scale = x.mean(axis=0), np.maximum(x.std(axis=0), 1e-6)
    design = np.column_stack([np.ones(len(x)), (x - centre) / scale])
    ridge = np.diag([1e-6, *[_RIDGE] * len(SIGNALS)])
    weights = np.zeros(design.shape[1])
    for _ in range(_STEPS):
        p = 1 / (1 + np.exp(-design @ weights))
        slope = design.T @ (p - y) + ridge @ weights
        curve = design.T @ (design * (p * (1 - p) + 1e-9)[:, None]) + ridge
        weights = weights - np.linalg.solve(curve, slope)
    raw = weights[1:] / scale
    named = {name: float(value) for name, value in zip(SIGNALS, raw, strict=True)}
    return Calibration({"bias": float(weights[0] - raw @ centre), **named}, 0.0, 0.5)


def _figures(
    scores: np.ndarray, right: np.ndarray, known: np.ndarray, made: np.ndarray, threshold: float
) -> dict[str, object]:
    asked = ~made
    silent = scores < threshold
    return {
        "samples": len(scores),
        "queries": int(asked.sum()),
        "unanswerable": int((asked & ~known).sum()),
        "auroc_right": auroc(scores, right),
        "auroc_known": auroc(scores, known),
        "auroc_unanswerable": auroc(scores[asked], known[asked]),
        "brier": float(np.mean((scores - right) ** 2)),
        "calibration_error": calibration_error(scores, right),
        "abstained_right": _share(silent, right),
        "abstained_wrong": _share(silent, known & ~right),
        "abstained_unknown": _share(silent, ~known),
        "abstained_answerable": _share(silent, known),
        "abstained_unanswerable": _share(silent, asked & ~known),
    }


def _least_auroc(above: np.ndarray, below: np.ndarray) -> float:
    """What the AUROC is at least, with 95 % confidence; 0 without samples of both.

    Source: Hanley and McNeil 1982, its standard error.
    """
    n, m = len(above), len(below)
    area = auroc(np.concatenate([above, below]), np.arange(n + m) < n)
    if area is None:
        return 0.0
    two_above, two_below = area / (2 - area), 2 * area**2 / (1 + area)
    spread = area * (1 - area) + (n - 1) * (two_above - area**2) + (m - 1) * (two_below - area**2)
    return float(area - _SURE * np.sqrt(max(spread, 0.0) / (n * m)))


def _share(silent: np.ndarray, among: np.ndarray) -> float | None:
    return float(silent[among].mean()) if among.any() else None


def auroc(scores: np.ndarray, positive: np.ndarray) -> float | None:
    """The chance that a positive scores above a negative, ties counting half; None without both.

    Source: Mann and Whitney 1947, U over the product of the sizes.
    """
    above, below = scores[positive], scores[~positive]
    if not len(above) or not len(below):
        return None
    order = np.sort(below)
    wins = np.searchsorted(order, above, "left") + np.searchsorted(order, above, "right")
    return float(wins.sum() / (2 * len(above) * len(below)))


def calibration_error(scores: np.ndarray, right: np.ndarray) -> float:
    """Mean distance of confidence and share of right answers, in ten bins weighted by size.

    Source: Naeini et al. 2015, expected calibration error.
    """
    bins = np.minimum((scores * _BINS).astype(int), _BINS - 1)
    total = 0.0
    for number in np.unique(bins):
        among = bins == number
        total += abs(scores[among].mean() - right[among].mean()) * among.mean()
    return float(total)


def path_of(storage: File, version: int | None = None) -> Path:
    """Where the calibration of a knowledge base is; or of a version that may never be live."""
    index = Path(storage) / "index"
    if version is None:
        return index / "calibration.json"
    return index / "reports" / f"{version:06d}-calibration.json"


def save(storage: File, learnt: Learnt, version: int | None = None) -> None:
    """Replace what was learnt before."""
    write_atomically(path_of(storage, version), json.dumps(asdict(learnt), indent=1).encode())


def load(storage: File, version: int | None = None) -> Learnt | None:
    """What was learnt, or None: never, or by software that meant something else by it."""
    try:
        row = json.loads(path_of(storage, version).read_bytes())
        kept = row["calibration"]
        held_out = tuple(HeldOut(*one) for one in kept["held_out"])
        learnt = Learnt(**{**row, "calibration": Calibration(**{**kept, "held_out": held_out})})
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return learnt if set(learnt.calibration.weights) == {"bias", *SIGNALS} else None
