"""The asset that asks the live version its eval queries and measures the answers."""

from typing import Any

import dagster as dg

from rag_assets.defs.beside import asset_beside, job_beside
from rag_assets.defs.metadata import bars, table
from rag_assets.defs.names import Names
from rag_assets.defs.resources import PipelineResource
from rag_assets.evaluation.answer_metrics import AnswerReport


def build_answer_evaluation(names: Names) -> tuple[dg.AssetsDefinition, Any]:
    """The asset and the job that materializes it.

    It is not part of a refresh: answers may cost money and never decide what is served.
    """

    @asset_beside(
        names,
        "litellm",
        "How good the live version's answers to the eval queries are: what they cite,"
        " whether it stands there, likeness to the reference answers, silence where nothing is"
        " known; with a judge configured also faithfulness and relevance.",
    )
    def answer_evaluation(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        from rag_assets.refresh.answer_quality import evaluate_answers

        rag: PipelineResource = getattr(context.resources, names.pipeline)
        version = rag.pipeline.versions.live().version
        report = evaluate_answers(rag.pipeline, version)
        if rag.pipeline.config.evaluation.mlflow:
            from rag_assets.refresh.tracking import log_answers

            log_answers(rag.pipeline, report)
        return dg.MaterializeResult(metadata=_metadata(report))

    job = job_beside(
        answer_evaluation,
        names.answers_job,
        "Ask the live version its eval queries and measure the answers.",
    )
    return answer_evaluation, job


def _metadata(report: AnswerReport) -> dict[str, object]:
    found = report.as_json()
    header = ["metric", "mean", "95 % low", "95 % high", "answers", "failed"]
    rows = [
        [name, *(row.get(key) for key in ("mean", "low", "high", "of", "failed"))]
        for name, row in report.metrics.items()
    ]
    worst = [
        [answer.query.query, answer.error or answer.text, answer.query.answer]
        for answer in report.worst()
    ]
    means = {name: float(row["mean"]) for name, row in report.metrics.items() if "mean" in row}
    bounds = {
        name: (float(row["low"]), float(row["high"]))
        for name, row in report.metrics.items()
        if "mean" in row
    }
    facts: dict[str, object] = {
        "version": report.index_version,
        "model": report.model,
        "queries": len(report.answers),
        "errors": found["errors"],
        "cost_usd": found["cost_usd"],
        "metrics": table(header, rows),
        "worst_answers": table(["query", "answer", "reference"], worst),
        **means,
    }
    return facts | ({"plot": bars(means, {}, bounds)} if means else {})
