"""Compute the vectors that the embedding store lacks, every batch written through."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice

import numpy as np

from rag_assets.embedding.base import Batch, EmbeddingProgress, EmbeddingReport, Encoder
from rag_assets.embedding.store import EmbeddingStore

# A kill loses at most this much work: vectors not yet written, or seconds since the last write.
_WRITE_TEXTS, _WRITE_SECONDS = 256, 2.0
# Texts sent to the encoder at once: bounds the memory that their copies and token ids take.
_SLICE = 16_384


class _WriteThrough:
    """Collects finished vectors and writes them in groups."""

    def __init__(self, store: EmbeddingStore) -> None:
        self._store = store
        self._keys: list[str] = []
        self._vectors: list[np.ndarray] = []
        self._matrices: list[np.ndarray] = []
        self._since = time.monotonic()

    def add(self, keys: Sequence[str], vectors: np.ndarray, matrices: Sequence[np.ndarray]) -> None:
        self._keys += keys
        self._vectors.append(vectors)
        self._matrices += matrices
        waited = time.monotonic() - self._since
        if len(self._keys) >= _WRITE_TEXTS or waited >= _WRITE_SECONDS:
            self.flush()

    def flush(self) -> None:
        if self._keys:
            self._store.put(self._keys, np.concatenate(self._vectors))
            if self._store.tokens is not None:
                self._store.tokens.put(self._keys, self._matrices)
        self._keys, self._vectors, self._matrices = [], [], []
        self._since = time.monotonic()


def embed_missing(
    texts: Mapping[str, str],
    encoder: Encoder,
    store: EmbeddingStore,
    progress: Callable[[EmbeddingProgress], None] | None = None,
    paid: Callable[[Sequence[str], Batch], None] | None = None,
) -> EmbeddingReport:
    """Bring the vector of every text (by text key) into the store, computing only missing ones.

    Batches are durable as they finish: killed at any moment, a repeat computes at most the last
    256 texts or two seconds again. paid: sees the keys of each batch with its tokens and price.
    Raises: Held before anything is spent when it would cost more than the budget; StorageError when
    the store cannot be written.
    """
    started = time.monotonic()
    form = getattr(encoder, "token_form", None)
    if form is None:
        store.forget_tokens()
    missing = store.missing(list(texts))
    encoder.admit(texts[key] for key in missing)
    writer = _WriteThrough(store)
    done, tokens, usd = 0, 0, 0.0
    try:
        for keys, batch in _computed(missing, texts, encoder, store.tokens is not None):
            if paid is not None:
                paid(keys, batch)
            matrices = batch.token_vectors or []
            if form is not None and matrices:
                matrices = form.passages([texts[key] for key in keys], matrices)
            writer.add(keys, batch.vectors, matrices)
            if batch.usd:
                writer.flush()  # what was paid for is kept before more is spent
            done, tokens, usd = done + len(keys), tokens + batch.tokens, usd + batch.usd
            if progress is not None:
                seconds = time.monotonic() - started
                eta = seconds * (len(missing) - done) / done
                rate = tokens / max(seconds, 1e-9)
                progress(EmbeddingProgress(done, len(missing), tokens, rate, eta))
    finally:
        writer.flush()  # an error loses nothing that was finished
    return EmbeddingReport(
        reused=len(texts) - len(missing),
        computed=done,
        tokens=tokens,
        usd=usd,
        seconds=time.monotonic() - started,
    )


def _computed(
    missing: Sequence[str], texts: Mapping[str, str], encoder: Encoder, with_tokens: bool
) -> Iterator[tuple[list[str], Batch]]:
    """Each finished batch with the keys of its texts."""
    remaining = iter(missing)
    while keys := list(islice(remaining, _SLICE)):
        some = [texts[key] for key in keys]
        for batch in encoder.batches_with_tokens(some) if with_tokens else encoder.batches(some):  # type: ignore[attr-defined]
            yield [keys[position] for position in batch.positions], batch
