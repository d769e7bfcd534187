"""How far an answer can be relied on, from what retrieval and verification saw.

A logistic model over a few signals. Its weights are learnt on the eval set of the knowledge base
(`calibration.py`); without one they are general ones, and the answer says that it is uncalibrated.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import exp, log1p

from rag_assets.answering.citations import Checked
from rag_assets.config import KnowledgeBaseConfig
from rag_assets.index.lexical import terms
from rag_assets.records import digest_of
from rag_assets.retrieval.base import Hit

SIGNALS = ("nearest", "likeness", "words", "mentioned", "found")
RECIPE = "1"
"""Raised when signals or answers change their meaning."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """Signals to a probability that the answer rests on the right document.

    weights: by signal, and `bias`. abstain_below, review_below: probabilities. learnt: from an eval
    set, not assumed. figures: what was measured on the half it was not learnt from.
    """

    weights: Mapping[str, float]
    abstain_below: float
    review_below: float
    learnt: bool = False
    figures: Mapping[str, object] = field(default_factory=dict)

    def confidence(self, signals: Mapping[str, float]) -> float:
        """0 to 1. What a model says beyond its quotes makes it smaller."""
        total = self.weights["bias"]
        total += sum(self.weights[name] * signals[name] for name in SIGNALS)
        return min(1.0, 2 * signals["support"]) / (1 + exp(-total))


UNCALIBRATED = Calibration(
    {"bias": -4.0, "nearest": 6.0, "likeness": 0.0, "words": 0.0, "mentioned": 3.0, "found": 0.0},
    abstain_below=0.0,
    review_below=0.5,
)


def signals_of(question: str, hits: Sequence[Hit], checked: Checked) -> dict[str, float]:
    """What is known of an answer.

    nearest: cosine of the best passage. likeness: what the reranker makes of it. words: logarithm
    of the best BM25. mentioned, found: share of the question's words in the quotes, and in any one
    passage. support: share of the answer's claims that stands in the quotes.
    """
    asked = set(terms(question))
    quoted = " ".join(
        " ".join((citation.title, *citation.heading, citation.quote))
        for citation in checked.citations
    )
    passages = (" ".join((hit.title, *hit.heading, hit.text)) for hit in hits)
    return {
        "nearest": _best(hits, "dense"),
        "likeness": _best(hits, "rerank"),
        "words": log1p(max(_best(hits, "lexical"), 0.0)),
        "mentioned": _share(asked, quoted),
        "found": max((_share(asked, passage) for passage in passages), default=0.0),
        "support": checked.support,
    }


def recipe_of(config: KnowledgeBaseConfig, model: str) -> str:
    """What a calibration is bound to: how it is searched, and the embedding model's fingerprint."""
    return digest_of(RECIPE, model, config.retrieval.model_dump_json())


def _best(hits: Sequence[Hit], signal: str) -> float:
    return max((hit.signals.get(signal, 0.0) for hit in hits), default=0.0)


def _share(asked: set[str], text: str) -> float:
    return len(asked & set(terms(text))) / max(len(asked), 1)
