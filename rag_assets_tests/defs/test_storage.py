"""The storage of the local Dagster instance: the stock files, written faster."""

import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage

from rag_assets.defs import storage

SHIPPED = Path(storage.__file__).with_name("dagster.yaml")
TWO = dg.StaticPartitionsDefinition(["a", "b"])


@dg.asset(partitions_def=TWO, backfill_policy=dg.BackfillPolicy.single_run())
def letters() -> dg.MaterializeResult:
    return dg.MaterializeResult(metadata={"letters": 2})


def materialize(instance: dg.DagsterInstance) -> str:
    result = dg.materialize(
        [letters],
        instance=instance,
        tags={"dagster/asset_partition_range_start": "a", "dagster/asset_partition_range_end": "b"},
    )
    return result.run_id


def count(instance: dg.DagsterInstance, run_id: str) -> int:
    return len(instance.all_logs(run_id))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copyfile(SHIPPED, tmp_path / "dagster.yaml")
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    return tmp_path


def test_what_it_writes_the_stock_storage_reads_and_the_other_way_round(home: Path) -> None:
    with dg.DagsterInstance.get() as instance:
        assert isinstance(instance.event_log_storage, storage.WarmEventLogStorage)
        runs = [materialize(instance) for _ in range(2)]  # the second file is a copy
        events = [count(instance, run_id) for run_id in runs]
        assert events[0] == events[1] > 5
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    with dg.DagsterInstance.get() as instance:
        assert isinstance(instance.event_log_storage, SqliteEventLogStorage)
        assert not isinstance(instance.event_log_storage, storage.WarmEventLogStorage)
        assert [count(instance, run_id) for run_id in runs] == events
        assert instance.get_materialized_partitions(dg.AssetKey("letters")) == {"a", "b"}
        runs.append(materialize(instance))
    shutil.copyfile(SHIPPED, home / "dagster.yaml")
    with dg.DagsterInstance.get() as instance:
        assert count(instance, runs[2]) == events[0]
        assert {run.run_id for run in instance.get_runs()} == set(runs)


def test_many_runs_keep_few_files_open_whatever_thread_reads_them(home: Path) -> None:
    with dg.DagsterInstance.get() as instance, ThreadPoolExecutor(4) as threads:
        runs = [materialize(instance) for _ in range(12)]
        counts = list(threads.map(lambda run_id: count(instance, run_id), runs * 3))
        assert len(set(counts)) == 1
        open_files = [Path(f"/proc/self/fd/{fd.name}") for fd in Path("/proc/self/fd").iterdir()]
        shards = [f for f in open_files if f.exists() and f.resolve().parent.name == "runs"]
        assert len({f.resolve().stem for f in shards if f.resolve().suffix == ".db"}) <= 8


def test_several_processes_write_one_instance(home: Path) -> None:
    with dg.DagsterInstance.get() as instance:
        materialize(instance)
    program = (
        "import dagster as dg\n"
        "from rag_assets_tests.defs.test_storage import materialize\n"
        "with dg.DagsterInstance.get() as instance:\n"
        "    print(*[materialize(instance) for _ in range(3)])\n"
    )
    children = [
        subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    runs = [run_id for child in children for run_id in child.communicate(timeout=120)[0].split()]
    assert len(runs) == 6
    with dg.DagsterInstance.get() as instance:
        assert len({count(instance, run_id) for run_id in runs}) == 1
        assert len(instance.get_runs()) == 7
