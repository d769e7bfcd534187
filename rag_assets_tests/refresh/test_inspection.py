"""Explaining, repairing and retrying."""

import shutil
from contextlib import closing

import pytest

from rag_assets.errors import BadRequest, StorageError
from rag_assets.index.build import LEXICAL
from rag_assets.index.homes import CHROMA
from rag_assets.index.lexical import LexicalIndex
from rag_assets.index.passages import PassageStore
from rag_assets.refresh.inspection import explain_document
from rag_assets.refresh.pipeline import Pipeline
from rag_assets.refresh.quarantine import quarantined, retry_quarantined
from rag_assets.refresh.repair import reconcile_live
from rag_assets_tests.conftest import SUBJECTS, SmallBase, document
from rag_assets_tests.refresh.holding import held


@pytest.fixture
def filled(small: SmallBase) -> SmallBase:
    small.fill(4)
    small.ask_about(list(SUBJECTS[:4]), **{"recall@5": 0.5, "min_queries": 3})
    assert small.refresh()["promoted"]
    return small


def explained(base: SmallBase, doc_id: str) -> dict:
    return explain_document(Pipeline(base.configure()), doc_id)


def test_explain_follows_a_document_through_its_stages(filled: SmallBase) -> None:
    found = explained(filled, "docs/payroll.md")
    assert found["state"] == "live"
    assert found["stages"]["parsing"].startswith("reused")
    assert found["stages"]["chunking"].startswith("reused: ")
    assert found["stages"]["index"] == "in the live version"
    text = (filled.documents / "payroll.md").read_text()
    starts = [chunk["start"] for chunk in found["chunks"]]
    assert starts == sorted(starts)
    assert text[found["chunks"][0]["start"] :].startswith("# About payroll")
    by_uri = explained(filled, (filled.documents / "payroll.md").as_uri())
    assert by_uri["doc_id"] == "docs/payroll.md"


def test_explain_says_what_is_due_and_why(filled: SmallBase) -> None:
    filled.configure(chunking={"default": {"size": 32, "overlap": 0}})
    stages = explained(filled, "docs/payroll.md")["stages"]
    assert stages["parsing"].startswith("reused")
    assert stages["chunking"] == "due: the chunking profile, its code or the tokenizer changed"
    filled.configure(
        chunking={"default": {"size": 64, "overlap": 0}}, embedding={"precision": "fp32"}
    )
    stages = explained(filled, "docs/payroll.md")["stages"]
    assert stages["embedding"].startswith("due: ")


def test_explain_of_quarantined_held_and_unknown_documents(filled: SmallBase) -> None:
    filled.write("empty.md", "")
    (filled.documents / "payroll.md").unlink()
    (filled.documents / "laptop.md").unlink()
    filled.refresh()
    assert explained(filled, "docs/empty.md")["state"] == "quarantined"
    assert explained(filled, "docs/payroll.md")["state"] == "held"
    with pytest.raises(BadRequest, match="no document of this uri or id"):
        explained(filled, "docs/nothing.md")


def test_retry_reads_quarantined_documents_again(filled: SmallBase) -> None:
    filled.write("empty.md", "")
    filled.refresh()
    pipeline = Pipeline(filled.configure())
    assert [row["doc_id"] for row in quarantined(pipeline)] == ["docs/empty.md"]
    retry_quarantined(pipeline, ["docs/empty.md", "docs/payroll.md"])
    assert quarantined(pipeline) == []
    receipt = filled.refresh()
    assert receipt["documents"]["quarantined"] == 1
    assert receipt["documents"]["unchanged"] == 4


@pytest.mark.parametrize("damage", ["lexical", "passages", "chroma"])
def test_reconcile_mends_the_live_version_without_embedding(
    filled: SmallBase, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = Pipeline(filled.configure())
    expected = held(pipeline.storage)
    directory = pipeline.versions.directory(1)
    assert reconcile_live(pipeline, repair=True)["problems"] == []
    if damage == "lexical":
        with closing(LexicalIndex.open(directory / LEXICAL)) as lexical:
            lexical.delete(lexical.ids()[:3])
            lexical.commit()
    elif damage == "passages":
        with closing(PassageStore.open(directory, writable=True)) as passages:
            passages.delete_documents(["docs/payroll.md"])
    else:
        shutil.rmtree(directory / CHROMA)
    seen = reconcile_live(pipeline, repair=False)
    assert seen["problems"]
    assert not seen["repaired"]
    monkeypatch.setattr(
        Pipeline, "encoder", lambda self: pytest.fail("the model was loaded for a repair")
    )
    mended = reconcile_live(pipeline, repair=True)
    assert (mended["repaired"], mended["live_version"]) == (True, 2)
    assert held(pipeline.storage) == expected
    assert reconcile_live(pipeline, repair=False)["problems"] == []


@pytest.mark.parametrize("lost", ["LIVE.json", "000001", "000001/MANIFEST.json"])
def test_a_live_version_that_cannot_be_read_is_built_anew(filled: SmallBase, lost: str) -> None:
    pipeline = Pipeline(filled.configure())
    expected = held(pipeline.storage)
    path = pipeline.versions.root / lost
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.write_text("{")
    with pytest.raises(StorageError, match="rag-assets reconcile --repair"):
        filled.refresh()
    seen = reconcile_live(pipeline, repair=False)
    assert (len(seen["problems"]), seen["repaired"], seen["live_version"]) == (1, False, None)
    mended = reconcile_live(pipeline, repair=True)
    assert (mended["repaired"], mended["live_version"]) == (True, 2)
    assert held(pipeline.storage) == expected
    receipt = filled.refresh()
    assert (receipt["version"], receipt["embeddings"]["computed"]) == (2, 0)


def test_a_lost_embedding_store_is_filled_again(filled: SmallBase) -> None:
    shutil.rmtree(filled.root / "store" / "embeddings")
    filled.write("new.md", document("new"))
    receipt = filled.refresh(full=True)
    assert receipt["promoted"]
    assert (
        receipt["embeddings"]["computed"] == receipt["chunks"]["kept"] + receipt["chunks"]["added"]
    )
