"""What an MLflow run says of a judged version: figures, words, a table of queries, plots."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from rag_assets.evaluation import plots
from rag_assets.evaluation.report import EvalReport
from rag_assets.refresh.pipeline import Pipeline

_NOT_ALLOWED = re.compile(r"[^\w./\- ]")  # in MLflow's names of metrics, parameters and tags


def metrics_of(reports: Sequence[EvalReport]) -> dict[str, float]:
    """Metrics by `set/metric`, so that MLflow shows one set at a time; intervals apart.

    MLflow allows no @ in names, so recall@5 is recall_at_5.
    """
    found: dict[str, float] = {}
    for report in reports:
        name = spelled(report.name)
        if report.judged:
            found |= {f"{name}/{spelled(metric)}": v for metric, v in report.metrics.items()}
            for metric, bounds in report.ci95.items():
                for end, bound in zip(("low", "high"), bounds, strict=True):
                    found[f"{name} intervals/{spelled(metric)}_{end}"] = bound
            for percentile in (50, 95, 99):
                found[f"{name}/latency_ms_p{percentile}"] = report.latency(percentile)
        for rate, outcomes in (("abstention", report.abstentions), ("answered", report.answers)):
            if outcomes:
                found[f"{name}/{rate}"] = sum(outcomes) / len(outcomes)
        for count in ("judged", "stale", "errors"):
            found[f"{name}/{count}"] = float(len(getattr(report, count)))
    return found


def in_words(
    pipeline: Pipeline,
    version: int,
    reports: Sequence[EvalReport],
    comparison: Mapping[str, Any] | None,
) -> str:
    """What a person reads first on the page of a run, in markdown."""
    manifest = pipeline.versions.manifest(version)
    lines = [
        f"Index version **{version}** of **{pipeline.config.name}**: {manifest.documents}"
        f" documents, {manifest.chunks} chunks, {manifest.embedding_model}.",
        "",
        "| eval set | judged | recall@5 | MRR@10 |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {r.name} | {len(r.judged)} | {r.metric('recall@5'):.3f} | {r.metric('mrr@10'):.3f} |"
        for r in reports
    ]
    for name, found in (comparison or {"sets": {}})["sets"].items():
        lines += [
            "",
            f"Against version {(comparison or {})['version']}, {name}: {found['wins']} queries won,"
            f" {found['losses']} lost, {found['overlap@10']:.0%} of the top ten are the same.",
        ]
    return "\n".join(lines)


def plots_of(
    pipeline: Pipeline, reports: Sequence[EvalReport], comparison: Mapping[str, Any] | None
) -> dict[str, bytes]:
    """The metrics of each set with their floors, and how they changed."""
    floors = pipeline.config.evaluation.gate.floors
    found = {
        f"{report.name}.metrics.png": plots.bars(report.metrics, floors, report.ci95)
        for report in reports
        if report.judged
    }
    for name, compared in (comparison or {"sets": {}})["sets"].items():
        changes = {
            metric: (row["mean"], *row["ci95"])
            for metric, row in compared["metrics"].items()
            if row["mean"] is not None
        }
        if changes:
            found[f"{name}.changes.png"] = plots.forest(changes)
    return found


def spelled(name: str) -> str:
    """A name in letters that MLflow allows."""
    return _NOT_ALLOWED.sub("_", name.replace("@", "_at_"))


def query_table(report: EvalReport) -> dict[str, list[Any]]:
    """Every judged query, the worst first, in the form that MLflow shows as a table."""
    columns = ["id", "query", "expected", "found", "mrr@10", "recall@5", "error"]
    rows = [
        [
            result.query.id,
            result.query.query,
            ", ".join(result.relevant),
            ", ".join(result.ranking),
            result.value("mrr@10"),
            result.value("recall@5"),
            result.error or "",
        ]
        for result in report.worst("mrr@10", len(report.judged))
    ]
    return {"columns": columns, "data": rows}
