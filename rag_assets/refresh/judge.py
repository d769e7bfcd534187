"""Judging a version: evaluate it and the live one on the same queries, keep the evidence.

index/reports/000042.json    every query's ranking, under a key that names what was judged how
"""

import json
from collections.abc import Sequence
from contextlib import closing
from typing import Any

import polars as pl

from rag_assets.evaluation.eval_set import EvalSet, load_eval_set
from rag_assets.evaluation.evaluate import evaluate_version
from rag_assets.evaluation.gate import judge_quality, judge_regression
from rag_assets.evaluation.report import EvalReport, QueryResult
from rag_assets.evaluation.significance import paired_difference
from rag_assets.fingerprint import recipe
from rag_assets.index.base import CheckOutcome
from rag_assets.index.build import LAYOUT
from rag_assets.index.live import LiveIndex
from rag_assets.index.passages import PassageStore
from rag_assets.index.versions import write_atomically
from rag_assets.records import digest_of
from rag_assets.refresh.pipeline import Pipeline

_WORST = 10


def make_report(pipeline: Pipeline, version: int) -> list[EvalReport]:
    """One report an eval set; read from disk when this version was judged the same way before."""
    sets = _eval_sets(pipeline, version)
    key = _key(pipeline, version, sets)
    known = _stored(pipeline, version, key, sets)
    if known is not None:
        return known
    reports = _evaluated(pipeline, version, sets)
    _store(pipeline, version, key, reports)
    return reports


def quality(pipeline: Pipeline, version: int) -> CheckOutcome:
    """Do the gated metrics reach their floors?"""
    return judge_quality(make_report(pipeline, version), pipeline.config.evaluation.gate)


def regression(pipeline: Pipeline, version: int) -> CheckOutcome:
    """Is the version significantly worse than the live one on the same queries?"""
    pointer = pipeline.versions.pointer()
    candidate = make_report(pipeline, version)
    if not candidate:
        why = "cannot tell: no eval sets are configured (evaluation.sets)"
        return CheckOutcome("no_regression", True, why, decided=False)
    if pointer is None or pointer.version == version:
        why = "there is no live version" if pointer is None else "it is the live version itself"
        return CheckOutcome("no_regression", True, f"nothing to compare with: {why}")
    manifest = pipeline.versions.manifest(pointer.version)
    if (manifest.model, manifest.layout) != (pipeline.model, LAYOUT):
        # It cannot be asked with this model or by this software; what it answered when it was
        # judged still counts.
        live = _stored_any(pipeline, pointer.version, candidate)
        if live is None:
            return CheckOutcome(
                "no_regression",
                True,
                "cannot tell: the live version has another model or layout and was not judged on"
                " these queries; the floors decide alone",
                decided=False,
            )
    else:
        live = make_report(pipeline, pointer.version)
    return judge_regression(candidate, live, pipeline.config.evaluation.gate)


def quarantine(pipeline: Pipeline) -> list[dict[str, Any]]:
    """Documents that could not be processed: doc_id, uri, problem."""
    columns = ["doc_id", "uri", "problem"]
    documents = pipeline.lake.read("documents", pipeline.partitions, columns)
    return documents.filter(pl.col("problem").is_not_null()).to_dicts()


# -- what people see -----------------------------------------------------------------------------


def metric_rows(pipeline: Pipeline, reports: Sequence[EvalReport]) -> list[tuple[object, ...]]:
    """(set, metric, value, low, high, the live version's value) for a table."""
    pointer = pipeline.versions.pointer()
    live = summary(pipeline, pointer.version) if pointer else {}
    return [
        (
            report.name,
            name,
            value,
            *report.ci95.get(name, (None, None)),
            live.get(report.name, {}).get("metrics", {}).get(name),
        )
        for report in reports
        for name, value in report.metrics.items()
    ]


