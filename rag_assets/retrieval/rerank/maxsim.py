"""MaxSim: does the passage have something like each word of the question?

Source: Khattab and Zaharia 2020 (ColBERT, late interaction), here over the token vectors of the
embedding model itself, which was never trained for it. Two changes make that work: a word counts by
its rarity in the collection, and similarities are cubed, so that words really said outweigh the
general likeness of any two tokens.
"""

from collections.abc import Sequence

import numpy as np

from rag_assets.retrieval.products import serial_products

_POWER = 3


def token_likeness(
    question: np.ndarray, weights: np.ndarray, passages: Sequence[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """(likeness, gap) of each passage to the question's tokens: float64 (passages,), 0 to 1.

    likeness: how well the passage matches all of them. gap: what is lost by the one it matches
    worst for its weight; a single missing word, such as a product's name, hardly moves the
    likeness. question: unit vectors (tokens, dim). weights: of each token (tokens,), not all 0.
    passages: int8 matrices (tokens, dim), each with one row or more.
    """
    lengths = [len(matrix) for matrix in passages]
    every = np.concatenate(passages).astype(np.float32)
    norms = np.sqrt(np.einsum("ij,ij->i", every, every))
    starts = np.cumsum([0, *lengths[:-1]])
    similar = serial_products(question, every) / np.maximum(norms, 1e-12)
    best = np.maximum(np.maximum.reduceat(similar, starts, axis=1), 0.0)
    shares = weights / weights.sum()
    gap = (shares[:, None] * np.maximum(1.0 - best, 0.0)).max(axis=0)
    return np.einsum("i,ij->j", shares, best**_POWER), gap.astype(np.float64)
