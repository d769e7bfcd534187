import shutil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_assets.errors import Busy, StorageError
from rag_assets.index import lexical
from rag_assets.index.lexical import LexicalIndex

ROWS = [
    ("c1", "Vacation days are agreed with your manager; see form HR-17.", "Vacation", ["Leave"]),
    ("c2", "The compiler prints error[E0433]: failed to resolve foo_bar.", "Errors", []),
    ("c3", "日本語の休暇規程は年二十日です。", "休暇", []),
    ("c4", "พนักงานมีสิทธิลาพักร้อนสิบวัน", "", []),
    ("c5", "Call the IT desk about C++ builds. It is open daily.", "Support", ["IT desk"]),
    ("c6", "It was a dark and stormy night; to be or not to be.", "Prose", []),
    ("c7", "Le café est fermé. Größe und Maße.", "Café", []),
    ("c8", "HR has 17 people in the bar beside the foo.", "Team", []),
]


@pytest.fixture
def index(tmp_path):
    index = LexicalIndex.create(tmp_path / "lexical")
    index.add(ROWS)
    index.commit()
    yield index
    index.close()


def found(index, text, k=10, chunk_ids=None):
    return [chunk_id for chunk_id, _ in index.search(text, k, chunk_ids)]


@pytest.mark.parametrize(
    ("query", "best"),
    [
        ("vacations", "c1"),  # stemmed
        ("HR-17", "c1"),  # not c8, which has only the parts
        ("hr-17?", "c1"),
        ("E0433", "c2"),
        ("foo_bar", "c2"),
        ('C++ error [E0433] AND "unclosed', "c2"),
        ("休暇", "c3"),
        ("年二十日", "c3"),
        ("規", "c3"),
        ("ลาพักร้อน", "c4"),
        ("IT", "c5"),  # an acronym, though "it" is a stop word
        ("c++", "c5"),
        ("to be or not to be", "c6"),  # nothing but stop words
        ("cafe", "c7"),
        ("GRÖSSE", "c7"),
        ("ＨＲ-１７", "c1"),  # full-width forms
    ],
)
def test_finds_what_people_type(index, query, best):
    assert found(index, query)[0] == best


@pytest.mark.parametrize("query", ["", " ", "\n\t", "?!…", "-- ++", "\x00", "\ud800", "🎉"])
def test_a_query_without_terms_finds_nothing(index, query):
    assert index.search(query, 5) == []


@pytest.mark.parametrize(
    "query", ["a AND", "text:", "id:c5", "path/to/file.md:12", '"unclosed', "(", "*", "+-", "[x TO"]
)
def test_query_syntax_is_text(index, query):
    index.search(query, 5)
    assert "c5" not in found(index, "id:c5")


@given(st.text(max_size=40))
@settings(max_examples=150, deadline=None)
def test_any_string_is_a_query(shared, text):
    assert len(shared.search(text, 3)) <= 3


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    index = LexicalIndex.create(tmp_path_factory.mktemp("lexical"))
    index.add(ROWS)
    index.commit()
    yield index
    index.close()


def test_title_and_headings_count(index):
    assert found(index, "support") == ["c5"]
    assert found(index, "leave") == ["c1"]


def test_ids_and_count_are_what_is_held(index):
    assert sorted(index.ids()) == [row[0] for row in ROWS]
    assert index.count() == len(ROWS)
    index.add([ROWS[0]])
    index.commit()
    assert sorted(index.ids()).count("c1") == 2


def test_deleted_rows_are_gone_and_unknown_ids_ignored(index):
    index.delete(["c1", "nothing"])
    index.commit()
    assert "c1" not in found(index, "vacation")
    assert "c1" not in index.ids()
    assert index.count() == len(ROWS) - 1


def test_nothing_is_visible_before_commit(index):
    index.add([("c9", "unicorns", "", [])])
    assert found(index, "unicorn") == []
    index.commit()
    assert found(index, "unicorn") == ["c9"]


def test_a_copy_of_a_closed_index_opens_and_goes_on(index, tmp_path):
    index.close()
    shutil.copytree(index.directory, tmp_path / "copy")
    copy = LexicalIndex.open(tmp_path / "copy")
    copy.delete(["c1"])
    copy.add([("c1b", "Vacation days are thirty.", "Vacation", [])])
    copy.commit()
    assert found(copy, "vacation") == ["c1b"]
    copy.close()
    again = LexicalIndex.open(index.directory)
    assert found(again, "vacation") == ["c1"]
    assert again.count() == len(ROWS)


def test_ties_are_ordered_by_id_whatever_was_added_first(tmp_path):
    ids = [f"chunk-{n:04d}" for n in range(300)]
    index = LexicalIndex.create(tmp_path)
    index.add((chunk_id, "same words here", "", []) for chunk_id in reversed(ids))
    index.commit()
    assert found(index, "words", 7) == ids[:7]
    assert found(index, "words", 3, ids[100:200]) == ids[100:103]
    assert found(index, "words", 500) == ids


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """4,000 rows; row n holds the words w0 … w9 where the digit stands in n, so scores vary."""
    index = LexicalIndex.create(tmp_path_factory.mktemp("large"))
    index.add(
        (f"{n * 2654435761 % 2**32:08x}", " ".join(f"w{digit}" for digit in str(n)), "", [])
        for n in range(4000)
    )
    index.commit()
    yield index
    index.close()


@given(st.integers(1, 60), st.integers(1, 3999), st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None)
def test_a_restriction_gives_the_best_of_the_allowed_rows_and_is_never_short(large, k, n, random):
    allowed = random.sample(sorted(large.ids()), n)
    everything = large.search("w1 w7 w30 w3", large.count())
    wanted = [hit for hit in everything if hit[0] in set(allowed)][:k]
    hits = large.search("w1 w7 w30 w3", k, allowed)
    assert [chunk_id for chunk_id, _ in hits] == [chunk_id for chunk_id, _ in wanted]
    assert [score for _, score in hits] == pytest.approx([score for _, score in wanted])


def test_an_empty_restriction_finds_nothing(large):
    assert large.search("w1", 5, []) == []


def test_a_huge_query_is_still_a_query(index):
    assert found(index, "vacation " + "lorem ipsum " * 100_000)[0] == "c1"


def test_a_second_writer_is_refused_in_words(index):
    other = LexicalIndex.open(index.directory)
    with pytest.raises(Busy, match="another writer"):
        other.delete(["c1"])


def test_a_missing_index_says_what_to_do(tmp_path):
    with pytest.raises(StorageError, match="reconcile --repair"):
        LexicalIndex.open(tmp_path / "nothing")


def test_ids_whose_keys_collide_are_told_apart(tmp_path, monkeypatch):
    monkeypatch.setattr(lexical, "_key", lambda chunk_id: len(chunk_id))
    index = LexicalIndex.create(tmp_path)
    index.add((chunk_id, f"word {chunk_id}", "", []) for chunk_id in ("a1", "a2", "a33"))
    index.commit()
    assert found(index, "word") == ["a1", "a2", "a33"]