def headline(reports: Sequence[EvalReport]) -> dict[str, float | int]:
    """Numbers that Dagster plots over time; the first set's go by their bare names."""
    facts: dict[str, float | int] = {}
    for place, report in enumerate(reports):
        prefix = "" if place == 0 else f"{report.name} "
        if report.judged:
            facts |= {f"{prefix}{name}": value for name, value in report.metrics.items()}
            facts[f"{prefix}latency_ms_p95"] = report.latency(95)
        facts[f"{prefix}judged_queries"] = len(report.judged)
        facts[f"{prefix}stale_queries"] = len(report.stale)
        facts[f"{prefix}failed_queries"] = len(report.errors)
    return facts


def worst_queries(
    reports: Sequence[EvalReport],
) -> tuple[list[str], list[tuple[object, ...]]]:
    """Header and rows of the queries that did worst: what was expected, what came."""
    rows: list[tuple[object, ...]] = []
    for report in reports:
        for result in report.worst("mrr@10", _WORST):
            if result.error or result.value("mrr@10") < 1:
                rows.append(
                    (
                        report.name,
                        result.query.query,
                        ", ".join(result.relevant),
                        result.error or ", ".join(result.ranking[:3]),
                        result.value("mrr@10"),
                    )
                )
    return ["set", "query", "expected", "came", "mrr@10"], rows


def plotted(
    reports: Sequence[EvalReport],
) -> tuple[dict[str, float], dict[str, tuple[float, float]]]:
    """Values and intervals of the first judged set."""
    for report in reports:
        if report.judged:
            return report.metrics, report.ci95
    return {}, {}


# -- evidence on disk ------------------------------------------------------------------------------


def _eval_sets(pipeline: Pipeline, version: int) -> list[EvalSet]:
    pipeline.versions.manifest(version)  # says which versions there are when this one is not
    sources = [source.name for source in pipeline.config.sources]
    with closing(PassageStore.open(pipeline.versions.directory(version))) as passages:
        doc_ids = passages.document_ids()
    return [
        load_eval_set(entry.path, entry.format, sources, doc_ids)
        for entry in pipeline.config.evaluation.eval_sets
    ]


def _key(pipeline: Pipeline, version: int, sets: Sequence[EvalSet]) -> str:
    settings = pipeline.config.retrieval.model_dump_json()
    floors = sorted(pipeline.config.evaluation.gate.floors)
    how = recipe(evaluate_version, parameters=[settings, floors])
    manifest = pipeline.versions.manifest_digest(version)
    return digest_of(how, manifest, *(s.content_hash for s in sets))


def _path(pipeline: Pipeline, version: int) -> Any:
    return pipeline.versions.root / "reports" / f"{version:06d}.json"


def _store(pipeline: Pipeline, version: int, key: str, reports: Sequence[EvalReport]) -> None:
    kept = {
        "version": version,
        "key": key,
        "summary": {report.name: report.as_json() for report in reports},
        "sets": {report.name: _rows(report) for report in reports},
    }
    data = json.dumps(kept, ensure_ascii=False, indent=None).encode()
    write_atomically(_path(pipeline, version), data)


def _rows(report: EvalReport) -> dict[str, Any]:
    return {
        "content_hash": report.content_hash,
        "metric_names": list(report.metric_names),
        "results": [
            {
                "id": result.query.id,
                "relevant": dict(result.relevant),
                "ranking": list(result.ranking),
                "scores": [round(score, 6) for score in result.scores],
                "milliseconds": round(result.milliseconds, 3),
                "missing": list(result.missing),
                "error": result.error,
            }
            for result in report.results
        ],
    }


def _load(pipeline: Pipeline, version: int) -> dict[str, Any] | None:
    try:
        return dict(json.loads(_path(pipeline, version).read_bytes()))
    except FileNotFoundError:
        return None


