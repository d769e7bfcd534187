"""The dense index of a version: one embedded Chroma directory, ids and vectors only.

Chroma is neither process-safe nor a store of record (measurements in docs/design.md), so a
directory has one writer until it is sealed, is never written again by us afterwards, and can
always be rebuilt from the embedding store.
"""

import pickle
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rag_assets.errors import StorageError
from rag_assets.index.vectors import clear_unused

if TYPE_CHECKING:
    from chromadb.api import ClientAPI
    from chromadb.config import Settings

COLLECTION = "chunks"
_BATCH = 2000  # rows a call: 1,000-5,000 is the fast range, 5,461 the limit
_SYNC_THRESHOLD = 1000  # rows between persists; larger makes small batches quadratic
_HNSW = {"max_neighbors": 16, "ef_construction": 100, "ef_search": 200}


def chroma_version() -> str:
    """The installed Chroma, recorded in every manifest: a new one means a full rebuild."""
    from importlib.metadata import version

    return version("chromadb")


def _client(directory: Path) -> "ClientAPI":
    import chromadb

    return chromadb.PersistentClient(path=str(directory), settings=_settings().model_copy())


@cache
def _settings() -> "Settings":
    """Chroma's settings, read from the environment once: that takes longer than opening an index.

    Chroma writes the path into what it is given.
    """
    from chromadb.config import Settings

    return Settings(anonymized_telemetry=False)


class DenseIndex:
    """Vectors by chunk id in one Chroma directory."""

    def __init__(self, directory: Path, client: "ClientAPI", collection: Any, space: str) -> None:
        self.directory = directory
        self._client = client
        self._collection = collection
        self._space = space

    @classmethod
    def create(cls, directory: Path, space: str) -> "DenseIndex":
        """A new, empty index; `space` is cosine, l2 or ip."""
        directory.mkdir(parents=True, exist_ok=True)
        client = _client(directory)
        collection = client.create_collection(
            COLLECTION,
            embedding_function=None,
            configuration={"hnsw": {"space": space, "sync_threshold": _SYNC_THRESHOLD, **_HNSW}},
        )
        return cls(directory, client, collection, space)

    @classmethod
    def open(cls, directory: Path, space: str) -> "DenseIndex":
        """The index in `directory`. Opening writes a bookkeeping row: not for read-only mounts."""
        if not (directory / "chroma.sqlite3").is_file():
            raise StorageError(
                f"{directory}: no Chroma database; run `rag-assets reconcile --repair`"
            )
        client = None
        try:
            client = _client(directory)
            collection = client.get_collection(COLLECTION, embedding_function=None)
        except Exception as error:
            if client is not None:
                client.close()
            raise StorageError(
                f"{directory}: Chroma cannot open it ({error}); run `rag-assets reconcile --repair`"
            ) from error
        return cls(directory, client, collection, space)

    def add(self, chunk_ids: Sequence[str], vectors: np.ndarray) -> None:
        """Add new ids with their vectors, float32 (n, dim). An id already held must not be given:
        Chroma would ignore it silently."""
        for start in range(0, len(chunk_ids), _BATCH):
            batch = slice(start, start + _BATCH)
            self._collection.add(ids=list(chunk_ids[batch]), embeddings=vectors[batch])

    def delete(self, chunk_ids: Sequence[str]) -> None:
        """Remove ids; unknown ones are ignored."""
        for start in range(0, len(chunk_ids), _BATCH):
            self._collection.delete(ids=list(chunk_ids[start : start + _BATCH]))

    def query(
        self, vector: np.ndarray, k: int, chunk_ids: Sequence[str] | None = None
    ) -> list[tuple[str, float]]:
        """The k nearest ids with their similarity (1 - distance for cosine), best first."""
        found = self._collection.query(
            query_embeddings=[vector],
            n_results=k,
            include=["distances"],
            **({} if chunk_ids is None else {"ids": list(chunk_ids)}),
        )
        offset = 1.0 if self._space == "cosine" else 0.0
        pairs = zip(found["ids"][0], found["distances"][0], strict=True)
        return [(chunk_id, offset - float(distance)) for chunk_id, distance in pairs]

    def vectors(self, chunk_ids: Sequence[str]) -> dict[str, np.ndarray]:
        """The stored vectors of these ids; ids that the index lacks are absent."""
        found = self._collection.get(ids=list(chunk_ids), include=["embeddings"])
        return dict(zip(found["ids"], np.asarray(found["embeddings"], np.float32), strict=True))

    def count(self) -> int:
        """Rows in the index."""
        return int(self._collection.count())

    def ids(self) -> list[str]:
        """Every id in the metadata segment."""
        return list(self._collection.get(include=[])["ids"])

    def close(self) -> None:
        """Release the directory; a client left open would serve stale data for good."""
        self._client.close()

    def seal(self) -> None:
        """Persist everything, then close. Rows left unsealed cost seconds at every cold start.

        There is no flush call: a low `sync_threshold` takes effect at the next open, whose first
        read persists what is pending.
        """
        self._set_sync_threshold(1)
        self.close()
        again = DenseIndex.open(self.directory, self._space)
        again.count()
        again._set_sync_threshold(_SYNC_THRESHOLD)
        again.close()
        clear_unused(self.directory)

    def _set_sync_threshold(self, rows: int) -> None:
        self._collection.modify(configuration={"hnsw": {"sync_threshold": rows}})


def sealed_vector_ids(directory: Path) -> set[str]:
    """The ids in the persisted HNSW segment of a sealed index: those with a vector on disk."""
    found: set[str] = set()
    for file in directory.glob("*/index_metadata.pickle"):
        with file.open("rb") as stream:
            found.update(pickle.load(stream)["id_to_label"])
    return found


def sealed_metadata_ids(directory: Path) -> set[str]:
    """The ids in the metadata segment of a sealed index: `DenseIndex.ids`, ten times as fast."""
    sql = (
        "SELECT embedding_id FROM embeddings WHERE segment_id IN"
        " (SELECT id FROM segments WHERE scope = 'METADATA')"
    )
    with _database(directory) as connection:
        return {row[0] for row in connection.execute(sql)}


def pending_rows(directory: Path) -> int:
    """Rows of the write-ahead log that the HNSW segment has not persisted; 0 when sealed."""
    with _database(directory) as connection:
        seen = dict(connection.execute("SELECT segment_id, max(seq_id) FROM max_seq_id GROUP BY 1"))
        segments = [row[0] for row in connection.execute("SELECT id FROM segments")]
        newest = connection.execute("SELECT coalesce(max(seq_id), 0) FROM embeddings_queue")
        last = max(newest.fetchone()[0], *(seen.values() or [0]))
        return max((last - seen.get(segment, 0) for segment in segments), default=0)


@contextmanager
def _database(directory: Path) -> Iterator[sqlite3.Connection]:
    """Chroma's own database, for reading."""
    file = directory / "chroma.sqlite3"
    try:
        with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)) as opened:
            yield opened
    except sqlite3.Error as error:
        raise StorageError(
            f"{file}: cannot be read ({error}); run `rag-assets reconcile --repair`"
        ) from error
