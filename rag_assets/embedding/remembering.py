"""Vectors of short texts that come again and again, kept in memory."""

from collections.abc import Callable, Sequence

import numpy as np

_MOST = 10_000  # texts; 15 MB of vectors


class Remembering:
    """Encodes no text twice while it remembers it; safe to use from any thread."""

    def __init__(self, encode: Callable[[Sequence[str]], np.ndarray]) -> None:
        self._encode = encode
        self._vectors: dict[str, np.ndarray] = {}

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """float32 (n, dim), L2-normalised; at least one text."""
        known = self._vectors
        new = [text for text in dict.fromkeys(texts) if text not in known]
        if new:
            if len(known) + len(new) > _MOST:
                known = {text: known[text] for text in texts if text in known}
            known = known | dict(zip(new, self._encode(new), strict=True))
            self._vectors = known
        return np.stack([known[text] for text in texts])
