from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_assets.errors import BadRequest, IndexMismatch
from rag_assets.retrieval import SearchRequest, search
from rag_assets_tests.retrieval.tiny import Doc, WordEncoder, make_version

ENCODER = WordEncoder()
JUNE = datetime(2026, 6, 1, tzinfo=UTC)
TEAMS = ["hr", "it", "ops", "law"]
WORDS = "vacation payroll laptop printer parking canteen training travel password invoice".split()


@pytest.fixture(scope="module")
def version(tmp_path_factory):
    docs = [
        Doc(
            f"docs/{n:03d}.md",
            [f"About {WORDS[n % 10]} and {WORDS[n // 10 % 10]}, rule {n}.", f"Appendix {n}."],
            title=WORDS[n % 10].title(),
            metadata={"team": TEAMS[n % 4], "n": n},
            acl=["everyone"] if n % 3 else ["board"],
            valid_until=datetime(2026, 1, 1, tzinfo=UTC) if n % 50 == 7 else None,
        )
        for n in range(400)
    ]
    version = make_version(tmp_path_factory.mktemp("version"), docs)
    yield version
    version.close()


def found(version, query="vacation", **options):
    return search(version, ENCODER, SearchRequest(query, now=JUNE, **options))


def number(hit):
    return int(hit.doc_id.split("/")[1][:3])


@pytest.mark.parametrize("mode", ["hybrid", "dense", "lexical"])
def test_finds_the_rule_asked_for(version, mode):
    [hit] = found(version, "About vacation and printer, rule 30", k=1, mode=mode)
    assert (hit.rank, hit.doc_id, hit.source) == (1, "docs/030.md", "docs")
    assert hit.text == "About vacation and printer, rule 30."
    assert (hit.start, hit.end, hit.title) == (0, len(hit.text), "Vacation")
    assert hit.metadata == {"team": "ops", "n": 30}
    wanted = {"dense", "lexical", "feedback"} if mode == "hybrid" else {mode}
    assert set(hit.signals) == set(hit.parts) == wanted
    assert hit.score == pytest.approx(sum(hit.parts.values()))


def test_ranks_and_scores_descend(version):
    hits = found(version, k=50)
    assert [hit.rank for hit in hits] == list(range(1, 51))
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    assert len({hit.chunk_id for hit in hits}) == 50


def test_the_same_search_gives_the_same_ranking(version):
    assert found(version, "payroll rule", k=40) == found(version, "payroll rule", k=40)


@given(
    st.sampled_from(["hybrid", "dense", "lexical"]),
    st.integers(1, 40),
    st.sampled_from(
        [
            None,
            {"team": "hr"},
            {"n": {"$lt": 3}},
            {"n": {"$gte": 10}},
            {"$and": [{"team": {"$in": ["it", "law"]}}, {"n": {"$gt": 380}}]},
            {"missing": {"$ne": 1}},
            {"missing": 1},
        ]
    ),
    st.sampled_from([None, [], ["board"], ["other"]]),
)
@settings(max_examples=120, deadline=None)
def test_filters_hold_and_are_never_short(version, mode, k, where, groups):
    def allowed(n):
        team = TEAMS[n % 4]
        matches = {
            "None": True,
            "{'team': 'hr'}": team == "hr",
            "{'n': {'$lt': 3}}": n < 3,
            "{'n': {'$gte': 10}}": n >= 10,
            "{'missing': {'$ne': 1}}": True,
            "{'missing': 1}": False,
        }.get(str(where), team in ("it", "law") and n > 380)
        readable = groups is None or n % 3 != 0 or "board" in groups
        return matches and readable and n % 50 != 7

    hits = found(version, "appendix rule vacation", k=k, mode=mode, where=where, groups=groups)
    assert all(allowed(number(hit)) for hit in hits)
    exist = 2 * sum(allowed(n) for n in range(400))  # every chunk has a word of the query
    assert len(hits) == min(k, exist)


def test_a_filter_does_not_change_who_is_best(version):
    everything = [
        hit for hit in found(version, "payroll travel rule", k=800) if hit.metadata["team"] == "it"
    ]
    assert [
        h.chunk_id
        for h in found(version, "payroll travel rule", k=3, mode="dense", where={"team": "it"})
    ] == [
        h.chunk_id
        for h in found(version, "payroll travel rule", k=800, mode="dense")
        if h.metadata["team"] == "it"
    ][:3]
    assert everything


def test_validity_is_judged_at_the_time_asked_about(version):
    query = "About printer and vacation, rule 7"
    past = search(version, ENCODER, SearchRequest(query, now=datetime(2025, 12, 31, tzinfo=UTC)))
    assert any(number(hit) == 7 for hit in past)
    assert all(number(hit) != 7 for hit in found(version, query, k=400))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"query": " "}, "query: expected a text"),
        ({"k": 0}, "k: expected a whole number from 1 to 1000, found 0"),
        ({"k": 1001}, "found 1001"),
        ({"mode": "magic"}, "mode: expected hybrid, dense or lexical, found 'magic'"),
        ({"where": {"n": {"$like": "x"}}}, r"unknown operator \$like"),
    ],
)
def test_bad_requests_are_refused(version, options, message):
    with pytest.raises(BadRequest, match=message):
        found(version, **options)


def test_another_model_is_refused_unless_it_is_not_needed(version):
    other = SimpleNamespace(fingerprint="other", encode_query=ENCODER.encode_query)
    with pytest.raises(IndexMismatch, match="built with the embedding model words"):
        search(version, other, SearchRequest("vacation"))
    assert search(version, other, SearchRequest("vacation", mode="lexical"))


def test_a_query_without_words_is_answered_by_the_dense_leg(version):
    hits = found(version, "🎉", k=3)
    assert len(hits) == 3
    assert "lexical" not in hits[0].signals
    assert found(version, "🎉", k=3, mode="lexical") == []
