"""Dense indexes on a Chroma server or in Chroma Cloud: one collection a version.

A plain server cannot copy a collection, so a candidate is made of a collection that no kept
version uses any more: whatever it still holds is patched into what is wanted, which costs what
changed since it was live. Chroma Cloud and distributed Chroma fork the live collection instead.
Which collection a version uses stands in its manifest; the pointer file stays the only switch.
"""

import os
import secrets
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np

from rag_assets.errors import StorageError

if TYPE_CHECKING:
    from chromadb.api import ClientAPI

_HNSW = {"max_neighbors": 16, "ef_construction": 100, "ef_search": 200}
_BATCH = {"server": 2000, "cloud": 300}  # rows a call; Cloud's limit is 300
_REBUILD_SHARE = 0.5  # as for directories: deleted vectors keep their place in HNSW


class RemoteDense:
    """Vectors by chunk id in one collection; the same calls as `DenseIndex`."""

    def __init__(self, home: str, client: "ClientAPI", collection: Any) -> None:
        self.home = home
        self.name = str(collection.name)
        self._client = client
        self._collection = collection
        self._batch = _BATCH["cloud" if home == "cloud" else "server"]
        self._space = str((collection.metadata or {}).get("space", "cosine"))

    def add(self, chunk_ids: Sequence[str], vectors: np.ndarray) -> None:
        """Add new ids with their vectors, float32 (n, dim)."""
        for start in range(0, len(chunk_ids), self._batch):
            batch = slice(start, start + self._batch)
            self._collection.add(ids=list(chunk_ids[batch]), embeddings=vectors[batch])

    def delete(self, chunk_ids: Sequence[str]) -> None:
        """Remove ids."""
        for start in range(0, len(chunk_ids), self._batch):
            self._collection.delete(ids=list(chunk_ids[start : start + self._batch]))

    def query(
        self, vector: np.ndarray, k: int, chunk_ids: Sequence[str] | None = None
    ) -> list[tuple[str, float]]:
        """The k nearest ids with their similarity, best first."""
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
        """The stored vectors of these ids."""
        found = self._collection.get(ids=list(chunk_ids), include=["embeddings"])
        return dict(zip(found["ids"], np.asarray(found["embeddings"], np.float32), strict=True))

    def ids(self) -> list[str]:
        """Every id in the collection."""
        return list(self._collection.get(include=[])["ids"])

    def count(self) -> int:
        """Rows in the collection."""
        return int(self._collection.count())

    def close(self) -> None:
        """Leave the server."""
        self._client.close()


class ChromaServer:
    """The collections of one knowledge base at a server URL, or `cloud`."""

    def __init__(self, home: str, knowledge_base: str) -> None:
        self.home = home
        self._prefix = f"{knowledge_base}-v"
        self._client = _connect(home)

    def open(self, name: str) -> RemoteDense:
        """The collection of a version.

        Raises: StorageError when the server has no such collection.
        """
        try:
            collection = self._client.get_collection(name, embedding_function=None)
        except Exception as error:
            raise StorageError(
                f"{self.home}: no collection {name!r} ({error}); run"
                " `rag-assets reconcile --repair`"
            ) from error
        return RemoteDense(self.home, self._client, collection)

    def candidate(
        self,
        number: int,
        wanted: Sequence[str],
        *,
        model: str,
        space: str,
        used: Iterable[str],
        parent: str | None,
        fresh: bool = False,
    ) -> tuple[RemoteDense, list[str], list[str]]:
        """A collection to make version `number` of, with the ids to add to and delete from it.

        used: collections of kept versions, never touched. parent: the live version's collection.
        fresh: not of one that held anything before, since HNSW files keep deleted vectors.
        """
        facts: dict[str, Any] = {"model": model, "space": space, "added": 0}
        collection = None
        if self.home == "cloud" and parent is not None and not fresh:
            collection = self._forked(number, parent, facts)
        if collection is None and not fresh:
            collection = self._reusable(wanted, facts, set(used))
        if collection is None:
            # A number comes again where a version took another one's place.
            collection = self._client.create_collection(
                f"{self._prefix}{number:06d}-{secrets.token_hex(3)}",
                embedding_function=None,
                metadata=facts,
                configuration={"hnsw": {"space": space, **_HNSW}},
            )
        dense = RemoteDense(self.home, self._client, collection)
        held, want = set(dense.ids()), set(wanted)
        missing = [chunk_id for chunk_id in wanted if chunk_id not in held]
        added = int((collection.metadata or facts)["added"]) + (len(missing) if held else 0)
        collection.modify(metadata={**facts, "added": added})
        return dense, missing, sorted(held - want)

    def remove_unused(self, used: Iterable[str]) -> int:
        """Delete every collection of the knowledge base but these; how many those were."""
        kept = set(used)
        spare = [
            collection.name
            for collection in self._client.list_collections()
            if collection.name.startswith(self._prefix) and collection.name not in kept
        ]
        for name in spare:
            self._client.delete_collection(name)
        return len(spare)

    def _forked(self, number: int, parent: str, facts: dict[str, Any]) -> Any | None:
        live = self._client.get_collection(parent, embedding_function=None)
        if (live.metadata or {}).get("model") != facts["model"]:
            return None
        return live.fork(f"{self._prefix}{number:06d}")

    def _reusable(self, wanted: Sequence[str], facts: dict[str, Any], used: set[str]) -> Any | None:
        """A free collection of the same vector space; worn-out and foreign ones are removed."""
        found = None
        for collection in self._client.list_collections():
            if not collection.name.startswith(self._prefix) or collection.name in used:
                continue
            known = collection.metadata or {}
            same = all(known.get(key) == facts[key] for key in ("model", "space"))
            worn = int(known.get("added", 0)) > _REBUILD_SHARE * max(len(wanted), 1)
            if found is None and same and not worn:
                found = collection
            else:
                self._client.delete_collection(collection.name)
        return found

    def close(self) -> None:
        """Leave the server."""
        self._client.close()


def _connect(home: str) -> "ClientAPI":
    import chromadb
    from chromadb.config import Settings

    settings = Settings(anonymized_telemetry=False)
    try:
        if home == "cloud":
            return chromadb.CloudClient(settings=settings)
        parts = urlsplit(home)
        token = os.environ.get("CHROMA_TOKEN")
        return chromadb.HttpClient(
            host=parts.hostname or "localhost",
            port=parts.port or (443 if parts.scheme == "https" else 8000),
            ssl=parts.scheme == "https",
            headers={"Authorization": f"Bearer {token}"} if token else None,
            settings=settings,
        )
    except Exception as error:
        advice = (
            "set CHROMA_API_KEY, CHROMA_TENANT and CHROMA_DATABASE"
            if home == "cloud"
            else "start it with `chroma run`, or set index.chroma: embedded"
        )
        raise StorageError(f"index.chroma: {home} cannot be reached ({error}); {advice}") from error
