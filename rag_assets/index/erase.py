"""Index versions without documents that must be forgotten.

A store that deletes still holds: Chroma's HNSW files keep deleted vectors, SQLite keeps free pages.
So a version is built anew, from its own passages and vectors, and the old files are removed.
"""

import shutil
from collections.abc import Collection
from contextlib import closing
from dataclasses import replace

import numpy as np
import polars as pl

from rag_assets.config import IndexConfig
from rag_assets.embedding.store import EmbeddingStore
from rag_assets.errors import StorageError
from rag_assets.index.base import Manifest
from rag_assets.index.build import (
    LAYOUT,
    MANIFEST_TABLE,
    Vectors,
    Wanted,
    build_candidate,
    plan_delta,
    read_held,
)
from rag_assets.index.homes import CHROMA, EMBEDDED
from rag_assets.index.passages import PassageStore
from rag_assets.index.server import ChromaServer
from rag_assets.index.vectors import SealedVectors
from rag_assets.index.versions import Versions


def holds(versions: Versions, number: int, doc_ids: Collection[str]) -> bool:
    """Whether a version holds any of these documents."""
    with closing(PassageStore.open(versions.directory(number))) as passages:
        return not set(passages.document_ids()).isdisjoint(doc_ids)


def build_without(
    versions: Versions,
    number: int,
    doc_ids: Collection[str],
    store: EmbeddingStore,
    *,
    config: IndexConfig,
    knowledge_base: str,
    run_id: str,
) -> Manifest:
    """A new version that holds what version `number` does, but for these documents.

    store: the vectors of the version's model. The caller holds the publisher's lock.

    Raises: StorageError when its vectors cannot be read.
    """
    old = versions.manifest(number)
    if old.layout != LAYOUT:
        raise StorageError(f"version {number} has an older layout; run `rag-assets refresh`")
    wanted = _wanted(versions, old, doc_ids)
    states = wanted.documents.select("doc_id", "state", "content_hash").collect()
    return build_candidate(
        versions,
        wanted,
        _vectors(versions, old, store),
        config=config,
        knowledge_base=knowledge_base,
        model=old.model,
        model_name=old.embedding_model,
        dimension=old.dimension,
        run_id=run_id,
        parent=old,
        delta=plan_delta(*read_held(versions, None), wanted.manifest, states),
        rebuild="documents were erased",
    )


def put_in_place(versions: Versions, made: Manifest, number: int) -> None:
    """Let a version take the place of version `number`, which is removed."""
    verdict = versions.verdict(number)
    before = versions.manifest(number)
    old, new = versions.directory(number), versions.directory(made.version)
    old.rename(old.with_name(f"erased-{number:06d}"))
    new.rename(old)
    versions.write_manifest(replace(made, version=number, parent=before.parent))
    for name, outcome in verdict.items():
        versions.record_outcome(number, name, outcome)
    shutil.rmtree(old.with_name(f"erased-{number:06d}"))


def drop_spare_collections(versions: Versions, config: IndexConfig, knowledge_base: str) -> int:
    """Delete what a Chroma server holds of versions that are not kept; how many collections.

    Raises: StorageError when the server cannot be reached.
    """
    if config.chroma == EMBEDDED:
        return 0
    used = [versions.manifest(number).collection for number in versions.sealed()]
    with closing(ChromaServer(config.chroma, knowledge_base)) as server:
        return server.remove_unused(used)


def _wanted(versions: Versions, old: Manifest, doc_ids: Collection[str]) -> Wanted:
    directory = versions.directory(old.version)
    with closing(PassageStore.open(directory)) as passages:
        documents, chunks = passages.frames()
    gone = pl.col("doc_id").is_in(list(doc_ids))
    manifest = pl.read_parquet(directory / MANIFEST_TABLE).filter(~gone)
    keys = manifest.select("chunk_id", "text_key")
    left = chunks.filter(~gone).join(keys, on="chunk_id", maintain_order="left")
    return Wanted(documents.filter(~gone).lazy(), left.lazy(), manifest, old.partitions)


def _vectors(versions: Versions, old: Manifest, store: EmbeddingStore) -> Vectors:
    """Text keys → vectors: from the store, or where it has lost some, out of the version itself."""
    directory = versions.directory(old.version)
    table = pl.read_parquet(directory / MANIFEST_TABLE, columns=["text_key", "chunk_id"])
    chunk_of = dict(table.unique("text_key").iter_rows())
    if not store.missing(list(chunk_of)):
        return store.get
    sealed = SealedVectors.open(directory / CHROMA, old.space, old.dimension)
    if sealed is None:
        raise StorageError(
            f"{directory}: its vectors cannot be read; run `rag-assets reconcile --repair` first"
        )

    def vectors(keys: list[str]) -> np.ndarray:
        return sealed.vectors([chunk_of[key] for key in keys])

    return vectors
