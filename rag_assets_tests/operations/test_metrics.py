"""What the exporter tells, against real refreshes that ended before it was started."""

import json
import subprocess
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.error import HTTPError

import pytest

from rag_assets.operations.history import History
from rag_assets.operations.metrics import exposition
from rag_assets_tests.conftest import SUBJECTS, SmallBase, document
from rag_assets_tests.operations.conftest import CLI, samples, scraped


def told(base: SmallBase) -> dict[str, float]:
    return samples(exposition([base.configure()]).decode())


def test_an_exporter_tells_what_finished_refreshes_did(
    small: SmallBase, exporter: Callable[..., str], tmp_path: Path
) -> None:
    small.fill(6)
    small.write("broken.pdf", "%PDF-1.7 this is not really one")
    small.ask_about(list(SUBJECTS[:6]), **{"recall@5": 0.5, "min_queries": 3})
    first = small.refresh()
    small.write("vacation.md", document("vacation") + "\nA new last line about vacation.\n")
    (small.documents / "payroll.md").unlink()
    second = small.refresh()
    third = small.refresh()
    assert (first["promoted"], second["promoted"], third["promoted"]) == (True, True, False)
    other = SmallBase(tmp_path / "other")
    other.settings["name"] = "other"
    other.configure()

    url = exporter(small.path, other.path)
    found = scraped(url)
    live = second["documents"]
    assert found["rag_refreshes_total{outcome=promoted}"] == 2
    assert found["rag_refreshes_total{outcome=unchanged}"] == 1
    assert found["rag_refreshes_total{outcome=failed}"] == 0
    assert found["rag_index_version"] == 2
    assert scraped(url, "other")["rag_index_version"] == 0, "it was never refreshed"
    with urllib.request.urlopen(url) as reply:
        assert reply.read().count(b"# TYPE rag_index_version gauge") == 1
    command = [*CLI, "metrics", "--json", "--config", str(small.path)]
    printed = json.loads(subprocess.check_output(command))["metrics"]
    [said] = [metric["samples"] for metric in printed if metric["name"] == "rag_index_version"]
    labels = {"knowledge_base": "small"}
    assert said == [{"name": "rag_index_version", "labels": labels, "value": 2.0}]

    assert found["rag_index_documents"] == live["listed"] - live["quarantined"] == 5
    assert found["rag_source_documents{source=docs,state=healthy}"] == 5
    assert found["rag_source_documents{source=docs,state=quarantined}"] == 1
    assert found["rag_documents_extracted_total"] == 6 + 1
    assert found["rag_documents_deleted_total"] == 1
    embedded = first["embeddings"], second["embeddings"]
    assert found["rag_chunks_embedded_total"] == sum(part["computed"] for part in embedded)
    assert found["rag_embedding_tokens_total"] == sum(part["tokens"] for part in embedded)
    assert found["rag_embedding_store_vectors"] == found["rag_chunks_embedded_total"]
    assert found["rag_stage_duration_seconds_count{stage=refresh}"] == 3
    assert found["rag_stage_duration_seconds_bucket{le=+Inf,stage=embeddings}"] == 3
    for stage in ("raw_documents", "documents", "chunks", "candidate_index"):
        assert found[f"rag_stage_duration_seconds_count{{stage={stage}}}"] == 3
    assert found["rag_deduplication_cache_hit_rate"] == pytest.approx(5 / 6)
    assert found["rag_eval_queries{eval_set=questions,state=stale}"] == 1
    recall = found["rag_eval_recall_at_5{eval_set=questions}"]
    assert found["rag_index_metric{eval_set=questions,metric=recall@5}"] == recall >= 0.5
    low = found["rag_index_metric_bound{bound=low,eval_set=questions,metric=recall@5}"]
    assert low <= recall
    assert found["rag_index_check_passed{check=completeness}"] == 1
    lag = found["rag_source_freshness_seconds{quantile=1,source=docs}"]
    assert 0 < lag < 600, "the edited file was live soon after it was written"
    for store in ("index", "lake", "embeddings", "receipts", "blobs"):
        assert found[f"rag_store_bytes{{store={store}}}"] > 0
    assert found["rag_exporter_up"] == 1

    with pytest.raises(HTTPError, match="404"):
        urllib.request.urlopen(url.replace("/metrics", "/secrets"))
    with urllib.request.urlopen(url.replace("/metrics", "/healthz")) as reply:
        assert reply.read() == b"ok\n"


