"""MaxSim: does the passage have something like each word of the question?

Source: Khattab and Zaharia 2020 (ColBERT, late interaction), here over the token vectors of the
embedding model itself, which was never trained for it. Two changes make that work: a word counts by
its rarity in the collection, and similarities are cubed, so that words really said outweigh the
general likeness of any two tokens.
"""

from collections.abc import Sequence

import numpy as np

_POWER = 3
_SERIAL = 262_144  # multiply-adds up to which OpenBLAS stays on one thread


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
    similar = _products(question, every) / np.maximum(norms, 1e-12)
    best = np.maximum.reduceat(similar, starts, axis=1)
    return np.einsum("i,ij->j", weights, np.maximum(best, 0.0) ** _POWER) / weights.sum()


def _products(question: np.ndarray, every: np.ndarray) -> np.ndarray:
    """question @ every.T in blocks that BLAS does not spread over threads.

    The whole takes 1 ms either way on idle cores, but on busy ones the threads of BLAS wait for
    each other: 34 ms against 2.
    """
    rows = max(1, _SERIAL // max(1, question.size))
    parts = [question @ every[at : at + rows].T for at in range(0, len(every), rows)]
    return np.concatenate(parts, axis=1)
