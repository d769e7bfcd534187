import pytest

from rag_assets.evaluation.known_items import (
    Probe,
    ProbeResult,
    ask_probes,
    judge_known_items,
    make_probes,
)
from rag_assets.retrieval.base import SearchRequest
from rag_assets.retrieval.search import search
from rag_assets_tests.retrieval.tiny import Doc, WordEncoder, make_version

DOCS = [
    Doc("docs/lathe", ["Short. The lathe in hall three must be greased every second Monday."]),
    Doc("docs/kiln", ["A kiln cools for nine hours before its door may be opened again."]),
    Doc("docs/tiny", ["Nothing here."]),
]


@pytest.fixture(scope="module")
def version(tmp_path_factory):
    made = make_version(tmp_path_factory.mktemp("known"), DOCS)
    yield made
    made.close()


def test_a_probe_is_the_longest_sentence_of_the_document(version):
    probes = make_probes(version, ["docs/lathe", "docs/tiny"])
    assert [(p.doc_id, p.query) for p in probes] == [
        ("docs/lathe", "The lathe in hall three must be greased every second Monday")
    ]


def test_at_most_40_documents_are_asked_about_always_the_same(version):
    class Many:
        def chunk_ids(self, doc_ids):
            return ["docs/kiln#0"]

        def passages(self, chunk_ids):
            return version.passages(chunk_ids)

    changed = [f"docs/{number}" for number in range(100)]
    first, second = make_probes(Many(), changed), make_probes(Many(), reversed(changed))
    assert len(first) == 40
    assert first == second


def test_documents_are_found_by_their_own_words(version):
    def search_fn(query, k):
        return search(version, WordEncoder(), SearchRequest(query, k))

    results = ask_probes(make_probes(version, ["docs/lathe", "docs/kiln"]), search_fn)
    outcome = judge_known_items(results, 0.8)
    assert (outcome.passed, outcome.decided, outcome.value) == (True, True, 1.0)
    assert outcome.summary == "passed: 2 of 2 changed documents found by their own words"


def test_a_copy_with_the_same_words_counts_as_found(version):
    probe = make_probes(version, ["docs/kiln"])[0]
    moved = Probe("docs/kiln-before-it-moved", probe.chunk_id, probe.query)
    [result] = ask_probes(
        [moved], lambda query, k: search(version, WordEncoder(), SearchRequest(query, k))
    )
    assert result.found


def missed(count):
    return [ProbeResult(Probe(f"d{n}", "c", "some words"), False, ("x",)) for n in range(count)]


def test_one_miss_cannot_tell_two_refuse():
    one = judge_known_items(missed(1), 0.8)
    assert (one.passed, one.decided) == (True, False)
    assert one.summary == (
        "cannot tell: 0 of 1 changed documents found by their own words, floor 80%;"
        " needs 2 documents"
    )
    two = judge_known_items(missed(2), 0.8)
    assert (two.passed, two.decided) == (False, True)
    assert two.details["missed"][0]["expected"] == "d0"


def test_a_search_that_fails_finds_nothing():
    def broken(query, k):
        raise RuntimeError("no index")

    [result] = ask_probes([Probe("d", "c", "some words")], broken)
    assert (result.found, result.error) == (False, "RuntimeError: no index")


def test_nothing_changed_is_nothing_to_ask():
    assert judge_known_items([], 0.8).passed
