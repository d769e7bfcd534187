"""Small sealed versions made of real stores, and an encoder that needs no model."""

import json
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from zlib import crc32

import numpy as np
import polars as pl

from rag_assets.index.base import Manifest
from rag_assets.index.build import LAYOUT, LEXICAL
from rag_assets.index.dense import DenseIndex
from rag_assets.index.homes import CHROMA
from rag_assets.index.lexical import LexicalIndex, terms
from rag_assets.index.live import SealedVersion
from rag_assets.index.passages import PassageStore

DIMENSION = 64

_CHUNKS = {
    "chunk_id": pl.String,
    "doc_id": pl.String,
    "ordinal": pl.Int64,
    "start": pl.Int64,
    "end": pl.Int64,
    "page": pl.Int64,
    "tokens": pl.Int64,
    "headings": pl.List(pl.String),
    "text": pl.String,
}


class WordEncoder:
    """Texts with the same words have the same vector: a hash of each stem picks a direction."""

    fingerprint = "words"
    name = "words"
    dimension = DIMENSION
    max_tokens = 256
    provider = "numpy"

    def encode(self, texts: Sequence[str], on_batch=None) -> np.ndarray:
        return np.stack([self.encode_query(text) for text in texts])

    def encode_query(self, text: str) -> np.ndarray:
        vector = np.full(DIMENSION, 1e-3, np.float32)
        for term in terms(text):
            rng = np.random.default_rng(crc32(term.encode()))
            vector += rng.standard_normal(DIMENSION).astype(np.float32)
        return vector / np.linalg.norm(vector)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(text.split()) for text in texts]


@dataclass(frozen=True)
class Doc:
    """A document of one or more chunks, each a paragraph of its text."""

    doc_id: str
    chunks: Sequence[str]
    title: str = ""
    metadata: Mapping[str, object] = field(default_factory=dict)
    acl: Sequence[str] = ("everyone",)
    category: str | None = None
    modified_at: datetime | None = None
    valid_from: datetime | None = None
    valid_until: datetime | None = None


def write_passages(directory: Path, docs: Sequence[Doc]) -> list[dict[str, object]]:
    """Write the passage store of these documents; returns the rows of their chunks."""
    times = pl.Datetime("us", "UTC")
    documents = pl.DataFrame(
        [
            {
                "doc_id": doc.doc_id,
                "source": doc.doc_id.split("/")[0],
                "partition": f"{doc.doc_id.split('/')[0]}:00",
                "uri": f"file:///{doc.doc_id}",
                "title": doc.title,
                "media_type": "text/plain",
                "language": "en",
                "category": doc.category,
                "metadata": json.dumps(dict(doc.metadata)),
                "acl": list(doc.acl),
                "modified_at": doc.modified_at,
                "valid_from": doc.valid_from,
                "valid_until": doc.valid_until,
                "content_hash": "hash",
                "held": False,
                "state": "state",
            }
            for doc in docs
        ],
        schema_overrides={
            "modified_at": times,
            "valid_from": times,
            "valid_until": times,
            "category": pl.String,
            "acl": pl.List(pl.String),
        },
    )
    rows = [row for doc in docs for row in _chunks(doc)]
    chunks = pl.DataFrame(rows, schema=_CHUNKS)
    with closing(PassageStore.create(directory)) as passages:
        passages.replace_documents(documents, chunks)
    return rows


def make_version(
    directory: Path, docs: Sequence[Doc], encoder: WordEncoder | None = None, number: int = 1
) -> SealedVersion:
    """A sealed version holding these documents, opened."""
    encoder = encoder or WordEncoder()
    rows = write_passages(directory, docs)
    ids = [str(row["chunk_id"]) for row in rows]
    dense = DenseIndex.create(directory / CHROMA, "cosine")
    dense.add(ids, encoder.encode([str(row["text"]) for row in rows]))
    dense.seal()
    lexical = LexicalIndex.create(directory / LEXICAL)
    titles = {doc.doc_id: doc.title for doc in docs}
    lexical.add((r["chunk_id"], r["text"], titles[r["doc_id"]], r["headings"]) for r in rows)
    lexical.commit()
    lexical.close()
    manifest = Manifest(
        version=number,
        parent=None,
        created_at=datetime(2026, 1, 1, tzinfo=UTC).isoformat(),
        run_id="test",
        model=encoder.fingerprint,
        embedding_model=encoder.name,
        dimension=encoder.dimension,
        space="cosine",
        chroma_version="",
        layout=LAYOUT,
        documents=len(docs),
        chunks=len(ids),
        chunk_ids_digest="",
        added_since_rebuild=0,
    )
    return SealedVersion(directory, manifest)


def _chunks(doc: Doc) -> list[dict[str, object]]:
    rows, start = [], 0
    for ordinal, text in enumerate(doc.chunks):
        rows.append(
            {
                "chunk_id": f"{doc.doc_id}#{ordinal}",
                "doc_id": doc.doc_id,
                "ordinal": ordinal,
                "start": start,
                "end": start + len(text),
                "page": None,
                "tokens": len(text.split()),
                "headings": [],
                "text": text,
            }
        )
        start += len(text) + 2
    return rows
