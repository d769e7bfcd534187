"""MLflow runs of a real refresh, in SQLite and files."""

import json
import logging
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
from PIL import Image

from rag_assets.refresh import judge
from rag_assets.refresh.pipeline import Pipeline
from rag_assets.refresh.sweep import Grid, run_sweep, summary
from rag_assets.refresh.tracking import log_sweep, log_version, tracking_uri
from rag_assets_tests.conftest import SUBJECTS, SmallBase

mlflow = pytest.importorskip("mlflow")


@pytest.fixture
def base(small: SmallBase, monkeypatch: pytest.MonkeyPatch) -> SmallBase:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    small.fill(4)
    small.ask_about(list(SUBJECTS[:4]), min_queries=2)
    small.configure(evaluation=small.settings["evaluation"] | {"mlflow": True})
    return small


@pytest.mark.full
def test_every_judged_version_and_trial_is_a_run(base: SmallBase) -> None:
    assert base.refresh()["promoted"]
    pipeline = Pipeline(base.configure())
    client = mlflow.tracking.MlflowClient(tracking_uri=tracking_uri(pipeline))
    experiment = client.get_experiment_by_name("small")
    [run] = client.search_runs([experiment.experiment_id])
    assert run.data.tags["rag.index_version"] == "1"
    assert run.data.tags["rag.manifest"] == pipeline.versions.manifest_digest(1)
    reports = judge.make_report(pipeline, 1)
    assert run.data.tags["rag.eval_set.questions"] == reports[0].content_hash
    assert run.data.metrics["questions/recall_at_5"] == reports[0].metric("recall@5")
    assert run.data.params["chunking.default.size"] == "64"
    assert run.data.metrics["questions intervals/recall_at_5_low"] == reports[0].ci95["recall@5"][0]
    assert not [name for name, value in run.data.params.items() if value in ("None", "{}")]
    assert "Index version **1** of **small**: 4 documents" in run.data.tags["mlflow.note.content"]
    [used] = run.inputs.dataset_inputs
    assert (used.dataset.name, used.dataset.digest) == ("questions", reports[0].content_hash)
    artifacts = [artifact.path for artifact in client.list_artifacts(run.info.run_id)]
    assert artifacts == ["questions.metrics.png", "questions.queries.json"]
    plot, table = (client.download_artifacts(run.info.run_id, path) for path in artifacts)
    assert Image.open(plot).size[0] > 500
    content = json.loads(Path(table).read_text())
    assert content["columns"][:2] == ["id", "query"]
    assert {row[0] for row in content["data"]} == set(SUBJECTS[:4])
    # The same version judged by the same set is not logged twice.
    assert log_version(pipeline, 1, reports) == run.info.run_id
    client.set_terminated(run.info.run_id, status="FAILED")  # broken off on its way: logged anew
    assert log_version(pipeline, 1, reports) != run.info.run_id
    trials = run_sweep(pipeline, Grid(metric="hit@5", grid={"retrieval.mode": ["lexical"]}))
    ids = log_sweep(pipeline, trials, summary(trials, "hit@5"))
    logged = client.get_run(ids[1]).data
    assert logged.params["retrieval.mode"] == "lexical"
    assert "tuning/hit_at_5" in logged.metrics
    assert str(base.root / "store") in experiment.artifact_location


def test_a_run_that_cannot_be_logged_is_a_warning(
    base: SmallBase, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # A database below a file: no one can make it.
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{base.path}/mlflow.db")
    with caplog.at_level(logging.WARNING):
        assert base.refresh()["promoted"]
    assert "was not logged to MLflow" in caplog.text


def test_a_server_that_is_out_of_order_holds_nobody_up(
    base: SmallBase, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked: list[str] = []

    class Broken(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(503)

        def log_message(self, *arguments: object) -> None:
            """Nothing to print."""

    on = base.settings["evaluation"]
    base.configure(evaluation=on | {"mlflow": False})
    assert base.refresh()["promoted"]
    pipeline = Pipeline(base.configure(evaluation=on))
    with HTTPServer(("127.0.0.1", 0), Broken) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{server.server_port}")
        try:
            with caplog.at_level(logging.WARNING):
                assert log_version(pipeline, 1, judge.make_report(pipeline, 1)) is None
        finally:
            server.shutdown()
            thread.join()
    assert len(asked) == 2  # MLflow by itself asks 8 times, for minutes
    assert "version 1 was not logged to MLflow" in caplog.text


def test_nothing_is_logged_unless_asked_for(base: SmallBase) -> None:
    off = base.settings["evaluation"] | {"mlflow": False}
    pipeline = Pipeline(base.configure(evaluation=off))
    assert log_version(pipeline, 1, []) is None
    assert not (base.root / "store" / "mlflow").exists()
