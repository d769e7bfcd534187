"""The right to erasure: a document leaves every place where it, or what was made of it, is stored.

    STORAGE/forgotten.json          what must not come back, by hash
    STORAGE/erasures/ID.json        receipts: what was removed where, without a name

Done in an order in which being killed does no harm: first it can come back no more, last the old
files go; running it again finishes the work.
"""

import json
import secrets
import shutil
from contextlib import closing
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from rag_assets.cleaning.duplicates import ALIKE, resemblance
from rag_assets.cleaning.measured import write_measured
from rag_assets.config import InboxConfig
from rag_assets.embedding.store import EmbeddingStore
from rag_assets.errors import BadRequest, StorageError
from rag_assets.index.base import Manifest
from rag_assets.index.build import MANIFEST_TABLE
from rag_assets.index.checks import check_integrity
from rag_assets.index.erase import (
    build_without,
    drop_spare_collections,
    holds,
    put_in_place,
)
from rag_assets.index.homes import EMBEDDED
from rag_assets.index.passages import PassageStore
from rag_assets.index.versions import write_atomically
from rag_assets.lake import STAGES
from rag_assets.refresh.duplicates import link_duplicates
from rag_assets.refresh.pipeline import Pipeline
from rag_assets.refresh.scrub import Scrubber
from rag_assets.sources import open_source
from rag_assets.sources.base import Forgetful, Forgiving
from rag_assets.sources.forgotten import Forgotten, name_of

# Folders of a storage whose files are no notes: they have been, or cannot be, looked through.
_NOT_NOTES = ("lake", "embeddings", "dagster", "service", "erasures", "inbox", "web", "feed")


@dataclass(frozen=True, slots=True)
class Known:
    """A document as it is known before it is erased.

    chunk_ids: of every kept version. texts: all its texts, titles too, of the lake and versions.
    """

    doc_id: str
    names: tuple[str, ...]
    chunk_ids: frozenset[str]
    texts: tuple[str, ...]


@dataclass(slots=True)
class Erasure:
    """What was done. similar: other documents that hold the same text, or nearly. left: where it
    may still be, and who can remove it there. told_sha256: its names and chunks, hashed, by which
    other machines find it in their audit logs."""

    id: str
    at: str
    document_sha256: str
    removed: dict[str, int] = field(default_factory=dict)
    versions: list[int] = field(default_factory=list)
    live_version: int | None = None
    comes_back: bool = False
    similar: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    told_sha256: list[str] = field(default_factory=list)

    def as_receipt(self) -> dict[str, Any]:
        """What is kept: counts and hashes, and nobody's name."""
        facts = asdict(self)
        facts["similar"] = len(self.similar)
        return facts


def find_document(pipeline: Pipeline, uri_or_id: str) -> Known:
    """Everything by which a document can be told, in the lake and in every kept version.

    Raises: BadRequest when nothing knows it.
    """
    pipeline.pull()
    match = (pl.col("doc_id") == uri_or_id) | (pl.col("uri") == uri_or_id)
    every = pipeline.partitions
    raw = pipeline.lake.read("raw_documents", every, ["doc_id", "uri", "title"]).filter(match)
    rows = [tuple(row) for row in raw.iter_rows()]
    numbers = pipeline.versions.sealed()
    for number in numbers:
        with closing(PassageStore.open(pipeline.versions.directory(number))) as passages:
            row = passages.document(uri_or_id)
        if row is not None:
            rows.append((str(row["doc_id"]), str(row["uri"]), row["title"]))
    if not rows:
        raise BadRequest(
            f"{uri_or_id}: no document of this uri or id is known, neither to the lake nor to any"
            " kept version"
        )
    doc_id = rows[0][0]
    documents = pipeline.lake.read("documents", every, ["doc_id", "uri", "title", "text"])
    mine = documents.filter(doc_id=doc_id).select("title", "text")
    texts = [text for row in mine.iter_rows() for text in row]
    chunks: set[str] = set()
    for number in numbers:
        with closing(PassageStore.open(pipeline.versions.directory(number))) as passages:
            ids = passages.chunk_ids([doc_id])
            chunks.update(ids)
            texts += [passage.text for passage in passages.passages(ids)]
    names = {doc_id, *(row[1] for row in rows)}
    return Known(
        doc_id,
        tuple(sorted(names)),
        frozenset(chunks),
        tuple(text for text in (*texts, *(row[2] for row in rows)) if text),
    )


