"""What Dagster sees: keys, checks, gate, sensor, several knowledge bases, merging."""

from itertools import pairwise
from pathlib import Path

import dagster as dg
import pytest

from rag_assets.defs.automation import range_tags
from rag_assets.defs.build import build_definitions, config_paths
from rag_assets.errors import ConfigError
from rag_assets.evaluation.eval_set import half_of, load_eval_set
from rag_assets.refresh.pipeline import Pipeline
from rag_assets_tests.conftest import SUBJECTS, SmallBase, document

LINEAGE = [
    "raw_documents",
    "documents",
    "chunks",
    "embeddings",
    "candidate_index",
    "retrieval_report",
    "live_index",
]

DRIFT = {
    "stale_expectations",
    "eval_coverage",
    "query_mix",
    "embedding_shift",
    "top_takeover",
    "index_poisoning",
}


def run(
    base: SmallBase, instance: dg.DagsterInstance, *assets: str, checks: bool = True
) -> dg.ExecuteInProcessResult:
    """Materialize some assets (default: all) over every partition."""
    defs = build_definitions(base.path)
    selection = dg.AssetSelection.assets(*(["small", name] for name in assets or LINEAGE))
    if not checks:
        selection = selection.without_checks()
    job = dg.define_asset_job("chosen", selection=selection, executor_def=dg.in_process_executor)
    every = base.configure().sources[0].partitions
    partitioned = not assets or set(assets) & set(LINEAGE[:4])
    with_job = dg.Definitions.merge(defs, dg.Definitions(jobs=[job]))
    return with_job.resolve_job_def("chosen").execute_in_process(
        instance=instance,
        tags=range_tags(every, every) if partitioned else {},
        raise_on_error=False,
    )


@pytest.fixture
def instance():
    with dg.DagsterInstance.ephemeral() as made:
        yield made


def test_the_graph_is_the_contract(small: SmallBase) -> None:
    defs = build_definitions(small.path)
    dg.Definitions.validate_loadable(defs)
    graph = defs.resolve_asset_graph()
    assert {key.to_user_string() for key in graph.get_all_asset_keys()} == {
        f"small/{name}" for name in (*LINEAGE, "answer_evaluation", "instruct_dataset")
    }
    for above, below in pairwise(LINEAGE):
        assert dg.AssetKey(["small", above]) in graph.get(dg.AssetKey(["small", below])).parent_keys
    for name in LINEAGE:
        node = graph.get(dg.AssetKey(["small", name]))
        assert node.description
        assert node.owners
        assert node.kinds
        assert node.code_version
        assert node.group_name == "small"
        assert (node.partitions_def is not None) == (name in LINEAGE[:4])
    assert graph.get(dg.AssetKey(["small", "chunks"])).partitions_def.get_partition_keys() == [
        f"docs:{bucket:02d}" for bucket in range(4)
    ]
    assert {check.to_user_string() for check in graph.asset_check_keys} == {
        "small/candidate_index:completeness",
        "small/candidate_index:index_integrity",
        "small/candidate_index:quarantine_rate",
        "small/candidate_index:personal_data",
        "small/retrieval_report:retrieval_quality",
        "small/retrieval_report:no_regression",
        "small/retrieval_report:known_items",
        "small/retrieval_report:expected_documents",
        "small/live_index:source_freshness",
        *(f"small/retrieval_report:{name}" for name in DRIFT),
    }
    refresh = defs.resolve_job_def("small_refresh")
    refreshed = {key.to_user_string() for key in refresh.asset_layer.selected_asset_keys}
    assert refreshed == {f"small/{name}" for name in LINEAGE}
    sensor = defs.resolve_sensor_def("small_source_changes")
    assert sensor.default_status is dg.DefaultSensorStatus.RUNNING
    schedule = defs.resolve_schedule_def("small_safety_sweep")
    assert schedule.cron_schedule == "0 */6 * * *"
    assert schedule.default_status is dg.DefaultScheduleStatus.STOPPED


