"""The chunks stage: documents → chunks with spans, heading paths and stable ids."""

import hashlib
from collections import Counter
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

import polars as pl

from rag_assets.chunking import chunk
from rag_assets.chunking.context import CONTEXT_TOKENS, context_of
from rag_assets.chunking.grammars import PACKAGES
from rag_assets.config import ChunkingConfig, ChunkProfile
from rag_assets.fingerprint import recipe
from rag_assets.incremental import Reuse, fingerprints, reuse
from rag_assets.parsing.base import Heading, Page
from rag_assets.records import CHUNKS, digest_of, text_key

if TYPE_CHECKING:
    from tokenizers import Tokenizer


def chunk_documents(
    documents: pl.DataFrame,
    previous: pl.DataFrame | None,
    config: ChunkingConfig,
    tokenizer: "Tokenizer",
    max_tokens: int,
    progress: Callable[[int], None] | None = None,
) -> Reuse:
    """The chunks of these documents; see `incremental.reuse`. Quarantined documents have none.

    max_tokens: the model's limit, special tokens included.
    """
    healthy = documents.filter(pl.col("problem").is_null())
    inputs = healthy.with_columns(chunk_fingerprint(healthy, config, tokenizer, max_tokens))

    def compute(missing: pl.DataFrame) -> pl.DataFrame:
        rows: list[dict[str, object]] = []
        for document in missing.iter_rows(named=True):
            rows += _chunks_of(document, config, tokenizer, max_tokens)
            if progress:
                progress(1)
        return pl.DataFrame(rows, schema=CHUNKS, orient="row")

    done = reuse(previous, inputs, schema=CHUNKS, stage="chunks", compute=compute)
    return Reuse(done.frame.sort("doc_id", "ordinal"), done.kept, done.computed)


def chunk_fingerprint(
    documents: pl.DataFrame, config: ChunkingConfig, tokenizer: "Tokenizer", max_tokens: int
) -> pl.Expr:
    """The fingerprint of each document's chunks: the recipe of its category and its digest."""
    words = tokenizer_digest(tokenizer)
    categories = documents["category"].unique().to_list()
    recipes = {
        category: recipe(
            chunk,
            _chunks_of,
            parameters=[config.profile(category).model_dump(), max_tokens, words],
            libraries=_libraries(config.profile(category)),
        )
        for category in categories
    }
    column = pl.col("category").replace_strict(
        list(recipes), list(recipes.values()), return_dtype=pl.String
    )
    return fingerprints(documents, column)


def _libraries(profile: ChunkProfile) -> tuple[str, ...]:
    grammars = PACKAGES if profile.strategy == "code" else ()
    return ("semantic-text-splitter", *grammars)


@cache
def tokenizer_digest(tokenizer: "Tokenizer") -> str:
    """What decides how text becomes tokens."""
    return digest_of(tokenizer.to_str())


def _chunks_of(
    document: dict, config: ChunkingConfig, tokenizer: "Tokenizer", max_tokens: int
) -> list[dict[str, object]]:
    profile = config.profile(document["category"])
    pieces = chunk(
        document["text"],
        media_type=document["media_type"],
        headings=[Heading(**heading) for heading in document["headings"]],
        pages=[Page(**page) for page in document["pages"]],
        profile=profile,
        tokenizer=tokenizer,
        max_tokens=max_tokens,
        reserved=CONTEXT_TOKENS if profile.context else 0,
    )
    seen: Counter[str] = Counter()
    rows = []
    for ordinal, piece in enumerate(pieces):
        context = (
            context_of(document["title"], piece.headings, tokenizer) if profile.context else ""
        )
        sent = f"{context}\n{piece.text}" if context else piece.text
        rows.append(
            {
                "chunk_id": chunk_id(document["doc_id"], sent, seen[sent]),
                "doc_id": document["doc_id"],
                "source": document["source"],
                "partition": document["partition"],
                "ordinal": ordinal,
                "text": piece.text,
                "start": piece.start,
                "end": piece.end,
                "tokens": piece.tokens,
                "headings": list(piece.headings),
                "page": piece.page,
                "embed_text": sent if context else None,
                "text_key": text_key(sent),
            }
        )
        seen[sent] += 1
    return rows


def chunk_id(doc_id: str, text: str, occurrence: int) -> str:
    """Identity of a chunk: its document, the text embedded, and which of equal ones it is (from 0).

    Offsets and order are attributes, so that a paragraph inserted at the top of a document leaves
    every other chunk's id alone.
    """
    parts = (doc_id.encode(), text.encode(), str(occurrence).encode())
    hasher = hashlib.sha256()
    for part in parts:
        hasher.update(len(part).to_bytes(8, "big") + part)
    return hasher.hexdigest()[:32]
