"""The contract of a reranker: a closer look at the best candidates of both legs."""

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from rag_assets.index.base import OpenVersion
from rag_assets.retrieval.question import Question

Complete = Callable[[str], str]
"""A language model: a prompt in, its reply out. Raises: RagError."""


class Reranker(Protocol):
    """Scores passages for a question; higher is better, on any scale.

    It only reorders what it is given, so that it cannot show anybody more than the filters do.
    """

    @property
    def depth(self) -> int:
        """How many of the best candidates it is given."""

    def scores(
        self, version: OpenVersion, question: Question, chunk_ids: Sequence[str]
    ) -> np.ndarray:
        """Of each chunk: float64 (chunks,), NaN where it cannot tell. Raises: RagError."""
