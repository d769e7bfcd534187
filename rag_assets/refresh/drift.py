"""The drift of a version, from its evidence, the query log and the embedding store."""

import logging
from collections.abc import Callable
from contextlib import closing

import numpy as np
import polars as pl

from rag_assets.evaluation import drift, poisoning
from rag_assets.evaluation.evaluate import PreparedEncoder
from rag_assets.evaluation.query_log import logged_questions
from rag_assets.index.base import CheckOutcome
from rag_assets.index.build import MANIFEST_TABLE
from rag_assets.index.live import LiveIndex
from rag_assets.index.passages import PassageStore
from rag_assets.records import digest_of
from rag_assets.refresh.eval_sets import eval_sets
from rag_assets.refresh.judge import changed_since, make_report
from rag_assets.refresh.pipeline import Pipeline
from rag_assets.retrieval.base import SearchRequest
from rag_assets.retrieval.search import search

_QUESTIONS = 300  # logged questions compared with the eval set
_ASKED = 100  # eval queries asked again with repeats shown
_SAMPLE = 1000  # chunks of each side

log = logging.getLogger(__name__)

Finding = Callable[[Pipeline, int], CheckOutcome]


def stale_expectations(pipeline: Pipeline, version: int) -> CheckOutcome:
    """Eval queries whose documents or passages are gone."""
    return drift.stale_expectations(make_report(pipeline, version))


def eval_coverage(pipeline: Pipeline, version: int) -> CheckOutcome:
    """Sources that no eval query asks about."""
    with closing(PassageStore.open(pipeline.versions.directory(version))) as passages:
        return drift.eval_coverage(eval_sets(pipeline, version), passages.document_ids())


def query_mix(pipeline: Pipeline, version: int) -> CheckOutcome:
    """Logged questions that resemble no eval query."""
    log = logged_questions(pipeline.storage, pipeline.config.name, _QUESTIONS)
    questions = [question.text for question in log]
    queries = sorted({q.query for one in eval_sets(pipeline, version) for q in one.queries})
    if not questions:
        return CheckOutcome("query_mix", True, "nothing to compare: no questions are logged")
    if not queries:
        return CheckOutcome("query_mix", True, "nothing to compare: there are no eval queries")
    vectors = pipeline.encoder().encode([*questions, *queries])
    return drift.query_mix(questions, vectors[: len(questions)], vectors[len(questions) :])


def embedding_shift(pipeline: Pipeline, version: int) -> CheckOutcome:
    """New chunks that resemble nothing in the version's parent."""
    name = "embedding_shift"
    manifest = pipeline.versions.manifest(version)
    if manifest.parent is None or manifest.parent not in pipeline.versions.sealed():
        return CheckOutcome(name, True, "nothing to compare: the version has no kept parent")
    if pipeline.versions.manifest(manifest.parent).model != manifest.model:
        return CheckOutcome(name, True, "nothing to compare: the parent has another model")
    if manifest.model != pipeline.model:
        return CheckOutcome(name, True, "nothing to compare: another model is configured now")
    now, before = (_manifest_rows(pipeline, number) for number in (version, manifest.parent))
    added = _sampled(now.join(before, on="text_key", how="anti"))
    there = _sampled(before)
    vectors = [pipeline.store.get(rows["text_key"].to_list()) for rows in (added, there)]
    rows = added.select("doc_id", "chunk_id").to_dicts()
    return drift.embedding_shift(_normalised(vectors[0]), _normalised(vectors[1]), rows)


def top_takeover(pipeline: Pipeline, version: int) -> CheckOutcome:
    """Documents that just came in and hold the top places of many eval queries."""
    manifest = pipeline.versions.manifest(version)
    if manifest.parent is None or manifest.parent not in pipeline.versions.sealed():
        return drift.top_takeover([], [], manifest.documents)
    changed = changed_since(pipeline, version, manifest.parent)
    return drift.top_takeover(make_report(pipeline, version), changed, manifest.documents)


def index_poisoning(pipeline: Pipeline, version: int) -> CheckOutcome:
    """Near-identical passages that fill the top of many eval queries."""
    every = sorted({q.query for one in eval_sets(pipeline, version) for q in one.queries})
    queries = sorted(every, key=digest_of)[:_ASKED]
    shown_alone = {"duplicates": 1.0, "section": 0, "per_document": poisoning.DEPTH}
    settings = pipeline.config.retrieval.model_copy(update=shown_alone)
    live = LiveIndex(pipeline.storage)
    try:
        with live.read(version) as opened:
            prepared = PreparedEncoder(pipeline.encoder(), queries)
            rankings = {
                query: search(
                    opened, prepared, SearchRequest(query, poisoning.DEPTH, settings=settings)
                )
                for query in queries
            }
            chunks = list(dict.fromkeys(h.chunk_id for hits in rankings.values() for h in hits))
            vectors = _normalised(opened.vectors(chunks)) if chunks else np.empty((0, 1))
    finally:
        live.close()
    found = poisoning.find_takeovers(rankings, dict(zip(chunks, vectors, strict=True)))
    return poisoning.judge_poisoning(found, len(queries))


FINDINGS: dict[str, tuple[Finding, str]] = {
    "stale_expectations": (
        stale_expectations,
        "Eval queries whose expected documents or passages are gone; at most 5 %.",
    ),
    "eval_coverage": (eval_coverage, "Every source with 20 documents or more has eval queries."),
    "query_mix": (query_mix, "What people ask, from the query log, resembles the eval set."),
    "embedding_shift": (embedding_shift, "New chunks resemble those that were there."),
    "top_takeover": (
        top_takeover,
        "Documents that just came in do not hold the top places of many eval queries.",
    ),
    poisoning.NAME: (
        index_poisoning,
        "No near-identical passages of several documents fill the top of many eval queries.",
    ),
}
"""Every finding by name, with what it says when all is well."""


_CHEAP = {"stale_expectations", "eval_coverage"}  # asked also when nothing changed


def find_drift(
    pipeline: Pipeline, version: int, name: str, *, changed: bool = True
) -> CheckOutcome:
    """One finding. It never raises: what cannot be found out is a warning, not a failed refresh.

    changed: whether the version is new; what would need the model is left for then.
    """
    if not changed and name not in _CHEAP:
        return CheckOutcome(name, True, "not asked: nothing changed; see `rag-assets drift`")
    try:
        return FINDINGS[name][0](pipeline, version)
    except Exception as error:
        log.warning("%s: %s", name, error, exc_info=True)
        return CheckOutcome(name, False, f"could not be found out: {error}")


def _manifest_rows(pipeline: Pipeline, version: int) -> pl.DataFrame:
    columns = ["text_key", "doc_id", "chunk_id"]
    path = pipeline.versions.directory(version) / MANIFEST_TABLE
    return pl.read_parquet(path, columns=columns).unique("text_key", maintain_order=True)


def _sampled(rows: pl.DataFrame) -> pl.DataFrame:
    """At most so many rows, the same ones for the same content."""
    if rows.height <= _SAMPLE:
        return rows
    order = rows["text_key"].map_elements(digest_of, return_dtype=pl.String)
    return rows.with_columns(_order=order).sort("_order").head(_SAMPLE).drop("_order")


def _normalised(vectors: np.ndarray) -> np.ndarray:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(norms, 1e-12))
