import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_assets.answering.citations import MarkFilter, check_citations
from rag_assets_tests.answering.made import source

LEAVE = "Staff receive 28 days of annual leave. Unused days lapse on 31 March."
SICK = "A doctor's note is needed from the fourth day of illness."
SOURCES = [source(1, LEAVE, start=100), source(2, SICK, doc_id="docs/b.md")]


def test_a_quote_is_the_sentence_that_supports_the_claim():
    checked = check_citations("You get 28 days of leave [1]. They lapse in March [1].", SOURCES)
    [citation] = checked.citations
    assert (citation.number, citation.doc_id) == (1, "docs/a.md")
    assert LEAVE[citation.start - 100 : citation.end - 100] == citation.quote
    assert citation.quote in (
        "Staff receive 28 days of annual leave.",
        "Unused days lapse on 31 March.",
    )
    assert checked.dropped == 0


def test_numbers_without_a_passage_are_taken_out_and_counted():
    checked = check_citations("28 days of leave [1][7]. Or so [99].", SOURCES)
    assert checked.text == "28 days of leave [1]. Or so."
    assert checked.dropped == 2


def test_a_passage_that_says_nothing_of_the_claim_is_no_citation():
    checked = check_citations("The canteen opens at noon [2]. Days of leave: 28 [1].", SOURCES)
    assert checked.text == "The canteen opens at noon. Days of leave: 28 [1]."
    assert (checked.dropped, [c.number for c in checked.citations]) == (1, [1])


def test_marks_after_the_full_stop_belong_to_the_sentence_before():
    checked = check_citations("A doctor's note is needed. [2] Leave is 28 days. [1]", SOURCES)
    assert [c.quote for c in checked.citations] == [
        "Staff receive 28 days of annual leave.",
        SICK,
    ]


def test_lists_of_numbers_are_read():
    checked = check_citations("Leave and a doctor's note [1, 2].", SOURCES)
    assert checked.text == "Leave and a doctor's note [1][2]."
    assert [c.number for c in checked.citations] == [1, 2]


def test_without_marks_nothing_is_cited():
    assert check_citations("No idea.", SOURCES).citations == ()


@given(st.text(alphabet="ab [],123.\n", max_size=60))
def test_every_number_left_has_its_citation(text):
    checked = check_citations(text + " days of leave [1]", SOURCES)
    numbers = {citation.number for citation in checked.citations}
    assert {int(mark) for mark in re.findall(r"\[(\d{1,3})\]", checked.text)} <= numbers
    for citation in checked.citations:
        passage = SOURCES[citation.number - 1]
        begin = citation.start - passage.start
        assert passage.text[begin : begin + len(citation.quote)] == citation.quote


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("leave [1] and [7] or [12] end", "leave [1] and  or  end"),
        ("list [1, 7] and [a] and [", "list [1] and [a] and ["),
        ("[not a mark at all, only text", "[not a mark at all, only text"),
    ],
)
@pytest.mark.parametrize("size", [1, 2, 3, 50])
def test_a_stream_shows_only_marks_with_a_passage(text, shown, size):
    marks = MarkFilter([1, 2])
    pieces = [marks.feed(text[i : i + size]) for i in range(0, len(text), size)]
    assert "".join(pieces) + marks.finish() == shown
