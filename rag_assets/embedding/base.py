"""The contract of this room: an encoder turns texts into vectors of one vector space."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

# Called with the positions (into the texts given) and vectors (n, dim) of a finished batch.
OnBatch = Callable[[Sequence[int], np.ndarray], None]


@dataclass(frozen=True, slots=True)
class Batch:
    """Finished vectors (n, dim) of the texts at `positions`, and what they took.

    `tokens` were sent to the model (equal texts once), `usd` is what they cost. `token_vectors`
    holds, where they were asked for, an int8 matrix (tokens, dim) for every position.
    """

    positions: list[int]
    vectors: np.ndarray
    tokens: int
    usd: float = 0.0
    token_vectors: list[np.ndarray] | None = None


class Encoder(Protocol):
    """One embedding model, ready to run, safe to use from any number of threads."""

    @property
    def fingerprint(self) -> str:
        """Names the vector space; vectors of two fingerprints are never comparable."""

    @property
    def name(self) -> str:
        """The model's name, for people."""

    @property
    def dimension(self) -> int:
        """Length of the vectors."""

    @property
    def max_tokens(self) -> int:
        """Tokens of a text that the model reads, special tokens included; the rest is cut."""

    @property
    def provider(self) -> str:
        """What computes, as reported after start: an onnxruntime provider or a service."""

    def admit(self, texts: Iterable[str]) -> None:
        """Called before texts are embedded. Raises: Held when that would cost too much."""

    def batches(self, texts: Sequence[str]) -> Iterator[Batch]:
        """Vectors of passages as they finish, in an order of the encoder's choosing.

        Every position comes exactly once; equal texts are computed once. Memory is bounded
        whatever the number of texts.
        """

    def encode(self, texts: Sequence[str], on_batch: OnBatch | None = None) -> np.ndarray:
        """Vectors of passages: float32 (n, dim), L2-normalised, in the order given.

        `on_batch` sees every batch as soon as it is finished, on the calling thread.
        """

    def encode_query(self, text: str) -> np.ndarray:
        """The vector of one query: float32 (dim,), L2-normalised."""

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, uncut and without special tokens."""


def gathered(
    batches: Iterable[Batch], shape: tuple[int, int], on_batch: OnBatch | None
) -> np.ndarray:
    """The vectors of all batches as one float32 array (n, dim), in the order of the texts."""
    vectors = np.empty(shape, dtype=np.float32)
    for batch in batches:
        vectors[batch.positions] = batch.vectors
        if on_batch is not None:
            on_batch(batch.positions, batch.vectors)
    return vectors


@dataclass(frozen=True, slots=True)
class EmbeddingProgress:
    """How far `embed_missing` is. `eta` is in seconds, None before the first batch."""

    done: int
    total: int
    tokens: int
    tokens_per_second: float
    eta: float | None


@dataclass(frozen=True, slots=True)
class EmbeddingReport:
    """What `embed_missing` did; `tokens` were sent to the model, `usd` is what they cost."""

    reused: int
    computed: int
    tokens: int
    usd: float
    seconds: float
