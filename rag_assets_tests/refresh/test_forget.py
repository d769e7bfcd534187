"""The right to erasure: nothing of a forgotten document is left below the storage."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import dagster as dg
import numpy as np
import polars as pl
import pytest

from rag_assets.config import AuditConfig
from rag_assets.defs.execute import failure
from rag_assets.errors import BadRequest
from rag_assets.knowledge_base import KnowledgeBase
from rag_assets.refresh.forget import (
    Erasure,
    find_document,
    forget_document,
    let_in,
    record_erasure,
)
from rag_assets.refresh.inspection import list_versions
from rag_assets.refresh.pipeline import Pipeline
from rag_assets.refresh.plan import plan_refresh
from rag_assets.refresh.scrub import Scrubber
from rag_assets.service.audit import AuditLog
from rag_assets_tests.conftest import SmallBase, document
from rag_assets_tests.refresh.holding import held

WORDS = ("Quaxolotl", "Brimblewick", "Zindelfarne")
PERSON = """# The file of Quaxolotl

Quaxolotl lives in the third house behind the old mill and likes to be called {nickname}.
"""


@pytest.fixture
def base(small: SmallBase) -> Iterator[SmallBase]:
    """Three kept versions of a base whose runs Dagster records within the storage."""
    small.close()
    home = small.root / "store" / "dagster"
    home.mkdir(parents=True)
    small._instance = dg.DagsterInstance.local_temp(str(home))
    small.fill(4)
    small.write("person.md", PERSON.format(nickname="Brimblewick"))
    small.refresh()
    small.write("person.md", PERSON.format(nickname="Zindelfarne"))
    small.refresh()
    small.write("laptop.md", document("laptop", 3))
    small.refresh()
    return small


def erase(base: SmallBase, name: str = "docs/person.md") -> Erasure:
    pipeline = Pipeline(base.configure())
    known = find_document(pipeline, name)
    erasure = forget_document(pipeline, known)
    record_erasure(pipeline, erasure)
    return erasure


def traces(storage: Path, needles: list[bytes]) -> list[str]:
    """Files that hold any of the needles: as they are, or in what they decode to."""
    found = []
    for path in storage.rglob("*"):
        if path.is_file() and any(n in content for content in _contents(path) for n in needles):
            found.append(str(path.relative_to(storage)))
    return found


def _contents(path: Path) -> Iterator[bytes]:
    data = path.read_bytes()
    yield data
    if path.suffix == ".parquet":
        yield repr(pl.read_parquet(path).rows()).encode()
    if data.startswith(b"SQLite format 3"):
        with closing(sqlite3.connect(path)) as base:
            yield "\n".join(base.iterdump()).encode()


def needles(base: SmallBase) -> list[bytes]:
    """The words of the person, and the vector of its text."""
    pipeline = Pipeline(base.configure())
    chunks = pipeline.lake.read("chunks", pipeline.partitions).filter(doc_id="docs/person.md")
    vectors = pipeline.store.get(chunks["text_key"].to_list())
    assert len(vectors) == 1
    return [*(word.encode() for word in WORDS), np.asarray(vectors[0], np.float32).tobytes()[:64]]


def test_nothing_is_left_anywhere(base: SmallBase) -> None:
    storage = base.root / "store"
    wanted = needles(base)
    before = traces(storage, wanted)
    assert any("blobs" in name for name in before)
    assert any(name.endswith("passages.sqlite3") for name in before)
    assert any(name.startswith("embeddings") for name in before)
    numbers = [row["version"] for row in list_versions(Pipeline(base.configure()))]
    assert numbers == [3, 2, 1]
    erasure = erase(base)
    assert traces(storage, wanted) == []
    assert (erasure.versions, erasure.live_version) == ([1, 2, 4], 4)
    rows = {row["version"]: row for row in list_versions(Pipeline(base.configure()))}
    assert {number: rows[number]["documents"] for number in rows} == {4: 4, 2: 4, 1: 4}
    assert rows[4]["state"] == "live"
    assert rows[2]["state"] == "retired"
    assert rows[2]["verdict"]["completeness"]["passed"]


def test_it_does_not_come_back_and_the_rest_is_as_if_it_had_never_been(
    base: SmallBase, tmp_path: Path
) -> None:
    erase(base)
    assert (base.documents / "person.md").exists()
    # Only what the others repeat is measured anew.
    assert set(plan_refresh(Pipeline(base.configure())).reasons) == {"to clean"}
    receipt = base.refresh(full=True)
    assert plan_refresh(Pipeline(base.configure())).empty
    assert failure(receipt) is None
    assert (receipt["documents"]["listed"], receipt["live_version"]) == (4, 4)
    assert receipt["embeddings"]["computed"] == 0
    assert traces(base.root / "store", [word.encode() for word in WORDS]) == []
    clean = SmallBase(tmp_path / "clean")
    for file in base.documents.glob("*.md"):
        if file.name != "person.md":
            clean.write(file.name, file.read_text())
    clean.refresh()
    assert held(base.root / "store") == held(clean.root / "store")
    clean.close()
    with pytest.raises(BadRequest, match="no document of this uri or id"):
        erase(base)
    # Until somebody lets it in again.
    assert let_in(Pipeline(base.configure()), "docs/person.md")
    assert base.refresh()["documents"]["added"] == 1


def test_an_open_knowledge_base_forgets_at_once(base: SmallBase) -> None:
    with KnowledgeBase.open(base.path) as knowledge_base:
        question = "Where does Quaxolotl live?"
        assert knowledge_base.search(question, k=1)[0].doc_id == "docs/person.md"
        assert knowledge_base.search(question, k=1, version=1)[0].doc_id == "docs/person.md"
        erase(base)
        for version in (None, 1, 2):
            hits = knowledge_base.search(question, k=5, version=version)
            assert len(hits) == 5
            assert all(hit.doc_id != "docs/person.md" for hit in hits)


def test_the_audit_log_forgets_and_still_holds_together(base: SmallBase) -> None:
    pipeline = Pipeline(base.configure())
    log = AuditLog(pipeline.storage, AuditConfig())
    known = find_document(pipeline, "docs/person.md")
    log.append({"question": "Who is Quaxolotl?", "chunk_ids": sorted(known.chunk_ids)[:1]})
    log.append({"question": "Who fixes my laptop?", "chunk_ids": ["another"]})
    told = Scrubber((*known.names, *known.chunk_ids), known.texts).told
    assert log.erase(told, {"event": "erasure"}) == 1
    assert log.verify().problem is None
    assert log.verify().lines == 3
    text = next(log.directory.glob("*.jsonl")).read_text()
    assert "Quaxolotl" not in text
    assert "Who fixes my laptop?" in text
    log.append({"question": "And now?"})
    assert log.verify().problem is None


def test_a_receipt_names_nobody(base: SmallBase) -> None:
    base.write("copy.md", PERSON.format(nickname="Zindelfarne"))
    base.refresh()
    erasure = erase(base)
    assert erasure.similar == ["docs/copy.md"]
    [receipt] = (base.root / "store" / "erasures").glob("*.json")
    told = json.loads(receipt.read_text())
    assert told["removed"]["documents"] == 1
    assert told["similar"] == 1
    assert "person.md" not in receipt.read_text()
    assert "person.md" not in (base.root / "store" / "forgotten.json").read_text()
