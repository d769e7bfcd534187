"""The contract of this room: what an open index version can be asked, and its manifest."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from rag_assets.index.columns import Columns
    from rag_assets.index.token_vectors import TokenVectors


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a sealed version holds; written last, as MANIFEST.json.

    `added_since_rebuild` counts chunks added to the dense index since it was last built from
    nothing; `partitions` maps each partition to the digest of the embeddings it was built from.
    `home` is `embedded`, a server's URL or `cloud`; there the vectors are in `collection`.
    """

    version: int
    parent: int | None
    created_at: str
    run_id: str
    model: str  # fingerprint
    embedding_model: str  # name and precision, for people
    dimension: int
    space: str
    chroma_version: str
    layout: int
    documents: int
    chunks: int
    chunk_ids_digest: str
    added_since_rebuild: int
    partitions: dict[str, str] = field(default_factory=dict)
    home: str = "embedded"
    collection: str = ""


@dataclass(frozen=True, slots=True)
class CheckOutcome:
    """What one blocking check found on one version.

    `decided` is False when the evidence is too thin to tell; such an outcome passes and says so.
    `value` and `floor` are the deciding figures, where there are any.
    """

    name: str
    passed: bool
    summary: str
    value: float | None = None
    floor: float | None = None
    decided: bool = True
    details: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Passage:
    """One chunk with what a reader needs of its document.

    `start` and `end` are character offsets into the document's text.
    """

    chunk_id: str
    doc_id: str
    source: str
    uri: str
    title: str
    heading: tuple[str, ...]
    start: int
    end: int
    page: int | None
    text: str
    tokens: int
    ordinal: int
    category: str | None
    language: str | None
    metadata: dict[str, object]
    acl: tuple[str, ...]
    modified_at: datetime | None
    valid_from: datetime | None
    valid_until: datetime | None


class OpenVersion(Protocol):
    """A sealed index version, open for reading from any number of threads.

    columns: its documents' metadata, access groups and validity, for filters. tokens: the token
    vectors of its chunks, for the rerank.
    """

    manifest: Manifest
    columns: "Columns"
    tokens: "TokenVectors"

    def dense(
        self, vector: np.ndarray, k: int, chunk_ids: Sequence[str] | None = None
    ) -> list[tuple[str, float]]:
        """The k nearest chunks to a query vector (dim,), as (chunk_id, similarity), best first.

        Similarity is 1 - distance for cosine. `chunk_ids` restricts the search to those chunks.
        """

    def lexical(
        self, text: str, k: int, chunk_ids: Sequence[str] | None = None
    ) -> list[tuple[str, float]]:
        """The k best chunks by BM25, as (chunk_id, score), best first. Any string is a query."""

    def vectors(self, chunk_ids: Sequence[str]) -> np.ndarray:
        """The vectors of these chunks: float32 (chunks, dimension)."""

    def rarity(self, words: Sequence[str]) -> list[float]:
        """How much each word tells: its inverse document frequency among the chunks."""

    def neighbours(self, passage: Passage, distance: int) -> list[Passage]:
        """The passages of its document up to `distance` places before and behind it, and itself."""

    def passages(self, chunk_ids: Sequence[str]) -> list[Passage]:
        """The passages of these chunks, in the order asked; unknown ids raise `StorageError`."""

    def document_ids(self, condition: str = "1", values: Sequence[object] = ()) -> list[str]:
        """Documents for which an SQL condition over the `documents` table holds.

        Columns: doc_id, source, uri, title, media_type, language, category, metadata (JSON object),
        acl (JSON list), modified_at, valid_from, valid_until (ISO 8601 in UTC, or null).
        """

    def chunk_ids(self, doc_ids: Sequence[str]) -> list[str]:
        """The chunks of these documents, in document order."""

    def close(self) -> None:
        """Release files and memory; the version must not be used afterwards."""
