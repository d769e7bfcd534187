"""A refresh in this process, recorded in the Dagster instance like any other run."""

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg

from rag_assets.config import KnowledgeBaseConfig
from rag_assets.defs.automation import KNOWLEDGE_BASE_TAG, range_tags, run_config
from rag_assets.defs.build import build_definitions
from rag_assets.defs.names import Names
from rag_assets.defs.resources import LakeIOManager, OpenPipeline
from rag_assets.defs.run_errors import first_error
from rag_assets.errors import GateRefused, Held, RagError, SourceError, StorageError
from rag_assets.notify import refresh_ended
from rag_assets.refresh.pipeline import Options, Pipeline, Progress
from rag_assets.refresh.plan import RefreshPlan, plan_refresh
from rag_assets.refresh.quarantine import CHECK as QUARANTINE_CHECK
from rag_assets.refresh.receipt import Receipts, compose


@contextmanager
def dagster_instance(config: KnowledgeBaseConfig) -> Iterator[dg.DagsterInstance]:
    """The instance of $DAGSTER_HOME; without one, of STORAGE/dagster, made when missing."""
    os.environ.setdefault("DAGSTER_DISABLE_TELEMETRY", "1")
    if not os.environ.get("DAGSTER_HOME"):
        home = Path(config.storage).resolve() / "dagster"
        try:
            home.mkdir(parents=True, exist_ok=True)
            if not (home / "dagster.yaml").exists():
                shutil.copyfile(Path(__file__).with_name("dagster.yaml"), home / "dagster.yaml")
        except OSError as error:
            raise StorageError(
                f"{home}: cannot be written ({error.strerror}); let this user write there, or name"
                " another `storage`"
            ) from error
        os.environ["DAGSTER_HOME"] = str(home)
    with dg.DagsterInstance.get() as instance:
        yield instance


class Refresher:
    """Runs refreshes of one knowledge base in this process; warm between them."""

    def __init__(
        self,
        config: KnowledgeBaseConfig,
        instance: dg.DagsterInstance,
        progress: Progress | None = None,
    ) -> None:
        self.pipeline = Pipeline(config, progress) if progress else Pipeline(config)
        self._names = Names(config.name)
        self._instance = instance
        self._job = build_definitions(config.path).resolve_job_def(self._names.job)

    def refresh(self, options: Options, *, full: bool = False) -> dict[str, Any]:
        """Materialize what is due; returns the receipt.

        With nothing due one partition is run all the same, so that the instance records that
        somebody looked.

        Raises: RagError when a step failed; a refusing gate and a holding guard are no failures of
        a step but told by the receipt (see `failure`).
        """
        result = None
        try:
            result = self._refreshed(options, full=full)
            receipt = self._receipt(result.run_id)
            if not result.success and failure(receipt) is None:
                raise first_error(result.all_node_events, result.run_id)
        except Exception as error:
            why = str(error) if isinstance(error, RagError) else f"{type(error).__name__}: {error}"
            refresh_ended(self.pipeline.config, result and result.run_id, why)
            raise
        refresh_ended(self.pipeline.config, result.run_id)
        return receipt

    def _refreshed(self, options: Options, *, full: bool) -> dg.ExecuteInProcessResult:
        with self.pipeline.refreshing():
            started = time.perf_counter()
            plan = plan_refresh(self.pipeline, options)
            self.pipeline.expect(plan.listings)
            result = self._execute(plan, options, full=full)
            receipts = Receipts(self.pipeline.storage)
            for part in ("held", "errors", "reasons"):
                receipts.record(result.run_id, part, getattr(plan, part))
            receipts.record(result.run_id, "seconds", round(time.perf_counter() - started, 3))
        return result

    def _execute(
        self, plan: RefreshPlan, options: Options, *, full: bool
    ) -> dg.ExecuteInProcessResult:
        every = self.pipeline.partitions
        due = every if full else plan.partitions or every[:1]
        tags = {KNOWLEDGE_BASE_TAG: self._names.knowledge_base, **range_tags(due, every)}
        quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
        return self._job.execute_in_process(
            instance=self._instance,
            tags=tags,
            run_config={**run_config(self._names, options), **quiet},
            resources={
                self._names.pipeline: OpenPipeline(self.pipeline),
                self._names.lake: LakeIOManager(storage=self.pipeline.storage),
            },
            raise_on_error=False,
        )

    def _receipt(self, run_id: str) -> dict[str, Any]:
        pointer = self.pipeline.versions.pointer()
        parts = Receipts(self.pipeline.storage).parts(run_id)
        return compose(run_id, parts, pointer.version if pointer else None)


def failure(receipt: dict[str, Any]) -> RagError | None:
    """What a receipt says went wrong, as the error with its exit status; None when all is well."""
    refused = [check for check in receipt["gate"]["checks"] if not check["passed"]]
    if refused and all(check["name"] == QUARANTINE_CHECK for check in refused):
        return Held("; ".join(check["summary"] for check in refused))
    if refused:
        why = "; ".join(f"{check['name']}: {check['summary']}" for check in refused)
        live = receipt["live_version"]
        stays = "no version is live" if live is None else f"version {live} stays live"
        return GateRefused(f"version {receipt['version']} was refused, {stays}: {why}")
    if receipt["held"]:
        return Held("; ".join(receipt["held"].values()))
    if receipt["errors"]:
        return SourceError("; ".join(receipt["errors"].values()))
    return None
