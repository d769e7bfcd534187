import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_assets.config import RetrievalConfig
from rag_assets.retrieval import SearchRequest, search
from rag_assets_tests.retrieval.tiny import Doc, WordEncoder, make_version

PARTS = ["Parking is free.", "Permits cost ten euro.", "Bicycles stand inside.", "Lunch at noon."]


@pytest.fixture(scope="module")
def version(tmp_path_factory):
    docs = [Doc("docs/a.md", PARTS), Doc("docs/b.md", ["Permits of the board."], acl=["board"])]
    version = make_version(tmp_path_factory.mktemp("section"), docs)
    yield version
    version.close()


def found(version, query, section, k=1, groups=None):
    given_settings = RetrievalConfig(section=section)
    request = SearchRequest(query, k, groups=groups, settings=given_settings)
    return search(version, WordEncoder(), request)


def test_the_section_around_a_passage_answers(version):
    [hit] = found(version, "permits cost ten euro", 12)
    assert hit.chunk_id == "docs/a.md#1"
    assert hit.text == "\n\n".join(PARTS[:3])
    assert (hit.start, hit.end) == (0, len(hit.text))


def test_a_section_is_shown_once(version):
    hits = found(version, "permits bicycles parking lunch", 100, k=5)
    assert [hit.doc_id for hit in hits] == ["docs/a.md", "docs/b.md"]
    assert [hit.rank for hit in hits] == [1, 2]


def test_no_room_is_the_passage_itself(version):
    assert found(version, "bicycles stand inside", 1)[0].text == PARTS[2]


@given(st.integers(0, 30), st.sampled_from([[], ["staff"], ["board"]]))
@settings(max_examples=30, deadline=None)
def test_sections_never_leave_their_document(version, section, groups):
    hits = found(version, "permits of parking", section, k=5, groups=groups)
    assert ("docs/b.md" in {hit.doc_id for hit in hits}) == (groups == ["board"])
    for hit in hits:
        assert ("board" in hit.text) == (hit.doc_id == "docs/b.md")
