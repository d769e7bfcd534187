"""What people see of a judgement: rows and numbers for tables, plots and headlines."""

from collections.abc import Mapping, Sequence
from typing import Any

from rag_assets.evaluation.compare import slices
from rag_assets.evaluation.report import EvalReport

_WORST = 10


Table = tuple[list[str], list[tuple[object, ...]]]
"""Header and rows."""


def metric_rows(reports: Sequence[EvalReport], live: Mapping[str, Any]) -> Table:
    """Metrics with their interval and the live version's value; live: its stored summary."""
    rows: list[tuple[object, ...]] = [
        (
            report.name,
            name,
            value,
            _interval(report.ci95.get(name)),
            live.get(report.name, {}).get("metrics", {}).get(name),
        )
        for report in reports
        for name, value in report.metrics.items()
    ]
    return _narrow(["set", "metric", "value", "95 % interval", "live"], rows)


def _interval(bounds: tuple[float, float] | None) -> str:
    return f"{bounds[0]:.3f} to {bounds[1]:.3f}" if bounds else ""


def _narrow(header: list[str], rows: list[tuple[object, ...]]) -> Table:
    """Without the first column where it says the same in every row."""
    if len({row[0] for row in rows}) > 1:
        return header, rows
    return header[1:], [row[1:] for row in rows]


def slice_rows(reports: Sequence[EvalReport]) -> Table:
    """Header and rows of the metrics by tag and by source, the worst of each first."""
    rows: list[tuple[object, ...]] = [
        (report.name, kind[:-1], name, *figures.values())
        for report in reports
        for kind, found in slices(report).items()
        for name, figures in found.items()
    ]
    return _narrow(["set", "slice", "name", "queries", "recall@5", "mrr@10"], rows)


def moved_rows(comparison: Mapping[str, Any]) -> Table:
    """Header and rows of the queries that a comparison found moved most."""
    rows: list[tuple[object, ...]] = [
        (
            name,
            row["query"],
            row["difference"],
            ", ".join(row["expected"]),
            ", ".join(row["found"]),
            ", ".join(row["found_before"]),
        )
        for name, found in comparison["sets"].items()
        for row in found["queries"][:_WORST]
    ]
    return _narrow(["set", "query", "change of mrr@10", "expected", "came", "came before"], rows)


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
) -> Table:
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
    return _narrow(["set", "query", "expected", "came", "mrr@10"], rows)


def plotted(
    reports: Sequence[EvalReport],
) -> tuple[dict[str, float], dict[str, tuple[float, float]]]:
    """Values and intervals of the first judged set."""
    for report in reports:
        if report.judged:
            return report.metrics, report.ci95
    return {}, {}
