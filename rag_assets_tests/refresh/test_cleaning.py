"""Cleaning inside a refresh: what the documents of a source do to one another, and its policy."""

import json
import random
import shutil
from pathlib import Path

import pytest

from rag_assets.errors import StorageError
from rag_assets.knowledge_base import KnowledgeBase
from rag_assets.lake import Lake
from rag_assets.refresh.duplicates import places
from rag_assets.refresh.pipeline import Pipeline
from rag_assets.refresh.plan import plan_refresh
from rag_assets_tests.conftest import SUBJECTS, SmallBase, document
from rag_assets_tests.parsing.samples import pdf
from rag_assets_tests.refresh.holding import held

MENU = "Home\nProducts\nSupport\nCareers\n\n"
FOOTER = "\n\n© 2026 Acme Inc.\nImprint and privacy\n"


def page(subject: str, *, menu: bool = True) -> str:
    return f"{MENU}{document(subject, 1)}{FOOTER}" if menu else document(subject, 1)


def stored(base: SmallBase, *columns: str) -> dict[str, tuple]:
    config = base.configure()
    frame = Lake.at(config.storage).read(
        "documents", config.sources[0].partitions, ["doc_id", *columns]
    )
    return {row[0]: row[1:] for row in frame.iter_rows()}


def texts(base: SmallBase) -> dict[str, str]:
    return {doc_id: text for doc_id, (text,) in stored(base, "text").items()}


def with_menu(base: SmallBase) -> list[str]:
    return sorted(doc_id for doc_id, text in texts(base).items() if "Careers" in text)


def assert_as_if_new(base: SmallBase, folder: Path) -> None:
    """The live index and the stored texts equal those of a build from nothing."""
    clean = SmallBase(folder)
    shutil.rmtree(clean.documents)
    shutil.copytree(base.documents, clean.documents)
    clean.settings["sources"] = base.settings["sources"]
    clean.refresh()
    assert texts(base) == texts(clean)
    assert held(base.root / "store") == held(clean.root / "store")
    clean.close()


@pytest.fixture
def site(small: SmallBase) -> SmallBase:
    for subject in SUBJECTS[:12]:
        small.write(f"{subject}.md", page(subject))
    small.refresh()
    return small


def test_the_first_document_keeps_what_a_source_repeats(site: SmallBase, tmp_path: Path) -> None:
    first = min(texts(site))
    assert with_menu(site) == [first]
    assert sum("Imprint" in text for text in texts(site).values()) == 1
    assert plan_refresh(Pipeline(site.configure())).empty
    # A newcomer keeps the menu from now on; its neighbour, in whatever partition, loses it.
    site.write("aaa.md", page("aaa"))
    receipt = site.refresh()
    assert with_menu(site) == ["docs/aaa.md"]
    counted = receipt["documents"]
    assert (counted["unchanged"], counted["added"], receipt["live_version"]) == (12, 1, 2)
    assert plan_refresh(Pipeline(site.configure())).empty
    assert_as_if_new(site, tmp_path / "new")


def test_a_share_that_is_not_reached_any_more_brings_lines_back(
    site: SmallBase, tmp_path: Path
) -> None:
    for number, subject in enumerate([*SUBJECTS[12:], "one", "two"]):
        site.write(f"{subject}.md", page(subject, menu=False))
        if number == 0:
            site.refresh()
            assert len(with_menu(site)) == 1
    site.refresh()
    assert len(with_menu(site)) == 12
    assert_as_if_new(site, tmp_path / "new")


def test_another_share_cleans_only_whom_it_concerns(site: SmallBase) -> None:
    site.write("plain.md", page("plain", menu=False))
    site.refresh()
    site.settings["sources"][0]["repeated_lines"] = 1.0
    plan = plan_refresh(Pipeline(site.configure()))
    assert plan.reasons == {"to clean": 13}
    pipeline = Pipeline(site.configure())
    raw = pipeline.lake.read("raw_documents", pipeline.partitions)
    assert pipeline.documents(raw, pipeline.partitions).computed == 11
    site.refresh()
    assert len(with_menu(site)) == 12
    assert plan_refresh(Pipeline(site.configure())).empty


