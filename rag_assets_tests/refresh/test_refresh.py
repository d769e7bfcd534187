"""What a refresh costs, and what it leaves behind, for every kind of change."""

import json
import os
import shutil

import pytest

from rag_assets.defs.execute import failure
from rag_assets.errors import GateRefused, Held
from rag_assets.index.live import LiveIndex
from rag_assets.refresh.pipeline import Pipeline
from rag_assets_tests.conftest import SUBJECTS, SmallBase, document


def texts(base: SmallBase) -> dict[str, set[str]]:
    """doc_id → texts of its chunks, in the live version."""
    live = LiveIndex(base.configure().storage)
    try:
        with live.read() as version:
            return {
                doc_id: {p.text for p in version.passages(version.chunk_ids([doc_id]))}
                for doc_id in version.document_ids()
            }
    finally:
        live.close()


def counts(receipt: dict) -> tuple[int, ...]:
    names = ("listed", "unchanged", "added", "changed", "deleted", "quarantined", "held")
    return tuple(receipt["documents"][name] for name in names)


@pytest.fixture
def filled(small: SmallBase) -> SmallBase:
    small.fill(8)
    receipt = small.refresh()
    assert receipt["promoted"]
    assert counts(receipt) == (8, 0, 8, 0, 0, 0, 0)
    assert receipt["embeddings"]["computed"] == receipt["chunks"]["added"] > 30
    return small


def test_nothing_changed_makes_no_version_and_embeds_nothing(filled: SmallBase) -> None:
    receipt = filled.refresh()
    assert (receipt["version"], receipt["promoted"], receipt["live_version"]) == (1, False, 1)
    assert counts(receipt) == (8, 8, 0, 0, 0, 0, 0)
    assert receipt["embeddings"]["computed"] == 0
    assert (receipt["chunks"]["added"], receipt["chunks"]["deleted"]) == (0, 0)
    assert receipt["gate"]["passed"]
    assert Pipeline(filled.configure()).versions.numbers() == [1]


def test_one_edited_paragraph_embeds_one_text(filled: SmallBase) -> None:
    text = document("payroll").replace("within 3 working days", "within 99 working days")
    filled.write("payroll.md", text)
    receipt = filled.refresh()
    assert counts(receipt) == (8, 7, 0, 1, 0, 0, 0)
    assert receipt["embeddings"]["computed"] == 1
    assert (receipt["chunks"]["added"], receipt["chunks"]["deleted"]) == (1, 1)
    assert any("99 working days" in t for t in texts(filled)["docs/payroll.md"])


def test_a_paragraph_at_the_top_leaves_the_other_chunks_alone(filled: SmallBase) -> None:
    before = texts(filled)["docs/payroll.md"]
    head, _, rest = document("payroll").partition("## ")
    new = (
        "## Something new\n\nA first paragraph that was not there before, long enough to be one.\n"
    )
    filled.write("payroll.md", f"{head}{new}\n## {rest}")
    receipt = filled.refresh()
    assert receipt["embeddings"]["computed"] <= 2
    assert len(before - texts(filled)["docs/payroll.md"]) <= 1


def test_a_deleted_document_is_gone_and_its_return_costs_nothing(filled: SmallBase) -> None:
    kept = (filled.documents / "payroll.md").read_text()
    (filled.documents / "payroll.md").unlink()
    receipt = filled.refresh()
    assert counts(receipt) == (7, 7, 0, 0, 1, 0, 0)
    assert "docs/payroll.md" not in texts(filled)
    filled.write("payroll.md", kept)
    receipt = filled.refresh()
    assert counts(receipt) == (8, 7, 1, 0, 0, 0, 0)
    assert receipt["embeddings"]["computed"] == 0


def test_moves_and_copies_embed_nothing(filled: SmallBase) -> None:
    os.rename(filled.documents / "payroll.md", filled.documents / "salaries.md")
    shutil.copy(filled.documents / "laptop.md", filled.documents / "trips.md")
    receipt = filled.refresh()
    assert counts(receipt) == (9, 7, 2, 0, 1, 0, 0)
    assert receipt["embeddings"]["computed"] == 0
    assert "docs/salaries.md" in texts(filled)


