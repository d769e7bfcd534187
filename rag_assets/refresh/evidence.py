"""What was found when a version was judged, on disk for as long as the knowledge base exists.

index/reports/000042.json             every query's ranking, under a key naming what was judged how
index/reports/000042-vs-000041.json   the shadow comparison with the version that was live then
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rag_assets.evaluation.eval_set import EvalQuery, EvalSet
from rag_assets.evaluation.report import EvalReport, QueryResult
from rag_assets.evaluation.spans import Span
from rag_assets.index.versions import Versions, write_atomically
from rag_assets.records import digest_of


def store_reports(
    versions: Versions, version: int, key: str, reports: Sequence[EvalReport]
) -> None:
    """Keep the reports of a version; `key` names what was judged, and how."""
    kept = {
        "version": version,
        "key": key,
        "summary": {report.name: report.as_json() for report in reports},
        "sets": {report.name: _rows(report) for report in reports},
    }
    write_atomically(_path(versions, version), json.dumps(kept, ensure_ascii=False).encode())


def is_stored(versions: Versions, version: int, key: str) -> bool:
    """Whether there are reports of a version under this very key."""
    kept = _load(_path(versions, version))
    return kept is not None and kept["key"] == key


def stored_reports(
    versions: Versions, version: int, key: str, sets: Sequence[EvalSet]
) -> list[EvalReport] | None:
    """The reports kept under this very key, or None."""
    kept = _load(_path(versions, version))
    if kept is None or kept["key"] != key:
        return None
    queries = {s.name: {q.id: q for q in s.queries} for s in sets}
    return [_report(version, s.name, kept["sets"][s.name], queries[s.name]) for s in sets]


def reports_like(
    versions: Versions, version: int, like: Sequence[EvalReport]
) -> list[EvalReport] | None:
    """The stored reports of a version on those queries of `like` that it was asked, however.

    A query that asks or expects something else now does not count as asked. None when nothing is
    left.
    """
    kept = _load(_path(versions, version))
    if kept is None:
        return None
    found = []
    for report in like:
        rows = kept["sets"].get(report.name, {})
        queries = {result.query.id: result.query for result in report.results}
        if rows.get("content_hash") != report.content_hash:
            asked = [row for row in rows.get("results", ()) if _is_about(row, queries)]
            rows = {**rows, "results": asked, "content_hash": report.content_hash}
        if rows["results"]:
            found.append(_report(version, report.name, rows, queries))
    return found or None


def _is_about(row: Mapping[str, Any], queries: Mapping[str, EvalQuery]) -> bool:
    """Whether a stored result answers the query that has its id now."""
    query = queries.get(row["id"])
    return query is not None and row.get("asked") == _digest(query)


def _digest(query: EvalQuery) -> str:
    """Of what is asked, by whom, and what is expected; the words themselves are not kept."""
    expected = [sorted(query.relevant.items()), query.passages, query.groups]
    return digest_of(query.query, json.dumps(expected))


def summary(versions: Versions, version: int) -> dict[str, Any]:
    """The stored figures of a version by set, or nothing when it was never judged."""
    kept = _load(_path(versions, version))
    return {} if kept is None else dict(kept["summary"])


def store_comparison(versions: Versions, version: int, comparison: Mapping[str, Any]) -> None:
    """Keep how a version compared with the one that was live when it was judged."""
    path = _comparison_path(versions, version, comparison["version"])
    write_atomically(path, json.dumps(comparison, ensure_ascii=False).encode())


def stored_comparison(versions: Versions, version: int, other: int) -> dict[str, Any] | None:
    """The comparison kept when `version` was judged against `other`, or None."""
    return _load(_comparison_path(versions, version, other))


def _path(versions: Versions, version: int) -> Path:
    return versions.root / "reports" / f"{version:06d}.json"


def _comparison_path(versions: Versions, version: int, other: int) -> Path:
    return versions.root / "reports" / f"{version:06d}-vs-{other:06d}.json"


def _load(path: Path) -> dict[str, Any] | None:
    try:
        return dict(json.loads(path.read_bytes()))
    except FileNotFoundError:
        return None


def _rows(report: EvalReport) -> dict[str, Any]:
    return {
        "content_hash": report.content_hash,
        "metric_names": list(report.metric_names),
        "results": [
            {
                "id": result.query.id,
                "asked": _digest(result.query),
                "relevant": dict(result.relevant),
                "ranking": list(result.ranking),
                "scores": [round(score, 6) for score in result.scores],
                "milliseconds": result.milliseconds and round(result.milliseconds, 3),
                "missing": list(result.missing),
                "error": result.error,
                "retrieved": [list(span) for span in result.retrieved],
                "expected": [list(span) for span in result.expected],
                "lost": list(result.lost),
                "abstained": result.abstained,
            }
            for result in report.results
        ],
    }


def _report(
    version: int, name: str, rows: Mapping[str, Any], queries: Mapping[str, EvalQuery]
) -> EvalReport:
    results = tuple(_result(row, queries[row["id"]]) for row in rows["results"])
    return EvalReport(version, name, rows["content_hash"], results, tuple(rows["metric_names"]))


def _result(row: Mapping[str, Any], query: EvalQuery) -> QueryResult:
    return QueryResult(
        query=query,
        relevant=row["relevant"],
        ranking=tuple(row["ranking"]),
        scores=tuple(row["scores"]),
        milliseconds=row["milliseconds"],
        missing=tuple(row["missing"]),
        error=row["error"],
        retrieved=tuple(Span(*span) for span in row.get("retrieved", ())),
        expected=tuple(Span(*span) for span in row.get("expected", ())),
        lost=tuple(row.get("lost", ())),
        abstained=row.get("abstained"),
    )
