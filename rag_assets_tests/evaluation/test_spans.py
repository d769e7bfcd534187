import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_assets.evaluation.spans import PassageFinder, Span, overlap
from rag_assets_tests.retrieval.tiny import Doc, make_version


def test_by_hand():
    # 10 of 20 expected characters came, among 40 retrieved of which 5 came twice.
    found = overlap([Span("a", 0, 20), Span("a", 15, 35)], [Span("a", 25, 45)])
    assert (found.expected, found.retrieved, found.both) == (20, 40, 10)
    assert (found.recall, found.precision) == (0.5, 0.25)
    assert found.iou == 10 / 50


def test_other_documents_do_not_count():
    found = overlap([Span("b", 0, 10)], [Span("a", 0, 10)])
    assert (found.recall, found.precision, found.iou) == (0, 0, 0)
    assert overlap([], [Span("a", 0, 10)]).precision == 0


spans = st.lists(
    st.builds(
        lambda doc, start, size: Span(doc, start, start + size),
        st.sampled_from("ab"),
        st.integers(0, 30),
        st.integers(1, 12),
    ),
    max_size=5,
)


@given(spans, spans)
def test_agrees_with_counting_characters(retrieved, expected):
    def characters(of):
        return [(s.doc_id, place) for s in of for place in range(s.start, s.end)]

    wanted = set(characters(expected))
    found = overlap(retrieved, expected)
    assert found.expected == len(wanted)
    assert found.retrieved == len(characters(retrieved))
    assert found.both == len(wanted & set(characters(retrieved)))


@pytest.fixture(scope="module")
def finder(tmp_path_factory):
    docs = [Doc("docs/a", ["You may **work from", "home** on two days.\nAsk your lead first."])]
    version = make_version(tmp_path_factory.mktemp("spans"), docs)
    yield PassageFinder(version), version
    version.close()


def test_markup_and_chunk_borders_do_not_matter(finder):
    found, version = finder
    [span], lost = found.find(["work from home on two days"], ["docs/a"])
    chunks = version.passages(version.chunk_ids(["docs/a"]))
    first, second = chunks
    assert span.start == first.start + first.text.index("work")
    assert span.end == second.start + second.text.index("days") + 4
    assert lost == ()


def test_what_stands_nowhere_is_lost(finder):
    assert finder[0].find(["three days", "ASK YOUR LEAD"], ["docs/a"])[1] == ("three days",)
    assert finder[0].find(["lead"], []) == ((), ("lead",))
