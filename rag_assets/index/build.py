"""Build a candidate version: copy the live one, apply the delta, seal, verify, write the manifest.

Rebuilt from nothing, out of the embedding store and without the model, when nothing can be copied
or when copying no longer pays (see `must_rebuild`).
"""

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from fcntl import ioctl
from pathlib import Path

import numpy as np
import polars as pl

from rag_assets.config import IndexConfig
from rag_assets.errors import StorageError
from rag_assets.index.base import Manifest
from rag_assets.index.dense import DenseIndex, chroma_version
from rag_assets.index.homes import CHROMA, EMBEDDED
from rag_assets.index.lexical import LexicalIndex
from rag_assets.index.passages import PassageStore
from rag_assets.index.server import ChromaServer, RemoteDense
from rag_assets.index.versions import Versions
from rag_assets.records import ids_digest

LAYOUT = 2  # raised when the files of a version change shape; forces one rebuild
MANIFEST_TABLE = "manifest.parquet"
LEXICAL = "lexical"
_FICLONE = 0x40049409
# HNSW never reuses the slots of deleted vectors, so churn grows the file and slows queries.
_REBUILD_SHARE = 0.5
_ROWS = 5000  # chunks read and written at a time

Vectors = Callable[[list[str]], np.ndarray]
"""Text keys → their vectors, float32 (n, dimension)."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a version shall hold: lazy frames of all partitions, with the columns of the stages.

    documents: only rows without a problem; each has `state`, which changes with anything of it.
    chunks: the chunks of those documents.
    manifest: one row a chunk, see `records.MANIFEST`.
    """

    documents: pl.LazyFrame
    chunks: pl.LazyFrame
    manifest: pl.DataFrame
    partitions: dict[str, str]


@dataclass(frozen=True, slots=True)
class Delta:
    """The difference between what a version holds and what it shall hold, as ids."""

    chunks_added: list[str]
    chunks_deleted: list[str]
    chunks_kept: int
    documents_added: list[str]
    documents_changed: list[str]
    documents_touched: list[str]  # rows to rewrite though the content is the same
    documents_deleted: list[str]

    @property
    def empty(self) -> bool:
        """Whether applying it would change nothing."""
        return not (
            self.chunks_added
            or self.chunks_deleted
            or self.documents_added
            or self.documents_changed
            or self.documents_touched
            or self.documents_deleted
        )

    @property
    def documents_written(self) -> list[str]:
        """Documents whose rows are written again."""
        return [*self.documents_added, *self.documents_changed, *self.documents_touched]


def plan_delta(
    held_chunks: pl.DataFrame,
    held_documents: pl.DataFrame,
    wanted_chunks: pl.DataFrame,
    wanted_documents: pl.DataFrame,
) -> Delta:
    """The delta from what is held to what is wanted; a pure function.

    held_chunks, wanted_chunks: `chunk_id`. held_documents, wanted_documents: `doc_id`, `state`,
    `content_hash`.
    """
    added = wanted_chunks.join(held_chunks, on="chunk_id", how="anti")
    deleted = held_chunks.join(wanted_chunks, on="chunk_id", how="anti")
    both = wanted_documents.join(held_documents, on="doc_id", suffix="_held")
    moved = both.filter(pl.col("content_hash").ne_missing(pl.col("content_hash_held")))
    same = both.filter(pl.col("content_hash").eq_missing(pl.col("content_hash_held")))
    touched = same.filter(pl.col("state") != pl.col("state_held"))
    return Delta(
        chunks_added=added["chunk_id"].to_list(),
        chunks_deleted=deleted["chunk_id"].to_list(),
        chunks_kept=wanted_chunks.height - added.height,
        documents_added=wanted_documents.join(held_documents, on="doc_id", how="anti")[
            "doc_id"
        ].to_list(),
        documents_changed=moved["doc_id"].to_list(),
        documents_touched=touched["doc_id"].to_list(),
        documents_deleted=held_documents.join(wanted_documents, on="doc_id", how="anti")[
            "doc_id"
        ].to_list(),
    )


def read_held(versions: Versions, version: int | None) -> tuple[pl.DataFrame, pl.DataFrame]:
    """(manifest rows, document states) of a version; both empty for None."""
    if version is None:
        states = {"doc_id": pl.String, "state": pl.String, "content_hash": pl.String}
        return pl.DataFrame(schema={"chunk_id": pl.String}), pl.DataFrame(schema=states)
    directory = versions.directory(version)
    with closing(PassageStore.open(directory)) as passages:
        return pl.read_parquet(directory / MANIFEST_TABLE), passages.document_states()


