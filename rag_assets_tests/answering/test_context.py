import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_assets.answering.context import distinct, pack
from rag_assets.errors import BadRequest
from rag_assets_tests.answering.made import hit

TEXT = "".join(chr(97 + n % 26) for n in range(400))


def words(text):
    return len(text)


def test_passages_are_numbered_best_first():
    hits = [hit(1, "best", doc_id="docs/b.md"), hit(2, "second", doc_id="docs/a.md")]
    assert [(s.number, s.text) for s in pack(hits, 1000, words)] == [(1, "best"), (2, "second")]


def test_overlapping_chunks_become_one_without_repeats():
    hits = [hit(1, TEXT[50:100], 50), hit(2, "other", doc_id="docs/b.md"), hit(3, TEXT[0:60], 0)]
    first, second = pack(hits, 1000, words)
    assert (first.number, first.text, first.start, first.end) == (1, TEXT[:100], 0, 100)
    assert first.chunk_id == "docs/a.md#50"
    assert second.text == "other"


def test_touching_chunks_join_and_distant_ones_do_not():
    hits = [hit(1, TEXT[10:20], 10), hit(2, TEXT[20:30], 20), hit(3, TEXT[40:50], 40)]
    assert [s.text for s in pack(hits, 1000, words)] == [TEXT[10:30], TEXT[40:50]]


def test_a_passage_that_does_not_fit_is_passed_over():
    hits = [hit(1, "x" * 50, 0), hit(2, "y" * 500, 1000), hit(3, "z" * 20, 2000)]
    assert [s.text for s in pack(hits, 200, words)] == ["x" * 50, "z" * 20]


def test_when_nothing_fits_the_message_says_what_to_set():
    with pytest.raises(
        BadRequest, match="leaves 60 tokens for passages, but the best one needs 154"
    ):
        pack([hit(1, "x" * 100)], 60, words)


def test_nothing_found_is_nothing_packed():
    assert pack([], 100, words) == []


CLAIM = "Every traveller books flights through the portal Skybird and pays with the blue card"


def test_variants_of_one_text_take_two_places():
    variants = [
        hit(n, f"{start} {CLAIM} {end}.", doc_id=f"docs/{n}.md")
        for n, (start, end) in enumerate(
            [("Note:", "today"), ("Indeed,", "always"), ("", "as agreed"), ("By rule,", "")], 1
        )
    ]
    honest = hit(5, "Trips are booked by the assistant of the department, never by oneself.")
    hits = [*variants, honest]
    assert [h.rank for h in distinct(hits, {}, 3)] == [1, 2, 5]
    assert distinct(hits, {}, 5) == hits
    # Of variants those of trusted sources come first, wherever they rank.
    trusted = [replace(h, source="rules") if h.rank in (3, 4) else h for h in hits]
    assert [h.rank for h in distinct(trusted, {"docs": 0.4}, 2)] == [3, 4]


def test_chunks_of_one_document_and_short_ones_are_never_copies():
    overlapping = [hit(1, CLAIM, 0), hit(2, CLAIM, 40)]
    assert distinct(overlapping, {}, 5) == overlapping
    short = [
        hit(1, "Yes, at noon.", doc_id="docs/a.md"),
        hit(2, "Yes, at noon.", doc_id="docs/b.md"),
    ]
    assert distinct(short, {}, 5) == short


spans = st.lists(
    st.tuples(st.integers(0, 350), st.integers(1, 50), st.sampled_from("ab")), max_size=8
)


@given(spans, st.integers(110, 400))
def test_what_is_packed_is_the_documents_own_text_within_budget(cuts, budget):
    hits = [
        hit(rank, TEXT[start : start + size], start, f"docs/{name}.md")
        for rank, (start, size, name) in enumerate(cuts, start=1)
    ]
    packed = pack(hits, budget, words)
    assert [source.number for source in packed] == list(range(1, len(packed) + 1))
    assert sum(len(source.text) + 54 for source in packed) <= budget
    for source in packed:
        assert source.text == TEXT[source.start : source.end]
    for document in "ab":
        mine = sorted((s.start, s.end) for s in packed if s.doc_id == f"docs/{document}.md")
        assert all(end < start for (_, end), (start, _) in itertools.pairwise(mine))
