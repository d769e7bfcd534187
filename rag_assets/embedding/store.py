"""The content-addressed embedding store: a vector is computed once per text and model, ever.

Every `put` adds one immutable segment, so any number of processes may write at once without a
lock, and a killed one leaves either its whole segment or nothing. Key: sha256 of the exact text
sent to the model; one directory per model fingerprint.
"""

import logging
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from rag_assets.embedding.atomic import TEMPORARY
from rag_assets.embedding.segment import (
    KEY,
    SUFFIX,
    Damaged,
    Segment,
    key_array,
    write_merged,
    write_segment,
)
from rag_assets.embedding.tokens import TokenStore
from rag_assets.errors import StorageError

_log = logging.getLogger(__name__)

# `put` compacts when there are more segments than this: each is a mapping that every look-up asks.
_MANY = 32
# Rows of the largest segment that compaction makes: 400 MB of 384-dimensional vectors.
_LARGEST = 262_144
# A directory listed this soon (ns) after its last change may have changed again within the clock
# tick (4 ms on common kernels) that its mtime shows.
_UNSETTLED = 50_000_000


@dataclass(frozen=True, slots=True)
class StoreSize:
    """What a store holds; a vector that racing processes wrote twice counts twice."""

    vectors: int
    bytes: int
    segments: int
    token_matrices: int = 0
    token_bytes: int = 0


@dataclass(slots=True)
class _Listing:
    """The segments seen at one moment, and the directory's mtime (ns) then."""

    segments: dict[str, Segment] = field(default_factory=dict)
    mtime: int = -1
    at: int = 0


