"""How far an answer can be relied on, from what retrieval and verification saw.

A logistic model over a few signals. Its weights are learnt on the eval set of the knowledge base
(`calibration.py`); without one they are general ones, and the answer says that it is uncalibrated.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import exp, log1p
from typing import NamedTuple

from rag_assets.answering.citations import Checked
from rag_assets.config import KnowledgeBaseConfig
from rag_assets.index.lexical import terms
from rag_assets.records import digest_of
from rag_assets.retrieval.base import Hit

SIGNALS = ("nearest", "likeness", "lead", "words", "word_lead", "mentioned", "gap")
RECIPE = "2"
"""Raised when signals or answers change their meaning."""


class HeldOut(NamedTuple):
    """The confidence in an answer by what other queries taught, and what it was worth.

    right: it cites a document that answers. known: the knowledge base holds one. made: none any
    more, because they were left out on purpose.
    """

    confidence: float
    right: bool
    known: bool
    made: bool


@dataclass(frozen=True, slots=True)
class Calibration:
    """Signals to a probability that the answer rests on the right document.

    weights: by signal, and `bias`. abstain_below, review_below: probabilities. learnt: from an eval
    set, not assumed. judges: the confidence decides whether nothing is said, and the built-in
    model quotes what is nearest without a rule of its own. held_out: the answers it was learnt
    from; figures: what was measured on them.
    """

    weights: Mapping[str, float]
    abstain_below: float
    review_below: float
    learnt: bool = False
    judges: bool = False
    held_out: tuple[HeldOut, ...] = ()
    figures: Mapping[str, object] = field(default_factory=dict)

    def confidence(self, signals: Mapping[str, float]) -> float:
        """0 to 1. What a model says beyond its quotes makes it smaller."""
        total = self.weights["bias"]
        total += sum(self.weights[name] * signals[name] for name in SIGNALS)
        return min(1.0, 2 * signals["support"]) / (1 + exp(-total))


UNCALIBRATED = Calibration(
    {**dict.fromkeys(SIGNALS, 0.0), "bias": -4.0, "nearest": 6.0, "mentioned": 3.0},
    abstain_below=0.0,
    review_below=0.5,
)
NOTHING_WITHHELD = replace(UNCALIBRATED, judges=True)
"""What is asked with to learn from: every answer is seen, however unlikely."""


def signals_of(question: str, hits: Sequence[Hit], checked: Checked) -> dict[str, float]:
    """What is known of an answer.

    nearest: cosine of the best passage. likeness: what the reranker makes of it. words: logarithm
    of the best BM25. lead, word_lead: by how much likeness, and BM25, of the best document are
    above those of the next. mentioned: share of the question's words in the quotes. gap: what the
    worst matched word makes up of the question, in the passage where that is least. support: share
    of the answer's claims that stands in the quotes.
    """
    asked = set(terms(question))
    quoted = " ".join(
        " ".join((citation.title, *citation.heading, citation.quote))
        for citation in checked.citations
    )
    return {
        "nearest": _best(hits, "dense"),
        "likeness": _best(hits, "rerank"),
        "lead": _lead(hits, "rerank"),
        "words": log1p(max(_best(hits, "lexical"), 0.0)),
        "word_lead": log1p(max(_lead(hits, "lexical"), 0.0)),
        "mentioned": _share(asked, quoted),
        "gap": min((hit.signals["gap"] for hit in hits if "gap" in hit.signals), default=0.0),
        "support": checked.support,
    }


def recipe_of(config: KnowledgeBaseConfig, model: str) -> str:
    """What a calibration is bound to: how it is searched, and the embedding model's fingerprint."""
    return digest_of(RECIPE, model, config.retrieval.model_dump_json())


def _best(hits: Sequence[Hit], signal: str) -> float:
    return max((hit.signals.get(signal, 0.0) for hit in hits), default=0.0)


def _lead(hits: Sequence[Hit], signal: str) -> float:
    """Of the best document over the next; over nothing where there is only one."""
    best: dict[str, float] = {}
    for hit in hits:
        best[hit.doc_id] = max(best.get(hit.doc_id, 0.0), hit.signals.get(signal, 0.0))
    first, second, *_ = (*sorted(best.values(), reverse=True), 0.0, 0.0)
    return first - second


def _share(asked: set[str], text: str) -> float:
    return len(asked & set(terms(text))) / max(len(asked), 1)
