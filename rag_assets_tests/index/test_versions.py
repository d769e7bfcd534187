import json
import shutil

import pytest

from rag_assets.errors import GateRefused, IndexNotReady, NoSuchVersion, StorageError
from rag_assets.index.versions import REQUIRED_CHECKS, State, Versions
from rag_assets_tests.index.conftest import approve, build, publish

CONTENT = {f"d{i}": [f"text {i} {j}" for j in range(3)] for i in range(10)}


def edited(**changes: list[str]) -> dict[str, list[str]]:
    return {**CONTENT, **changes}


def test_nothing_is_live_before_the_first_promotion(versions: Versions) -> None:
    assert versions.pointer() is None
    with pytest.raises(IndexNotReady, match="rag-assets refresh"):
        versions.live()


def test_states_from_candidate_to_live_to_retired(versions: Versions) -> None:
    first = build(versions, CONTENT)
    assert versions.state(first.version) is State.CANDIDATE
    approve(versions, first.version)
    versions.promote(first.version)
    second = publish(versions, edited(d1=["new"]))
    assert versions.state(first.version) is State.RETIRED
    assert versions.state(second.version) is State.LIVE
    assert (second.parent, versions.live().previous) == (first.version, first.version)


def test_promotion_demands_every_check(versions: Versions) -> None:
    version = build(versions, CONTENT).version
    with pytest.raises(GateRefused, match="no passing verdict"):
        versions.promote(version)
    for name in REQUIRED_CHECKS[:-1]:
        versions.record_outcome(version, name, {"passed": True})
    with pytest.raises(GateRefused, match=REQUIRED_CHECKS[-1]):
        versions.promote(version)
    versions.record_outcome(version, REQUIRED_CHECKS[-1], {"passed": False, "summary": "too low"})
    with pytest.raises(GateRefused, match="too low"):
        versions.promote(version)
    assert versions.state(version) is State.REFUSED
    assert versions.pointer() is None


def test_a_verdict_is_bound_to_the_exact_version(versions: Versions) -> None:
    version = build(versions, CONTENT).version
    approve(versions, version)
    path = versions.directory(version) / "MANIFEST.json"
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps({**manifest, "chunks": manifest["chunks"] + 1}))
    assert versions.verdict(version) == {}
    with pytest.raises(GateRefused):
        versions.promote(version)


def test_a_candidate_derived_from_an_older_live_version_is_refused(versions: Versions) -> None:
    publish(versions, CONTENT)
    slow = build(versions, edited(d1=["slow"]))
    approve(versions, slow.version)
    fast = build(versions, edited(d1=["fast"]))
    approve(versions, fast.version)
    versions.promote(fast.version)
    with pytest.raises(GateRefused, match="derived from version 1, but version 3 is live"):
        versions.promote(slow.version)


def test_rollback_flips_back_and_forth(versions: Versions) -> None:
    publish(versions, CONTENT)
    publish(versions, edited(d1=["new"]))
    assert versions.rollback().version == 1
    assert versions.live().previous == 2
    assert versions.rollback().version == 2
    with pytest.raises(IndexNotReady, match="not kept; there are: 1, 2"):
        versions.rollback(9)


def test_rollback_to_a_named_version_needs_no_pointer(versions: Versions) -> None:
    publish(versions, CONTENT)
    publish(versions, edited(d1=["new"]))
    (versions.root / "LIVE.json").write_text("{")
    with pytest.raises(StorageError, match=r"damaged .* \(there are: 1, 2\)"):
        versions.rollback()
    with pytest.raises(NoSuchVersion):
        versions.rollback(9)
    assert versions.rollback(2).previous is None
    assert versions.live().version == 2


def test_rollback_to_a_refused_version_is_refused(versions: Versions) -> None:
    publish(versions, CONTENT)
    version = build(versions, edited(d1=["bad"])).version
    versions.record_outcome(version, "completeness", {"passed": False, "summary": "lost"})
    with pytest.raises(GateRefused, match="lost"):
        versions.rollback(version)


def test_a_retired_version_is_not_promoted_again_by_accident(versions: Versions) -> None:
    publish(versions, CONTENT)
    publish(versions, edited(d1=["new"]))
    versions.rollback()
    with pytest.raises(GateRefused, match="rag-assets rollback 2"):
        versions.promote(2)


def test_numbers_are_never_used_twice(versions: Versions) -> None:
    publish(versions, CONTENT)
    refused = build(versions, edited(d1=["bad"])).version
    versions.record_outcome(refused, "completeness", {"passed": False})
    shutil.rmtree(versions.directory(refused))
    assert build(versions, edited(d1=["good"])).version == refused + 1


def test_garbage_collection_keeps_live_promoted_and_the_newest_refused(versions: Versions) -> None:
    for text in "abcde":
        publish(versions, edited(d1=[text]))
    refused = [build(versions, edited(d1=[text])).version for text in "xy"]
    with versions.publishing():
        removed = versions.collect_garbage(keep=3)
    assert removed == [1, 2, refused[0]]
    assert versions.sealed() == [3, 4, 5, refused[1]]
    assert versions.rollback(3).version == 3


def test_what_waits_is_kept_while_later_ones_are_refused(versions: Versions) -> None:
    publish(versions, edited(d1=["a"]))
    assert versions.waiting() is None
    waits = build(versions, edited(d1=["b"])).version
    assert versions.waiting() is None, "nobody judged it yet"
    approve(versions, waits)
    for text in "xy":
        refused = build(versions, edited(d1=[text])).version
        versions.record_outcome(refused, "completeness", {"passed": False, "summary": "lost"})
        assert versions.waiting() == waits
        with versions.publishing():
            versions.collect_garbage(keep=3)
    assert versions.sealed() == [1, waits, refused]
    publish(versions, edited(d1=["c"]))
    assert versions.waiting() is None, "what was promoted since is newer"
    with versions.publishing():
        versions.collect_garbage(keep=3)
    assert waits not in versions.sealed()


def test_half_built_directories_are_dropped_by_the_next_build(versions: Versions) -> None:
    publish(versions, CONTENT)
    half = versions.directory(7)
    (half / "chroma").mkdir(parents=True)
    (half / "chroma" / "chroma.sqlite3").write_text("torn")
    assert build(versions, edited(d1=["new"])).version == 2
    assert not half.exists()


def test_a_damaged_pointer_is_one_clear_error(versions: Versions) -> None:
    publish(versions, CONTENT)
    (versions.root / "LIVE.json").write_text("{")
    with pytest.raises(StorageError, match="damaged"):
        versions.live()
