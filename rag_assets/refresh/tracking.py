"""Every judged version as an MLflow run: settings, figures, the eval sets' hashes, every query.

Runs go to $MLFLOW_TRACKING_URI, else to STORAGE/mlflow (SQLite and files). MLflow is imported only
here, and only when it is asked for; a run that cannot be logged is a warning, never a failure.
"""

import json
import logging
import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

from rag_assets.evaluation.answer_metrics import AnswerReport
from rag_assets.evaluation.report import EvalReport
from rag_assets.refresh.pipeline import Pipeline
from rag_assets.refresh.run_content import in_words, metrics_of, plots_of, query_table, spelled
from rag_assets.refresh.sweep import Trial

log = logging.getLogger(__name__)

_KIND = "rag.kind"
_BATCH = 100  # parameters in one request, MLflow's own limit
_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # which is for one JSON object
    # MLflow's own 7 retries, each twice as late, hold a refresh for more than ten minutes where
    # its server is away.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}


def log_version(
    pipeline: Pipeline,
    version: int,
    reports: Sequence[EvalReport],
    comparison: Mapping[str, Any] | None = None,
) -> str | None:
    """Log a judged version; returns the run's id, None when logging is off or failed.

    A version that was logged with the same eval sets before is not logged again.
    """
    if not pipeline.config.evaluation.mlflow:
        return None
    try:
        return _logged_version(pipeline, version, reports, comparison)
    except Exception as error:  # noqa: BLE001 - what cannot be logged must not stop a refresh
        log.warning("version %s was not logged to MLflow: %s", version, error)
        return None


def log_answers(pipeline: Pipeline, report: AnswerReport) -> str | None:
    """Log how good a version's answers are; the same promises."""
    if not pipeline.config.evaluation.mlflow:
        return None
    metrics = {
        f"answers/{name}": float(row["mean"])
        for name, row in report.metrics.items()
        if "mean" in row
    }
    tags = _tags(pipeline, report.index_version, "answers") | {"rag.llm": report.model}
    try:
        return _Tracker(pipeline).run(
            f"{pipeline.config.name} v{report.index_version} answers",
            tags,
            _parameters(pipeline),
            metrics,
            {"answers.json": report.as_json()},
        )
    except Exception as error:  # noqa: BLE001
        log.warning("answers of version %s were not logged: %s", report.index_version, error)
        return None


def log_sweep(pipeline: Pipeline, trials: Sequence[Trial], found: Mapping[str, Any]) -> list[str]:
    """Log every trial of a sweep, by its tuning half; returns the runs' ids."""
    if not pipeline.config.evaluation.mlflow:
        return []
    ids = []
    try:
        tracker = _Tracker(pipeline)
        for trial, row in zip(trials, found["trials"], strict=True):
            shown = ", ".join(f"{name}={value}" for name, value in trial.settings.items())
            metrics = {
                f"tuning/{spelled(found['metric'])}": float(row["tuning"]),
                "latency_ms_p50": float(row["latency_ms_p50"]),
                "chunks": float(row["chunks"]),
            }
            parameters = _parameters(pipeline) | {
                spelled(k): str(v) for k, v in trial.settings.items()
            }
            tags = {_KIND: "sweep", "rag.knowledge_base": pipeline.config.name}
            name = f"{pipeline.config.name} {shown or 'as configured'}"
            ids.append(tracker.run(name, tags, parameters, metrics, {"trial.json": row}))
    except Exception as error:  # noqa: BLE001
        log.warning("the sweep was not logged to MLflow: %s", error)
    return ids


def tracking_uri(pipeline: Pipeline) -> str:
    """Where runs go."""
    given = os.environ.get("MLFLOW_TRACKING_URI")
    return given or f"sqlite:///{_home(pipeline) / 'mlflow.db'}"


def _home(pipeline: Pipeline) -> Path:
    return Path(pipeline.storage).resolve() / "mlflow"


def _logged_version(
    pipeline: Pipeline,
    version: int,
    reports: Sequence[EvalReport],
    comparison: Mapping[str, Any] | None,
) -> str:
    tags = _tags(pipeline, version, "version")
    for report in reports:
        tags[f"rag.eval_set.{spelled(report.name)}"] = report.content_hash
    tracker = _Tracker(pipeline)
    known = tracker.find(tags)
    if known is not None:
        return known
    tables = {f"{report.name}.queries.json": query_table(report) for report in reports}
    artifacts: dict[str, Any] = dict(tables)
    if comparison is not None:
        artifacts["comparison.json"] = comparison
    shown = [{"path": path, "type": "table"} for path in tables]
    return tracker.run(
        f"{pipeline.config.name} v{version}",
        tags
        | {"mlflow.loggedArtifacts": json.dumps(shown)}
        | {"mlflow.note.content": in_words(pipeline, version, reports, comparison)},
        _parameters(pipeline),
        metrics_of(reports),
        artifacts | plots_of(pipeline, reports, comparison),
        {report.name: report.content_hash for report in reports},
    )


