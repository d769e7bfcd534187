"""From the lake to a sealed candidate, and the checks that decide whether it may be served."""

from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass

import polars as pl

from rag_assets.index.base import CheckOutcome, Manifest
from rag_assets.index.build import (
    Delta,
    Wanted,
    build_candidate,
    must_rebuild,
    plan_delta,
    read_held,
)
from rag_assets.index.passages import PassageStore
from rag_assets.index.versions import State
from rag_assets.records import MANIFEST, digest_of
from rag_assets.refresh.duplicates import link_duplicates, with_groups
from rag_assets.refresh.pipeline import Pipeline


@dataclass(frozen=True, slots=True)
class Candidate:
    """The version to judge. `built` is False when a version already held what is wanted.

    delta: what changed since the version `since`, or since nothing.
    """

    manifest: Manifest
    built: bool
    delta: Delta
    since: int | None

    @property
    def changed(self) -> bool:
        """Whether it holds anything else than the version before it."""
        return self.since != self.manifest.version


def wanted_version(pipeline: Pipeline) -> Wanted:
    """What the next version shall hold: everything healthy in the lake, as lazy frames."""
    groups = link_duplicates(pipeline)
    lake, every = pipeline.lake, pipeline.partitions
    documents = lake.scan("documents", every).filter(pl.col("problem").is_null())
    chunks = lake.scan("chunks", every)
    embedded = lake.read("embeddings", every, [*MANIFEST.names(), "model"])
    recipes = chunks.select("doc_id", "fingerprint").unique().rename({"fingerprint": "_cut"})
    documents = documents.join(recipes, on="doc_id").with_columns(
        state=pl.concat_str("state", "_cut", separator="|")
    )
    return Wanted(
        documents=with_groups(documents.drop("_cut"), groups),
        chunks=chunks,
        manifest=embedded.select(MANIFEST.names()).sort("chunk_id"),
        partitions=_partition_digests(embedded),
    )


def _partition_digests(embedded: pl.DataFrame) -> dict[str, str]:
    grouped = embedded.sort("chunk_id").group_by("partition", maintain_order=True)
    return {str(key[0]): digest_of(*rows["chunk_id"])[:16] for key, rows in grouped}


def make_candidate(pipeline: Pipeline, run_id: str, *, rebuild: str | None = None) -> Candidate:
    """Build a candidate from the live version plus the delta, or say that nothing changed.

    rebuild: a reason to build from nothing, whatever `must_rebuild` says.
    """
    versions, config = pipeline.versions, pipeline.config
    with versions.publishing():
        pointer = versions.pointer()
        parent = versions.manifest(pointer.version) if pointer else None
        wanted = wanted_version(pipeline)
        states = wanted.documents.select("doc_id", "state", "content_hash").collect()
        held = _held(pipeline, parent, rebuild)
        delta = plan_delta(*held, wanted.manifest, states)
        why = rebuild or must_rebuild(parent, config.index, pipeline.model, delta)
        if parent is not None and delta.empty and why is None:
            versions.set_candidate(parent.version)
            return Candidate(parent, False, delta, parent.version)
        made_before = None if rebuild else _made_before(pipeline, parent, wanted, states, delta)
        if made_before is not None:
            versions.set_candidate(made_before.manifest.version)
            return made_before
        manifest = build_candidate(
            versions,
            wanted,
            pipeline.store.get,
            config=config.index,
            knowledge_base=config.name,
            model=pipeline.model,
            model_name=f"{config.embedding.model} ({config.embedding.precision})",
            dimension=pipeline.dimension,
            run_id=run_id,
            parent=parent,
            delta=delta,
            rebuild=why,
        )
        versions.set_candidate(manifest.version)
    return Candidate(manifest, True, delta, manifest.parent)


