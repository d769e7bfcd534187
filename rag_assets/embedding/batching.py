"""Which texts are computed together: by length, so that padding costs next to nothing."""

from collections.abc import Sequence

import numpy as np


def distinct(texts: Sequence[str]) -> tuple[list[str], list[list[int]]]:
    """Each different text once, in order of appearance, and the positions that hold it."""
    positions: dict[str, list[int]] = {}
    for position, text in enumerate(texts):
        positions.setdefault(text, []).append(position)
    return list(positions), list(positions.values())


def plan_batches(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Indices of texts grouped for inference, longest first.

    A batch of n texts padded to its longest takes n × longest ≤ `budget` tokens, or is one text.
    Longest first lets memory peak at once and makes an estimate of the remaining time pessimistic
    rather than hopeful.
    """
    order = sorted(range(len(lengths)), key=lambda index: (-lengths[index], index))
    batches: list[list[int]] = []
    start = 0
    while start < len(order):
        size = max(1, budget // max(1, lengths[order[start]]))
        batches.append(order[start : start + size])
        start += size
    return batches


def padded(ids: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Token ids and attention mask, both int64 (batch, longest), padded with zeros at the end."""
    longest = max(len(row) for row in ids)
    tokens = np.zeros((len(ids), longest), dtype=np.int64)
    mask = np.zeros((len(ids), longest), dtype=np.int64)
    for line, row in enumerate(ids):
        tokens[line, : len(row)] = row
        mask[line, : len(row)] = 1
    return tokens, mask
