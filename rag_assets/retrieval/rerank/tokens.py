"""The default reranker: MaxSim over stored token vectors."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rag_assets.index.base import OpenVersion
from rag_assets.retrieval.question import Question
from rag_assets.retrieval.rerank.maxsim import token_likeness


@dataclass(frozen=True, slots=True)
class TokenReranker:
    """Compares the question's words with those of each passage; rare words count more."""

    depth: int

    def scores(
        self, version: OpenVersion, question: Question, chunk_ids: Sequence[str]
    ) -> np.ndarray:
        """NaN for a passage, or a question, without token vectors."""
        found = np.full(len(chunk_ids), np.nan)
        if question.tokens is None or not len(question.tokens):
            return found
        matrices = dict(enumerate(version.tokens.get(chunk_ids)))
        known = {place: m for place, m in matrices.items() if m is not None and len(m)}
        if known:
            rarity = _rarity(version, question)
            found[list(known)] = token_likeness(question.tokens, rarity, list(known.values()))
        return found


def _rarity(version: OpenVersion, question: Question) -> np.ndarray:
    """How much each token of the question counts; all alike where their words are not known."""
    assert question.tokens is not None
    if len(question.words) != len(question.tokens):
        return np.ones(len(question.tokens))
    return np.maximum(np.array(version.rarity(question.words)), 1e-6)
