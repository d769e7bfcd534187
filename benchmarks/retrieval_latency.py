"""How long a search takes on made-up chunks, warm, with and without filters.

The chunks have words, vectors and token vectors of the usual sizes, made without a model so that
100,000 of them take minutes; what a model needs for a question is measured apart.
"""

import json
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from zlib import crc32

import numpy as np
import polars as pl

from benchmarks.serving import passage, question
from rag_assets.config import EmbeddingConfig
from rag_assets.embedding import open_encoder
from rag_assets.embedding.tokens import TokenStore, unit_rows
from rag_assets.index.base import Manifest
from rag_assets.index.build import LAYOUT, LEXICAL, MANIFEST_TABLE
from rag_assets.index.dense import DenseIndex
from rag_assets.index.homes import CHROMA
from rag_assets.index.lexical import LexicalIndex
from rag_assets.index.live import SealedVersion
from rag_assets.index.passages import PassageStore
from rag_assets.records import text_key
from rag_assets.retrieval import SearchRequest, search

_QUESTIONS = 400
_DIMENSION, _TOKEN_DIMENSION = 384, 128
_MODEL = "made"
_SHARES = {
    "no filter": None,
    "90 % allowed": 0.9,
    "50 % allowed": 0.5,
    "10 % allowed": 0.1,
    "1 % allowed": 0.01,
    "0.1 % allowed": 0.001,
}


@cache
def _direction(word: str, dimension: int) -> np.ndarray:
    drawn = np.random.default_rng(crc32(word.encode())).standard_normal(dimension)
    return np.asarray(drawn / np.linalg.norm(drawn), np.float32)


class WordVectors:
    """An encoder without a model: the mean of a direction for each word."""

    fingerprint = _MODEL

    @property
    def token_form(self) -> "WordVectors":
        """Its own, see `query` and `words`."""
        return self

    def encode_query(self, text: str) -> np.ndarray:
        """The vector of a text: float32 (384,), unit length."""
        total = np.sum([_direction(word, _DIMENSION) for word in text.split()], axis=0)
        return np.asarray(total / np.linalg.norm(total), np.float32)

    def encode_query_with_tokens(self, text: str) -> tuple[np.ndarray, np.ndarray]:
        """The vector, and one of each word: int8 (words, 128)."""
        return self.encode_query(text), self.matrix(text)

    def matrix(self, text: str) -> np.ndarray:
        """The token vectors of a text."""
        rows = np.stack([_direction(word, _TOKEN_DIMENSION) for word in text.split()])
        return np.rint(rows * (127 / np.abs(rows).max(axis=1, keepdims=True))).astype(np.int8)

    def query(self, matrix: np.ndarray) -> np.ndarray:
        """Unit vectors of a question's words."""
        return unit_rows(matrix.astype(np.float32))

    def words(self, text: str) -> list[str]:
        """The words of a question."""
        return text.split()


def chunk(number: int) -> str:
    """Some 100 words: 12 kB of token vectors, as 160 tokens of prose have."""
    return f"{passage(number)} {passage(number + 1_000_003)}"


Times = np.ndarray
"""Milliseconds by the clock and of CPU: float64 (questions, 2)."""


def measure_latency(work: Path, chunks: int) -> dict[str, Times]:
    """How long each question took, by what was measured."""
    version = made_version(work, chunks)
    encoder = WordVectors()
    texts = [question(number) for number in range(_QUESTIONS)]
    version.warm()
    found = {name: _searched(version, encoder, texts, share) for name, share in _SHARES.items()}
    found["groups of the asker (half)"] = _searched(version, encoder, texts, None, ["half"])
    vectors = {text: encoder.encode_query(text) for text in texts}
    found["the dense leg alone: Chroma"] = _timed(texts, lambda t: version.dense(vectors[t], 100))
    found["the lexical leg alone: tantivy"] = _timed(texts, lambda t: version.lexical(t, 100))
    model = open_encoder(EmbeddingConfig())
    found["embedding the question"] = _timed(texts, model.encode_query_with_tokens)  # type: ignore[attr-defined]
    found["no filter, with embedding"] = found["no filter"] + found["embedding the question"]
    version.close()
    return found


def _searched(
    version: SealedVersion,
    encoder: WordVectors,
    texts: list[str],
    share: float | None,
    groups: list[str] | None = None,
) -> Times:
    where = None if share is None else {"share": {"$lt": share}}

    def ask(text: str) -> object:
        return search(version, encoder, SearchRequest(text, where=where, groups=groups))

    return _timed(texts, ask)


