"""CocoIndex: one component a file, a memo a chunk, and a Chroma target (it ships none).

The flow has the shape of its own text-embedding example. Model and chunk size are context values
with change detection, so that changing either is noticed.
"""

import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import NamedTuple

os.environ["COCOINDEX_DISABLE_USAGE_TRACKING"] = "1"

import chromadb
import cocoindex as coco
import numpy as np
from cocoindex.connectorkits.fingerprint import fingerprint_object
from cocoindex.connectors import localfs
from cocoindex.ops.text import RecursiveSplitter
from cocoindex.resources.chunk import Chunk
from cocoindex.resources.file import FileLike, PatternFilePathMatcher
from cocoindex.resources.id import IdGenerator

from benchmarks.incremental.chroma_rows import chroma_rows
from benchmarks.incremental.shared import BATCH, Embedder, Given, Row, run_peer

_CHROMA_BATCH = 5000


class Counting:
    """The counting embedder as CocoIndex functions: batched below, memoised for each text."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder

    def __coco_memo_key__(self) -> object:
        return self._embedder.model

    @coco.fn.as_async(batching=True, max_batch_size=BATCH)
    def _embed(self, texts: list[str]) -> list[np.ndarray]:
        return list(self._embedder.embed(texts))

    @coco.fn(memo=True)
    async def embed(self, text: str) -> np.ndarray:
        return await self._embed(text)


FOLDER = coco.ContextKey[Path]("folder")
COLLECTION = coco.ContextKey[chromadb.Collection]("collection")
EMBEDDER = coco.ContextKey[Counting]("embedder", detect_change=True)
CHUNK_SIZE = coco.ContextKey[int]("chunk_size", detect_change=True)


@dataclass
class Passage:
    """A row of the target."""

    path: str
    text: str
    vector: np.ndarray


class Write(NamedTuple):
    """An upsert, or with no passage a deletion."""

    row_id: str
    passage: Passage | None


def write(context: coco.ContextProvider, actions: Sequence[Write]) -> None:
    """Bring a batch of actions into the Chroma collection."""
    collection = context.get(COLLECTION)
    for start in range(0, len(actions), _CHROMA_BATCH):
        batch = actions[start : start + _CHROMA_BATCH]
        if gone := [action.row_id for action in batch if action.passage is None]:
            collection.delete(ids=gone)
        kept = [(action.row_id, action.passage) for action in batch if action.passage]
        if kept:
            collection.upsert(
                ids=[row_id for row_id, _ in kept],
                embeddings=[passage.vector for _, passage in kept],
                documents=[passage.text for _, passage in kept],
                metadatas=[{"path": passage.path} for _, passage in kept],
            )


class ChromaRows:
    """Decides, row by row, what has to be written."""

    _sink = coco.TargetActionSink.from_fn(write)

    def reconcile(
        self,
        key: coco.StableKey,
        desired: Passage | coco.NonExistenceType,
        before: Collection[bytes],
        may_be_missing: bool,
        /,
    ) -> coco.TargetReconcileOutput[Write, bytes] | None:
        if coco.is_non_existence(desired):
            if not before and not may_be_missing:
                return None
            return coco.TargetReconcileOutput(Write(str(key), None), self._sink, coco.NON_EXISTENCE)
        now = fingerprint_object((desired.path, desired.text, desired.vector.tobytes()))
        if before and not may_be_missing and all(seen == now for seen in before):
            return None
        return coco.TargetReconcileOutput(Write(str(key), desired), self._sink, now)


ROWS = coco.register_root_target_states_provider("benchmark/chroma_rows", ChromaRows())
SPLITTER = RecursiveSplitter()


@coco.fn
async def process_chunk(chunk: Chunk, path: PurePath, ids: IdGenerator) -> None:
    vector = await coco.use_context(EMBEDDER).embed(chunk.text)
    row = Passage(str(path), chunk.text, vector)
    row_id = f"{path}#{await ids.next_id(chunk.text)}"
    coco.declare_target_state(ROWS.target_state(row_id, row))


@coco.fn(memo=True)
async def process_file(file: FileLike[Path]) -> None:
    text = await file.read_text()
    chunks = SPLITTER.split(text, coco.use_context(CHUNK_SIZE), chunk_overlap=0)
    await coco.map(process_chunk, chunks, file.file_path.path, IdGenerator())


@coco.fn
async def index_folder() -> None:
    matcher = PatternFilePathMatcher(included_patterns=["**/*.txt"])
    files = localfs.walk_dir(FOLDER, recursive=True, path_matcher=matcher)
    await coco.mount_each(process_file, files.items())


def refresh(given: Given, embedder: Embedder) -> None:
    """One update of the app."""
    client = chromadb.PersistentClient(str(given.state / "chroma"))
    context = coco.ContextProvider()
    context.provide(FOLDER, given.documents)
    context.provide(COLLECTION, client.get_or_create_collection("bench"))
    context.provide(EMBEDDER, Counting(embedder))
    context.provide(CHUNK_SIZE, 800 * given.size)
    environment = coco.Environment(
        coco.Settings(db_path=given.state / "cocoindex"), context_provider=context
    )
    app = coco.App(coco.AppConfig("bench", environment), index_folder)
    app.update_blocking()


def rows(given: Given) -> Iterator[Row]:
    """What the collection holds."""
    return chroma_rows(given.state / "chroma", "bench", "path")


if __name__ == "__main__":
    run_peer(refresh, rows)
