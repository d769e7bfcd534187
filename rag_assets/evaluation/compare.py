"""Two versions on the same queries: what moved, where, and how much of the result is the same."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rag_assets.evaluation.pairing import Pair, change_of, paired
from rag_assets.evaluation.report import EvalReport, QueryResult

_OVERLAP_DEPTH = 10
_RANKED_BY = "mrr@10"  # what makes a query a win or a loss
_SLICED = ("recall@5", _RANKED_BY)


def compare_reports(
    version: int, reports: Sequence[EvalReport], others: Sequence[EvalReport]
) -> dict[str, Any]:
    """What `evaluate --compare` prints: `reports` against `others`, those of `version`.

    Only queries that both judge count; positive differences mean that `reports` are better. `tags`
    and `sources` hold the same differences over a part of the queries, a source's being those that
    expect one of its documents.
    """
    theirs = {report.name: report for report in others}
    sets = {r.name: _compare(r, theirs[r.name]) for r in reports if r.name in theirs}
    return {"version": version, "sets": sets}


def _compare(report: EvalReport, other: EvalReport) -> dict[str, Any]:
    pairs = paired([report], [other])
    moved = _moved(pairs, {r.query.id: r for r in report.judged})
    return {
        "queries_compared": len(pairs),
        "overlap@10": _mean([_overlap(pair) for pair in pairs]),
        "wins": sum(row["difference"] > 0 for row in moved),
        "losses": sum(row["difference"] < 0 for row in moved),
        "metrics": {name: _difference(name, pairs) for name in report.reported if pairs},
        "tags": _sliced(pairs, lambda result: result.query.tags),
        "sources": _sliced(pairs, lambda result: {d.partition("/")[0] for d in result.relevant}),
        "queries": moved,
    }


def _difference(name: str, pairs: Sequence[Pair]) -> dict[str, Any]:
    found = change_of(name, pairs)
    if found is None:
        return {"mean": None, "ci95": [None, None], "p": None, "wins": 0, "losses": 0}
    return {
        "mean": found.mean,
        "ci95": [found.low, found.high],
        "p": found.p_different,
        "wins": found.wins,
        "losses": found.losses,
    }


def _sliced(pairs: Sequence[Pair], slices_of: Any) -> dict[str, dict[str, float | int]]:
    """Queries and mean differences by slice, the slice that lost most first."""
    groups: dict[str, list[Pair]] = {}
    for pair in pairs:
        for name in slices_of(pair.new):
            groups.setdefault(name, []).append(pair)
    rows: dict[str, dict[str, float | int]] = {
        name: {"queries": len(group)}
        | {metric: _mean([pair.change(metric) for pair in group]) for metric in _SLICED}
        for name, group in groups.items()
    }
    return dict(sorted(rows.items(), key=lambda row: (row[1][_RANKED_BY], row[0])))


def _moved(pairs: Sequence[Pair], ours: Mapping[str, QueryResult]) -> list[dict[str, Any]]:
    """Queries whose reciprocal rank differs, the largest change first.

    ours: the results by query as they came, whatever the other version holds.
    """
    rows = [
        {
            "id": pair.new.query.id,
            "query": pair.new.query.query,
            "difference": pair.change(_RANKED_BY),
            "expected": list(pair.new.relevant),
            "found": list(ours[pair.new.query.id].ranking[:3]),
            "found_before": list(pair.old.ranking[:3]),
        }
        for pair in pairs
    ]
    moved = [row for row in rows if row["difference"]]
    return sorted(moved, key=lambda row: (-abs(row["difference"]), row["difference"] > 0))


def _overlap(pair: Pair) -> float:
    """Documents in both top tens, of the longer one."""
    ours, theirs = (set(r.ranking[:_OVERLAP_DEPTH]) for r in (pair.new, pair.old))
    return len(ours & theirs) / max(len(ours), len(theirs), 1)


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else 0.0


def slices(report: EvalReport) -> dict[str, Mapping[str, dict[str, float | int]]]:
    """Queries and metrics of one report by tag and by source, the worst slice first."""
    found: dict[str, Mapping[str, dict[str, float | int]]] = {}
    keys: dict[str, Any] = {
        "tags": lambda result: result.query.tags,
        "sources": lambda result: {d.partition("/")[0] for d in result.relevant},
    }
    for kind, slices_of in keys.items():
        groups: dict[str, list[QueryResult]] = {}
        for result in report.judged:
            for name in slices_of(result):
                groups.setdefault(name, []).append(result)
        rows: dict[str, dict[str, float | int]] = {
            name: {"queries": len(group)}
            | {metric: _mean([result.value(metric) for result in group]) for metric in _SLICED}
            for name, group in groups.items()
        }
        found[kind] = dict(sorted(rows.items(), key=lambda row: (row[1][_RANKED_BY], row[0])))
    return found
