"""Telling people how runs of the Dagster daemon ended, also of a run whose process was killed."""

import dagster as dg

from rag_assets.config import KnowledgeBaseConfig, load_config
from rag_assets.defs.automation import KNOWLEDGE_BASE_TAG
from rag_assets.defs.names import Names
from rag_assets.defs.run_errors import first_error
from rag_assets.notify import deliver_waiting, refresh_ended
from rag_assets.operations.outcomes import Outcome, outcome
from rag_assets.refresh.receipt import Receipts


class NotifyResource(dg.ConfigurableResource):
    """Says how a run of a knowledge base ended, through the channels of its `notify` section."""

    config_path: str

    def run_ended(self, run: dg.DagsterRun, failure: str | None = None) -> bool:
        """Tell it, once however often this is called; whether the run was a refresh of this base.

        failure: why it failed; where the receipt says that the gate refused, that is told instead.
        """
        config = load_config(self.config_path)
        parts = Receipts(config.storage).parts(run.run_id)
        tagged = run.tags.get(KNOWLEDGE_BASE_TAG) == config.name
        if not parts and not tagged and run.job_name != Names(config.name).job:
            return False
        if "failure" not in parts:  # else whoever ran it has told it
            refused = bool(parts) and outcome(parts) is Outcome.REFUSED
            refresh_ended(config, run.run_id, None if refused else failure)
        return True

    def send_waiting(self) -> int:
        """Send the messages that are due; how many still wait."""
        return deliver_waiting(load_config(self.config_path))


def build_alerts(config: KnowledgeBaseConfig, names: Names) -> list[dg.SensorDefinition]:
    """One sensor on failed runs; with a `notify` section also one on runs that succeeded, and one
    that sends what a receiver did not take at once."""
    notify = NotifyResource(config_path=str(config.path))

    @dg.run_failure_sensor(
        name=f"{names.identifier}_run_failed",
        default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=15,
        description="Records why a run failed in its receipt, and tells the channels of `notify`.",
    )
    def run_failed(context: dg.RunFailureSensorContext) -> dg.SkipReason | None:
        reason = str(first_error(context.get_step_failure_events(), context.dagster_run.run_id))
        told = notify.run_ended(context.dagster_run, reason)
        return None if told else dg.SkipReason(f"no refresh of {config.name}")

    @dg.run_status_sensor(
        name=f"{names.identifier}_run_succeeded",
        run_status=dg.DagsterRunStatus.SUCCESS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=15,
        description="Tells the channels of `notify` what a run promoted or held.",
    )
    def run_succeeded(context: dg.RunStatusSensorContext) -> dg.SkipReason | None:
        told = notify.run_ended(context.dagster_run)
        return None if told else dg.SkipReason(f"no refresh of {config.name}")

    @dg.sensor(
        name=f"{names.identifier}_messages",
        default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=30,
        description="Sends messages that a receiver did not take at once, or that waited for the"
        " quiet time to end.",
    )
    def messages(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        return dg.SkipReason(f"{notify.send_waiting()} messages wait")

    return [run_failed, run_succeeded, messages] if config.notify.active else [run_failed]