def must_rebuild(
    parent: Manifest | None, config: IndexConfig, model: str, delta: Delta
) -> str | None:
    """Why a version cannot be a patched copy of its parent, or None when it can."""
    if parent is None:
        return "there is no live version to copy"
    if parent.model != model:
        return "the embedding model changed"
    if parent.space != config.space:
        return "the distance changed"
    if parent.chroma_version != chroma_version():
        return "Chroma's version changed"
    if parent.home != config.chroma:
        return "the index moved to another home"
    if parent.layout != LAYOUT:
        return "the layout of versions changed"
    live = len(delta.chunks_added) + delta.chunks_kept
    if parent.home != EMBEDDED:
        return None  # a server's collections are worn and replaced on their own
    if parent.added_since_rebuild + len(delta.chunks_added) > _REBUILD_SHARE * max(live, 1):
        return "many rows were replaced since the last rebuild"
    return None


def build_candidate(
    versions: Versions,
    wanted: Wanted,
    vectors: Vectors,
    *,
    config: IndexConfig,
    knowledge_base: str,
    model: str,
    model_name: str,
    dimension: int,
    run_id: str,
    parent: Manifest | None,
    delta: Delta,
    rebuild: str | None,
) -> Manifest:
    """Build and seal a new version; the caller holds the publisher's lock.

    vectors: text keys → float32 (n, dimension), from the embedding store. delta: from `parent`.
    rebuild: why the parent cannot be copied, or None (see `must_rebuild`).
    """
    number, directory = versions.new_directory()
    try:
        if rebuild or parent is None:
            delta = _everything(versions, wanted)
            LexicalIndex.create(directory / LEXICAL).close()
            PassageStore.create(directory).close()
        else:
            _copy_version(versions.directory(parent.version), directory)
        _patch_passages(directory, wanted, delta)
        _patch_lexical(directory, wanted, delta)
        if config.chroma == EMBEDDED:
            collection = ""
            _patch_directory(directory / CHROMA, wanted, delta, vectors, config.space)
        else:
            collection = _patch_server(
                versions,
                number,
                wanted,
                vectors,
                config,
                knowledge_base,
                model,
                parent,
                bool(rebuild),
            )
        wanted.manifest.write_parquet(directory / MANIFEST_TABLE)
        _flush_to_disk(directory)
        before = 0 if rebuild or parent is None else parent.added_since_rebuild
        manifest = Manifest(
            version=number,
            parent=None if parent is None else parent.version,
            created_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
            run_id=run_id,
            model=model,
            embedding_model=model_name,
            dimension=dimension,
            space=config.space,
            chroma_version=chroma_version(),
            layout=LAYOUT,
            documents=wanted.documents.select(pl.len()).collect().item(),
            chunks=wanted.manifest.height,
            chunk_ids_digest=ids_digest(wanted.manifest["chunk_id"]),
            added_since_rebuild=0 if rebuild else before + len(delta.chunks_added),
            partitions=wanted.partitions,
            home=config.chroma,
            collection=collection,
        )
        versions.write_manifest(manifest)
    except OSError as error:
        shutil.rmtree(directory, ignore_errors=True)
        raise StorageError(
            f"{directory}: the candidate could not be written ({error.strerror or error});"
            " the live version is unchanged"
        ) from error
    except BaseException:
        shutil.rmtree(directory, ignore_errors=True)
        raise
    return manifest


def _everything(versions: Versions, wanted: Wanted) -> Delta:
    """The delta from nothing."""
    states = wanted.documents.select("doc_id", "state", "content_hash").collect()
    return plan_delta(*read_held(versions, None), wanted.manifest, states)


def _patch_passages(directory: Path, wanted: Wanted, delta: Delta) -> None:
    with closing(PassageStore.open(directory, writable=True)) as passages:
        passages.delete_documents(delta.documents_deleted)
        for documents, chunks in _whole_documents(wanted, delta.documents_written):
            passages.replace_documents(documents, chunks)
        passages.optimise()


def _patch_lexical(directory: Path, wanted: Wanted, delta: Delta) -> None:
    with closing(LexicalIndex.open(directory / LEXICAL)) as lexical:
        lexical.delete(delta.chunks_deleted)
        # A chunk that was kept may stand under another title or heading, which are searched too.
        written = delta.documents_written
        for start in range(0, len(written), _ROWS):
            some = pl.LazyFrame({"doc_id": written[start : start + _ROWS]})
            rows = _searched(wanted, wanted.chunks.join(some, on="doc_id", how="semi"))
            lexical.delete(rows["chunk_id"])
            lexical.add(rows.iter_rows())
        lexical.commit()


