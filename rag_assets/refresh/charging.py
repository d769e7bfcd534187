"""What a refresh embeds, written into the ledger by source, also when it breaks off half-way."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import polars as pl

from rag_assets.costs.ledger import Entry, Ledger, now
from rag_assets.embedding.base import Batch
from rag_assets.lake import Lake


class Charges:
    """Adds up finished batches by the source of their texts; a text of two sources counts once."""

    def __init__(self, chunks: pl.DataFrame) -> None:
        self._chunks = chunks
        self._sources: dict[str, str] = {}
        self.found: defaultdict[str, list[float]] = defaultdict(lambda: [0.0, 0.0, 0.0])

    def add(self, keys: Sequence[str], batch: Batch) -> None:
        """Count one batch; its tokens and price are shared by its texts."""
        if not self._sources:
            pairs = self._chunks.unique("text_key").select("text_key", "source")
            self._sources = dict(pairs.iter_rows())
        for key in keys:
            sums = self.found[self._sources[key]]
            sums[0] += 1
            sums[1] += batch.tokens / len(keys)
            sums[2] += batch.usd / len(keys)


@contextmanager
def charging(
    ledger: Ledger, model: str, chunks: pl.DataFrame, saved: dict[str, tuple[int, int, float]]
) -> Iterator[Charges]:
    """Charges that are in the ledger when the block is left.

    saved: source to (texts, tokens, US dollars) that vectors in the store spare.
    """
    charges = Charges(chunks)
    try:
        yield charges
    finally:
        for source in sorted({*charges.found, *saved}):
            texts, tokens, usd = charges.found[source]
            ledger.add(
                Entry(
                    now(),
                    "embedding",
                    model,
                    source,
                    calls=int(texts),
                    tokens=round(tokens),
                    usd=usd,
                    saved_calls=saved.get(source, (0, 0, 0.0))[0],
                    saved_tokens=saved.get(source, (0, 0, 0.0))[1],
                    saved_usd=saved.get(source, (0, 0, 0.0))[2],
                )
            )


def spared(
    chunks: pl.DataFrame, missing: Sequence[str], lake: Lake, model: str, price: float
) -> dict[str, tuple[int, int, float]]:
    """Texts of chunks that are new here while their vector was kept, by source.

    price: US dollars a token. What no stage looked at again is not counted: it was never due.
    """
    partitions = chunks["partition"].unique().to_list()
    before = lake.read("embeddings", partitions, ["chunk_id", "model"])
    known = before.filter(pl.col("model") == model)["chunk_id"]
    fresh = chunks.filter(~pl.col("chunk_id").is_in(known.implode()))
    kept = fresh.filter(~pl.col("text_key").is_in(list(missing)))
    sums = kept.group_by("source").agg(texts=pl.len(), tokens=pl.col("tokens").sum())
    return {source: (texts, tokens, tokens * price) for source, texts, tokens in sums.iter_rows()}