def test_touching_every_file_changes_nothing(filled: SmallBase) -> None:
    for file in filled.documents.iterdir():
        os.utime(file, (1, 1))
    receipt = filled.refresh()
    assert counts(receipt) == (8, 8, 0, 0, 0, 0, 0)
    assert receipt["live_version"] == 1


def test_an_edit_that_keeps_size_and_mtime_is_seen(filled: SmallBase) -> None:
    file = filled.documents / "payroll.md"
    status = file.stat()
    file.write_text(file.read_text().replace("within 3 working", "within 7 working"))
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert file.stat().st_size == status.st_size
    receipt = filled.refresh()
    assert counts(receipt) == (8, 7, 0, 1, 0, 0, 0)
    assert receipt["embeddings"]["computed"] == 1


def test_another_chunk_size_and_back_embeds_only_new_texts(filled: SmallBase) -> None:
    first = texts(filled)
    filled.configure(chunking={"default": {"size": 32, "overlap": 0}})
    receipt = filled.refresh()
    assert counts(receipt)[:4] == (8, 8, 0, 0)
    new = {t for each in texts(filled).values() for t in each}
    old = {t for each in first.values() for t in each}
    assert receipt["embeddings"]["computed"] == len(new - old) > 0
    filled.configure(chunking={"default": {"size": 64, "overlap": 0}})
    receipt = filled.refresh()
    assert receipt["embeddings"]["computed"] == 0
    assert texts(filled) == first


def test_another_precision_and_back_embeds_everything_once(filled: SmallBase) -> None:
    filled.configure(embedding={"precision": "fp32"})
    receipt = filled.refresh()
    assert receipt["promoted"]
    assert receipt["embeddings"]["computed"] == receipt["chunks"]["kept"] > 0
    filled.configure(embedding={"precision": "int8"})
    receipt = filled.refresh()
    assert receipt["promoted"]
    assert receipt["embeddings"]["computed"] == 0


def test_a_changed_acl_rewrites_documents_but_embeds_and_parses_nothing(filled: SmallBase) -> None:
    filled.settings["sources"][0]["acl"] = ["hr"]
    receipt = filled.refresh()
    assert receipt["promoted"]
    assert counts(receipt) == (8, 8, 0, 0, 0, 0, 0)
    assert (receipt["embeddings"]["computed"], receipt["chunks"]["added"]) == (0, 0)
    live = LiveIndex(filled.configure().storage)
    with live.read() as version:
        [chunk_id] = version.chunk_ids(["docs/payroll.md"])[:1]
        assert version.passages([chunk_id])[0].acl == ("hr",)
    live.close()


def test_many_deletions_are_held_until_confirmed(filled: SmallBase) -> None:
    for subject in SUBJECTS[:4]:
        (filled.documents / f"{subject}.md").unlink()
    receipt = filled.refresh()
    problem = failure(receipt)
    assert isinstance(problem, Held)
    assert "4 of 8 documents are gone" in str(problem)
    assert counts(receipt) == (4, 4, 0, 0, 0, 0, 4)
    assert len(texts(filled)) == 8
    filled.write("extra.md", document("extra"))
    receipt = filled.refresh()
    assert isinstance(failure(receipt), Held)
    assert len(texts(filled)) == 9
    receipt = filled.refresh(confirm_deletes=True)
    assert failure(receipt) is None
    assert receipt["documents"]["deleted"] == 4
    assert len(texts(filled)) == 5


def test_an_empty_listing_deletes_nothing(filled: SmallBase) -> None:
    shutil.rmtree(filled.documents)
    filled.documents.mkdir()
    receipt = filled.refresh()
    assert isinstance(failure(receipt), Held)
    assert "lists nothing" in str(failure(receipt))
    assert len(texts(filled)) == 8


def test_a_document_that_cannot_be_parsed_is_quarantined_alone(filled: SmallBase) -> None:
    (filled.documents / "broken.pdf").write_bytes(b"%PDF-1.7 this is not really one")
    filled.write("empty.md", "")
    receipt = filled.refresh()
    assert failure(receipt) is None
    assert counts(receipt) == (10, 8, 0, 0, 0, 2, 0)
    problems = {row["doc_id"]: row["problem"] for row in receipt["quarantined"]}
    assert problems["docs/empty.md"].startswith("empty")
    assert problems["docs/broken.pdf"].startswith("damaged")
    filled.write("empty.md", document("filled"))
    receipt = filled.refresh()
    assert counts(receipt)[:4] == (10, 8, 1, 0)