def _stored(
    pipeline: Pipeline, version: int, key: str, sets: Sequence[EvalSet]
) -> list[EvalReport] | None:
    kept = _load(pipeline, version)
    if kept is None or kept["key"] != key:
        return None
    queries = {s.name: {q.id: q for q in s.queries} for s in sets}
    return [_report(version, s.name, kept["sets"][s.name], queries[s.name]) for s in sets]


def _stored_any(
    pipeline: Pipeline, version: int, like: Sequence[EvalReport]
) -> list[EvalReport] | None:
    """The stored reports of a version on the very queries of `like`, however they were made."""
    kept = _load(pipeline, version)
    if kept is None:
        return None
    found = []
    for report in like:
        rows = kept["sets"].get(report.name)
        if rows is None or rows["content_hash"] != report.content_hash:
            return None
        queries = {result.query.id: result.query for result in report.results}
        found.append(_report(version, report.name, rows, queries))
    return found


def _report(version: int, name: str, rows: dict[str, Any], queries: dict[str, Any]) -> EvalReport:
    results = tuple(
        QueryResult(
            query=queries[row["id"]],
            relevant=row["relevant"],
            ranking=tuple(row["ranking"]),
            scores=tuple(row["scores"]),
            milliseconds=row["milliseconds"],
            missing=tuple(row["missing"]),
            error=row["error"],
        )
        for row in rows["results"]
    )
    return EvalReport(version, name, rows["content_hash"], results, tuple(rows["metric_names"]))


def summary(pipeline: Pipeline, version: int) -> dict[str, Any]:
    """The stored figures of a version by set, or nothing when it was never judged."""
    kept = _load(pipeline, version)
    return {} if kept is None else dict(kept["summary"])


# -- for people who ask --------------------------------------------------------------------------


def evaluated(pipeline: Pipeline, version: int) -> list[EvalReport]:
    """Fresh reports of any kept version; nothing is stored."""
    return _evaluated(pipeline, version, _eval_sets(pipeline, version))


def _evaluated(pipeline: Pipeline, version: int, sets: Sequence[EvalSet]) -> list[EvalReport]:
    live = LiveIndex(pipeline.storage)
    try:
        with live.read(version) as opened:
            return [
                evaluate_version(
                    opened,
                    eval_set,
                    pipeline.encoder(),
                    pipeline.config.retrieval,
                    pipeline.config.evaluation.gate,
                )
                for eval_set in sets
            ]
    finally:
        live.close()


def comparison(
    version: int, reports: Sequence[EvalReport], others: Sequence[EvalReport]
) -> dict[str, Any]:
    """Differences to `others` over the queries that both judged; wins and losses by query."""
    sets = {}
    for report, other in zip(reports, others, strict=True):
        theirs = {result.query.id: result for result in other.judged}
        pairs = [(r, theirs[r.query.id]) for r in report.judged if r.query.id in theirs]
        sets[report.name] = {
            "queries_compared": len(pairs),
            "metrics": {name: _difference(name, pairs) for name in report.metric_names}
            if pairs
            else {},
            "queries": _moved(pairs),
        }
    return {"version": version, "sets": sets}


def _difference(name: str, pairs: Sequence[tuple[QueryResult, QueryResult]]) -> dict[str, Any]:
    found = paired_difference([a.value(name) for a, _ in pairs], [b.value(name) for _, b in pairs])
    return {
        "mean": found.mean,
        "ci95": [found.low, found.high],
        "p": found.p_different,
        "wins": found.wins,
        "losses": found.losses,
    }


def _moved(pairs: Sequence[tuple[QueryResult, QueryResult]]) -> list[dict[str, Any]]:
    """Queries whose reciprocal rank differs, the largest change first."""
    rows = [
        {
            "id": a.query.id,
            "query": a.query.query,
            "difference": a.value("mrr@10") - b.value("mrr@10"),
            "found": list(a.ranking[:3]),
            "found_before": list(b.ranking[:3]),
        }
        for a, b in pairs
    ]
    moved = [row for row in rows if row["difference"]]
    return sorted(moved, key=lambda row: -abs(row["difference"]))
