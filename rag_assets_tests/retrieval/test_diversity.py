import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from rag_assets.retrieval import SearchRequest, search
from rag_assets.retrieval.diversity import arrange
from rag_assets_tests.retrieval.tiny import Doc, WordEncoder, make_version

EAST, NORTH, UP = np.eye(3)


def places(shown):
    return [item.place for item in shown]


def test_repeats_of_other_documents_are_shown_once():
    vectors = {0: EAST, 1: EAST, 2: NORTH, 3: EAST}
    shown = arrange([0, 1, 2, 3], {0: 10, 1: 11, 2: 12, 3: 13}, vectors, 0.97, 3, 2)
    assert places(shown) == [0, 2]
    assert shown[0].also == [1, 3]


def test_neighbours_in_one_document_are_no_repeats():
    shown = arrange([0, 1], {0: 10, 1: 10}, {0: EAST, 1: EAST}, 0.97, 3, 2)
    assert [(item.place, item.also) for item in shown] == [(0, []), (1, [])]


def test_repeats_fill_a_result_that_would_be_short():
    vectors = {0: EAST, 1: EAST, 2: NORTH, 3: EAST}
    shown = arrange([0, 1, 2, 3], {0: 10, 1: 11, 2: 12, 3: 13}, vectors, 0.97, 3, 3)
    assert places(shown) == [0, 2, 1]
    assert shown[0].also == [3]


def test_what_a_document_has_too_much_of_comes_last():
    of = {0: 10, 1: 10, 2: 10, 3: 11, 4: 10}
    assert places(arrange([0, 1, 2, 3, 4], of, {}, 1.0, 2, 5)) == [0, 1, 3, 2, 4]
    assert places(arrange([0, 1, 2, 3, 4], of, {}, 1.0, 2, 3)) == [0, 1, 3]


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), min_size=1, max_size=12),
    st.integers(1, 15),
    st.integers(1, 3),
)
def test_nothing_is_lost_or_shown_twice(drawn, k, per_document):
    ranked = list(range(len(drawn)))
    documents = {place: document for place, (document, _) in enumerate(drawn)}
    vectors = {place: np.eye(3)[way] for place, (_, way) in enumerate(drawn)}
    shown = arrange(ranked, documents, vectors, 0.97, per_document, k)
    assert len(shown) == min(k, len(drawn))
    every = [place for item in shown for place in (item.place, *item.also)]
    assert len(every) == len(set(every))
    for item in shown:
        assert all(documents[place] != documents[item.place] for place in item.also)
        assert all(drawn[place][1] == drawn[item.place][1] for place in item.also)


def test_also_at_never_names_what_the_asker_may_not_see(tmp_path):
    text = "The parking permit costs ten euro a month."
    groups = [["everyone"], ["board"], ["hr"], ["everyone"]]
    docs = [Doc(f"docs/{n}.md", [text], acl=acl) for n, acl in enumerate(groups)]
    docs.append(Doc("docs/other.md", ["The canteen opens at noon."]))
    version = make_version(tmp_path, docs)
    for asker, seen in (
        ([], {0, 3}),
        (["hr"], {0, 2, 3}),
        (["board", "hr"], {0, 1, 2, 3}),
        (None, {0, 1, 2, 3}),
    ):
        first = search(version, WordEncoder(), SearchRequest("parking permit", 1, groups=asker))[0]
        named = {first.doc_id, *(place.doc_id for place in first.also_at)}
        assert named == {f"docs/{n}.md" for n in seen}
    version.close()
