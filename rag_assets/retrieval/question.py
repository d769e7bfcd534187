"""A question as vectors: one of the whole, and one for each of its tokens."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rag_assets.retrieval.base import QueryEncoder


@dataclass(frozen=True, slots=True)
class Question:
    """A question ready for both the dense leg and the rerank.

    vector: float32 (dim,), None where only words are looked for. tokens: unit vectors float32
    (tokens, token dim), None where the model gives none. words: the word that each token is a part
    of.
    """

    text: str
    vector: np.ndarray | None = None
    tokens: np.ndarray | None = None
    words: Sequence[str] = ()


def encode_question(encoder: QueryEncoder, text: str, *, with_tokens: bool) -> Question:
    """Both kinds of vectors from one forward pass."""
    form = getattr(encoder, "token_form", None) if with_tokens else None
    if form is None:
        return Question(text, encoder.encode_query(text))
    vector, matrix = encoder.encode_query_with_tokens(text)  # type: ignore[attr-defined]
    return Question(text, vector, form.query(matrix), form.words(text))
