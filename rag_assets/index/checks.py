"""Integrity of a sealed version: do its three stores hold exactly what its manifest says?"""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from rag_assets.errors import RagError, StorageError
from rag_assets.index.base import CheckOutcome, Manifest
from rag_assets.index.build import LEXICAL, MANIFEST_TABLE
from rag_assets.index.dense import (
    DenseIndex,
    pending_rows,
    sealed_metadata_ids,
    sealed_vector_ids,
)
from rag_assets.index.homes import CHROMA, EMBEDDED, open_dense
from rag_assets.index.lexical import LexicalIndex
from rag_assets.index.passages import PassageStore
from rag_assets.index.server import RemoteDense
from rag_assets.index.versions import Versions
from rag_assets.records import ids_digest

_SELF_QUERIES = 32
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Difference:
    """Ids that one store lacks or has too many of, against the manifest."""

    store: str
    missing: tuple[str, ...]
    extra: tuple[str, ...]

    def __str__(self) -> str:
        some = ", ".join((*self.missing, *self.extra)[:_SHOWN])
        return f"{self.store}: {len(self.missing)} missing, {len(self.extra)} extra ({some})"


def differences(versions: Versions, version: int) -> list[Difference]:
    """Where the stores of a version differ from its manifest; empty when they agree.

    Raises: StorageError when a store cannot be opened at all.
    """
    manifest = versions.manifest(version)
    directory = versions.directory(version)
    wanted = set(_manifest_ids(directory, manifest))
    found: dict[str, set[str]] = {}
    if manifest.home == EMBEDDED:
        found["vectors"] = sealed_vector_ids(directory / CHROMA)
        found["chroma"] = sealed_metadata_ids(directory / CHROMA)
    else:
        with closing(open_dense(directory, manifest)) as dense:
            found["chroma"] = set(dense.ids())
    with closing(LexicalIndex.open(directory / LEXICAL)) as lexical:
        found["lexical"] = set(lexical.ids())
    with closing(PassageStore.open(directory)) as passages:
        found["passages"] = set(passages.chunk_ids())
    return [
        Difference(store, tuple(sorted(wanted - ids)), tuple(sorted(ids - wanted)))
        for store, ids in found.items()
        if ids != wanted
    ]


def check_integrity(versions: Versions, version: int, model: str) -> CheckOutcome:
    """The stores agree, nothing is pending, the model is the expected one, vectors find themselves.

    `value` is the share of sampled vectors whose nearest neighbour is the chunk itself or one with
    the same vector.
    """
    manifest = versions.manifest(version)
    directory = versions.directory(version)
    problems: list[str] = []
    if manifest.chunks == 0:
        problems.append(
            "it holds no chunks, for no source has a document with text; `rag-assets doctor` says"
            " what each source lists"
        )
    if manifest.model != model:
        problems.append(f"it was built with model {manifest.model}, the configured one is {model}")
    found_share = None
    try:
        problems += [str(difference) for difference in differences(versions, version)]
        waiting = pending_rows(directory / CHROMA) if manifest.home == EMBEDDED else 0
        if waiting:
            problems.append(f"{waiting} rows are not persisted")
        if not problems:
            found_share = _self_query(directory, manifest)
            if found_share < 0.95:
                problems.append(f"only {found_share:.0%} of sampled vectors find themselves")
    except RagError as error:
        problems.append(str(error))
    summary = "; ".join(problems) or f"{manifest.chunks} chunks agree in every store"
    return CheckOutcome("index_integrity", not problems, summary, found_share, 0.95)


def _self_query(directory: Path, manifest: Manifest) -> float:
    """Share of sampled chunks that a query with their own vector returns first."""
    ids = _manifest_ids(directory, manifest)
    sample = ids[:: max(1, len(ids) // _SELF_QUERIES)][:_SELF_QUERIES]
    with closing(open_dense(directory, manifest)) as dense:
        vectors = dense.vectors(sample)
        wrong_shape = [v for v in vectors.values() if v.shape != (manifest.dimension,)]
        if len(vectors) < len(sample) or wrong_shape:
            return 0.0
        hits = sum(_finds_itself(dense, chunk_id, vectors[chunk_id]) for chunk_id in sample)
    return hits / len(sample)


def _finds_itself(dense: DenseIndex | RemoteDense, chunk_id: str, vector: np.ndarray) -> bool:
    nearest = dense.query(vector, 1)
    if not nearest:
        return False
    found = nearest[0][0]
    return found == chunk_id or np.allclose(dense.vectors([found])[found], vector, atol=1e-3)


def _manifest_ids(directory: Path, manifest: Manifest) -> Sequence[str]:
    ids = pl.read_parquet(directory / MANIFEST_TABLE, columns=["chunk_id"])["chunk_id"].to_list()
    if ids_digest(ids) != manifest.chunk_ids_digest:
        raise StorageError(f"{directory / MANIFEST_TABLE}: does not match MANIFEST.json")
    return ids
