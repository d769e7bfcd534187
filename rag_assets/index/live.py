"""Reading versions: the live one, swapped under running queries when the pointer moves."""

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from rag_assets.errors import IndexMismatch, IndexNotReady, StorageError
from rag_assets.index.base import Manifest, Passage
from rag_assets.index.build import LAYOUT, LEXICAL
from rag_assets.index.columns import Columns
from rag_assets.index.homes import CHROMA, open_dense
from rag_assets.index.lexical import LexicalIndex
from rag_assets.index.passages import PassageStore
from rag_assets.index.token_vectors import TokenVectors
from rag_assets.index.vectors import SealedVectors
from rag_assets.index.versions import POINTER_FILE, Pointer, Versions

_WARM_UP = 2  # one query loads the HNSW files, the second finds everything in memory


class SealedVersion:
    """One sealed version, open for reading from any number of threads."""

    def __init__(self, directory: Path, manifest: Manifest) -> None:
        if manifest.layout != LAYOUT:
            raise IndexMismatch(
                f"index version {manifest.version} has layout {manifest.layout}, this software"
                f" reads layout {LAYOUT}; run `rag-assets refresh` to build it again"
            )
        self.manifest = manifest
        self._passages = PassageStore.open(directory)
        self._lexical = LexicalIndex.open(directory / LEXICAL)
        self._dense = open_dense(directory, manifest)
        self._vectors = SealedVectors.open(directory / CHROMA, manifest.space, manifest.dimension)
        self.columns = Columns(directory)
        self.tokens = TokenVectors(directory, manifest)

    def dense(
        self, vector: np.ndarray, k: int, chunk_ids: Sequence[str] | None = None
    ) -> list[tuple[str, float]]:
        """The k nearest chunks with their similarity, best first."""
        if self.manifest.chunks == 0 or k < 1 or (chunk_ids is not None and not chunk_ids):
            return []
        if chunk_ids is not None and self._vectors is not None:
            return self._vectors.nearest(vector, k, chunk_ids)
        return self._dense.query(vector, min(k, self.manifest.chunks), chunk_ids)

    def lexical(
        self, text: str, k: int, chunk_ids: Sequence[str] | None = None
    ) -> list[tuple[str, float]]:
        """The k best chunks by BM25 with their score, best first."""
        return self._lexical.search(text, k, chunk_ids) if k > 0 else []

    def vectors(self, chunk_ids: Sequence[str]) -> np.ndarray:
        """The vectors of these chunks: float32 (chunks, dimension)."""
        if self._vectors is not None:
            return self._vectors.vectors(chunk_ids)
        found = self._dense.vectors(chunk_ids)
        return np.stack([found[chunk_id] for chunk_id in chunk_ids])

    def rarity(self, words: Sequence[str]) -> list[float]:
        """The inverse document frequency of each word."""
        return self._lexical.rarity(words)

    def neighbours(self, passage: Passage, distance: int) -> list[Passage]:
        """The passages of its document around it, in order."""
        return self._passages.neighbours(passage.doc_id, passage.ordinal, distance)

    def passages(self, chunk_ids: Sequence[str]) -> list[Passage]:
        """The passages of these chunks, in the order asked."""
        return self._passages.passages(chunk_ids)

    def document_ids(self, condition: str = "1", values: Sequence[object] = ()) -> list[str]:
        """Documents for which an SQL condition over the `documents` table holds."""
        return self._passages.document_ids(condition, values)

    def chunk_ids(self, doc_ids: Sequence[str]) -> list[str]:
        """The chunks of these documents, in document order."""
        return self._passages.chunk_ids(doc_ids)

    def document(self, uri_or_id: str) -> dict[str, object] | None:
        """The stored row of a document by id or uri."""
        return self._passages.document(uri_or_id)

    def warm(self) -> None:
        """Load what the first query would have to wait for."""
        probe = np.zeros(self.manifest.dimension, np.float32)
        probe[0] = 1.0
        for _ in range(_WARM_UP):
            self.dense(probe, 1)
        self.columns.warm()
        self._lexical.warm()
        self.tokens.warm()

    def close(self) -> None:
        """Release files and memory."""
        self._dense.close()
        self._lexical.close()
        self._passages.close()
        self.tokens.close()