def test_stopped_before_the_neighbours_were_cleaned_the_next_refresh_does_it(
    site: SmallBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(pipeline: Pipeline) -> None:
        raise StorageError("the disk is full")

    site.write("aaa.md", page("aaa"))
    with monkeypatch.context() as patched:
        patched.setattr("rag_assets.defs.assets.settle", stopped)
        with pytest.raises(StorageError):
            site.refresh()
    assert "to clean" in plan_refresh(Pipeline(site.configure())).reasons
    site.refresh()
    assert with_menu(site) == ["docs/aaa.md"]
    assert_as_if_new(site, tmp_path / "new")


def test_any_edits_end_where_a_build_from_nothing_does(site: SmallBase, tmp_path: Path) -> None:
    chosen = random.Random(3)
    for _ in range(4):
        for _ in range(chosen.randint(1, 6)):
            name = chosen.choice(["aaa", "bbb", *SUBJECTS[:14]])
            if chosen.random() < 0.3:
                (site.documents / f"{name}.md").unlink(missing_ok=True)
            elif chosen.random() < 0.2:
                site.write(f"{name}.md", "")
            else:
                site.write(f"{name}.md", page(name, menu=chosen.random() < 0.6))
        site.refresh(confirm_deletes=True)
        assert plan_refresh(Pipeline(site.configure())).empty
    assert_as_if_new(site, tmp_path / "new")


PRIVATE = """# Ask ada@example.org

Write to ada@example.org or call +49 30 1234567 about your leave.

## Where

The key is AKIAIOSFODNN7EXAMPLQ and the desk is number five.
"""


def test_redaction_reaches_everything_that_is_stored(small: SmallBase) -> None:
    small.settings["sources"][0] |= {"pii": "redact", "metadata": {"owner": "bob@example.org"}}
    small.write("desk.md", PRIVATE)
    small.write("carol@example.org", "A text without a title, long enough to be one.")
    small.refresh()
    rows = stored(small, "text", "title", "metadata", "headings")
    text, title, metadata, headings = rows["docs/desk.md"]
    assert title == "Ask [EMAIL]"
    assert json.loads(metadata) == {
        "language": "en",
        "owner": "[EMAIL]",
        "pii_email": 2,
        "pii_phone": 1,
        "secrets": 1,
    }
    assert rows["docs/carol@example.org"][1] == "[EMAIL]"
    where = next(h for h in headings if h["title"] == "Where")
    assert text[where["start"] :].startswith("## Where")
    config = small.configure()
    chunks = Lake.at(config.storage).read("chunks", config.sources[0].partitions)
    for doc_id, start, end, cut in chunks.select("doc_id", "start", "end", "text").iter_rows():
        assert rows[doc_id][0][start:end] == cut
    passages = held(small.root / "store")["passages"].values()
    said = " ".join([passage[1] for passage in passages])
    assert "[EMAIL]" in said
    assert "@example.org" not in said
    assert "AKIA" not in said


def test_another_policy_is_a_change_of_its_source_only(small: SmallBase) -> None:
    other = small.root / "other"
    other.mkdir()
    (other / "note.md").write_text("# Note\n\nWrite to eve@example.org about the note.\n")
    small.settings["sources"].append(
        {"name": "other", "type": "files", "path": "./other", "buckets": 2}
    )
    small.write("desk.md", PRIVATE)
    small.refresh()
    assert "ada@example.org" in texts(small)["docs/desk.md"]
    small.settings["sources"][0]["pii"] = "flag"
    assert plan_refresh(Pipeline(small.configure())).reasons == {"to parse": 1}
    small.refresh()
    assert "ada@example.org" in texts(small)["docs/desk.md"]
    small.settings["sources"][0]["pii"] = "block"
    receipt = small.refresh(confirm_deletes=True)
    assert receipt["documents"]["quarantined"] == 1
    [row] = receipt["quarantined"]
    assert row["problem"].startswith("blocked: it holds personal data (2 email, 1 phone)")
    small.settings["sources"][0]["pii"] = {"mode": "redact", "entities": ["phone"]}
    small.refresh()
    assert "ada@example.org or call [PHONE]" in texts(small)["docs/desk.md"]


def groups(base: SmallBase) -> list[list[str]]:
    found = places(Pipeline(base.configure()))
    return [[document["doc_id"] for document in group["documents"]] for group in found]


def test_documents_that_say_the_same_are_linked_for_those_who_may_read_both(
    small: SmallBase, tmp_path: Path
) -> None:
    for name in ("secret", "open"):
        (small.root / name).mkdir()
    small.settings["sources"] += [
        {"name": "open", "type": "files", "path": "./open", "buckets": 2},
        {"name": "secret", "type": "files", "path": "./secret", "buckets": 2, "acl": ["board"]},
    ]
    small.fill(3)
    for place in (small.documents, small.root / "open", small.root / "secret"):
        (place / "copy.md").write_text(document("laptop") + "\nOne more word.\n")
    receipt = small.refresh()
    assert receipt["documents"]["added"] == 6
    assert groups(small) == [["docs/copy.md", "docs/laptop.md", "open/copy.md"]]
    with KnowledgeBase.open(small.path) as knowledge_base:
        [found] = knowledge_base.search("laptop rule 0", k=1, where={"source": "open"}) or [None]
        group = found.metadata["text_group"]
        linked = knowledge_base.search("laptop", k=50, where={"text_group": group})
        everywhere = {hit.doc_id for hit in linked} | {p.doc_id for h in linked for p in h.also_at}
        assert everywhere == {"docs/copy.md", "docs/laptop.md", "open/copy.md"}
        secret = knowledge_base.search("laptop", k=50, where={"source": "secret"})
        assert all("text_group" not in hit.metadata for hit in secret)
    assert plan_refresh(Pipeline(small.configure())).empty
    # Without the others a text is in one place only; nothing is embedded for it.
    small.write("copy.md", document("canteen"))
    (small.root / "open" / "copy.md").unlink()
    receipt = small.refresh(confirm_deletes=True)
    assert groups(small) == []
    with KnowledgeBase.open(small.path) as knowledge_base:
        hits = knowledge_base.search("laptop", k=50)
        assert all("text_group" not in hit.metadata for hit in hits)
    assert plan_refresh(Pipeline(small.configure())).empty


def test_an_answer_names_the_page_and_the_heading(small: SmallBase) -> None:
    more = "It is kept in the drawer of the desk and shown to whoever asks for it at the door."
    pages = [
        ["The parking permit is issued by the gate keeper of the northern yard.", more, more, more],
        ["The canteen card is issued by the cook of the southern kitchen.", more, more, more],
    ]
    (small.documents / "cards.pdf").write_bytes(pdf(pages))
    small.write("post.md", "# Stamps\n\nStamps are sold by the porter at the door.\n")
    small.refresh()
    with KnowledgeBase.open(small.path) as knowledge_base:
        [citation] = knowledge_base.answer("Who issues the canteen card?").citations[:1]
        assert (citation.doc_id, citation.page) == ("docs/cards.pdf", 2)
        [citation] = knowledge_base.answer("Who sells stamps?").citations[:1]
        assert (citation.page, citation.heading) == (None, ("Stamps",))
