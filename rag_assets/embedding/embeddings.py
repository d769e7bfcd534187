"""The embeddings stage: every chunk's text has its vector in the content-addressed store."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import polars as pl

from rag_assets.embedding.base import Batch, Encoder
from rag_assets.embedding.embed import EmbeddingProgress, EmbeddingReport, embed_missing
from rag_assets.embedding.store import EmbeddingStore
from rag_assets.records import EMBEDDINGS, checked


@dataclass(frozen=True, slots=True)
class Embedded:
    """The stage's frame, and what it cost."""

    frame: pl.DataFrame
    report: EmbeddingReport


def embed_chunks(
    chunks: pl.DataFrame,
    store: EmbeddingStore,
    encoder: Callable[[], Encoder],
    model: str,
    progress: Callable[[EmbeddingProgress], None] | None = None,
    paid: Callable[[Sequence[str], Batch], None] | None = None,
) -> Embedded:
    """The embeddings rows of these chunks; texts that the store lacks are embedded and kept in it.

    encoder: opened only when there is something to embed, so that a refresh without new text never
    loads a model. The store is asked for every text, so a store that was lost is filled again.
    """
    keys = chunks["text_key"].unique(maintain_order=True).to_list()
    missing = store.missing(keys)
    if missing:
        texts = chunks.filter(pl.col("text_key").is_in(missing)).unique("text_key")
        sent = texts.select("text_key", pl.coalesce("embed_text", "text"))
        report = embed_missing(dict(sent.iter_rows()), encoder(), store, progress, paid)
    else:
        report = EmbeddingReport(reused=0, computed=0, tokens=0, usd=0.0, seconds=0.0)
    report = EmbeddingReport(
        reused=len(keys) - report.computed,
        computed=report.computed,
        tokens=report.tokens,
        usd=report.usd,
        seconds=report.seconds,
    )
    frame = chunks.select("chunk_id", "doc_id", "source", "partition", "text_key").with_columns(
        model=pl.lit(model), fingerprint=pl.concat_str(pl.lit(model + "-"), "text_key")
    )
    return Embedded(checked(frame, EMBEDDINGS, "embeddings"), report)