def test_a_refused_candidate_leaves_the_live_version_and_is_tried_again(small: SmallBase) -> None:
    small.fill(8)
    small.ask_about(list(SUBJECTS[:8]), **{"hit@1": 0.5, "min_queries": 5})
    assert small.refresh()["promoted"]
    small.ask_about(list(SUBJECTS[:8]), **{"hit@1": 0.5, "min_queries": 5})
    for subject in SUBJECTS[1:8]:
        small.write(f"{subject}.md", "# Nothing\n\nThis page was emptied by mistake.\n")
    receipt = small.refresh()
    assert isinstance(failure(receipt), GateRefused)
    assert (receipt["version"], receipt["live_version"], receipt["promoted"]) == (2, 1, False)
    refused = [c["name"] for c in receipt["gate"]["checks"] if not c["passed"]]
    assert "retrieval_quality" in refused
    assert len(texts(small)["docs/payroll.md"]) > 1
    for subject in SUBJECTS[1:8]:
        small.write(f"{subject}.md", document(subject))
    receipt = small.refresh()
    assert failure(receipt) is None
    # What is wanted now is what is live, so there is nothing to build.
    assert (receipt["live_version"], receipt["embeddings"]["computed"]) == (1, 0)


def test_too_few_questions_cannot_tell_and_say_so(small: SmallBase) -> None:
    small.fill(4)
    small.ask_about(list(SUBJECTS[:4]), **{"recall@5": 0.9, "min_queries": 20})
    receipt = small.refresh()
    assert receipt["promoted"]
    [check] = [c for c in receipt["gate"]["checks"] if c["name"] == "retrieval_quality"]
    assert (check["passed"], check["decided"]) == (True, False)
    assert "4 judged queries, needs 20" in check["summary"]


def test_a_raised_floor_refuses_what_is_live_without_touching_it(small: SmallBase) -> None:
    small.fill(6)
    subjects = list(SUBJECTS[:6])
    small.ask_about(subjects, **{"recall@5": 0.5, "min_queries": 5})
    assert small.refresh()["promoted"]
    # One more question, which expects the wrong document.
    small.ask_about(subjects, **{"hit@1": 1.0, "min_queries": 5})
    questions = small.root / "questions.jsonl"
    wrong = {"id": "wrong", "query": "Who answers about laptops?", "relevant": ["docs/payroll.md"]}
    questions.write_text(questions.read_text() + "\n" + json.dumps(wrong))
    receipt = small.refresh()
    assert isinstance(failure(receipt), GateRefused)
    assert receipt["live_version"] == 1
    assert Pipeline(small.configure()).versions.verdict(1)["retrieval_quality"]["passed"]


def test_a_full_refresh_reads_everything_again_and_changes_nothing(filled: SmallBase) -> None:
    receipt = filled.refresh(full=True)
    assert counts(receipt) == (8, 8, 0, 0, 0, 0, 0)
    assert receipt["live_version"] == 1


def test_damaged_raw_bytes_are_never_parsed_and_a_full_refresh_brings_them_back(
    small: SmallBase,
) -> None:
    small.fill(3)
    small.refresh()
    lake = Pipeline(small.configure()).lake
    raw = lake.read("raw_documents", lake.partitions("raw_documents"))
    damaged, gone = raw["content_hash"][:2]
    lake.blob_path(damaged).write_bytes(b"torn")
    lake.blob_path(gone).unlink()
    for partition in lake.partitions("documents"):
        lake.remove("documents", partition)  # as another parser would: everything is parsed again
    broken = small.refresh()
    assert broken["documents"]["quarantined"] == 2
    assert all("lost or damaged" in row["problem"] for row in broken["quarantined"])
    mended = small.refresh(full=True)
    assert mended["documents"]["quarantined"] == 0
    assert mended["embeddings"]["computed"] == 0
    assert lake.holds_bytes(damaged)
    assert lake.holds_bytes(gone)
