"""The default reranker: MaxSim over stored token vectors."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rag_assets.index.base import OpenVersion
from rag_assets.retrieval.question import Question
from rag_assets.retrieval.rerank.base import Reranked
from rag_assets.retrieval.rerank.maxsim import token_likeness


@dataclass(frozen=True, slots=True)
class TokenReranker:
    """Compares the question's words with those of each passage; rare words count more."""

    depth: int

    def rerank(
        self, version: OpenVersion, question: Question, chunk_ids: Sequence[str]
    ) -> Reranked:
        """NaN for a passage, or a question, without token vectors."""
        found, gap = np.full((2, len(chunk_ids)), np.nan)
        if question.tokens is None or not len(question.tokens):
            return Reranked(found)
        matrices = dict(enumerate(version.tokens.get(chunk_ids)))
        known = {place: m for place, m in matrices.items() if m is not None and len(m)}
        if known:
            rarity = _rarity(version, question)
            places, passages = list(known), list(known.values())
            found[places], gap[places] = token_likeness(question.tokens, rarity, passages)
        return Reranked(found, gap)


def _rarity(version: OpenVersion, question: Question) -> np.ndarray:
    """How much each token of the question counts; all alike where their words are not known."""
    assert question.tokens is not None
    if len(question.words) != len(question.tokens):
        return np.ones(len(question.tokens))
    return np.maximum(np.array(version.rarity(question.words)), 1e-6)