class _Slot:
    """An open version, how many calls are using it, and whether it was swapped out."""

    def __init__(self, version: SealedVersion) -> None:
        self.version = version
        self.users = 0
        self.retired = False


class LiveIndex:
    """Hands out open versions. Each `read()` sees exactly one version from start to end.

    Whoever first notices that the pointer moved opens and warms the new version while others go on
    with the old one; the old one is closed when its last call is done.
    """

    def __init__(self, storage: str | Path) -> None:
        self.versions = Versions(storage)
        self._slots: dict[int, _Slot] = {}
        self._lock = threading.Lock()
        self._opening = threading.Lock()
        self._stamp: tuple[int, int, int] | None = None
        self._pointer: Pointer | None = None
        self._serving: int | None = None  # whom calls for the live version were last given

    @contextmanager
    def read(self, version: int | None = None) -> Iterator[SealedVersion]:
        """The live version, or the one asked for, for the length of one call.

        Raises: IndexNotReady when there is none.
        """
        slot = self._borrow(version)
        try:
            yield slot.version
        finally:
            with self._lock:
                slot.users -= 1
                done = slot.retired and slot.users == 0
            if done:
                slot.version.close()

    def _borrow(self, version: int | None) -> _Slot:
        for _ in range(3):
            number = self._live_number() if version is None else version
            slot = self._take(number, live=version is None)
            if slot is None and version is None and self._opening.locked():
                slot = self._take(self._serving)  # go on with the old one while others open the new
            if slot is not None:
                return slot
            with self._opening:
                slot = self._take(number, live=version is None)
                if slot is not None:
                    return slot
                try:
                    opened = self._open(number)
                except (IndexNotReady, StorageError):
                    if version is None and self._live_number(fresh=True) != number:
                        continue  # promoted past it, and collected, while we were opening it
                    raise
                return self._install(number, opened, live=version is None)
        raise IndexNotReady(f"{self.versions.root}: the live version changes faster than it opens")

    def _take(self, number: int | None, *, live: bool = False) -> _Slot | None:
        with self._lock:
            slot = None if number is None else self._slots.get(number)
            if slot is None:
                return None
            slot.users += 1
            idle = self._serve(number) if live and number != self._serving else []
        for old in idle:
            old.version.close()
        return slot

    def _install(self, number: int, opened: SealedVersion, *, live: bool) -> _Slot:
        slot = _Slot(opened)
        slot.users = 1
        with self._lock:
            self._slots[number] = slot
            idle = self._serve(number) if live else []
        for old in idle:
            old.version.close()
        return slot

    def _serve(self, number: int | None) -> list[_Slot]:
        """Let go of every other version; returns those that nobody uses. Holds the lock."""
        self._serving = number
        others = [self._slots.pop(other) for other in list(self._slots) if other != number]
        for other in others:
            other.retired = True
        return [other for other in others if other.users == 0]

    def _open(self, number: int) -> SealedVersion:
        version = SealedVersion(self.versions.directory(number), self.versions.manifest(number))
        version.warm()
        return version

    def _live_number(self, *, fresh: bool = False) -> int:
        """The live version's number; the pointer file is read again only when it was replaced."""
        try:
            status = os.stat(self.versions.root / POINTER_FILE)
            stamp = (status.st_ino, status.st_mtime_ns, status.st_size)
        except FileNotFoundError:
            return self.versions.live().version
        if fresh or stamp != self._stamp or self._pointer is None:
            before, self._pointer = self._pointer, self.versions.live()
            self._stamp = stamp
            if before and before.version == self._pointer.version:
                self._let_go(before, self._pointer)
        return self._pointer.version

    def _let_go(self, before: Pointer, now: Pointer) -> None:
        """Swap out a version in whose place another machine's one of the same number came."""
        if before.manifest == now.manifest:
            return
        with self._lock:
            slot = self._slots.pop(now.version, None)
            if slot is not None:
                slot.retired = True
        if slot is not None and slot.users == 0:
            slot.version.close()

    def close(self) -> None:
        """Close every version that no call is using; the rest close when their calls end."""
        with self._lock:
            slots = list(self._slots.values())
            self._slots.clear()
            for slot in slots:
                slot.retired = True
        for slot in slots:
            if slot.users == 0:
                slot.version.close()
