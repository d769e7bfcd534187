"""What upkeep removes, and what it must not."""

import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from rag_assets.costs.ledger import Entry, Ledger
from rag_assets.defs.build import build_definitions
from rag_assets.defs.upkeep import forget_runs
from rag_assets.knowledge_base import KnowledgeBase
from rag_assets.notify.upkeep import keep_up
from rag_assets.operations.history import History
from rag_assets.refresh.pipeline import Pipeline
from rag_assets_tests.conftest import SmallBase, document
from rag_assets_tests.notify.conftest import Receiver, receiver

__all__ = ["receiver"]

DAY = 86_400.0


def blobs(base: SmallBase) -> int:
    return len(list((Path(base.configure().storage) / "lake" / "blobs").glob("*/*")))


def test_upkeep_removes_what_nothing_needs(small: SmallBase) -> None:
    small.fill(3)
    gone = small.root / "gone"
    gone.mkdir()
    (gone / "x.md").write_text("# X\n\nA page of a source that goes.\n")
    source = {"name": "gone", "type": "files", "path": "./gone", "buckets": 1}
    small.configure(sources=[*small.settings["sources"], source])
    small.refresh()
    small.configure(sources=small.settings["sources"][:1])
    for number in range(4):
        small.write("vacation.md", document("vacation") + f"\nEdition {number}.\n")
        small.refresh()
    storage = Path(small.configure().storage)
    config = small.configure()
    ledger = Ledger(storage)
    for _ in range(3):
        ledger.add(Entry("2020-01-05T10:00:00+00:00", "answer", "m", "k", usd=1.0))
    assert blobs(small) == 3 + 1 + 4

    first = keep_up(Pipeline(config))
    assert first["problems"] == []
    assert first["removed"]["blobs"] == 4, "three old editions and the first one"
    assert first["removed"]["partitions"] == 0, "the source that went may come back"
    assert first["removed"]["receipts"] == 0
    assert len((storage / "costs" / "2020-01.jsonl").read_text().splitlines()) == 1
    assert ledger.spent("2020-01") == 3.0

    later = time.time() + 100 * DAY
    old = keep_up(Pipeline(config), lambda: later)["removed"]
    assert (old["partitions"], old["blobs"]) == (4, 1)
    assert old["receipts"] == 4
    assert old["reports"] == 2, "of the two versions that are gone"
    assert History(storage).totals().outcomes["promoted"] == 5
    assert set(keep_up(Pipeline(config), lambda: later)["removed"].values()) == {0}
    with KnowledgeBase(config) as base:
        assert "Edition 3" in base.search("vacation edition")[0].text or base.search("Edition 3")
    assert small.refresh()["documents"]["unchanged"] == 3
    assert Pipeline(config).versions.sealed() == [3, 4, 5]


def test_damage_is_told_and_silence_needs_no_refresh(small: SmallBase, receiver: Receiver) -> None:
    small.fill(2)
    small.refresh()
    small.settings["sources"][0]["silent_hours"] = 24
    hook = {"webhook": {"url": receiver.url}, "quiet_minutes": 0}
    config = small.configure(notify=hook)
    keep_up(Pipeline(config))
    assert receiver.bodies == []
    later = time.time() + 2 * DAY
    keep_up(Pipeline(config), lambda: later)
    [silent] = receiver.bodies
    assert silent["title"] == "nothing changed in docs"
    directory = Pipeline(config).versions.directory(1)
    vectors = next((directory / "chroma").glob("*.sqlite3"))
    vectors.write_bytes(b"not a database")
    found = keep_up(Pipeline(config), lambda: later)
    assert found["problems"]
    assert receiver.bodies[1]["title"].startswith("the live version is damaged")


def test_the_job_tidies_and_forgets_old_runs(small: SmallBase) -> None:
    small.fill(1)
    small.refresh()
    defs = build_definitions(small.path)
    schedule = defs.resolve_schedule_def("small_upkeep_schedule")
    assert schedule.default_status is dg.DefaultScheduleStatus.RUNNING
    with dg.DagsterInstance.ephemeral() as instance:
        result = defs.resolve_job_def("small_upkeep").execute_in_process(instance=instance)
        assert result.success
    assert forget_runs(small._instance, small.configure(upkeep={"runs": 1})) == 0
    [run] = small._instance.get_runs()
    small._instance.get_run_record_by_id(run.run_id)
    long_ago = datetime.now(UTC) - timedelta(days=5)
    with small._instance.run_storage.connect() as connection:
        from sqlalchemy import text

        connection.execute(text("UPDATE runs SET create_timestamp = :at"), {"at": long_ago})
    assert forget_runs(small._instance, small.configure()) == 1
    assert small._instance.get_runs() == []


def test_upkeep_waits_for_a_refresh_and_then_gives_up(
    small: SmallBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rag_assets.errors import Busy

    config = small.configure()
    os.makedirs(config.storage, exist_ok=True)
    waiting = Pipeline(config)
    monkeypatch.setattr(waiting, "_locked", lambda: Pipeline._locked(waiting, timeout=0.1))
    with Pipeline(config).refreshing(), pytest.raises(Busy):
        keep_up(waiting)
