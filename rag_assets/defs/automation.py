"""The refresh job, the sensor that asks for it, and the safety sweep."""

from collections.abc import Callable, Sequence
from typing import Any

import dagster as dg

from rag_assets.config import KnowledgeBaseConfig
from rag_assets.defs.names import Names
from rag_assets.refresh.pipeline import Options, Pipeline
from rag_assets.refresh.plan import RefreshPlan, plan_refresh

_ACTIVE = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
KNOWLEDGE_BASE_TAG = "rag/knowledge_base"


def build_job(names: Names) -> Any:
    """One refresh: all assets of the knowledge base with their checks, in one process."""
    return dg.define_asset_job(
        names.job,
        selection=dg.AssetSelection.groups(names.group)
        - dg.AssetSelection.assets(
            [names.prefix, "answer_evaluation"], [names.prefix, "instruct_dataset"]
        ),
        executor_def=dg.in_process_executor,
        description="Materialize what changed, judge the candidate, promote it if it passes.",
        tags={KNOWLEDGE_BASE_TAG: names.knowledge_base},
    )


def range_tags(partitions: Sequence[str], every: Sequence[str]) -> dict[str, str]:
    """The tags by which one run covers consecutive partitions."""
    ordered = sorted(partitions, key=list(every).index)
    return {
        "dagster/asset_partition_range_start": ordered[0],
        "dagster/asset_partition_range_end": ordered[-1],
    }


def run_config(names: Names, options: Options) -> dict[str, object]:
    """The run configuration that carries the options of a refresh to raw_documents."""
    config = {
        "confirm_deletes": options.confirm_deletes,
        "audit": options.audit,
        "sources": list(options.sources),
        "insist": options.insist,
        "accept_quarantine": options.accept_quarantine,
    }
    return {"ops": {f"{names.identifier}__raw_documents": {"config": config}}}


def build_sensor(
    settings: Callable[[], KnowledgeBaseConfig], names: Names, job: Any
) -> dg.SensorDefinition:
    """Watch the sources and ask for one run that covers everything that is due.

    settings: reads the configuration.
    """
    pipelines: list[Pipeline] = []

    @dg.sensor(
        name=names.sensor,
        job=job,
        minimum_interval_seconds=1,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Compares the sources with the last snapshot and every stage with the one"
        " before it; asks for one run over the partitions that are due.",
    )
    def source_changes(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        active = context.instance.get_run_records(
            dg.RunsFilter(tags={KNOWLEDGE_BASE_TAG: names.knowledge_base}, statuses=_ACTIVE),
            limit=1,
        )
        if active:
            # The cursor stays: what changed meanwhile is found by the next tick, as one burst.
            return dg.SkipReason("a refresh is running")
        if not pipelines:
            pipelines.append(Pipeline(settings()))
        pipeline = pipelines[0]
        pipeline.pull()
        plan = plan_refresh(pipeline, Options(patient=True))
        reason = _why_not(pipeline, plan)
        if reason:
            return dg.SkipReason(reason)
        if plan.key == context.cursor:
            return dg.SkipReason("this state was tried already; it waits for the next change")
        every = pipeline.partitions
        request = dg.RunRequest(
            run_key=plan.key,
            tags={**range_tags(plan.partitions, every), "rag/due": str(len(plan.partitions))},
        )
        return dg.SensorResult(run_requests=[request], cursor=plan.key)

    return source_changes


def _why_not(pipeline: Pipeline, plan: RefreshPlan) -> str | None:
    """Why there is nothing to ask for, or None."""
    alerts = "; ".join((*plan.held.values(), *plan.errors.values()))
    if plan.empty:
        return alerts or f"nothing changed among {plan.listed} documents"
    promotions = pipeline.versions.promotions()
    rolled_back = bool(promotions) and promotions[-1]["event"] == "rolled back"
    if rolled_back and set(_due(plan)) == {"to index"}:
        return "rolled back, and nothing changed since; refresh by hand to go forward again"
    return None


def _due(plan: RefreshPlan) -> list[str]:
    return [reason for reason, count in plan.reasons.items() if count]


def build_schedule(config: KnowledgeBaseConfig, names: Names, job: Any) -> dg.ScheduleDefinition:
    """Every six hours: read every document again, whatever its change token says."""
    every = [p for source in config.sources for p in source.partitions]

    @dg.schedule(
        name=names.schedule,
        job=job,
        cron_schedule="0 */6 * * *",
        default_status=dg.DefaultScheduleStatus.STOPPED,
        description="A full audit: every document is read and hashed again.",
    )
    def safety_sweep(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
        return dg.RunRequest(
            tags=range_tags([every[0], every[-1]], every),
            run_config=run_config(names, Options(audit=True)),
        )

    return safety_sweep
