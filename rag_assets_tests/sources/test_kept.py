import sqlite3

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_assets.errors import SourceError, StorageError
from rag_assets.sources.kept import Event, Kept, usable


def state(kept):
    return {entry.key: kept.read(entry.key) for entry in kept.entries()}


def test_what_was_taken_in_is_listed_with_its_attributes(tmp_path):
    kept = Kept(tmp_path, "s")
    event = Event("a/b.md", 1, data=b"text", title="T", metadata={"n": 1}, acl=("hr",))
    assert kept.apply([event, Event("c", 1, token="t7")], ("p", "9")) == 2
    first, second = kept.entries()
    assert (first.key, first.name, first.title, first.acl) == ("a/b.md", "b.md", "T", ("hr",))
    assert (first.uri, first.size, first.metadata) == ("kept://s/a/b.md", 4, {"n": 1})
    assert (second.token, second.size, kept.read("c")) == ("t7", None, None)
    assert (Kept(tmp_path, "s").position("p"), kept.position("q")) == ("9", None)


def test_older_events_change_nothing_and_deletions_stay(tmp_path):
    kept = Kept(tmp_path, "s")
    kept.apply([Event("a", 5, data=b"new"), Event("b", 1, data=b"b")])
    assert kept.apply([Event("a", 4, data=b"old"), Event("a", 3, deleted=True)]) == 0
    assert kept.apply([Event("b", 2, deleted=True)]) == 1
    assert kept.apply([Event("b", 1, data=b"b")]) == 0
    assert state(kept) == {"a": b"new"}
    with pytest.raises(SourceError, match="kept://s/b: was deleted"):
        kept.read("b")


def test_changes_since_a_cursor(tmp_path):
    kept = Kept(tmp_path, "s")
    kept.apply([Event("a", 1, data=b"a"), Event("b", 1, data=b"b")])
    cursor = kept.changes(None).cursor
    assert kept.changes(None).entries == []
    assert kept.changes(cursor) == kept.changes(cursor)
    assert kept.changes(cursor).entries == []
    kept.apply([Event("b", 2, deleted=True), Event("c", 1, data=b"c")])
    found = kept.changes(cursor)
    assert ([e.key for e in found.entries], found.deleted) == (["c"], ["b"])
    assert kept.changes(found.cursor).cursor == found.cursor


def test_a_whole_list_deletes_what_it_lacks(tmp_path):
    kept = Kept(tmp_path, "s")
    kept.apply([Event("a", 1, data=b"a"), Event("b", 1, data=b"b")])
    cursor = kept.changes(None).cursor
    assert kept.apply([Event("b", 1, data=b"b"), Event("c", 2, data=b"c")], whole=True) == 2
    assert state(kept) == {"b": b"b", "c": b"c"}
    assert kept.changes(cursor).deleted == ["a"]


def test_a_batch_that_fails_leaves_nothing_behind(tmp_path):
    kept = Kept(tmp_path, "s")

    def breaking():
        yield Event("a", 1, data=b"a")
        raise RuntimeError("half way")

    with pytest.raises(RuntimeError):
        kept.apply(breaking(), ("p", "1"))
    assert (state(kept), kept.position("p")) == ({}, None)


def test_dead_letters_are_kept_once(tmp_path):
    kept = Kept(tmp_path, "s")
    kept.bury("m1", "no id", b"{}")
    kept.bury("m1", "no id", b"{}")
    [letter] = kept.dead_letters()
    assert (letter.name, letter.reason, letter.body) == ("m1", "no id", b"{}")
    assert letter.at


def test_documents_whose_id_cannot_be_one_are_dead_letters_until_they_go(tmp_path):
    kept = Kept(tmp_path, "s")
    given = [Event("", 1, data=b"x"), Event("a", 1, data=b"y"), Event("b\n", 1, data=b"z")]
    assert kept.apply([usable(event) for event in given], ("p", "1"), whole=True) == 1
    assert state(kept) == {"a": b"y"}
    assert [letter.name for letter in kept.dead_letters()] == ["row ''", "row 'b\\n'"]
    kept.apply([Event("b\n", 2, deleted=True)])
    assert [letter.name for letter in kept.dead_letters()] == ["row ''"]


def test_a_dead_letter_is_let_go_of_with_what_it_turned_out_to_be(tmp_path):
    kept = Kept(tmp_path, "s")
    kept.bury("m1", "no id", b"{}")
    with pytest.raises(ValueError):
        kept.settle("m1", Event("a", 1, data=b"x", title="\ud800"))
    assert len(kept.dead_letters()) == 1
    kept.settle("m1", Event("a", 1, data=b"x"))
    assert (kept.dead_letters(), state(kept)) == ([], {"a": b"x"})


def test_a_file_that_is_no_database_is_told(tmp_path):
    (tmp_path / "kept.sqlite3").write_bytes(b"x" * 4096)
    with pytest.raises(StorageError, match=r"kept\.sqlite3 cannot be used"):
        list(Kept(tmp_path, "s").entries())


events = st.lists(
    st.builds(
        lambda key, version, deleted, data: Event(key, version, deleted, None if deleted else data),
        st.sampled_from("abc"),
        st.integers(0, 4),
        st.booleans(),
        st.binary(max_size=2),
    ),
    max_size=12,
)


@settings(max_examples=40, deadline=None)
@given(events, st.randoms(use_true_random=False))
def test_any_order_of_the_same_events_ends_in_the_same_documents(tmp_path_factory, given, random):
    first = Kept(tmp_path_factory.mktemp("kept"), "s")
    second = Kept(tmp_path_factory.mktemp("kept"), "s")
    first.apply(given)
    shuffled = given + random.sample(given, len(given) // 2)
    random.shuffle(shuffled)
    for event in shuffled:
        second.apply([event])
    assert state(first) == state(second)


def test_two_writers_lose_nothing(tmp_path):
    first, second = Kept(tmp_path, "s"), Kept(tmp_path, "s")
    for number in range(20):
        (first if number % 2 else second).apply([Event(str(number), 1, data=b"x")])
    with sqlite3.connect(tmp_path / "kept.sqlite3") as base:
        assert base.execute("SELECT count(DISTINCT sequence) FROM documents").fetchone() == (20,)
