"""The upkeep job: what `rag-assets upkeep` does, and old runs in Dagster's own storage."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg

from rag_assets.config import KnowledgeBaseConfig
from rag_assets.defs.automation import KNOWLEDGE_BASE_TAG
from rag_assets.defs.names import Names
from rag_assets.errors import Busy
from rag_assets.notify.upkeep import keep_up
from rag_assets.refresh.pipeline import Pipeline

_ENDED = [
    dg.DagsterRunStatus.SUCCESS,
    dg.DagsterRunStatus.FAILURE,
    dg.DagsterRunStatus.CANCELED,
]
_AT_ONCE = 200  # runs removed by one upkeep; each costs a few milliseconds of the storage


def build_upkeep(
    settings: Callable[[], KnowledgeBaseConfig], names: Names
) -> tuple[Any, dg.ScheduleDefinition]:
    """The job, and the schedule that runs it every six hours. settings: reads the configuration."""

    @dg.op(
        name=f"{names.identifier}_keep_up",
        description="Removes what nothing needs any more, compares the live index with its"
        " manifest, sends the alerts that stand.",
    )
    def upkeep(context: dg.OpExecutionContext) -> None:
        config = settings()
        try:
            found = keep_up(Pipeline(config))
        except Busy as error:  # a long refresh; nothing else is worth a second try
            raise dg.RetryRequested(max_retries=3, seconds_to_wait=300) from error
        runs = forget_runs(context.instance, config)
        context.add_output_metadata({**found["removed"], "runs": runs})
        for problem in found["problems"]:
            context.log.error(problem)

    @dg.job(
        name=f"{names.identifier}_upkeep",
        executor_def=dg.in_process_executor,
        tags={"rag/upkeep": names.knowledge_base},
    )
    def job() -> None:
        upkeep()

    schedule = dg.ScheduleDefinition(
        name=f"{names.identifier}_upkeep_schedule",
        job=job,
        cron_schedule="30 */6 * * *",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Garbage collection by the policy of `upkeep`, reconciliation, alerts.",
    )
    return job, schedule


def forget_runs(instance: dg.DagsterInstance, config: KnowledgeBaseConfig) -> int:
    """Delete old ended runs of a knowledge base, with their events; returns how many."""
    before = datetime.now(UTC) - timedelta(days=config.upkeep.runs)
    tags = {KNOWLEDGE_BASE_TAG: config.name}
    old = instance.get_run_records(
        dg.RunsFilter(tags=tags, statuses=_ENDED, created_before=before),
        limit=_AT_ONCE,
        ascending=True,
    )
    for record in old:
        instance.delete_run(record.dagster_run.run_id)
    return len(old)