class EmbeddingStore:
    """Vectors of one model by text key, shared by threads and processes through the file system."""

    def __init__(self, directory: str | Path, model: str, dimension: int) -> None:
        """Open (or name) the store of a model fingerprint; nothing is written before `put`."""
        self.directory = Path(directory) / model
        self.dimension = dimension
        self.damaged: list[Path] = []  # segments set aside by this object
        self._listing = _Listing()
        self._lock = threading.RLock()
        self.tokens = TokenStore.find(self.directory)

    def keep_tokens(self, dimension: int) -> None:
        """From now on keep token vectors of this length too; a key without them is missing."""
        if self.tokens is None:
            self.tokens = TokenStore.create(self.directory, dimension)

    def forget_tokens(self) -> None:
        """Delete all token vectors; they are no longer kept."""
        if self.tokens is not None:
            self.tokens.remove()
            self.tokens = None

    def missing(self, keys: Sequence[str]) -> list[str]:
        """The keys that lack a vector, or token vectors where kept; each once, in order."""
        different = list(dict.fromkeys(keys))
        without = set(self._without_vector(different))
        if self.tokens is not None:
            without |= self.tokens.missing(different)
        return [key for key in different if key in without]

    def _without_vector(self, different: Sequence[str]) -> list[str]:
        if not different:
            return []
        absent = np.ones(len(different), dtype=bool)
        wanted = key_array(different)
        for segment in self._segments():
            open_places = np.flatnonzero(absent)
            absent[open_places] = segment.find(wanted[open_places]) < 0
        return [different[int(place)] for place in np.flatnonzero(absent)]

    def get(self, keys: Sequence[str]) -> np.ndarray:
        """Vectors float32 (n, dim) in the order of the keys; a key may repeat.

        Raises: StorageError when some are missing (or were damaged, and are set aside now).
        """
        vectors = np.empty((len(keys), self.dimension), dtype=np.float32)
        wanted = key_array(keys)
        open_places = np.arange(len(keys))
        for segment in self._segments():
            if not len(open_places):
                break
            rows = segment.find(wanted[open_places])
            here = rows >= 0
            if not here.any():
                continue
            try:
                vectors[open_places[here]] = segment.read(rows[here])
            except Damaged as reason:
                self._salvage(segment, reason)
                return self.get(keys)
            open_places = open_places[~here]
        if len(open_places):
            raise StorageError(
                f"{self.directory}: {len(np.unique(wanted[open_places]))} of {len(keys)} vectors"
                " asked for are not in the embedding store; refresh again to compute them."
            )
        return vectors

    def put(self, keys: Sequence[str], vectors: np.ndarray) -> None:
        """Store vectors float32 (n, dim), durable before this returns. Known keys keep theirs.

        Raises: StorageError when a vector is not finite or the directory cannot be written.
        """
        if vectors.shape != (len(keys), self.dimension):
            raise StorageError(
                f"{self.directory}: vectors of shape {vectors.shape} given for {len(keys)} keys,"
                f" wanted ({len(keys)}, {self.dimension}); the model and the store do not match."
            )
        if not np.isfinite(vectors).all():
            raise StorageError(
                f"{self.directory}: a vector with NaN or infinity was given, finite numbers are"
                " wanted; the embedding model is damaged or broken."
            )
        place = {key: number for number, key in enumerate(keys)}
        new = self._without_vector(list(place))
        if new:
            rows = vectors[[place[key] for key in new]]
            write_segment(self._new_path(), key_array(new), rows, int(time.time()))
            if len(self._listing.segments) > _MANY:
                self.compact()

    def vectors(self) -> int:
        """How many vectors the store holds; cheap at any size."""
        return sum(map(len, self._segments()))

    def size(self) -> StoreSize:
        """Vectors, bytes on disk and segments."""
        segments = self._segments()
        tokens = (0, 0) if self.tokens is None else self.tokens.size()
        return StoreSize(
            sum(map(len, segments)), sum(s.size for s in segments), len(segments), *tokens
        )

    def compact(self) -> None:
        """Merge small segments. Each vector is rewritten O(log n) times in a store's life.

        Starting from the smallest, segments are merged until the next is more than twice as large
        as all of them, or the result would be too large. Crash-safe at any moment and harmless to
        readers: the merged segment is durable before the first old one goes. Does nothing while
        another process compacts.
        """
        if not self.directory.is_dir():
            return
        with self._rewriting(wait=False) as mine:
            if mine:
                group = self._smallest()
                if len(group) > 1:
                    self._rewrite(group, keep=lambda segment: np.ones(len(segment), dtype=bool))
                self._sweep()

    def _smallest(self) -> list[Segment]:
        group: list[Segment] = []
        rows = 0
        for segment in sorted(self._segments(), key=len):
            if group and (len(segment) > 2 * rows or rows + len(segment) > _LARGEST):
                break
            group.append(segment)
            rows += len(segment)
        return group

    def collect_garbage(self, keep: Iterable[str], older_than: timedelta, now: datetime) -> int:
        """Drop vectors that are not in `keep` and were written more than `older_than` before `now`.

        Token vectors go with the vector of their text. Returns how many vectors were dropped. Must
        not run beside a refresh that may count on an old vector it has just found.
        """
        kept = np.unique(key_array(list(keep)))
        limit = int((now.astimezone(UTC) - older_than).timestamp())

        def wanted(segment: Segment) -> np.ndarray:
            return np.isin(segment.keys, kept) | (segment.written >= limit)

        dropped = 0
        if not self.directory.is_dir():
            return dropped
        with self._rewriting(wait=True):
            for segment in self._segments():
                dead = len(segment) - int(wanted(segment).sum())
                if dead:
                    dropped += dead
                    self._rewrite([segment], keep=wanted)
            self._sweep()
            if self.tokens is not None:
                self.tokens.keep_only(self.keys())
        return dropped

    def keys(self) -> Iterator[str]:
        """The key of every vector, in no order; equal keys of several segments come more often."""
        for segment in self._segments():
            digits = segment.keys.tobytes().hex()
            yield from (digits[at : at + 64] for at in range(0, len(digits), 64))

    def verify(self) -> list[Path]:
        """Read everything; segments with a damaged row are set aside, intact rows saved first.

        Returns the files set aside, by this call or before.
        """
        for segment in self._segments():
            if len(segment.intact_rows()) < len(segment):
                self._salvage(segment, Damaged("a vector does not match its checksum"))
        return list(self.damaged)

    def _segments(self) -> list[Segment]:
        """The segments there now, listed anew when the directory has changed."""
        with self._lock:
            try:
                mtime = self.directory.stat().st_mtime_ns
            except FileNotFoundError:
                self._listing = _Listing()
                return []
            except OSError as error:
                raise StorageError(
                    f"{self.directory}: cannot be read ({error.strerror}); a readable directory is"
                    " wanted, check `storage` in knowledge_base.yaml and its permissions."
                ) from error
            seen = self._listing
            if mtime != seen.mtime or seen.at - mtime < _UNSETTLED:
                at = time.time_ns()
                self._listing = _Listing(self._opened(seen.segments), mtime, at)
            return list(self._listing.segments.values())

    def _opened(self, known: dict[str, Segment]) -> dict[str, Segment]:
        opened = {}
        for name in sorted(os.listdir(self.directory)):
            if not name.endswith(SUFFIX):
                continue
            path = self.directory / name
            try:
                opened[name] = known.get(name) or Segment(path, self.dimension)
            except FileNotFoundError:
                continue  # compacted away since it was listed; its successor is there or comes next
            except Damaged as reason:
                self._set_aside(path, reason)
        return opened

    def _set_aside(self, path: Path, reason: Damaged) -> None:
        target = path.with_name(f"{path.name}.damaged")
        try:
            path.replace(target)
        except FileNotFoundError:
            return  # another process set it aside first
        self.damaged.append(target)
        _log.warning("%s: %s; set aside, its vectors will be computed again", target, reason)

    def _salvage(self, segment: Segment, reason: Damaged) -> None:
        """Save a damaged segment's intact rows in a new one, then set it aside."""
        with self._lock:
            if not segment.path.exists():
                self._listing = _Listing()  # another thread or process was quicker
                return
            rows = segment.intact_rows()
            if len(rows):
                write_merged(self._new_path(), [(segment, rows)])
            self._set_aside(segment.path, reason)
            self._listing = _Listing()

    @contextmanager
    def _rewriting(self, wait: bool) -> Iterator[bool]:
        """Hold the lock of those who replace segments; False when it is taken and not waited for.

        Writers and readers need no lock. It only keeps two processes from merging the same
        segments, or one from bringing back what another collects.
        """
        from filelock import FileLock, Timeout

        lock = FileLock(self.directory / ".rewriting", timeout=-1 if wait else 0)
        try:
            lock.acquire()
        except Timeout:
            yield False
            return
        try:
            yield True
        finally:
            lock.release()

    def _rewrite(self, group: Sequence[Segment], keep: Callable[[Segment], np.ndarray]) -> None:
        """Replace segments by one new segment of the rows to keep; damaged rows do not travel."""
        sources = []
        for segment in group:
            intact = segment.intact_rows()
            if len(intact) < len(segment):
                self._salvage(segment, Damaged("a vector does not match its checksum"))
                return
            sources.append((segment, np.flatnonzero(keep(segment))))
        sources = [(segment, rows) for segment, rows in sources if len(rows)]
        if sources:
            write_merged(self._new_path(), sources)
        for segment in group:
            segment.path.unlink(missing_ok=True)
        with self._lock:
            self._listing = _Listing()

    def _sweep(self) -> None:
        """Remove what writers killed more than an hour ago left behind."""
        for path in self.directory.glob(f"{TEMPORARY}*"):
            try:
                if time.time() - path.stat().st_mtime > 3600:
                    path.unlink()
            except FileNotFoundError:
                continue  # its writer finished, or another process swept it

    def _new_path(self) -> Path:
        return self.directory / f"{time.time_ns():020d}-{uuid.uuid4().hex[:12]}{SUFFIX}"


__all__ = ["KEY", "EmbeddingStore", "StoreSize"]