def test_a_refusal_is_counted_and_the_live_version_keeps_its_figures(small: SmallBase) -> None:
    small.fill(4)
    small.ask_about(list(SUBJECTS[:4]), **{"recall@1": 0.75, "min_queries": 3})
    assert small.refresh()["promoted"]
    small.settings["sources"][0]["silent_hours"] = 2
    for subject in SUBJECTS[:3]:
        small.write(f"{subject}.md", "# Nothing\n\nLorem ipsum dolor sit amet.\n")
    refused = small.refresh()
    assert not refused["gate"]["passed"]
    found = told(small)
    assert found["rag_refreshes_total{outcome=refused}"] == 1
    assert found["rag_index_version"] == 1
    assert found["rag_index_versions{state=refused}"] == 1
    assert found["rag_index_check_passed{check=retrieval_quality}"] == 1
    assert found["rag_source_silent_after_seconds{source=docs}"] == 7200
    changed = found["rag_source_changed_timestamp_seconds{source=docs}"]
    assert abs(changed - datetime.now(UTC).timestamp()) < 600


def test_removed_receipts_stay_in_the_totals(small: SmallBase) -> None:
    small.fill(2)
    for _ in range(3):
        small.refresh()
    before = History(small.configure().storage).totals().as_json()
    history = History(small.configure().storage)
    assert history.forget(datetime.now(UTC) + timedelta(hours=1)) == 2
    assert history.forget(datetime.now(UTC) + timedelta(hours=1)) == 0, "the newest is kept"
    after = history.totals().as_json()
    for part in ("sums", "outcomes", "seconds"):
        assert after[part] == pytest.approx(before[part])
    assert after["durations"] == before["durations"]
    assert before["sums"]["documents_added"] == 2
    assert told(small)["rag_refreshes_total{outcome=unchanged}"] == 2


def test_an_exporter_ends_when_it_is_told_to_also_as_the_first_process(
    small: SmallBase,
) -> None:
    """Which the kernel protects from SIGTERM; here it is ignored, as under a careless parent."""
    command = [*CLI, "exporter", "--config", str(small.path), "--port", "0"]
    ignoring = ["sh", "-c", 'trap "" TERM; exec "$@"', "sh", *command]
    with subprocess.Popen(ignoring, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            assert any(line.startswith("Exporting small") for line in process.stdout)
            process.terminate()
            assert process.wait(timeout=60) == 0
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("file", "content", "kept"),
    [
        ("index/LIVE.json", '{"ver', "rag_store_bytes{store=lake}"),
        ("index/reports/000001.json", "{}", "rag_refreshes_total{outcome=promoted}"),
        ("receipts/TOTALS", "{}", "rag_index_documents"),
        ("index/promotions.jsonl", '{"event": 1}', "rag_refreshes_total{outcome=promoted}"),
        ("lake/raw_documents/**/*.parquet", "PAR1", "rag_index_documents"),
    ],
)
def test_what_is_damaged_hides_nothing_else_and_is_named(
    small: SmallBase, caplog: pytest.LogCaptureFixture, file: str, content: str, kept: str
) -> None:
    small.fill(1)
    small.refresh()
    storage = Path(small.configure().storage)
    damaged = next(storage.glob(file), storage / file)
    damaged.write_text(content)
    found = told(small)
    assert found["rag_exporter_up"] == 0
    assert kept in found
    assert "small: " in caplog.text
    assert "cannot be read" in caplog.text


def test_before_the_first_refresh_there_is_nothing_to_tell(small: SmallBase) -> None:
    found = told(small)
    assert found["rag_index_version"] == 0
    assert found["rag_exporter_up"] == 1
    assert "rag_index_documents" not in found
