"""A knowledge base in S3: pipeline and reader with working directories of their own."""

import signal

import pytest

from rag_assets.errors import BadRequest
from rag_assets.index.versions import Versions
from rag_assets.knowledge_base import KnowledgeBase
from rag_assets.mirror import mirror_of, published
from rag_assets.operations.backup import back_up, restore_storage
from rag_assets.refresh.pipeline import Pipeline
from rag_assets_tests.conftest import document
from rag_assets_tests.refresh.crashing import start_refresh
from rag_assets_tests.refresh.holding import held
from rag_assets_tests.sources import moto_server

QUERY = "Who answers requests concerning payroll?"


@pytest.fixture
def on(small, server, bucket):
    def placed(name, prefix="kb"):
        return small.configure(
            storage=f"s3://storage/{prefix}",
            working_directory=f"./{name}",
            s3=moto_server.settings(server),
        )

    return placed


def files(config):
    """What is published."""
    bucket = mirror_of(config).bucket
    return bucket.listing(bucket.head().listing)


def test_two_machines_refresh_and_read_and_roll_back_one_knowledge_base(small, on, bucket):
    small.fill(6)
    first = on("a")
    receipt = small.refresh()
    assert (receipt["promoted"], receipt["documents"]["added"]) == (True, 6)
    before = files(first)
    with KnowledgeBase(on("reader")) as reader:
        found = reader.search(QUERY, k=1)
        assert found.index_version == receipt["version"]
        small.write("payroll.md", "# Payroll\n\nPayroll questions go to the window on floor 9.\n")
        second = on("b")
        again = small.refresh()
        assert (again["documents"]["changed"], again["documents"]["unchanged"]) == (1, 5)
        assert again["embeddings"]["computed"] == again["chunks"]["added"] == 1
        reader._follower.pull()
        after = reader.search(QUERY, k=1)
        assert after.index_version == again["version"] > found.index_version
        assert "floor 9" in after.hits[0].text
        # Of the lake, what the document touches was sent, and of the embeddings what is new.
        sent = {path for path, stored in files(second).items() if before.get(path) != stored}
        lake = [path for path in sent if path.startswith("lake/") and "/docs/" in path]
        assert len(lake) == len({path.split("/")[1] for path in lake})
        kept = [path for path in before if path.endswith(".vectors") and path not in sent]
        assert {path for path in before if path.startswith("index/000001/")}.isdisjoint(sent)
        assert len([path for path in before if path.endswith(".vectors")]) == len(kept)
        with published(second), Pipeline(second).versions.publishing():
            Versions(second.storage).rollback()
        reader._follower.pull()
        assert reader.search(QUERY, k=1).index_version == found.index_version
    first = on("a")
    nothing = small.refresh()
    assert nothing["embeddings"]["computed"] == 0
    # A backup goes into a prefix of its own, and is there for every machine.
    archive = str(small.root / "kb.tar")
    made = back_up(first, archive)
    with pytest.raises(BadRequest, match="s3://storage/kb: is not empty; name a new prefix"):
        restore_storage(archive, on("c"))
    assert restore_storage(archive, on("c", "kb2")).live_version == made.live_version
    with KnowledgeBase(on("d", "kb2")) as reader:
        assert reader.search(QUERY, k=1).index_version == made.live_version


@pytest.mark.parametrize(
    ("boundary", "after", "call"),
    [
        ("head", False, 1),
        pytest.param("part", False, 1, marks=pytest.mark.full),
        pytest.param("part", True, 12, marks=pytest.mark.full),
        pytest.param("listing", True, 1, marks=pytest.mark.full),
        pytest.param("head", True, 1, marks=pytest.mark.full),
        pytest.param("pointer", True, 1, marks=pytest.mark.full),
    ],
)
def test_another_machine_takes_over_from_one_that_was_killed(
    small, on, monkeypatch, boundary, after, call
):
    monkeypatch.setattr("rag_assets.mirror.mirror.LASTS", 0.5)
    small.fill(3)
    on("a")
    small.refresh()
    reader = Pipeline(on("reader"))
    reader.pull()
    small.write("payroll.md", document("payroll").replace("within 3", "within 33"))
    small.write("new.md", document("new"))
    on("a")
    process = start_refresh(small.path, boundary, after=after, call=call)
    process.join()
    assert process.exitcode == -signal.SIGKILL, "the boundary was not reached"
    reader.pull()
    published_by_a = (boundary, after) == ("head", True)
    assert reader.versions.live().version == (2 if published_by_a else 1)
    second = on("b")
    receipt = small.refresh()
    assert receipt["live_version"] == 2
    expected = held(second.storage)
    first = on("a")
    again = small.refresh()
    assert (again["promoted"], again["embeddings"]["computed"]) == (False, 0)
    assert held(first.storage) == expected
