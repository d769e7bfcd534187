import threading

import dagster as dg
import pytest

from rag_assets.defs.execute import Refresher
from rag_assets.defs.watching import watch_sources
from rag_assets.errors import ConfigError
from rag_assets_tests.conftest import SmallBase, document


def test_a_saved_file_is_live_without_asking(small: SmallBase) -> None:
    small.fill(2)
    stop = threading.Event()
    with dg.DagsterInstance.ephemeral() as instance:
        refresher = Refresher(small.configure(), instance)
        receipts = watch_sources(small.configure(), refresher, stop)
        assert next(receipts)["documents"]["added"] == 2
        small.write("payroll.md", document("payroll").replace("within 3", "within 33"))
        changed = next(receipts)
        assert (changed["promoted"], changed["embeddings"]["computed"]) == (True, 1)
        (small.documents / "vacation.md").unlink()
        assert next(receipts)["documents"]["held"] == 1
        # Recorded in the instance like any other run.
        assert {run.job_name for run in instance.get_runs()} == {"small_refresh"}
        assert len(instance.get_runs()) == 3
        stop.set()
        assert list(receipts) == []


def test_an_error_waits_for_the_next_change(small: SmallBase) -> None:
    small.fill(1)
    stop = threading.Event()
    with dg.DagsterInstance.ephemeral() as instance:
        refresher = Refresher(small.configure(), instance)
        receipts = watch_sources(small.configure(), refresher, stop)
        assert next(receipts)["promoted"]
        pointer = refresher.pipeline.versions.root / "LIVE.json"
        kept = pointer.read_bytes()
        pointer.write_text("{")
        mended = threading.Timer(
            3, lambda: (pointer.write_bytes(kept), small.write("b.md", "# B\n\nb b\n"))
        )
        mended.start()
        small.write("a.md", document("a"))
        receipt = next(receipts)
        assert receipt["documents"]["added"] == 2
        stop.set()


def test_without_a_local_source_it_says_so(small: SmallBase) -> None:
    config = small.configure()
    remote = config.sources[0].model_copy(update={"path": "s3://bucket/prefix"})
    config = config.model_copy(update={"sources": [remote]})
    with dg.DagsterInstance.ephemeral() as instance, pytest.raises(ConfigError, match="no local"):
        next(watch_sources(config, Refresher(small.configure(), instance)))