def _timed(texts: list[str], call: Callable[[str], object]) -> Times:
    times = []
    for text in [*texts[:20], *texts]:
        start, cpu = time.perf_counter(), time.thread_time()
        call(text)
        times.append((time.perf_counter() - start, time.thread_time() - cpu))
    return 1000 * np.array(times[20:])


def made_version(work: Path, chunks: int) -> SealedVersion:
    """The version of made-up chunks in `work`, built if it is not there."""
    directory = work / f"made-{chunks}" / "index" / "000001"
    done = directory / "MANIFEST.json"
    if not done.exists():
        _build(directory, chunks)
        done.write_text("{}")
    manifest = Manifest(
        version=1,
        parent=None,
        created_at=datetime.now(UTC).isoformat(),
        run_id="benchmark",
        model=_MODEL,
        embedding_model=_MODEL,
        dimension=_DIMENSION,
        space="cosine",
        chroma_version="",
        layout=LAYOUT,
        documents=chunks,
        chunks=chunks,
        chunk_ids_digest="",
        added_since_rebuild=0,
    )
    return SealedVersion(directory, manifest)


def _build(directory: Path, chunks: int) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    dense = DenseIndex.create(directory / CHROMA, "cosine")
    lexical = LexicalIndex.create(directory / LEXICAL)
    passages = PassageStore.create(directory)
    tokens = TokenStore.create(
        directory.parents[1] / "embeddings" / _MODEL / _MODEL, _TOKEN_DIMENSION
    )
    encoder = WordVectors()
    shares = np.random.default_rng(7).random(chunks)
    for begin in range(0, chunks, 5000):
        numbers = range(begin, min(begin + 5000, chunks))
        texts = {f"{number:032x}": chunk(number) for number in numbers}
        dense.add(list(texts), np.stack([encoder.encode_query(text) for text in texts.values()]))
        lexical.add((key, text, "", []) for key, text in texts.items())
        tokens.put(
            [text_key(t) for t in texts.values()], [encoder.matrix(t) for t in texts.values()]
        )
        passages.replace_documents(*_rows(texts, shares[begin : begin + 5000]))
    rows = [(f"{number:032x}", text_key(chunk(number))) for number in range(chunks)]
    table = pl.DataFrame(rows, schema=["chunk_id", "text_key"], orient="row")
    table.write_parquet(directory / MANIFEST_TABLE)
    dense.seal()
    lexical.commit()
    lexical.close()
    passages.optimise()
    passages.close()
    tokens.close()


def _rows(texts: Mapping[str, str], shares: np.ndarray) -> tuple[pl.DataFrame, pl.DataFrame]:
    """One document a chunk: the tables of both."""
    times = dict.fromkeys(("modified_at", "valid_from", "valid_until"), pl.Datetime("us", "UTC"))
    same = {
        "source": "made", "partition": "made:00", "media_type": "text/plain", "language": "en",
        "category": None, "modified_at": None, "valid_from": None, "valid_until": None,
        "content_hash": "", "held": False, "state": "",
    }  # fmt: skip
    documents = [
        {
            "doc_id": f"made/{key}", "uri": f"made:{key}", "title": "",
            "metadata": json.dumps({"share": float(share)}),
            "acl": ["half" if number % 2 else "other"], **same,
        }
        for number, (key, share) in enumerate(zip(texts, shares, strict=True))
    ]  # fmt: skip
    chunks = [
        {
            "chunk_id": key, "doc_id": f"made/{key}", "ordinal": 0, "start": 0, "end": len(text),
            "page": None, "tokens": 120, "headings": [], "text": text,
        }
        for key, text in texts.items()
    ]  # fmt: skip
    schema = {"page": pl.Int64, "headings": pl.List(pl.String)}
    overrides = {**times, "category": pl.String}
    return (
        pl.DataFrame(documents, schema_overrides=overrides),
        pl.DataFrame(chunks, schema_overrides=schema),
    )


def as_table(found: Mapping[str, Times], chunks: int) -> str:
    """A markdown table of percentiles."""
    lines = [f"\n| {chunks:,} chunks | p50 ms | p95 ms | CPU p50 ms | CPU p95 ms |"]
    lines.append("|---|---|---|---|---|")
    for name, times in found.items():
        half, most = np.percentile(times, (50, 95), axis=0)
        lines.append(f"| {name} | {half[0]:.1f} | {most[0]:.1f} | {half[1]:.1f} | {most[1]:.1f} |")
    return "\n".join(lines)