def _tags(pipeline: Pipeline, version: int, kind: str) -> dict[str, str]:
    """Which index this is about: the mapping from a run to what is served."""
    manifest = pipeline.versions.manifest(version)
    return {
        _KIND: kind,
        "rag.knowledge_base": pipeline.config.name,
        "rag.index_version": str(version),
        "rag.manifest": pipeline.versions.manifest_digest(version),
        "rag.model_fingerprint": manifest.model,
        "rag.embedding_model": manifest.embedding_model,
    }


def _parameters(pipeline: Pipeline) -> dict[str, str]:
    """The settings that shape retrieval, by dotted name."""
    found: dict[str, str] = {}
    for name in ("chunking", "embedding", "retrieval"):
        section = getattr(pipeline.config, name).model_dump(exclude={"api_key"})
        _flatten(name, section, found)
    return found


def _flatten(prefix: str, value: object, found: dict[str, str]) -> None:
    if isinstance(value, dict) and value:
        for key, item in value.items():
            _flatten(f"{prefix}.{key}", item, found)
    elif value not in (None, {}, []):
        found[spelled(prefix)] = str(value)[:500]


class _Tracker:
    """MLflow's client on one experiment, named like the knowledge base."""

    def __init__(self, pipeline: Pipeline) -> None:
        for name, value in _ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        from mlflow.tracking import MlflowClient

        for chatty in ("alembic", "mlflow"):  # after the import, which sets its own level
            logging.getLogger(chatty).setLevel(logging.WARNING)

        uri = tracking_uri(pipeline)
        local = "MLFLOW_TRACKING_URI" not in os.environ
        if local:
            _home(pipeline).mkdir(parents=True, exist_ok=True)
        self._client = MlflowClient(tracking_uri=uri)
        name = pipeline.config.name
        known = self._client.get_experiment_by_name(name)
        files = (_home(pipeline) / "artifacts").as_uri() if local else None
        self._experiment = (
            known.experiment_id
            if known
            else self._client.create_experiment(name, artifact_location=files)
        )

    def find(self, tags: Mapping[str, str]) -> str | None:
        """A finished run with all of these tags."""
        wanted = " and ".join(f"tags.`{key}` = '{value}'" for key, value in tags.items())
        wanted += " and attributes.status = 'FINISHED'"
        runs = self._client.search_runs([self._experiment], wanted, max_results=1)
        return runs[0].info.run_id if runs else None

    def run(
        self,
        name: str,
        tags: Mapping[str, str],
        parameters: Mapping[str, str],
        metrics: Mapping[str, float],
        artifacts: Mapping[str, Any],
        datasets: Mapping[str, str] = MappingProxyType({}),
    ) -> str:
        """One finished run; returns its id.

        artifacts: by file name, bytes as they are and anything else as JSON. datasets: content hash
        of each eval set.
        """
        from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param

        with self._running(name, tags) as run_id:
            now = int(time.time() * 1000)
            given = [Param(key, value) for key, value in parameters.items()]
            for start in range(0, len(given), _BATCH):
                self._client.log_batch(run_id, params=given[start : start + _BATCH])
            self._client.log_batch(
                run_id, metrics=[Metric(key, value, now, 0) for key, value in metrics.items()]
            )
            used = [
                DatasetInput(
                    Dataset(name, content_hash[:32], "local", json.dumps({"eval_set": name})),
                    [InputTag("mlflow.data.context", "evaluation")],
                )
                for name, content_hash in datasets.items()
            ]
            if used:
                self._client.log_inputs(run_id, used)
            self._add_files(run_id, artifacts)
        return run_id

    @contextmanager
    def _running(self, name: str, tags: Mapping[str, str]) -> Iterator[str]:
        """A new run while the block fills it; one that breaks off is marked as failed."""
        run = self._client.create_run(self._experiment, run_name=name, tags=dict(tags))
        run_id = str(run.info.run_id)
        try:
            yield run_id
        except BaseException:
            self._client.set_terminated(run_id, status="FAILED")
            raise
        self._client.set_terminated(run_id)

    def _add_files(self, run_id: str, artifacts: Mapping[str, Any]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            for file, content in artifacts.items():
                if not isinstance(content, bytes):
                    content = json.dumps(content, indent=1, ensure_ascii=False).encode()
                (Path(folder) / file).write_bytes(content)
            self._client.log_artifacts(run_id, folder)
