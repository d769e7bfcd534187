"""SIGKILL at every boundary and at random moments: nothing is lost, nothing unproven is served."""

import os
import random
import shutil
import signal
import threading
from pathlib import Path

import numpy as np
import pytest

from rag_assets.index.checks import differences
from rag_assets.index.live import LiveIndex
from rag_assets.refresh.pipeline import Pipeline
from rag_assets_tests.conftest import SmallBase, document
from rag_assets_tests.refresh.crashing import (
    BOUNDARIES,
    start_refresh,
    start_refresh_on_a_small_disk,
)
from rag_assets_tests.refresh.holding import held

BATCH = 256  # texts written to the embedding store at once


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A knowledge base with version 1 live, and edits that version 2 will hold."""
    base = SmallBase(tmp_path_factory.mktemp("template") / "kb")
    base.fill(6)
    assert base.refresh()["promoted"]
    (base.documents / "laptop.md").unlink()
    base.write("payroll.md", document("payroll").replace("within 3", "within 33"))
    base.write("new.md", document("new"))
    base.close()
    return base.root


@pytest.fixture(scope="module")
def expected(template: Path, tmp_path_factory: pytest.TempPathFactory) -> dict:
    """What a clean build of the edited documents holds."""
    base = SmallBase(tmp_path_factory.mktemp("clean") / "kb")
    shutil.rmtree(base.documents)
    shutil.copytree(template / "documents", base.documents)
    base.refresh()
    base.close()
    return held(base.root / "store")


def copy_of(template: Path, root: Path) -> SmallBase:
    base = SmallBase(root)
    shutil.copytree(template, root, dirs_exist_ok=True, copy_function=shutil.copy2)
    base.configure()
    return base


def assert_recovers(base: SmallBase, expected: dict) -> None:
    """What is live is whole; the next refresh ends where a clean build does."""
    pipeline = Pipeline(base.configure())
    live = pipeline.versions.live().version
    assert live in (1, 2)
    assert differences(pipeline.versions, live) == []
    receipt = base.refresh()
    assert receipt["live_version"] == 2, "what was sealed is not built again"
    if live == 1:
        counts = [receipt["documents"][name] for name in ("added", "changed", "deleted")]
        assert (receipt["promoted"], counts) == (True, [1, 1, 1])
    assert receipt["embeddings"]["computed"] <= BATCH
    assert held(pipeline.storage) == expected
    after = base.refresh()
    assert (after["promoted"], after["embeddings"]["computed"]) == (False, 0)


@pytest.mark.parametrize(
    "after",
    [pytest.param(False, marks=pytest.mark.full, id="before"), pytest.param(True, id="after")],
)
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_killed_at_a_boundary(
    template: Path, expected: dict, tmp_path: Path, boundary: str, after: bool
) -> None:
    base = copy_of(template, tmp_path / "kb")
    process = start_refresh(base.path, boundary, after=after)
    process.join()
    assert process.exitcode == -signal.SIGKILL, "the boundary was not reached"
    assert_recovers(base, expected)
    base.close()


@pytest.mark.full
@pytest.mark.parametrize("seed", range(25))
def test_killed_at_random_moments_again_and_again(
    template: Path, expected: dict, tmp_path: Path, seed: int
) -> None:
    base = copy_of(template, tmp_path / "kb")
    rng = random.Random(seed)
    for _ in range(2):
        process = start_refresh(base.path)
        process.join(timeout=rng.uniform(0.05, 3.0))
        if process.is_alive():
            os.kill(process.pid, signal.SIGKILL)
        process.join()
    assert_recovers(base, expected)
    base.close()


@pytest.mark.parametrize("largest", [300, 3_000, 30_000, 150_000, 170_000])
def test_a_full_disk_leaves_what_is_live(
    template: Path, expected: dict, tmp_path: Path, largest: int
) -> None:
    base = copy_of(template, tmp_path / "kb")
    process = start_refresh_on_a_small_disk(base.path, largest)
    process.join()
    assert process.exitcode != 0
    assert Pipeline(base.configure()).versions.live().version == 1
    assert_recovers(base, expected)
    base.close()


def test_two_refreshes_at_once_end_as_one(template: Path, expected: dict, tmp_path: Path) -> None:
    base = copy_of(template, tmp_path / "kb")
    processes = [start_refresh(base.path) for _ in range(2)]
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert held(base.root / "store") == expected
    assert Pipeline(base.configure()).versions.live().version == 2
    base.close()


def test_storage_may_move(template: Path, expected: dict, tmp_path: Path) -> None:
    base = copy_of(template, tmp_path / "kb")
    os.rename(base.root / "store", base.root / "elsewhere")
    base.settings["storage"] = "./elsewhere"
    assert base.refresh()["embeddings"]["computed"] > 0
    assert held(base.root / "elsewhere") == expected
    base.close()


def test_readers_see_no_error_while_refreshes_are_killed(template: Path, tmp_path: Path) -> None:
    """Each call of a reader in another process than the publisher sees one whole version."""
    base = copy_of(template, tmp_path / "kb")
    live = LiveIndex(base.root / "store")
    probe = np.full(384, 384**-0.5, np.float32)
    stop, errors, seen = threading.Event(), [], []

    def read() -> None:
        while not stop.is_set():
            try:
                with live.read() as version:
                    chunk_ids = [chunk_id for chunk_id, _ in version.dense(probe, 50)]
                    passages = version.passages(chunk_ids)
                    lexical = version.lexical("requests", 50)
                    assert len(passages) == min(50, version.manifest.chunks)
                    version.passages([chunk_id for chunk_id, _ in lexical])
                    marks = version.passages(version.chunk_ids(["docs/mark.md"]))
                    seen.append((version.manifest.version, {p.text for p in marks}))
            except Exception as error:
                errors.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    rng = random.Random(7)
    for number in range(6):
        base.write("mark.md", f"# Mark\n\nThis is mark number {number}.\n")
        process = start_refresh(base.path)
        process.join(timeout=None if number % 2 else rng.uniform(0.2, 2.0))
        if process.is_alive():
            os.kill(process.pid, signal.SIGKILL)
        process.join()
    while seen[-1][0] < Pipeline(base.configure()).versions.live().version and not errors:
        stop.wait(0.01)
    stop.set()
    reader.join()
    live.close()
    base.close()
    assert errors == []
    of_version: dict[int, list[set[str]]] = {}
    for version, texts in seen:
        of_version.setdefault(version, []).append(texts)
    # A version always answers the same, and several versions were seen.
    assert all(texts == group[0] for group in of_version.values() for texts in group)
    assert len(of_version) >= 3