def test_materializing_everything_promotes(small: SmallBase, instance: dg.DagsterInstance) -> None:
    small.fill(5)
    result = run(small, instance)
    assert result.success
    assert Pipeline(small.configure()).versions.live().version == 1
    evaluations = {e.check_name: e for e in result.get_asset_check_evaluations()}
    assert set(evaluations) == {
        "completeness",
        "index_integrity",
        "quarantine_rate",
        "personal_data",
        "retrieval_quality",
        "no_regression",
        "known_items",
        "expected_documents",
        "source_freshness",
        *DRIFT,
    }
    # Without an eval set nothing can be told: a warning, which does not block.
    quality = evaluations["retrieval_quality"]
    assert (quality.passed, quality.severity) == (False, dg.AssetCheckSeverity.WARN)
    chunks = result.asset_materializations_for_node("small__chunks")
    assert {m.partition for m in chunks} == {f"docs:{bucket:02d}" for bucket in range(4)}
    assert all("preview" in m.metadata for m in chunks)


def test_a_failed_check_blocks_and_live_index_alone_does_not_bypass_it(
    small: SmallBase, instance: dg.DagsterInstance
) -> None:
    small.fill(6)
    small.ask_about(list(SUBJECTS[:6]), **{"hit@1": 0.9, "min_queries": 5})
    assert run(small, instance).success
    versions = Pipeline(small.configure()).versions
    before = (versions.root / "LIVE.json").read_bytes()
    for subject in SUBJECTS[1:6]:
        small.write(f"{subject}.md", "# Gone\n\nNothing is left on this page.\n")
    refused = run(small, instance)
    assert not refused.success
    failed = [e.check_name for e in refused.get_asset_check_evaluations() if not e.passed]
    assert "retrieval_quality" in failed
    # The evidence is kept although the gate refused, and promotion never ran.
    assert refused.asset_materializations_for_node("small__retrieval_report")
    assert not refused.asset_materializations_for_node("small__live_index")
    for attempt in (("live_index",), ("candidate_index", "live_index"), LINEAGE):
        assert not run(small, instance, *attempt, checks=False).success
    assert (versions.root / "LIVE.json").read_bytes() == before


def test_answers_are_measured_on_demand(small: SmallBase, instance: dg.DagsterInstance) -> None:
    small.fill(4)
    small.ask_about(list(SUBJECTS[:4]), min_queries=2)
    assert run(small, instance).success
    job = build_definitions(small.path).resolve_job_def("small_answer_evaluation")
    result = job.execute_in_process(instance=instance)
    [made] = result.asset_materializations_for_node("small__answer_evaluation")
    assert made.metadata["queries"].value == 4
    assert made.metadata["answered"].value == 1.0
    assert made.metadata["citation_validity"].value == 1.0
    assert "| citation_recall |" in made.metadata["metrics"].value


def test_accepted_answers_are_exported_on_demand(
    small: SmallBase, instance: dg.DagsterInstance
) -> None:
    small.fill(4)
    small.ask_about(list(SUBJECTS[:4]), min_queries=2)
    file = small.root / "questions.jsonl"
    file.write_text(file.read_text().replace("]}", '], "answer": "The office."}'))
    small.configure(instruct_dataset={"held_out": 0.0})
    assert run(small, instance).success
    job = build_definitions(small.path).resolve_job_def("small_instruct_dataset")
    [made] = job.execute_in_process(instance=instance).asset_materializations_for_node(
        "small__instruct_dataset"
    )
    testing = sum(half_of(query) == "held_out" for query in load_eval_set(file).queries)
    assert made.metadata["dagster/row_count"].value + testing == 4
    assert made.metadata["index_version"].value == 1
    assert "| train | " in made.metadata["examples"].value
    assert f"| an eval set tests with it | {testing} |" in made.metadata["left_out"].value
    assert "| questions/" in made.metadata["first"].value
    assert "The office." not in str(made.metadata), "an event log keeps no words"


def test_a_candidate_without_its_checks_is_not_promoted(
    small: SmallBase, instance: dg.DagsterInstance
) -> None:
    small.fill(3)
    result = run(small, instance, checks=False)
    assert not result.success
    assert Pipeline(small.configure()).versions.pointer() is None
    assert run(small, instance).success


def tick(defs: dg.Definitions, instance: dg.DagsterInstance, cursor: str | None = None):
    sensor = defs.resolve_sensor_def("small_source_changes")
    context = dg.build_sensor_context(instance=instance, cursor=cursor, definitions=defs)
    return sensor.evaluate_tick(context)


