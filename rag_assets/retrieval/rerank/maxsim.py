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
) -> np.ndarray:
    """How well each passage matches the question's tokens: float64 (passages,), 0 to 1.

    question: unit vectors (tokens, dim). weights: of each token (tokens,), not all 0. passages:
    int8 matrices (tokens, dim), each with one row or more.
    """
    lengths = [len(matrix) for matrix in passages]
    every = np.concatenate(passages).astype(np.float32)
    norms = np.sqrt(np.einsum("ij,ij->i", every, every))
    starts = np.cumsum([0, *lengths[:-1]])
    similar = serial_products(question, every) / np.maximum(norms, 1e-12)
    best = np.maximum.reduceat(similar, starts, axis=1)
    return np.einsum("i,ij->j", weights, np.maximum(best, 0.0) ** _POWER) / weights.sum()
