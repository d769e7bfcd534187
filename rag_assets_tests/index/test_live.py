import os
import shutil
import sqlite3
import threading

import numpy as np
import pytest

from rag_assets.errors import IndexNotReady
from rag_assets.index.live import LiveIndex, SealedVersion
from rag_assets.index.versions import Versions
from rag_assets_tests.index.conftest import DIMENSION, approve, build, publish, vector

CONTENT = {f"d{i}": [f"text {i} {j}" for j in range(3)] for i in range(10)}


def test_without_a_live_version_reading_says_what_to_do(tmp_path) -> None:
    with pytest.raises(IndexNotReady, match="rag-assets refresh"), LiveIndex(tmp_path).read():
        pass


def test_a_promotion_is_picked_up_and_old_versions_stay_readable(versions: Versions) -> None:
    publish(versions, CONTENT)
    live = LiveIndex(versions.root.parent)
    with live.read() as version:
        assert version.manifest.version == 1
        publish(versions, {**CONTENT, "d1": ["new"]})
        with live.read() as newer:
            assert newer.manifest.version == 2
        # The call that began on version 1 still has it, whole.
        assert len(version.dense(vector("x"), 30)) == 30
    with live.read(1) as older:
        assert older.manifest.version == 1
    with pytest.raises(IndexNotReady, match="version 9 does not exist"), live.read(9):
        pass
    live.close()


def test_another_version_of_the_same_number_is_picked_up(versions: Versions, tmp_path) -> None:
    publish(versions, CONTENT)
    elsewhere = Versions(tmp_path / "elsewhere")
    publish(elsewhere, {**CONTENT, "d1": ["of another machine"]})
    live = LiveIndex(versions.root.parent)
    with live.read() as version:
        assert len(version.chunk_ids(["d1"])) == 3
    shutil.rmtree(versions.root / "000001")
    shutil.copytree(elsewhere.root / "000001", versions.root / "000001")
    os.replace(elsewhere.root / "LIVE.json", versions.root / "LIVE.json")
    with live.read() as version:
        assert [p.text for p in version.passages(version.chunk_ids(["d1"]))] == [
            "of another machine"
        ]
        assert version.dense(vector("x"), 30)
    live.close()


def test_a_rollback_is_picked_up(versions: Versions) -> None:
    publish(versions, CONTENT)
    publish(versions, {**CONTENT, "d1": ["new"]})
    live = LiveIndex(versions.root.parent)
    with live.read() as version:
        assert version.manifest.version == 2
    versions.rollback()
    with live.read() as version:
        assert version.manifest.version == 1
    live.close()


def test_who_comes_while_a_version_opens_gets_the_one_that_was_live(
    versions: Versions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not one that somebody asked for by its number, which may be a candidate."""
    publish(versions, CONTENT)
    build(versions, {**CONTENT, "d1": ["never promoted"]})
    live = LiveIndex(versions.root.parent)
    with live.read(), live.read(2):
        pass
    publish(versions, {**CONTENT, "d1": ["new"]})
    opening, goes_on = threading.Event(), threading.Event()

    def slowly(number: int) -> SealedVersion:
        opening.set()
        goes_on.wait(60)
        return SealedVersion(versions.directory(number), versions.manifest(number))

    monkeypatch.setattr(live, "_open", slowly)
    first = threading.Thread(target=lambda: live.read().__enter__())
    first.start()
    assert opening.wait(60)
    with live.read() as version:
        assert version.manifest.version == 1
    goes_on.set()
    first.join()
    with live.read() as version:
        assert version.manifest.version == 3
    live.close()


def test_a_version_opened_by_its_number_replaces_the_old_one_when_promoted(
    versions: Versions,
) -> None:
    publish(versions, CONTENT)
    live = LiveIndex(versions.root.parent)
    with live.read() as old:
        waiting = build(versions, {**CONTENT, "d1": ["new"]}).version
        with live.read(waiting):
            approve(versions, waiting)
            versions.promote(waiting)
        with live.read() as version:
            assert version.manifest.version == waiting
        assert old.dense(vector("x"), 30), "it stays open for the call that has it"
    with pytest.raises(sqlite3.ProgrammingError):
        old.document_ids()


def test_readers_see_no_error_and_one_version_each_while_versions_are_published(
    versions: Versions,
) -> None:
    publish(versions, CONTENT)
    live = LiveIndex(versions.root.parent)
    stop, errors, seen = threading.Event(), [], set()

    def read() -> None:
        probe = np.ones(DIMENSION, np.float32) / np.sqrt(DIMENSION)
        while not stop.is_set():
            try:
                with live.read() as version:
                    found = [chunk_id for chunk_id, _ in version.dense(probe, 5)]
                    texts = {p.text for p in version.passages(found)}
                    marks = {p.text for p in version.passages(version.chunk_ids(["mark"]))}
                    seen.add(version.manifest.version)
                    expected = (
                        {f"mark {version.manifest.version}"}
                        if version.manifest.version > 1
                        else set()
                    )
                    assert marks == expected
                    assert len(texts) == 5
            except Exception as error:
                errors.append(error)

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(2, 8):
        publish(versions, {**CONTENT, "mark": [f"mark {number}"]})
        with versions.publishing():
            versions.collect_garbage(keep=2)
    stop.set()
    for thread in threads:
        thread.join()
    live.close()
    assert errors == []
    assert len(seen) > 1