def forget_document(pipeline: Pipeline, known: Known) -> Erasure:
    """Erase a document everywhere below the storage but in the audit log, which is the service's.

    Raises: StorageError when a version cannot be built without it; it is not served any more by
    the next refresh then, and running this again goes on.
    """
    erasure = Erasure(
        id=f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}",
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        document_sha256=name_of(known.doc_id),
        told_sha256=sorted(map(name_of, (*known.names, *known.chunk_ids))),
    )
    with pipeline.refreshing():
        erasure.similar = _similar(pipeline, known.doc_id)
        erasure.comes_back = _from_source(pipeline, known.doc_id, erasure)
        _from_lake(pipeline, known.doc_id, erasure)
        old_live = _from_versions(pipeline, known.doc_id, erasure)
        _from_notes(pipeline, known, erasure)
        _from_dataset(pipeline, erasure)
        if old_live is not None:
            # Readers had this long to move on to the version that took its place.
            with pipeline.versions.publishing():
                pipeline.versions.remove(old_live)
        _from_embeddings(pipeline, erasure)
        _from_server(pipeline, erasure)
        _from_bucket(pipeline, erasure)
    return erasure


def let_in(pipeline: Pipeline, doc_id: str) -> bool:
    """Take a document off the list of what must not come back; False when it was not on it."""
    source, _, key = doc_id.partition("/")
    with pipeline.refreshing():
        if not Forgotten(pipeline.storage).lift(doc_id):
            return False
        config = next((s for s in pipeline.config.sources if s.name == source), None)
        opened = config and open_source(config)
        if isinstance(opened, Forgiving):
            opened.let_in(key)
        # What its source told of it so far was not heard: it has to list everything once more.
        (pipeline.lake.root / "marks" / f"{source}.json").unlink(missing_ok=True)
    return True


def record_erasure(pipeline: Pipeline, erasure: Erasure) -> Path:
    """Write the receipt; returns where."""
    path = Path(pipeline.storage) / "erasures" / f"{erasure.id}.json"
    with pipeline.refreshing():
        write_atomically(path, json.dumps(erasure.as_receipt(), indent=1).encode())
    return path


def _similar(pipeline: Pipeline, doc_id: str) -> list[str]:
    """Other documents whose text is the same, or nearly: the data may be in them as well."""
    columns = ["doc_id", "sketch"]
    frame = pipeline.lake.read("documents", pipeline.partitions, columns).drop_nulls()
    mine = frame.filter(doc_id=doc_id)
    others = frame.filter(pl.col("doc_id") != doc_id)
    if mine.is_empty() or others.is_empty():
        return []
    rows = np.frombuffer(b"".join(others["sketch"]), np.uint8).reshape(others.height, -1)
    alike = resemblance(np.frombuffer(mine["sketch"][0], np.uint8), rows) >= ALIKE
    return sorted(others.filter(pl.Series(alike))["doc_id"])


def _from_source(pipeline: Pipeline, doc_id: str, erasure: Erasure) -> bool:
    """Whether it may come back, which is when somebody pushes it again."""
    source, _, key = doc_id.partition("/")
    config = next((s for s in pipeline.config.sources if s.name == source), None)
    if not isinstance(config, InboxConfig):
        Forgotten(pipeline.storage).add(doc_id)
    if config is not None:
        opened = open_source(config)
        kept = isinstance(opened, Forgetful) and opened.forget(key)
        erasure.removed["kept_by_source"] = int(kept)
    return isinstance(config, InboxConfig)


def _from_lake(pipeline: Pipeline, doc_id: str, erasure: Erasure) -> None:
    lake = pipeline.lake
    for stage in STAGES:
        erasure.removed[stage] = 0
        for partition in lake.partitions(stage):
            frame = lake.read(stage, [partition])
            left = frame.filter(pl.col("doc_id") != doc_id)
            if left.height < frame.height:
                lake.write(stage, [partition], left)
                erasure.removed[stage] += frame.height - left.height
    kept = lake.read("raw_documents", lake.partitions("raw_documents"), ["content_hash"])
    # Bytes of earlier states of the document have no row any more; they go as well.
    erasure.removed["blobs"] = lake.collect_blobs(set(kept["content_hash"].drop_nulls()))
    lake.sweep()
    # It may have been the one to keep a line that its source repeats.
    write_measured(lake, doc_id.partition("/")[0], "", ())
    link_duplicates(pipeline)