def test_the_sensor_asks_once_for_all_that_is_due(
    small: SmallBase, instance: dg.DagsterInstance
) -> None:
    small.fill(6)
    defs = build_definitions(small.path)
    first = tick(defs, instance)
    [request] = first.run_requests
    assert first.cursor == request.run_key
    assert len(first.cursor) < 100
    result = defs.resolve_job_def("small_refresh").execute_in_process(
        instance=instance, tags=request.tags
    )
    assert result.success
    quiet = tick(defs, instance, first.cursor)
    assert quiet.run_requests == []
    assert "nothing changed among 6 documents" in quiet.skip_message
    small.write("one.md", document("one"))
    small.write("two.md", document("two"))
    burst = tick(defs, instance, first.cursor)
    assert len(burst.run_requests) == 1
    assert tick(defs, instance, burst.cursor).run_requests == []


def test_the_sensor_waits_while_a_refresh_runs(
    small: SmallBase, instance: dg.DagsterInstance
) -> None:
    small.fill(2)
    defs = build_definitions(small.path)
    from dagster._core.test_utils import create_run_for_test

    create_run_for_test(
        instance,
        job_name="small_refresh",
        status=dg.DagsterRunStatus.STARTED,
        tags={"rag/knowledge_base": "small"},
    )
    skipped = tick(defs, instance)
    assert skipped.run_requests == []
    assert skipped.skip_message == "a refresh is running"


def test_the_sensor_reports_held_deletions_and_does_not_loop(
    small: SmallBase, instance: dg.DagsterInstance
) -> None:
    small.fill(6)
    defs = build_definitions(small.path)
    assert run(small, instance).success
    for file in list(small.documents.iterdir())[:5]:
        file.unlink()
    first = tick(defs, instance)
    if first.run_requests:
        defs.resolve_job_def("small_refresh").execute_in_process(
            instance=instance, tags=first.run_requests[0].tags
        )
    again = tick(defs, instance, first.cursor)
    assert again.run_requests == []
    assert "confirm-deletes" in again.skip_message


def test_the_sensor_respects_a_rollback(small: SmallBase, instance: dg.DagsterInstance) -> None:
    small.fill(4)
    assert run(small, instance).success
    small.write("new.md", document("new"))
    assert run(small, instance).success
    versions = Pipeline(small.configure()).versions
    versions.rollback()
    defs = build_definitions(small.path)
    waiting = tick(defs, instance)
    assert waiting.run_requests == []
    assert "rolled back" in waiting.skip_message
    small.write("newer.md", document("newer"))
    assert len(tick(defs, instance).run_requests) == 1


def test_two_knowledge_bases_live_side_by_side(
    tmp_path: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    bases = []
    for name in ("first-one", "second"):
        base = SmallBase(tmp_path / name)
        base.fill(2)
        base.configure(name=name)
        bases.append(base)
    monkeypatch.setenv("RAG_CONFIG", ":".join(str(base.path) for base in bases))
    defs = build_definitions()
    dg.Definitions.validate_loadable(defs)
    for name, job in (("first-one", "first_one_refresh"), ("second", "second_refresh")):
        every = (
            defs.resolve_asset_graph()
            .get(dg.AssetKey([name, "chunks"]))
            .partitions_def.get_partition_keys()
        )
        assert (
            defs.resolve_job_def(job)
            .execute_in_process(instance=instance, tags=range_tags(every, every))
            .success
        )
    for base in bases:
        assert Pipeline(base.configure()).versions.live().version == 1
        base.close()


def test_config_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a.yaml", "b.yaml"):
        (tmp_path / name).touch()
    monkeypatch.setenv("RAG_CONFIG", str(tmp_path))
    assert config_paths() == [tmp_path / "a.yaml", tmp_path / "b.yaml"]
    monkeypatch.setenv("RAG_CONFIG", f"{tmp_path / 'b.yaml'}:{tmp_path / 'a.yaml'}")
    assert config_paths() == [tmp_path / "b.yaml", tmp_path / "a.yaml"]


def test_one_name_twice_is_refused(small: SmallBase) -> None:
    with pytest.raises(ConfigError, match=r"\['small'\] are used by more than one file"):
        build_definitions(small.path, small.path)


def test_it_merges_into_an_existing_project(small: SmallBase) -> None:
    @dg.asset
    def mine() -> int:
        return 1

    merged = dg.Definitions.merge(
        dg.Definitions(assets=[mine], executor=dg.multiprocess_executor),
        build_definitions(small.path),
    )
    dg.Definitions.validate_loadable(merged)
    assert len(merged.resolve_asset_graph().get_all_asset_keys()) == len(LINEAGE) + 3
