"""The contract of a reranker: a closer look at the best candidates of both legs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from rag_assets.index.base import OpenVersion
from rag_assets.retrieval.question import Question

Complete = Callable[[str], str]
"""A language model: a prompt in, its reply out. Raises: RagError."""


@dataclass(frozen=True, slots=True)
class Reranked:
    """Of each chunk, float64 (chunks,), NaN where the reranker cannot tell.

    scores: higher is better. gap: how much of the question the word makes up that the chunk matches
    worst, 0 to 1, where the reranker looks at words.
    """

    scores: np.ndarray
    gap: np.ndarray | None = None


class Reranker(Protocol):
    """Scores passages for a question; higher is better, on any scale.

    It only reorders what it is given, so that it cannot show anybody more than the filters do.
    """

    @property
    def depth(self) -> int:
        """How many of the best candidates it is given."""

    def rerank(
        self, version: OpenVersion, question: Question, chunk_ids: Sequence[str]
    ) -> Reranked:
        """What it makes of each chunk. Raises: RagError."""