def _from_versions(pipeline: Pipeline, doc_id: str, erasure: Erasure) -> int | None:
    """Build every kept version that holds it anew; returns the version that was live till now."""
    versions, config = pipeline.versions, pipeline.config
    with versions.publishing():
        pointer = versions.pointer()
        erasure.live_version = pointer.version if pointer else None
        concerned = [n for n in versions.sealed() if holds(versions, n, [doc_id])]
        if pointer is None or not concerned:
            return None

        def without(number: int) -> Manifest:
            return build_without(
                versions,
                number,
                [doc_id],
                _store(pipeline, number),
                config=config.index,
                knowledge_base=config.name,
                run_id=f"erasure-{erasure.id}",
            )

        for number in concerned:
            if number == pointer.version:
                continue
            try:
                put_in_place(versions, without(number), number)
            except StorageError:
                versions.remove(number)  # a version that cannot be mended is not kept
        # Also where the live one did not hold it: whoever has an old version open lets go of it.
        made = without(pointer.version)
        for name, outcome in versions.verdict(pointer.version).items():
            versions.record_outcome(made.version, name, outcome)
        integrity = check_integrity(versions, made.version, made.model)
        versions.record_outcome(made.version, integrity.name, asdict(integrity))
        if not integrity.passed:
            raise StorageError(f"version {made.version}: {integrity.summary}; run this again")
        versions.replace_live(made.version)
        versions.set_candidate(made.version)
        erasure.versions = [n for n in concerned if n != pointer.version] + [made.version]
        erasure.live_version = made.version
        return pointer.version


def _from_notes(pipeline: Pipeline, known: Known, erasure: Erasure) -> None:
    root = Path(pipeline.storage)
    versions = [f"index/{path.name}" for path in pipeline.versions.root.glob("[0-9]*")]
    scrubber = Scrubber(known.names, known.texts)
    erasure.removed["notes"] = scrubber.scrub(root, (*_NOT_NOTES, *versions))


def _from_dataset(pipeline: Pipeline, erasure: Erasure) -> None:
    """Examples for training, which quote documents; the next export makes them without it."""
    directory = Path(pipeline.storage) / "instruct_dataset"
    erasure.removed["instruct_dataset"] = len(list(directory.glob("*.jsonl")))
    shutil.rmtree(directory, ignore_errors=True)


def _from_embeddings(pipeline: Pipeline, erasure: Erasure) -> None:
    """Vectors that nothing needs: those of the document, also of its earlier states."""
    versions = pipeline.versions
    frames = [
        pl.read_parquet(versions.directory(n) / MANIFEST_TABLE, columns=["text_key"])
        for n in versions.sealed()
    ]
    every = pipeline.lake.partitions("embeddings")
    frames.append(pipeline.lake.read("embeddings", every, ["text_key"]))
    keep = pl.concat(frames)["text_key"].unique().to_list()
    now, dropped = datetime.now(UTC) + timedelta(seconds=2), 0
    stores = {store.directory: store for store in map(partial(_store, pipeline), versions.sealed())}
    stores[pipeline.store.directory] = pipeline.store
    for store in stores.values():
        dropped += store.collect_garbage(keep, timedelta(0), now)
        if store.tokens is not None:
            store.tokens.keep_only(keep)
            store.tokens.vacuum()
    erasure.removed["vectors"] = dropped


def _from_server(pipeline: Pipeline, erasure: Erasure) -> None:
    """What a Chroma server keeps of versions that are gone."""
    config = pipeline.config
    count = drop_spare_collections(pipeline.versions, config.index, config.name)
    if config.index.chroma != EMBEDDED:
        erasure.removed["collections"] = count
        erasure.left.append(
            f"index.chroma {config.index.chroma}: the files of deleted collections, until whoever"
            " runs the server has it remove them (`chroma vacuum`)"
        )


def _from_bucket(pipeline: Pipeline, erasure: Erasure) -> None:
    """Every earlier state of a storage in an object store, whoever may still be reading it."""
    mirror = pipeline.mirror
    if mirror is None:
        return
    mirror.push()
    erasure.removed["objects"] = mirror.collect(timedelta(0))
    try:
        erasure.removed["object_versions"] = mirror.bucket.purge()
    except StorageError as error:
        erasure.left.append(str(error))
    erasure.left.append(
        "working directories of other machines, until they pull next; in the audit logs of their"
        " services, questions that quote it and were not answered from it"
    )


def _store(pipeline: Pipeline, version: int) -> EmbeddingStore:
    """The vectors of the model that a version was made with."""
    manifest = pipeline.versions.manifest(version)
    root = Path(pipeline.storage) / "embeddings" / manifest.model
    return EmbeddingStore(root, manifest.model, manifest.dimension)