def _made_before(
    pipeline: Pipeline,
    parent: Manifest | None,
    wanted: Wanted,
    states: pl.DataFrame,
    delta: Delta,
) -> Candidate | None:
    """A sealed version that holds what is wanted, neither refused nor promoted, if there is one.

    It waits as a canary, or the run that made it was killed before it was promoted.
    """
    config, versions = pipeline.config, pipeline.versions
    sealed = versions.sealed()
    if not sealed or versions.state(sealed[-1]) is not State.CANDIDATE:
        return None
    left = versions.manifest(sealed[-1])
    if left.parent != (parent.version if parent else None):
        return None
    rest = plan_delta(*read_held(versions, left.version), wanted.manifest, states)
    if not rest.empty or must_rebuild(left, config.index, pipeline.model, rest) is not None:
        return None
    if config.canary is not None and config.canary.holds:
        return Candidate(left, False, rest, left.version)
    return Candidate(left, False, delta, left.parent)


def _held(
    pipeline: Pipeline, parent: Manifest | None, rebuild: str | None
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """What the parent holds; nothing when its files are not to be trusted."""
    number = None if parent is None or rebuild else parent.version
    return read_held(pipeline.versions, number)


@dataclass(frozen=True, slots=True)
class Account:
    """Where every listed document went; the equation that must hold of a candidate."""

    listed: int
    unchanged: int
    added: int
    changed: int
    deleted: int
    quarantined: int
    held: int

    @property
    def balanced(self) -> bool:
        """Whether nothing listed is missing and nothing indexed was not listed."""
        return self.listed == self.unchanged + self.added + self.changed + self.quarantined


def account(pipeline: Pipeline, version: int, parent: int | None) -> Account:
    """Count the documents of a sealed version against the listing and against its parent.

    Counted from what the version's own files hold, not from what the build meant to write.
    """
    every = pipeline.partitions
    raw = pipeline.lake.read("raw_documents", every, ["doc_id", "held"])
    documents = pipeline.lake.read("documents", every, ["doc_id", "problem", "held"])
    now = _documents_of(pipeline, version).join(raw, on="doc_id", how="left")
    before = _documents_of(pipeline, parent)
    listed = now.filter(~pl.col("held").fill_null(False))
    both = listed.join(before, on="doc_id", suffix="_before")
    same = both.filter(pl.col("content_hash").eq_missing(pl.col("content_hash_before"))).height
    quarantined = documents.filter(pl.col("problem").is_not_null() & ~pl.col("held")).height
    return Account(
        listed=raw.filter(~pl.col("held")).height,
        unchanged=same,
        added=listed.height - both.height,
        changed=both.height - same,
        deleted=before.join(now, on="doc_id", how="anti").height,
        quarantined=quarantined,
        held=raw.filter(pl.col("held")).height,
    )


def _documents_of(pipeline: Pipeline, version: int | None) -> pl.DataFrame:
    if version is None:
        return read_held(pipeline.versions, None)[1]
    with closing(PassageStore.open(pipeline.versions.directory(version))) as passages:
        return passages.document_states()


def check_completeness(pipeline: Pipeline, version: int, parent: int | None) -> CheckOutcome:
    """Every listed document is in the version or in quarantine, with all its chunks and vectors."""
    found = account(pipeline, version, parent)
    every = pipeline.partitions
    chunks = pipeline.lake.read("chunks", every, ["chunk_id"])["chunk_id"]
    manifest = pl.read_parquet(pipeline.versions.directory(version) / "manifest.parquet")
    problems = []
    if not found.balanced:
        problems.append(
            f"{found.listed} listed, but {found.unchanged} unchanged + {found.added} added +"
            f" {found.changed} changed + {found.quarantined} quarantined"
        )
    missing = _lacking(chunks, manifest["chunk_id"])
    extra = _lacking(manifest["chunk_id"], chunks)
    if missing or extra:
        problems.append(f"{missing} chunks are not indexed, {extra} indexed ones are not wanted")
    summary = "; ".join(problems) or (
        f"{found.listed} listed = {found.unchanged} unchanged + {found.added} added +"
        f" {found.changed} changed + {found.quarantined} quarantined"
    )
    details = {name: getattr(found, name) for name in found.__slots__}
    return CheckOutcome("completeness", not problems, summary, details=details)


def _lacking(wanted: Iterable[str], held: Iterable[str]) -> int:
    return len(set(wanted) - set(held))