def _patch_directory(
    directory: Path, wanted: Wanted, delta: Delta, vectors: Vectors, space: str
) -> None:
    """Patch the embedded index, or make it, and seal it."""
    if not directory.exists():
        DenseIndex.create(directory, space).close()
    dense = DenseIndex.open(directory, space)
    dense.delete(delta.chunks_deleted)
    _add_vectors(dense, wanted, delta.chunks_added, vectors)
    dense.seal()


def _patch_server(
    versions: Versions,
    number: int,
    wanted: Wanted,
    vectors: Vectors,
    config: IndexConfig,
    knowledge_base: str,
    model: str,
    parent: Manifest | None,
    fresh: bool,
) -> str:
    """Make a collection for this version; returns its name."""
    with closing(ChromaServer(config.chroma, knowledge_base)) as server:
        dense, missing, surplus = server.candidate(
            number,
            wanted.manifest["chunk_id"].to_list(),
            model=model,
            space=config.space,
            used=[versions.manifest(kept).collection for kept in versions.sealed()],
            parent=parent.collection if parent and parent.home == config.chroma else None,
            fresh=fresh,
        )
        dense.delete(surplus)
        _add_vectors(dense, wanted, missing, vectors)
        return dense.name


def _add_vectors(
    dense: DenseIndex | RemoteDense, wanted: Wanted, chunk_ids: list[str], vectors: Vectors
) -> None:
    for start in range(0, len(chunk_ids), _ROWS):
        some = pl.DataFrame({"chunk_id": chunk_ids[start : start + _ROWS]})
        rows = wanted.manifest.join(some, on="chunk_id", how="semi")
        dense.add(rows["chunk_id"].to_list(), vectors(rows["text_key"].to_list()))


def _whole_documents(wanted: Wanted, doc_ids: list[str]) -> list[tuple[pl.DataFrame, pl.DataFrame]]:
    pairs = []
    for start in range(0, len(doc_ids), _ROWS):
        some = pl.LazyFrame({"doc_id": doc_ids[start : start + _ROWS]})
        documents = wanted.documents.join(some, on="doc_id", how="semi").collect()
        pairs.append((documents, wanted.chunks.join(some, on="doc_id", how="semi").collect()))
    return pairs


def _searched(wanted: Wanted, chunks: pl.LazyFrame) -> pl.DataFrame:
    """What the lexical index holds of these chunks: chunk_id, text, title, headings."""
    titles = wanted.documents.select("doc_id", "title")
    return (
        chunks.join(titles, on="doc_id", how="left")
        .select("chunk_id", "text", "title", "headings")
        .collect()
    )


def _copy_version(source: Path, target: Path) -> None:
    """Copy a sealed version's stores. Never hard links: HNSW files are rewritten in place."""
    needed = sum(file.stat().st_size for file in source.rglob("*") if file.is_file())
    free = shutil.disk_usage(target).free
    if free < needed * 1.2:
        raise StorageError(
            f"{target.parent}: {free >> 20} MiB free, but a copy of the live index needs"
            f" {int(needed * 1.2) >> 20} MiB; free some space or lower index.keep_versions"
        )
    if (source / CHROMA).exists():
        _copy_chroma(source / CHROMA, target / CHROMA)
    _copy_tree(source / LEXICAL, target / LEXICAL)
    for file in source.glob("passages.sqlite3"):
        _copy_file(file, target / file.name)


def _copy_chroma(source: Path, target: Path) -> None:
    # Readers of the live version write bookkeeping rows; a shared lock keeps them out meanwhile.
    with closing(sqlite3.connect(source / "chroma.sqlite3", timeout=30)) as connection:
        connection.execute("BEGIN")
        connection.execute("SELECT count(*) FROM collections").fetchone()
        _copy_tree(source, target)
        connection.execute("ROLLBACK")


def _copy_tree(source: Path, target: Path) -> None:
    for folder, _, files in os.walk(source):
        inner = target / Path(folder).relative_to(source)
        inner.mkdir(parents=True, exist_ok=True)
        for name in files:
            if not name.endswith((".sqlite3-journal", ".lock")):
                _copy_file(Path(folder) / name, inner / name)


def _copy_file(source: Path, target: Path) -> None:
    """Copy one file, sharing its blocks where the file system can (reflink)."""
    with source.open("rb") as reader, target.open("wb") as writer, suppress(OSError):
        ioctl(writer.fileno(), _FICLONE, reader.fileno())
        return
    shutil.copyfile(source, target)


def _flush_to_disk(directory: Path) -> None:
    """fsync every file: Chroma does not, and a manifest must not outlive what it names."""
    for folder, _, files in os.walk(directory):
        for path in (*(os.path.join(folder, name) for name in files), folder):
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
